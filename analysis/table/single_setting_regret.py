"""The last rows of the figure `transfer`: what the value tuned on all tasks loses on each."""

import pandas as pd

from ..data import KNOBS
from ..names import SYMBOLS, range_text, task_name
from ..panel import transfer

TITLE = "What one value for all tasks gives up"
CAPTION = """
Per cent of the task’s gain lost by the best single value against the task’s own best, selected and evaluated on
different halves of the seeds. In parentheses, from three seeds on, the smallest and largest loss with one seed left
out.
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
            row[task_name(cell.task)] = range_text(100 * cell.loss, 100 * cell.low, 100 * cell.high, digits=0)
        rows.append(row | {"seeds": str(group["seeds"].min())})
    return pd.DataFrame(rows)
