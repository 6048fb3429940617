"""The wall between a run and what launches it, and what a checkpoint's code is: the run's side, all of it."""

import ast
import shutil

import pytest
from conftest import ROOT

from study.launch import checkpoint

# The entry points: whatever else lies in study/ says what happens in one run.
ENTRIES = {
    "study/__init__.py",  # study.train and study.sweep, when asked for
    "study/__main__.py",  # python -m study
    "study/merge.py",  # python -m study.merge
    "study/play.py",  # python -m study.play
    "study/remove.py",  # python -m study.remove
    "study/status.py",  # python -m study.status
}


def imported(file):
    """Names of the modules that a file imports, anywhere in it, or names in a string."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_only_the_entry_points_import_what_launches():
    files = [file for folder in ("study", "hydra_plugins", "analysis") for file in (ROOT / folder).rglob("*.py")]
    outside = [file for file in files if ROOT / "study/launch" not in file.parents]
    found = {file for file in outside if any(f"{name}.".startswith("study.launch.") for name in imported(file))}
    assert {file.relative_to(ROOT).as_posix() for file in found} == ENTRIES


def test_pages_import_their_settings_and_not_the_configuration():
    for page in (ROOT / "study/algorithm").glob("*.py"):
        assert not any(f"{name}.".startswith("study.config.") for name in imported(page)), page


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A copy whose files may change."""
    copy = shutil.copytree(ROOT / "study", tmp_path / "study", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(checkpoint, "RUN", copy)
    monkeypatch.setattr(checkpoint, "LAUNCH", copy / "launch")
    monkeypatch.setattr(checkpoint, "STUDY", checkpoint.STUDY)
    yield copy
    checkpoint.code.cache_clear()


def digest():
    """As a process has it that begins now."""
    checkpoint.STUDY = checkpoint._study()
    checkpoint.code.cache_clear()
    return checkpoint.code()


def test_the_digest_of_the_code_is_of_every_file_of_a_run_and_of_none_that_launches(study):
    before = digest()
    (study / "fleet.pyc").write_bytes(b"made by Python")
    for file in [*study.rglob("*.py"), *study.rglob("*.cpp"), *study.rglob("*.h")]:
        text = file.read_bytes()
        file.write_bytes(text + b"\n")
        assert (digest() == before) == (study / "launch" in file.parents), file
        file.write_bytes(text)
    assert digest() == before
    (study / "launch/new.py").write_text("")
    assert digest() == before
    (study / "new.py").write_text("")
    assert digest() != before
