"""The best value of each knob on one more task: normal over tasks, by the mean and spread of `question.spread`."""

import numpy as np
import pandas as pd

from .. import statistics
from ..question import knob_name, spread

TITLE = "What to expect on a new task"
CAPTION = """
The best value of each knob on one more task like these: Student’s 95 % interval for one more observation, from the mean
and the standard deviation of the best values over tasks. It is wide because tasks differ.
"""
PART, ORDER = "others", 20
NEEDS = ()
WHOLE = True


def numbers(study, runs) -> pd.DataFrame:
    keys = ["sample", "algorithm", "advantages"]
    frame = (
        spread.effects(study).by_task.groupby(keys, sort=False).agg({"mean": "first", "sd": "first", "task": "size"})
    )
    frame = frame.rename(columns={"task": "tasks"}).reset_index()
    half = statistics.half_width(frame["sd"] * np.sqrt(1 + 1 / frame["tasks"]), frame["tasks"] - 1)
    ends = {"best": frame["mean"], "best_low": frame["mean"] - half, "best_high": frame["mean"] + half}
    return frame[[*keys, "tasks"]].assign(**{name: 10**end for name, end in ends.items()})


def text(frame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "knob": knob_name(row.algorithm, row.advantages),
            "tasks": f"{row.tasks} ({row.sample})",
            "best value on a new task": "{:g} [{:g}, {:g}]".format(
                *(float(f"{value:.2g}") for value in (row.best, row.best_low, row.best_high))
            ),
        }
        for row in frame.itertuples()
    )
