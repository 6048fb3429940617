"""Every way to install it, outside of any checkout, and what it may not take from where it happens to lie."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, configuration
from test_command_line import SMALL, command

from study.launch.checkpoint import code

TASK = "name: mine\nid: CartPole-v1\nbackend: gymnasium\ntotal_steps: 128\n"
EXPERIMENT = """# @package _global_
name: own
horizon: 64
epochs: 1
hidden: [8]
execution: {compile: false, workers: 1}
hydra:
  sweeper:
    params: {task: mine}
    grids: [{algorithm: trpo}]
"""


PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]


def run(*words, **options):
    """What a command says; it must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of what is committed."""
    run("git", "-C", ROOT, "ls-files", "--error-unmatch", "pyproject.toml")
    folder = tmp_path_factory.mktemp("clone") / "clone"
    run("git", "clone", "-q", ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(clone, tmp_path_factory):
    """Made from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=clone)
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, *folder.glob("*.tar.gz"))
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_and_the_configuration(clone, wheel):
    packages = ("study", "analysis", "hydra_plugins", "conf")
    files = run("git", "-C", clone, "ls-files", *packages).splitlines()
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert sorted(names) == sorted(re.sub("^conf/", "study/conf/", file) for file in files)
    assert {"study/fused.cpp", "study/conf/config.yaml", "hydra_plugins/fleet/sweeper.py"} <= set(names)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["wheel", "plain", "editable"])
def test_every_way_to_install_it_finds_the_configuration(way, clone, wheel, tmp_path):
    # An environment of its own that has this one's packages, but not what this one installs by path
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "env")
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")}))
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    python = tmp_path / "env/bin/python"
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONDONTWRITEBYTECODE": "1"}
    options = {"cwd": tmp_path / "empty", "env": bare}
    options["cwd"].mkdir()

    what = {"wheel": [wheel], "plain": [clone], "editable": ["-e", clone]}[way]
    pip = [*PIP[:3], "--python", python, *PIP[3:]]
    run(*pip, "install", "--no-deps", "--no-build-isolation", "--ignore-installed", *what, **options)
    assert run("git", "-C", clone, "status", "--porcelain", "--ignored") == ""  # installing leaves nothing there
    where = run(python, "-c", "import study, hydra_plugins.fleet as f; print(study.__file__, f.__file__)", **options)
    assert where.count(str(clone if way == "editable" else site)) == 2
    assert "beta: 3" in run(python, "-m", "study", "--cfg", "job", "algorithm=kl_fixed", "algorithm.beta=3", **options)
    for name, module in (("penalty-study", "study"), ("penalty-report", "analysis")):
        assert run(tmp_path / "env/bin" / name, "--help", **options) == run(python, "-m", module, "--help", **options)
    words = [python, "-m", "study", "algorithm=trpo", "algorithm.beta=1"]
    refused = subprocess.run(words, capture_output=True, text=True, timeout=300, **options)
    file = (clone / "conf" if way == "editable" else site / "study/conf") / "algorithm/trpo.yaml"
    assert refused.returncode == 2 and f"({file})" in refused.stderr and file.is_file()
    assert not any(options["cwd"].iterdir())


