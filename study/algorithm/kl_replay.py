"""A KL penalty whose coefficient is another run's implied beta, by minibatch SGD (ours).

maximise  mean_n [ ratio_n A_n  -  beta_k KL(old || new)_n ]

    mean: none         beta_k = lambda*_k, the source's implied_beta in its update k
    mean: geometric    beta_k = exp mean_j log lambda*_j, one constant

The source is the run of the arm source_arm with the same task and seed, in a study's curves.parquet and
the runs.parquet beside it. Without a source beta is the constant.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from pydantic import field_validator
from torch import Tensor

from study.algorithm.kl_fixed import loss
from study.settings import AlgorithmSettings, ConfigError, Positive
from study.sgd import Adam, descend


class Settings(AlgorithmSettings):
    beta: Positive | None  # a constant, per nat, in units of the advantages
    source: str | None  # path of a curves.parquet
    source_arm: str | None  # the column arm of the runs.parquet beside it
    mean: Literal["none", "geometric"]

    @field_validator("source_arm")
    @classmethod
    def _one_of_two(cls, source_arm, info):
        beta, source = info.data.get("beta"), info.data.get("source")
        if (beta is None) == (source is None) or (source is None) != (source_arm is None):
            raise ValueError("give either beta, or source and source_arm, and null for the rest")
        return source_arm


class State(NamedTuple):
    adam: Adam
    update: Tensor  # [R] k
    beta: Tensor  # [R, K]


def implied(config) -> np.ndarray:
    """[K] the source's implied_beta for this run's task and seed. Raises ConfigError."""
    curves, settings = Path(config.algorithm.source), config.algorithm
    try:
        runs = pd.read_parquet(curves.with_name("runs.parquet"), columns=["run_id", "task", "arm", "seed"])
        rows = pd.read_parquet(curves, columns=["run_id", "iteration", "implied_beta"])
    except FileNotFoundError as error:
        raise ConfigError(f"algorithm.source={curves}: {error.filename or error} is missing") from None
    wanted = f"algorithm.source={curves}: arm {settings.source_arm!r}, task {config.task_label}, seed {config.seed}"
    found = runs[(runs.task == config.task_label) & (runs.seed == config.seed) & (runs.arm == settings.source_arm)]
    if len(found) != 1:
        arms = ", ".join(sorted(runs["arm"].unique()))
        raise ConfigError(f"{wanted}: {len(found)} runs instead of one; the arms there are {arms}")
    rows = rows[rows["run_id"] == found["run_id"].item()].sort_values("iteration")
    beta = rows["implied_beta"].to_numpy(float)[: config.iterations]
    if len(beta) < config.iterations or not (np.isfinite(beta) & (beta > 0)).all():
        raise ConfigError(
            f"{wanted}: {int((beta > 0).sum())} positive implied betas for the {config.iterations} updates of this run"
        )
    return np.full_like(beta, np.exp(np.log(beta).mean())) if settings.mean == "geometric" else beta


def start(fleet, theta):
    if fleet.settings.source is None:
        beta = fleet.settings.beta[:, None].expand(-1, fleet.iterations)
    else:
        beta = fleet.tensor(np.stack([implied(config) for config in fleet.configs]))
    return State(Adam.start(theta), torch.zeros_like(theta[:, 0]), beta)


def update(fleet, theta, state, rollout):
    beta = state.beta.gather(1, state.update.long()[:, None]).squeeze(1)
    theta, adam = descend(fleet, loss, theta, state.adam, rollout, beta)
    return theta, State(adam, state.update + 1, state.beta), {"beta": beta}
