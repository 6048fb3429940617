"""Each job of a sweep is composed exactly as the same words alone are: any value, any resolver, any order of words."""

import itertools
from functools import cache

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

import study
from hydra_plugins.fleet.sweeper import of_each_job, open_settings
from study.files import CONF
from study.launch.command import _parsed, explain, parsed
from study.settings import ConfigError

OmegaConf.register_new_resolver("twice", lambda value: 2 * int(value), replace=True)


@pytest.fixture(scope="module", autouse=True)
def hydra():
    with pytest.MonkeyPatch.context() as patch, initialize_config_dir(str(CONF), version_base="1.3", job_name="study"):
        patch.setenv("SOME_NUMBER", "5")
        patch.setattr(HydraConfig.instance(), "cfg", None)  # as in a process of its own
        yield


@cache
def alone(*words):
    """The configuration of `python -m study WORDS`; None where it is refused."""
    made = []
    try:
        _hydra("run", lambda cfg: made.append(_parsed(cfg)), words)
    except ConfigError:
        return None
    return made[0]


def jobs(words):
    """[(overrides, configuration)] of `python -m study -m WORDS`. Raises ConfigError."""
    made = []

    def task(cfg): ...

    def many(jobs, refused):
        configs, _ = parsed(jobs, refused)
        made.extend(zip([job.overrides for job in jobs], configs))
        return [None] * len(jobs)

    task.many = many
    _hydra("multirun", task, words)
    return made


def _hydra(how, task, words):
    start, words = getattr(GlobalHydra.instance().hydra, how), open_settings(list(words))
    words = [*of_each_job(words), "hydra.mode=MULTIRUN"] if how == "multirun" else words
    try:
        done = start("config", task, words, with_log_configuration=False)
        if how == "run":
            done.return_value  # noqa: B018  raises what the task has raised
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from None


# Spellings that survive a sweep: a comma would end a value
SEED = ["0", "1", "7", '"${oc.decode:${oc.env:SOME_NUMBER}}"', '"${twice:${algorithm.cg_iterations}}"']
NAME = [
    "a", "of_${seed}", "by_${hydra:runtime.choices.algorithm}/${hydra:job.name}", "is_${oc.env:SOME_NUMBER}",
    '"of_${twice:${seed}}"', "${hydra:runtime.choices.task}_${oc.select:algorithm.beta}", "'quoted ${task.name}'",
    "on_${now:%Y}_of_${total_steps}",
]  # fmt: skip
FREE = [
    "1", "1.0", "'1'", "1e0", "true", "'true'", "null", "[1]", "[1,2]", "{a:1}", "{}", "{a:{b:'x y'}}", "x", '"it\'s"',
    "${seed}", "'${task.id}'", "${hydra:runtime.choices.algorithm}", "${oc.decode:'[1,2]'}",
]  # fmt: skip
AXES = {
    "seed": SEED,
    "name": NAME,
    "algorithm": ["trpo", "kl_fixed", "clip"],
    "task": ["cartpole", "hopper"],
    "gamma": ["0.9", "1", "1.0", ".5e0"],
    "learning_rate": ["3e-4", "0.0003", "${value_learning_rate}"],
    "hidden": ["[4]", "[4,4]", "[${epochs}]"],
    "max_grad_norm": ["null", "0.5"],
    "task.kwargs.a": FREE,
    "++task.kwargs.b": FREE,
    "task.kwargs": ["{a:1}", "{b:2}", "{a:'${seed}'}"],
    "reward_scale": ['"${oc.decode:${oc.env:SOME_NUMBER}}"', "2"],
    "execution.workers": ["1", "null", "${epochs}"],
    "++seed": ["3", "${epochs}"],
}
words = st.sampled_from(sorted(AXES)).flatmap(
    lambda key: st.tuples(st.just(key), st.lists(st.sampled_from(AXES[key]), min_size=1, max_size=2, unique=True))
)


