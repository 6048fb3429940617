"""What makes two runs differ makes their names differ; and the command printed for a run makes that very run."""

import json
import shlex

import pandas as pd
import pytest
from conftest import ROOT, configuration
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from test_command_line import composed

from analysis.data import StudyError, load
from study.config import parse
from study.files import CONF
from study.launch.store import Store
from study.settings import ConfigError

numbers = st.floats(1e-6, 1e3, allow_nan=False)
words = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=8).filter(
    lambda word: word.strip() == word and "${" not in word
)
CHANGES = {
    "algorithm.beta": numbers,
    "gamma": st.floats(0, 1),
    "learning_rate": numbers,
    "max_grad_norm": numbers,
    "reward_scale": numbers,
    "reward_clip": numbers,
    "observation_clip": st.one_of(st.none(), numbers),
    "anneal_learning_rate": st.just(True),
    "entropy_coefficient": numbers,
    "value_clip": numbers,
    "activation": st.just("relu"),
    "initial_log_std": st.floats(-3, 3),
    "state_dependent_std": st.just(True),
    "initialization": st.sampled_from(["xavier", "torch"]),
    "horizon": st.sampled_from([512, 1024, 4096]),
    "hidden": st.lists(st.integers(1, 300), min_size=1, max_size=3),
    "advantage_normalization": st.sampled_from(["none", "minibatch"]),
    "reset_optimizer": st.just(True),
    "chapter": st.integers(1, 99),
    "diagnostics.max_kl": numbers,
    "diagnostics.cg_iterations": st.integers(1, 9),
    "fork": st.fixed_dictionaries({"source": words, "arm": words, "at": st.integers(1, 10**6)}),
    "task.backend": st.just("gymnasium"),
    "task.id": st.sampled_from(["Walker2d-v5", "my.module:Own-v0"]),
    "task.max_episode_steps": st.integers(1, 10**6),
    "task.kwargs": st.dictionaries(
        st.from_regex(r"[a-z][a-z_]{0,6}", fullmatch=True),
        st.one_of(st.booleans(), st.integers(-9, 9), numbers, words, st.lists(numbers, min_size=1, max_size=3)),
        min_size=1,
        max_size=3,
    ),
    "total_steps": st.integers(5000, 10**7),
}


def changed(changes: dict, task: str = "hopper"):
    container = json.loads(configuration(task, "kl_fixed", {"beta": 2.0}, hidden=[64, 64]).model_dump_json())
    container["algorithm"] = {"name": "kl_fixed", "beta": 2.0}
    for key, value in changes.items():
        place = container
        *path, last = key.split(".")
        for word in path:
            place = place[word]
        place[last] = value
    return parse(container)


@st.composite
def configs(draw):
    keys = draw(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3, unique=True))
    return changed({key: draw(CHANGES[key]) for key in keys})


def name(config):
    return config.task_label, config.arm, config.seed, config.total_steps


@settings(max_examples=100, deadline=None)
@given(configs(), configs())
def test_different_runs_have_different_names(one, other):
    assert (one.run_id == other.run_id) == (name(one) == name(other))


@pytest.mark.parametrize("key", sorted(CHANGES))
def test_every_field_is_in_a_name(key):
    plain = changed({})

    @settings(max_examples=10, deadline=None)
    @given(CHANGES[key])
    def differs(value):
        config = changed({key: value})
        assert (config.run_id == plain.run_id) == (name(config) == name(plain))

    differs()


def test_every_field_of_the_configuration_that_makes_a_run_is_tried_above():
    plain = changed({})
    tried = {key.split(".")[0] for key in CHANGES}
    shared = {"epochs", "minibatch_size", "optimizer", "value_learning_rate", "gae_lambda", "reward_scaling", "seed"}
    shared |= {"anneal_clip_range", "observation_normalization"}  # which kl_fixed or its bound refuses
    assert set(type(plain).model_fields) - {"name", "execution"} == tried | shared


