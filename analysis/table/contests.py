"""TRPO against the best single β, task by task (answers.contests)."""

import pandas as pd

from .. import answers
from ..names import signed, task_name

TITLE = "Is the constraint better on every task?"
CAPTION = """
Score (area under the learning curve, untrained 0, best arm 1) of TRPO at its default less that of the fixed β best in
the mean over these tasks, with 95 % intervals over seeds (Welch). Holm’s p is corrected for all tasks shown. With fewer
than five seeds a task by itself shows nothing.
"""
PART, ORDER = "tuned", 15
NEEDS = ()
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    return answers.contests(study)


def text(frame) -> pd.DataFrame:
    rows = []
    for _, row in frame.sort_values(["advantages", "lead"]).iterrows():
        texts = {"task": task_name(row["task"]), "advantages": row["advantages"], "β": f"{row['beta']:.3g}"}
        texts |= {"TRPO less fixed β": signed(row, "lead"), "Holm": f"{row['holm']:.2g}"}
        rows.append(texts | {"seeds": str(row["seeds"])})
    return pd.DataFrame(rows)
