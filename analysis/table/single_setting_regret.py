"""The last rows of the figure `transfer`: what the value tuned on all tasks loses on each."""

import pandas as pd

from ..data import KNOBS
from ..names import SYMBOLS, task_name
from ..panel import transfer

TITLE = "What one value for all tasks gives up"
CAPTION = """
Per cent of the task’s gain lost by the best single value against the task’s own best, selected and evaluated on
different halves of the seeds. In brackets the 95 % bootstrap interval with both selected anew in each resample (not
free of maximisation bias, so it can lie above the estimate).
"""
PART, ORDER = "windows_of_values", 80
NEEDS = tuple(KNOBS)
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    frame = transfer.numbers(study, runs)
    return frame[frame["tuned_on"] == "all tasks"].drop(columns="tuned_on").rename(columns={"run_on": "task"})


def text(frame) -> pd.DataFrame:
    rows = []
    for (algorithm, setting), group in frame.groupby(["algorithm", "setting"], sort=False):
        row = {"best single": f"{SYMBOLS[KNOBS[algorithm][0]]} = {setting:g}"}
        for cell in group.itertuples():
            row[task_name(cell.task)] = f"{100 * cell.loss:.0f} [{100 * cell.low:.0f}, {100 * cell.high:.0f}]"
        rows.append(row | {"seeds": str(group["seeds"].min())})
    return pd.DataFrame(rows)