@settings(max_examples=30, deadline=None)
@given(configs())
def test_the_words_of_a_run_compose_it(config):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made = compose("config", shlex.split(shlex.join([*config.overrides, f"seed={config.seed}"])))
    again = parse(OmegaConf.to_container(made, resolve=True))
    assert again.run_id == config.run_id and name(again) == name(config)


def test_older_studies_have_the_names_that_the_code_gives_today():
    for study in ("table1", "profiles_raw", "scales", "causal", "bounded"):
        runs = pd.read_parquet(ROOT / "results" / study / "runs.parquet")
        for run in runs.drop_duplicates(["task", "arm"]).itertuples():
            execution = json.loads(changed({}).execution.model_dump_json())
            config = parse(json.loads(run.config) | {"execution": execution})
            assert (config.run_id, config.task_label, config.arm) == (run.run_id, run.task, run.arm)


# Files that people join


def joined(folder, *frames):
    folder.mkdir()
    for kind in ("runs", "curves"):
        pd.concat([frame[kind] for frame in frames]).to_parquet(folder / f"{kind}.parquet")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from study.launch import runner

    folder = tmp_path_factory.mktemp("identity")
    execution = {"results": str(folder), "workers": 1}
    small = {"horizon": 128, "minibatch_size": 32, "epochs": 1, "total_steps": 256, "execution": execution, "name": "a"}
    runner.run(
        [configuration("cartpole", "kl_fixed", {"beta": b}, seed=s, **small) for b in (1.0, 3.0) for s in (0, 1)]
    )
    return {kind: pd.read_parquet(folder / "a" / f"{kind}.parquet") for kind in ("runs", "curves")}


def test_doubled_and_reordered_rows_count_once_in_reading_and_in_merging(trained, tmp_path, capfd):
    twice = joined(tmp_path / "twice", trained, {kind: frame[::-1] for kind, frame in trained.items()})
    once = joined(tmp_path / "once", trained)
    one, two = load([once]), load([twice])
    pd.testing.assert_frame_equal(one.curves, two.curves)
    assert len(two.runs) == 4 and one.bins == two.bins
    store = Store(twice)
    store.open()
    store.merge()
    assert store.runs()["run_id"].nunique() == len(store.runs()) == 4
    assert len(store.curves()) == len(trained["curves"])


def test_different_rows_of_one_run_are_named_and_the_file_kept(trained, tmp_path, capfd):
    other = {"runs": trained["runs"], "curves": trained["curves"].assign(kl_after=7.0)}
    folder = joined(tmp_path / "mixed", trained, other)
    with pytest.raises(StudyError, match="twice with different numbers"):
        load([folder])
    store = Store(folder)
    store.open()
    assert (store.curves()["kl_after"] == 7).all()
    assert "different rows" in " ".join(capfd.readouterr().err.split())
    assert list(store.aside.glob("curves.parquet.*"))


@pytest.mark.parametrize("gone", [[0, 1], [0]])
def test_runs_without_a_whole_curve_are_named_and_the_file_kept(gone, trained, tmp_path, capfd):
    lost, curves = trained["runs"]["run_id"].iloc[0], trained["curves"]
    curves = curves[(curves["run_id"] != lost) | ~curves["iteration"].isin(gone)]
    store = Store(joined(tmp_path / "lost", {"runs": trained["runs"], "curves": curves}))
    store.open()
    store.merge()
    assert lost in capfd.readouterr().err and list(store.aside.glob("runs.parquet.*"))
    assert len(store.runs()) == 3


def test_a_missing_run_s_command_makes_that_run_in_that_folder(trained, tmp_path, monkeypatch):
    runs = trained["runs"]
    gone = runs[(runs["seed"] == 1) & runs["arm"].str.contains("beta=3")].iloc[0]
    rest = {kind: frame[frame["run_id"] != gone["run_id"]] for kind, frame in trained.items()}
    folder = joined(tmp_path / "b", rest)
    for here, directory in ((tmp_path, "b"), (folder, ".")):
        monkeypatch.chdir(here)
        (command,) = load([directory]).missing["command"]
        config = composed(*shlex.split(command)[3:])
        assert config.run_id == gone["run_id"] and config.study.resolve() == folder


