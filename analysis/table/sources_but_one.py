"""Each source of β less TRPO, in the mean over all tasks but one: a row per arm and task left out."""

import pandas as pd

from ..arms import NotApplicable
from ..compare import difference, fewest_seeds
from ..names import signed, task_name
from .sources import SOURCES, arms_and_rivals, source_name

TITLE = "Where beta comes from, without one task"
CAPTION = """
Each source of β less TRPO, as above, in the mean over all tasks but one. It shows how far a single task decides the
difference.
"""
PART, ORDER = "tuned", 80
NEEDS = SOURCES
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    arms, trpo, _ = arms_and_rivals(runs)
    rows = []
    for name, (arm, units) in arms.items():
        for left_out in units if arm is not trpo and len(units) > 1 else ():
            rest = {task: unit for task, unit in units.items() if task != left_out}
            row = {"arm": name, "without": left_out} | difference("less_trpo", arm, trpo, rest)
            rows.append(row | {"seeds": fewest_seeds(rest, arm, trpo)})
    if not rows:
        raise NotApplicable("needs two tasks that TRPO, a fixed beta and another source of beta share")
    return pd.DataFrame(rows)


def text(frame) -> pd.DataFrame:
    rows = []
    for arm, group in frame.groupby("arm", sort=False):
        cells = {f"without {task_name(row['without'])}": signed(row, "less_trpo") for _, row in group.iterrows()}
        rows.append({"beta": source_name(arm), **cells, "seeds": str(group["seeds"].min())})
    return pd.DataFrame(rows).fillna("–")