def as_text(config):
    return repr(config.model_dump(serialize_as_any=True)), config.run_id, config.arm, config.task_label


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],  # to shrink a line takes minutes
)
@example([("name", ["by_${hydra:runtime.choices.algorithm}"]), ("algorithm", ["trpo", "kl_fixed"])])
@example([("algorithm", ["kl_fixed", "kl_adaptive"]), ("algorithm.beta", ["3"]), ("seed", ["0", "1"])])
@example([("task.kwargs", ["{a:1}"]), ("task.kwargs.a", ["1.0"]), ("task.kwargs", ["{b:2}", "{b:3}"])])
@example([("++seed", ["3"]), ("seed", ["0", "1"]), ("++seed", ["4", "5"])])
@example([("seed", ["0", "1"]), ("++seed", ["3"])])
@example([("seed", ['"${oc.decode:${oc.env:SOME_NUMBER}}"']), ("name", ['"of_${twice:${seed}}"', "b"])])
@given(st.lists(words, min_size=1, max_size=3))
def test_each_job_of_a_sweep_is_that_job_alone(line):
    expected = [
        alone(*(f"{key}={value}" for (key, _), value in zip(line, job)))
        for job in itertools.product(*(values for _, values in line))
    ]
    try:
        made = jobs([f"{key}={','.join(values)}" for key, values in line])
    except ConfigError:
        assert None in expected
        return
    assert {as_text(config) for _, config in made} == {as_text(config) for config in expected}
    for overrides, config in made:
        assert as_text(alone(*overrides)) == as_text(config)


def test_the_words_above_compose_alone():
    """Or they would compare refusals."""
    refused = {(key, one) for key, values in AXES.items() for one in values if alone(f"{key}={one}") is None}
    assert not refused


def test_a_job_s_number_is_its_own_and_the_moment_is_one_for_all():
    made = jobs(
        [
            "name='${hydra:job.num}_${hydra:job.override_dirname}_${now:%f}'",
            "hydra.job.config.override_dirname.exclude_keys=[name]",
            "seed=1,2",
            "algorithm=trpo,clip",
        ]
    )
    moments = [config.name.rpartition("_")[2] for _, config in made]
    assert [config.name.partition("_")[0] for _, config in made] == ["0", "1", "2", "3"]
    assert len(set(moments)) == 1
    for overrides, config in made:
        assert f"algorithm={config.algorithm.name}" in config.name and f"seed={config.seed}" in config.name, overrides


def test_a_grid_s_values_are_resolved_by_each_job():
    made = jobs(["+hydra.sweeper.params.name='of_${seed}'", "+hydra.sweeper.params.max_grad_norm=null", "seed=1,2"])
    assert [(config.name, config.max_grad_norm) for _, config in made] == [("of_1", None), ("of_2", None)]


@pytest.mark.parametrize(
    "words, reason",
    [
        (["seed=range(5,5)"], "seed=range(5,5): has no value"),
        (["seed=range(1,5,0)"], "seed=range(1,5,0): "),
        (["seed=range(0,1000000000)"], "more than 1,000,000 runs"),
        (["seed=choice()"], "seed=choice()"),
        (["seed=interval(0,1)"], "seed=interval(0,1): an interval"),
        (["seed=glob(*)"], "seed=glob(*): matches nothing"),
        (["task=glob(nosuch*)"], "task=glob(nosuch*): matches nothing, so that there is no run; there are acrobot"),
        (["algorithm=trpo", "+hydra.sweeper.params.seed='range(2,2)'"], "range(2,2): has no value"),
        (["+experiment=quick,rates"], "+experiment=quick is itself a sweep"),
        (["task=cartpole,null"], "name of a file"),
        (["name='x${hydra:nosuch}'", "seed=0,1"], "${hydra:nosuch}: Hydra has no such value"),
        (["+hydra.sweeper.params.name='${hydra:job.num}'"], "as a word of the command each job"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_names_no_run_is_one_line(words, reason):
    with pytest.raises(ConfigError) as refused:
        jobs(words)
    assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_a_caller_s_own_hydra_values_are_no_values_of_a_run(monkeypatch):
    """Python that trains may be a job of Hydra's itself."""
    caller = OmegaConf.create({"hydra": {"job": {"num": 7}}})
    monkeypatch.setattr(HydraConfig.instance(), "cfg", caller)
    with pytest.raises(ConfigError, match="as a word of the command each job"):
        study.sweep("+hydra.sweeper.params.name='${hydra:job.num}'", seed=[0, 1])
    assert HydraConfig.instance().cfg is caller
