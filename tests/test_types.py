"""Annotations of what users import, checked by mypy; and what a user's own checker makes of them."""

import re

import pytest
from conftest import ROOT
from mypy import api

# What scripts import, and what a page of an algorithm is written with
PUBLIC = ["study/__init__.py", "study/settings.py", "study/files.py", "study/launch/api.py", "study/objective.py"]
PUBLIC += ["analysis/__init__.py", "analysis/panel/__init__.py", "analysis/tidy.py"]
# The pages and what else they use: checked where they are annotated
PAGES = ["study/algorithm", *(f"study/{name}.py" for name in ("penalty", "solver", "value", "implied_beta", "rollout"))]
# Typed or not, they take long and are not ours
OTHERS = "torch numpy scipy matplotlib seaborn gymnasium envpool distributed dask plotly rich PIL jinja2 pydantic"

USE = """
import analysis, study

frames = study.sweep("execution.workers=1", task="cartpole", seed=range(3))
reveal_type(frames)
reveal_type(study.train(task="cartpole"))
reveal_type(frames.runs)
loaded = analysis.load("results/mine")
reveal_type(loaded)
reveal_type(analysis.figure)
try:
    analysis.load(["a"], whole_seeds=True)
except (study.ConfigError, analysis.StudyError) as error:
    reveal_type(error)
reveal_type(analysis.to_rliable(loaded))
study.swep
study.sweep(3)
analysis.load(3)
analysis.figure("learning_curves", "results/mine")
analysis.figure("learning_curves", loaded, width="wide")
analysis.frame(loaded, "run")
analysis.to_rliable(loaded, parts="all")
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mypy")
    skipped = ",".join(f"{name}.*,{name}" for name in OTHERS.split())
    pages = ",".join(page.removesuffix(".py").replace("/", ".") for page in PAGES)
    (folder / "mypy.ini").write_text(
        "[mypy]\nignore_missing_imports = True\nfollow_imports = silent\n"
        "disallow_untyped_defs = True\ncheck_untyped_defs = True\n"
        f"[mypy-{pages},study.algorithm.*]\ndisallow_untyped_defs = False\n"
        f"[mypy-{skipped}]\nfollow_imports = skip\n"
    )

    def run(*files):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MYPYPATH", str(ROOT))
            patch.chdir(ROOT)
            words = ["--config-file", str(folder / "mypy.ini"), "--cache-dir", str(folder / "cache")]
            said, wrong, _ = api.run([*words, *map(str, files)])
        assert not wrong
        return said

    return run


def test_what_users_import_is_annotated_and_agrees_with_its_annotations(check):
    said = check(*PUBLIC, *PAGES)
    assert re.search(r"Success: no issues found in [2-9]\d source files", said), said


def test_a_users_checker_knows_what_comes_back_and_finds_wrong_words(check, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(USE)
    said = check(script)
    types = re.findall(r'Revealed type is "(.*)"', said)
    assert len(types) == 7 and "study.launch.api.Frames" in types[0] and "study.launch.api.Frames" in types[1]
    assert types[3] == "analysis.data.Study" and "whole_seeds" not in types[4]
    assert "study: analysis.data.Study" in types[4] and "ConfigError" in types[5] and "StudyError" in types[5]
    assert types[6].startswith("dict[str, numpy.")
    wrong = {int(line.split(":")[1]): line for line in said.splitlines() if ": error:" in line}
    lines = USE.splitlines()
    assert [lines[number - 1].split("(")[0] for number in sorted(wrong)] == [
        "study.swep",
        "study.sweep",
        "analysis.load",
        "analysis.figure",
        "analysis.figure",
        "analysis.frame",
        "analysis.to_rliable",
    ], said


def test_both_packages_say_that_they_are_typed():
    assert all((ROOT / package / "py.typed").is_file() for package in ("study", "analysis"))
