"""Per number the best value on one more task like these, and what the usual value loses there: Student’s interval
for one new observation, over tasks, which holds it in 92 to 97 % of cases; of the best value on its logarithm.
"""

import numpy as np
import pandas as pd

from .. import answers, price, statistics
from ..arms import NotApplicable
from ..data import KNOBS
from ..names import SYMBOLS, interval_text

TITLE = "What to expect on a new task"
CAPTION = """
The best value of each number on one more task like these, and what the usual value loses there. The brackets (Student’s
for one more observation, over tasks) held one new task in 92 to 97 % of simulated studies.

They are wide because tasks differ.
"""
PART, ORDER = "others", 20
NEEDS = ()
PER_TASK = False

NEW_TASK = {"kl_fixed": 3.0, "trpo": 0.01, "kl_adaptive": 0.01, "clip": 0.2}  # the value whose loss is foretold


def numbers(study, runs) -> pd.DataFrame:
    rows = []
    for advantages, here, _ in answers.kinds_of_advantages(study):
        for algorithm, value in NEW_TASK.items():
            scores = answers.grid_of(here, study.runs, algorithm)
            if scores is None or not scores.settings[0] <= value <= scores.settings[-1]:
                continue
            at = price.points(scores.settings)
            smooth = price.response(statistics.seed_means(scores.normalised), scores.settings, at)
            loss = np.nanmax(smooth, axis=-1) - smooth[:, np.abs(at - np.log10(value)).argmin()]
            best = at[np.nan_to_num(smooth, nan=-np.inf).argmax(-1)]
            rows.append(
                (algorithm, advantages, value, len(scores.tasks))
                + tuple(10**end for end in statistics.prediction_interval(best))
                + statistics.prediction_interval(loss)
            )
    if not rows:
        raise NotApplicable("needs a number swept on three tasks that were learned")
    columns = ["algorithm", "advantages", "value", "tasks", "best", "best_low", "best_high", "loss", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def text(frame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": f"{SYMBOLS[KNOBS[row.algorithm][0]]}, {row.advantages} advantages",
            "tasks": str(row.tasks),
            "its best value there": "{:g} [{:g}, {:g}]".format(
                *(float(f"{value:.2g}") for value in (row.best, row.best_low, row.best_high))
            ),
            "loss at": f"{row.value:g}",
            "share of the gain": interval_text(row.loss, row.low, row.high),
        }
        for row in frame.itertuples()
    )
