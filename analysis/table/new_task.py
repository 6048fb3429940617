"""What to expect of each knob on one more task: its best value, and what a value from other tasks loses there."""

import numpy as np
import pandas as pd

from .. import statistics
from ..arms import NotApplicable
from ..names import interval_text
from ..question import knob_name, regret, spread, unit

TITLE = "What to expect on a new task"
CAPTION = """
The best value of each knob on one more task like these, and the normalised score that the value best on all other tasks
loses there against the task's own. Brackets are Student's 95 % intervals for one more task; of the best value they come
from its mean and standard deviation over tasks. Where the standard deviation of the raw advantages in the first ten
iterations, σ, is known, the best raw β follows from it. They are wide because tasks differ.
"""
PART, ORDER = "others", 20
NEEDS = ()
WHOLE = True


def numbers(study, runs) -> pd.DataFrame:
    """A row per sample and knob; slope: power of σ that the best value is multiplied by."""
    keys = ["sample", "algorithm", "advantages"]
    frame = spread.effects(study).by_task.groupby(keys, sort=False).agg(
        mean=("mean", "first"), sd=("sd", "first"), tasks=("task", "size")
    )  # fmt: skip
    frame = pd.concat([frame.reset_index().assign(slope=0.0), _by_scale(study, frame)], ignore_index=True)
    half = statistics.half_width(frame["sd"] * np.sqrt(1 + 1 / frame["tasks"]), frame["tasks"] - 1)
    ends = {"best": frame["mean"], "best_low": frame["mean"] - half, "best_high": frame["mean"] + half}
    frame = frame.assign(**{name: 10**end for name, end in ends.items()}).drop(columns=["mean", "sd"])
    return frame.merge(_losses(study), how="left", on=keys)


def _by_scale(study, spreads):
    """The best raw beta is the best normalised one, times the ratio that the line of `unit` gives at σ."""
    try:
        lines = unit.effects(study).lines
    except NotApplicable:
        return spreads.reset_index().iloc[:0].assign(slope=[])
    rows = []
    for sample, (line, *_) in lines.items():
        base = spreads.loc[sample.name, "kl_fixed", "normalised"]
        sd = np.hypot(base["sd"], line.scatter.value)
        rows.append((sample.name, "kl_fixed", "raw", base["mean"] + line.intercept.value, sd, len(line.units),
                     line.slope.value))  # fmt: skip
    return pd.DataFrame(rows, columns=["sample", "algorithm", "advantages", "mean", "sd", "tasks", "slope"])


def _losses(study):
    columns = ["sample", "algorithm", "advantages", "loss", "loss_low", "loss_high"]
    try:
        frame = regret.effects(study).by_task.dropna(subset="effect")
    except NotApplicable:
        return pd.DataFrame(columns=columns)
    groups = frame.groupby(columns[:3], sort=False)["effect"]
    rows = [(*key, *statistics.prediction_interval(values)) for key, values in groups]
    return pd.DataFrame(rows, columns=columns)


def text(frame) -> pd.DataFrame:
    def value(row):
        best = [f"{float(f'{end:.2g}'):g}" for end in (row.best, row.best_low, row.best_high)]
        return f"{best[0]} [{best[1]}, {best[2]}]" + (f" × σ^{row.slope:.2f}" if row.slope else "")

    return pd.DataFrame(
        {
            "knob": knob_name(row.algorithm, row.advantages) + (", σ known" if row.slope else ""),
            "tasks": f"{row.tasks} ({row.sample})",
            "best value on a new task": value(row),
            "score lost by the others' best value": ""
            if row.slope or np.isnan(row.loss)
            else interval_text(row.loss, row.loss_low, row.loss_high),
        }
        for row in frame.itertuples()
    )