def test_every_run_of_a_sweep_goes_into_the_study_that_it_names(tmp_path):
    from study.launch import runner

    small = {"horizon": 128, "minibatch_size": 32, "epochs": 1, "total_steps": 128}
    places = [("a", "here", 0), ("b", "here", 0), ("a", "there", 0), ("s1", "here", 1)]
    runs = runner.run(
        [
            configuration(
                "cartpole",
                "trpo",
                seed=seed,
                name=study,
                execution={"results": str(tmp_path / root), "workers": 1},
                **small,
            )
            for study, root, seed in places
        ]
    )
    assert len(runs) == 4
    for study, root, seed in places:
        assert load([tmp_path / root / study]).runs["seed"].tolist() == [seed]


# Values that an environment tells apart


KINDS = [
    1,
    1.0,
    "1",
    True,
    "true",
    None,
    "none",
    [1],
    [1.0],
    ["1"],
    [[1]],
    [1, 2],
    "1x2",
    "(1,2)",
    [],
    {},
    "",
    "{}",
    "a b=1",
]
KINDS += [
    float("inf"),
    "inf",
    float("nan"),
    "nan",
    0.0,
    -0.0,
    1e6,
    1000000,
    {"x": 1},
    {"x": 1.0},
    {"x": {}},
    "'1'",
    '"1"',
]


def test_arguments_of_other_kinds_are_other_runs_with_other_labels():
    """Whatever two values do to a constructor: repr tells them apart as Python does."""
    made = {repr(value): changed({"task.kwargs": {"port": value}}) for value in KINDS}
    assert (
        len({config.run_id for config in made.values()}) == len({name(config) for config in made.values()}) == len(made)
    )
    assert len(made) == len(KINDS)


def test_the_order_of_arguments_is_none_of_the_run():
    one, other = (
        changed({"task.kwargs": {"a": 1, "b": {"c": 2, "d": 3}}}),
        changed({"task.kwargs": {"b": {"d": 3, "c": 2}, "a": 1}}),
    )
    assert one.run_id == other.run_id and name(one) == name(other)


def test_an_argument_called_like_a_setting_of_the_task_is_told_from_it():
    limits = [changed({"task.max_episode_steps": 9}), changed({"task.kwargs": {"max_episode_steps": 9}})]
    ids = [changed({"task.id": "x"}), changed({"task.kwargs": {"id": "x"}})]
    for pair in (limits, ids):
        assert pair[0].run_id != pair[1].run_id and name(pair[0]) != name(pair[1])


@pytest.mark.parametrize("key", [1, "a.b", "a b", "a=b", None])
def test_keys_that_a_name_cannot_tell_apart_are_refused(key):
    for kwargs in ({key: 1}, {"outer": {key: 1}}, {"outer": [{key: 1}]}):
        with pytest.raises(ConfigError, match="task.kwargs"):
            changed({"task.kwargs": kwargs})


def test_numbers_of_our_own_are_one_run_however_they_are_spelled():
    for key, spellings in {
        "gamma": (1, 1.0, "1", "1e0"),
        "reward_scale": (2, 2.0, "2.0"),
        "algorithm.beta": (1, "1.0"),
    }.items():
        made = [changed({key: value}) for value in spellings]
        assert len({config.run_id for config in made}) == len({name(config) for config in made}) == 1, key


@pytest.mark.parametrize("study", ["", ".", "..", "a/..", "a/../..", "/tmp/x", "a//b", "a/", "./a", "a/.work", "a\0b"])
def test_a_study_has_a_folder_of_its_own_below_the_results(study):
    with pytest.raises(ConfigError, match="must be a folder name below"):
        changed({"name": study})
