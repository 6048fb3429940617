"""The page on optimisers, on a made-up response: it finds the best value, with equal budgets and seeds that judge."""

import itertools
import re

import numpy as np
import optuna
import pandas as pd
import pytest
from conftest import ROOT

import study
from study.launch.api import Frames

BEST = {"beta": 0.7, "max_kl": 0.02}


def test_the_search_finds_the_best_value_with_equal_budgets_and_fresh_seeds(monkeypatch, capsys):
    rng, asked = np.random.default_rng(0), {"kl_fixed": [], "trpo": []}

    def sweep(algorithm, seed, **settings):
        (knob,) = (key.removeprefix("algorithm.") for key in settings if key.startswith("algorithm."))
        pairs = list(itertools.product(settings[f"algorithm.{knob}"], seed))
        asked[algorithm].append(pairs)
        returns = [100 - 30 * np.log10(value / BEST[knob]) ** 2 + rng.normal(0, 0.5) for value, _ in pairs]
        return Frames(pd.DataFrame({knob: [value for value, _ in pairs], "final_return": returns}), None)

    monkeypatch.setattr(study, "sweep", sweep)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    page = (ROOT / "docs/how-to/optimisers.md").read_text()
    made = {"__name__": "example"}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], made)
    for method, knob in (("kl_fixed", "beta"), ("trpo", "max_kl")):
        *search, last = asked[method]
        assert [len(pairs) for pairs in search] == [16, 16, 16] and len(last) == 8
        assert len({value for pairs in search for value, _ in pairs}) == 12
        assert not {seed for pairs in search for _, seed in pairs} & {seed for _, seed in last}
        assert {value for value, _ in last} == {made["chosen"][method]}
        assert abs(np.log10(made["chosen"][method] / BEST[knob])) < 0.3
    said = capsys.readouterr().out.splitlines()
    assert [line.split("=")[0] for line in said] == ["kl_fixed beta", "trpo max_kl"]
    assert all(float(re.search(r": ([\d.]+), s.e.", line)[1]) == pytest.approx(100, abs=5) for line in said)