@pytest.mark.slow
def test_the_wheel_trains_in_a_folder_of_another_repository(wheel, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    run("git", "init", "-q", cwd=folder)  # from which no commit may come
    run(*"git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x".split(), cwd=folder)
    run(*PIP, "install", "--no-deps", "--target", folder / "site", wheel)
    for file, text in (("task/mine.yaml", TASK), ("experiment/own.yaml", EXPERIMENT)):
        (folder / "conf" / file).parent.mkdir(parents=True)
        (folder / "conf" / file).write_text(text)
    options = {"cwd": folder, "env": os.environ | {"PYTHONPATH": str(folder / "site")}}
    run(sys.executable, "-m", "study", "--config-dir", "conf", "-m", "+experiment=own", **options)
    runs = pd.read_parquet(folder / "results/own/runs.parquet")
    assert runs["task"].tolist() == ["mine id=CartPole-v1 backend=gymnasium"] and runs["commit"].tolist() == [""]
    script = "import study, analysis, hydra_plugins.fleet as f; print(study.__file__, f.__file__)"
    assert run(sys.executable, "-c", script, **options).count(str(folder / "site")) == 2


@pytest.mark.slow
def test_uvx_runs_both_commands_from_the_wheel(wheel, tmp_path):
    """This environment's packages stand in for what uv would download."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.match(r"[\w-]+", dependency)[0] for dependency in dependencies]
    (tmp_path / "none.txt").write_text("".join(f"{name} ; python_version < '0'\n" for name in names))
    (tmp_path / "empty").mkdir()
    python = getattr(sys, "_base_executable", sys.executable)
    uvx = [Path(sys.executable).with_name("uvx"), "--offline", "--no-index", "--no-config", "--python", python]
    uvx += ["--overrides", tmp_path / "none.txt", "--from", wheel]
    own = {"PYTHONPATH": sysconfig.get_path("purelib"), "UV_CACHE_DIR": str(tmp_path / "cache")}
    options = {"cwd": tmp_path / "empty", "env": os.environ | own}
    for name, module in (("penalty-study", "study"), ("penalty-report", "analysis")):
        assert run(*uvx, name, "--help", **options) == run(sys.executable, "-m", module, "--help", cwd=ROOT)
    words = [*uvx, "penalty-study", "algorithm=trpo", "algorithm.beta=1"]
    refused = subprocess.run(words, capture_output=True, text=True, timeout=300, **options)
    file = re.search(r"\((\S*/study/conf/algorithm/trpo.yaml)\)", refused.stderr)
    assert refused.returncode == 2 and tmp_path / "cache" in Path(file[1]).parents, refused.stderr
    assert not any(options["cwd"].iterdir())


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The documentation's example of an algorithm, where Python finds it."""
    example = (ROOT / "docs/how-to/algorithms.md").read_text()
    text = re.search(r"```python\n(\"\"\"my_algorithm.*?)```", example, re.DOTALL)[1]
    assert len(text.splitlines()) <= 30
    (tmp_path / "my_algorithm.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_algorithm", raising=False)
    yield tmp_path / "my_algorithm.py"
    sys.modules.pop("my_algorithm", None)
    code.cache_clear()


def test_an_algorithm_of_ones_own_trains_with_its_numbers(page, tmp_path, monkeypatch, capfd):
    own = ["algorithm=custom", "algorithm.module=my_algorithm", "algorithm.growth=1,2", "+algorithm.beta=4"]
    where = ["name=s", f"execution.results={tmp_path}", "execution.workers=1"]
    code_, said = command(monkeypatch, capfd, "-m", *SMALL, *own, *where)
    assert code_ == 0, said
    runs, curves = (pd.read_parquet(tmp_path / "s" / f"{kind}.parquet") for kind in ("runs", "curves"))
    assert runs["run_id"].nunique() == 2 and all(
        "module=my_algorithm" in arm and "beta=4" in arm for arm in runs["arm"]
    )
    for _, run in runs.iterrows():
        growth = 2 if "growth=2" in run["arm"] else 1
        beta = curves.loc[curves["run_id"] == run["run_id"], "beta"]
        assert beta.tolist() == pytest.approx([4.0 * growth**i for i in range(len(beta))])
    code_, said = command(monkeypatch, capfd, *SMALL, *own[:2], "algorithm.growth=2", "algorithm.beta=4", *where)
    assert code_ == 0 and "1 of 1 runs are finished already" in said


def test_the_source_of_ones_own_algorithm_is_part_of_the_code(page):
    before = code(("my_algorithm",))
    code.cache_clear()
    page.write_text(page.read_text() + "# changed\n")
    assert before not in (code(("my_algorithm",)), code())


def test_a_name_of_a_module_makes_another_run(page):
    (page.parent / "other_page.py").write_text(page.read_text())
    one, two = (configuration(algorithm="custom", numbers={"module": name}) for name in ("my_algorithm", "other_page"))
    assert one.run_id != two.run_id and one.arm != two.arm and one.update_key != two.update_key
    assert "module" not in configuration(algorithm="trpo").identity["algorithm"]


@pytest.mark.parametrize(
    "text, words, said",
    [
        (None, ["algorithm.module=nowhere.at_all"], ["nowhere.at_all", "cannot be imported"]),
        ("1 / 0", ["algorithm.module=broken_page"], ["broken_page", "ZeroDivisionError"]),
        ("x = 1", ["algorithm.module=broken_page"], ["Settings", "start", "update"]),
        (None, [], ["missing", "module"]),
        (
            None,
            ["algorithm.module=my_algorithm", "algorithm.nope=1"],
            ["algorithm.nope=1", "unknown key", "my_algorithm"],
        ),
        (
            None,
            ["algorithm.module=my_algorithm", "algorithm.beta=-1"],
            ["algorithm.beta=-1", "greater than 0", "my_algorithm"],
        ),
    ],
)
def test_a_page_that_is_none_is_refused_in_one_line(text, words, said, page, tmp_path, monkeypatch, capfd):
    if text:
        (tmp_path / "broken_page.py").write_text(text)
    sys.modules.pop("broken_page", None)
    where = f"execution.results={tmp_path / 'r'}"
    code_, told = command(monkeypatch, capfd, *SMALL, "algorithm=custom", *words, where)
    assert code_ == 2 and told.count("error:") == 1 and all(word in told for word in said), told
    assert not (tmp_path / "r").exists()


def test_from_python_comes_what_the_command_line_writes(tmp_path, monkeypatch, capfd):
    import study

    small = ["execution.compile=false", *SMALL]
    where = {"execution.results": tmp_path / "a b", "execution.workers": 1}
    runs, curves = study.sweep(*small, algorithm="kl_fixed", seed=range(2), **{"algorithm.beta": [1, 3]}, **where)
    assert sorted(zip(runs["beta"], runs["seed"])) == [(1, 0), (1, 1), (3, 0), (3, 1)]
    written = pd.read_parquet(tmp_path / "a b/trial/curves.parquet")
    assert len(curves) == len(written) and set(curves["run_id"]) == set(runs["run_id"])
    one = study.train(*small, algorithm="kl_fixed", seed=1, **{"algorithm.beta": 3}, **where)
    assert "finished already" in capfd.readouterr().err and one.runs["run_id"].isin(runs["run_id"]).all()
    for wrong in ({"algorithm": "nope"}, {"learning_rat": 1}, {"gamma": 3}):
        with pytest.raises(study.ConfigError, match=next(iter(wrong))):
            study.train(*small, **wrong, **where)


NOTEBOOK = """
import random, sys
import numpy as np, torch, study

small = [*sys.argv[2:], "algorithm=kl_fixed", "execution.compile=false", "execution.workers=1"]
small += ["task.id=CartPole-v1", "task=custom", "task.backend=gymnasium"]
runs, plain = study.sweep(*small, name="fresh", **{"execution.results": sys.argv[1]})

torch.set_num_threads(3)
torch.set_default_dtype(torch.float64)
torch.set_default_device("meta")
np.random.seed(1), random.seed(2), torch.manual_seed(3)
draws = lambda: (np.random.random(), random.random(), torch.rand(1, device="cpu").item())
expected = draws()
np.random.seed(1), random.seed(2), torch.manual_seed(3)
with torch.inference_mode():
    runs, curves = study.sweep(*small, name="set", **{"execution.results": sys.argv[1]})
    assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
assert draws() == expected
assert torch.get_num_threads() == 3 and torch.get_default_dtype() == torch.float64
assert torch.get_default_device().type == "meta" and torch.is_grad_enabled()
assert (runs["status"] == "complete").all() and curves.equals(plain)
"""


def test_a_notebook_keeps_its_threads_modes_and_generators_and_they_change_no_run(tmp_path):
    words = [sys.executable, "-c", NOTEBOOK, str(tmp_path), *SMALL]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_readmes_example_from_python_runs(tmp_path, monkeypatch):
    """As it stands there; only shorter."""
    import study

    text = re.search(r"```python\n(import analysis, study.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    small, sweep = [*SMALL, "execution.compile=false", "execution.workers=1"], study.sweep
    monkeypatch.setattr(study, "sweep", lambda **options: sweep(*small, **options))
    made = {}
    exec(text, made)
    assert len(made["runs"]) == 6 and set(made["curves"]["run_id"]) == set(made["mine"].runs["run_id"])
    assert (tmp_path / "curves.pdf").read_bytes().startswith(b"%PDF")


def test_importing_takes_neither_torch_nor_matplotlib():
    script = "import sys, study, analysis; print({'torch', 'hydra', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
