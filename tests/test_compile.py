"""Compiled fleets: the same numbers to rounding, and compiled to the end."""

import os
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, configuration
from torch.utils import cpp_extension

from study import compiler, process
from study.fleet import Trainer

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler on this machine")


def trained(compile: bool, task: str, algorithm: str, runs: int = 3) -> Trainer:
    shared = {"horizon": 128, "total_steps": 256, "epochs": 2, "hidden": [8], "execution": {"compile": compile}}
    trainer = Trainer([configuration(task, algorithm, seed=seed, **shared) for seed in range(runs)])
    trainer.train()
    return trainer


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm, task",
    [
        ("trpo", "invertedpendulum"),
        ("kl_fixed", "invertedpendulum"),
        ("vmpo", "cartpole"),
        ("kl_measured", "cartpole"),
        ("fixpo", "cartpole"),  # whose slope is not in fused.cpp
    ],
)
def test_compiled_is_eager_to_rounding(algorithm, task):
    eager, compiled = (trained(compile, task, algorithm) for compile in (False, True))
    for column in ("kl_after", "surrogate_gain", "implied_beta", "value_loss"):
        np.testing.assert_allclose(compiled.rows[column][0], eager.rows[column][0], rtol=2e-3)


@needs_compiler
@pytest.mark.slow
def test_fleet_after_fleet_stays_compiled_in_one_process(monkeypatch):
    """The compiler's own limit of recompilations raises here instead of turning to eager in silence."""
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    for task, runs in (("cartpole", 3), ("invertedpendulum", 2)):
        trained(True, task, "fixpo", runs)  # whose slope is not in fused.cpp


@pytest.mark.parametrize(
    "choice, samples, fused, is_compiled",
    [("auto", 10**9, True, False), ("auto", 10**9, False, True), ("auto", 1000, False, False), (True, 1, True, True)],
)
def test_fused_fleets_are_compiled_only_when_asked(choice, samples, fused, is_compiled):
    assert compiler.wanted(choice, samples, fused) is is_compiled
    assert not compiler.wanted(False, samples, fused)


def test_without_a_working_compiler_training_goes_on_and_one_line_says_so(monkeypatch, capfd):
    def broken(function, **options):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(compiler, "_lost", [])
    trainer = trained(True, "cartpole", "kl_fixed", 1)
    said = " ".join(capfd.readouterr().err.split())
    assert trainer.iteration == 2 and said.count("torch.compile does not work here (no C++ compiler)") == 1


HALF = """
import torch
from study import compiler
fast = compiler.compiled(lambda x: (x.sin() + x.exp()).cos(), "half")
x = torch.linspace(0, 1, 5000)
assert torch.allclose(fast(x), (x.sin() + x.exp()).cos(), atol=1e-6)
assert not compiler._lost, compiler._lost
"""


@pytest.mark.slow
@needs_compiler
def test_a_library_that_a_stopped_linker_left_unfinished_is_made_again(tmp_path):
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def compiles() -> str:
        process = subprocess.run([sys.executable, "-c", HALF], env=environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return process.stderr

    compiles()
    made = [path for path in tmp_path.rglob("*.so") if "main" in path.name]
    assert made
    for path in made:
        path.write_bytes(b"")
    assert "does not work here" not in compiles()


def test_a_space_in_the_path_does_not_end_the_linkers_argument(monkeypatch):
    monkeypatch.setattr(cpp_extension, "TORCH_LIB_PATH", "/a folder/lib")
    for _ in range(2):
        compiler._quote_library_path()
    assert shlex.split(f"-L{cpp_extension.TORCH_LIB_PATH}") == ["-L/a folder/lib"]


def test_the_compilers_settings_are_the_callers_again(monkeypatch):
    """Also where it was loaded meanwhile; nothing loads it where nothing is compiled."""
    settings = SimpleNamespace(compile_threads=7, decide_compile_threads=lambda: 3)
    for before in (None, settings):
        monkeypatch.setitem(sys.modules, "torch._inductor.config", before)
        with process.kept():
            monkeypatch.setitem(sys.modules, "torch._inductor.config", settings)
            settings.compile_threads = 1
        assert settings.compile_threads == (3 if before is None else 7)
        settings.compile_threads = 7
