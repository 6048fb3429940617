"""The numbers of the figure `table_1`, with their intervals."""

import pandas as pd

from ..names import arm_name, interval_text, task_name
from ..panel import table_1
from ..style import by_arm

TITLE = "Scores by task with intervals"
CAPTION = """
Untrained policy = 0, best single run = 1 per task; mean over seeds with 95 % interval; “published”: PPO paper,
average over seven tasks, three seeds.
"""
PART, ORDER = "tuned", 40
PER_TASK = False


numbers = table_1.numbers


def text(frame) -> pd.DataFrame:
    columns = sorted(set(frame["task"]) - {"average", "published"})
    columns += [name for name in ("average", "published") if name in set(frame["task"])]
    rows = []
    for arm, group in by_arm(frame):
        cells = group.set_index("task")
        row = {"arm": arm_name(arm)}
        for column in columns:
            if column not in cells.index:
                row[task_name(column)] = "–"
                continue
            cell = cells.loc[column]
            row[task_name(column)] = (
                f"{cell['mean']:.2f}"
                if column == "published"
                else interval_text(cell["mean"], cell["low"], cell["high"])
            )
        row["runs"] = str(int(group.loc[~group["task"].isin(["average", "published"]), "runs"].sum()))
        rows.append(row)
    return pd.DataFrame(rows)
