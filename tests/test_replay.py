"""The committed data are what today's code computes: the first update of every arm of results/example, again.

Later ones cannot be compared: simulators and learning multiply rounding, whichever version of torch, compiler
or processor it came from, until nothing but the statistics is the same.
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

STORED = ROOT / "results/example"
BEFORE = ["return_mean", "episodes", "sigma_advantage", "implied_beta", "score_share", "gradient_norm", "env_steps"]
AFTER = ["kl_after", "surrogate_gain", "entropy", "max_ratio", "value_loss", "explained_variance", "beta"]


class Enough(Exception):
    pass


def stop(trainer):
    raise Enough


@pytest.mark.parametrize("task", ["halfcheetah", "hopper", "swimmer"])
def test_the_first_update_of_every_stored_arm_is_made_again(task):
    execution = yaml.safe_load((ROOT / "conf/config.yaml").read_text())["execution"] | {"compile": False}
    runs = pd.read_parquet(STORED / "runs.parquet").query("task == @task and seed == 0")
    stored = pd.read_parquet(STORED / "curves.parquet").query("iteration == 0").set_index("run_id")
    (fleet,) = pack([parse(json.loads(config) | {"execution": execution}) for config in runs["config"]])
    assert {config.run_id for config in fleet.configs} == set(runs["run_id"])
    trainer = Trainer(fleet.configs)
    with pytest.raises(Enough):
        trainer.train(report=stop)
    for names, tolerance in ((BEFORE, 1e-4), (AFTER, 5e-3)):
        for name in names:
            theirs = stored.loc[[config.run_id for config in fleet.configs], name].to_numpy(float)
            np.testing.assert_allclose(trainer.latest(name), theirs, rtol=tolerance, atol=1e-6, err_msg=name)
