"""The committed data are what today's code computes: the first updates of the arms of results/table1, again.

Single precision may round differently from one version of the code, torch or compiler to the next. The first
episodes of Hopper and Walker2d are short, and two updates of every arm come out the same to 0.01. Swimmer's last 1000
steps and multiply rounding within the first rollout, HalfCheetah's to a tenth: what follows is the same in
distribution only.
"""

import json

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from study.config import parse
from study.fleet import Trainer
from study.plan import pack

STORED = ROOT / "results/table1"
BEFORE = ["return_mean", "episodes", "sigma_advantage", "implied_beta", "score_share", "gradient_norm", "env_steps"]
AFTER = ["kl_after", "surrogate_gain", "entropy", "max_ratio", "value_loss", "explained_variance", "beta"]


class Enough(Exception):
    pass


@pytest.mark.parametrize(
    "task, updates, before, after", [("hopper", 2, 1e-2, 1e-2), ("swimmer", 1, 1e-2, 1e-2), ("walker2d", 2, 1e-2, 1e-2)]
)
def test_the_first_updates_of_every_stored_arm_are_made_again(task, updates, before, after):
    execution = yaml.safe_load((ROOT / "study/conf/config.yaml").read_text())["execution"] | {"compile": False}
    runs = pd.read_parquet(STORED / "runs.parquet").query("task == @task and seed == 0")
    stored = pd.read_parquet(STORED / "curves.parquet").set_index(["iteration", "run_id"])
    (fleet,) = pack([parse(json.loads(config) | {"execution": execution}) for config in runs["config"]])
    order = [config.run_id for config in fleet.configs]
    assert sorted(order) == sorted(runs["run_id"])

    def compare(trainer):
        theirs = stored.loc[trainer.iteration - 1].loc[order]
        for names, tolerance in ((BEFORE, before), (AFTER, after)):
            for name in names:
                np.testing.assert_allclose(
                    trainer.latest(name), theirs[name].to_numpy(float), rtol=tolerance, atol=1e-6, err_msg=name
                )
        if trainer.iteration == updates:
            raise Enough

    with pytest.raises(Enough):
        Trainer(fleet.configs).train(report=compare)
