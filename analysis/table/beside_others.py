"""TRPO, clipping and β = 1, and what others published for the same budget: a row per arm, task and source."""

import numpy as np
import pandas as pd

from .. import published
from ..arms import NotApplicable, plain
from ..names import arm_name, task_name

TITLE = "Beside other implementations"
CAPTION = """
Return after one million steps, mean ± standard deviation (seeds), of TRPO at δ = 0.01, clipping at ε = 0.2 and a fixed
β = 1. A rough check, not a contest: versions of the tasks, batches, networks, optimisers and scores differ (ours is the
last 100 training episodes, Tianshou reports the best test of training).

Place: of our mean among theirs.
"""
PART, ORDER = "ruled_out", 40
NEEDS = ("trpo", "clip", "kl_fixed")


def numbers(study, runs) -> pd.DataFrame:
    rows = []
    for (algorithm, setting), sources in published.RETURNS.items():
        chosen = plain(runs, algorithm)
        chosen = chosen[np.isclose(chosen["setting"], setting)]
        for task, cell in chosen.groupby("task"):
            theirs = [(source, seeds, *values[task]) for source, (seeds, values) in sources.items() if task in values]
            # Whole rollouts of the budget are run, so up to one rollout less.
            if not theirs or not np.isclose(cell["total_steps"].iloc[0], published.RETURNS_STEPS, rtol=0.01):
                continue
            mean = cell["score"].mean()
            means = [entry[2] for entry in theirs]
            place = "below" if mean < min(means) else "above" if mean > max(means) else "inside"
            ours = ("this study", len(cell), mean, cell["score"].std() if len(cell) > 1 else np.nan)
            rows += [(algorithm, cell["arm"].iloc[0], task, *entry, place) for entry in (ours, *theirs)]
    if not rows:
        raise NotApplicable(
            "needs trpo max_kl=0.01, clip clip_epsilon=0.2 or kl_fixed beta=1 with one million steps on a task of PPO’s"
        )
    return pd.DataFrame(rows, columns=["algorithm", "arm", "task", "source", "seeds", "mean", "sd", "place"])


def text(frame) -> pd.DataFrame:
    def value(cell):
        digits = 0 if abs(cell.mean) >= 100 else 1
        spread = f" ± {cell.sd:.{digits}f}" if np.isfinite(cell.sd) else ""
        return f"{cell.mean:.{digits}f}{spread} ({cell.seeds})"

    rows = []
    for (arm, task), group in frame.groupby(["arm", "task"], sort=False):
        row = {"arm": arm_name(arm), "task": task_name(task), "place": group["place"].iloc[0]}
        rows.append(row | {cell.source: value(cell) for cell in group.itertuples(index=False)})
    order = ["arm", "task", "this study", "place", *sorted({*frame["source"]} - {"this study"})]
    return pd.DataFrame(rows)[order].fillna("–")
