"""The numbers of the figure `comparison`, without its profiles."""

import pandas as pd

from ..names import arm_name, interval_text
from ..panel import comparison
from ..style import by_arm

TITLE = "Aggregates over tasks"
CAPTION = """
Scores as in Table 1, with 95 % intervals: over seeds, stratified by task (Student), for mean and optimality gap, and
over tasks for P(TRPO > arm) (Wilson, rather too wide). IQM and median have none, because with few runs no method holds
the truth as often as it says.
"""
PART, ORDER = "tuned", 60
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    frame = comparison.numbers(study, runs)
    return frame[frame["kind"] != "profile"].drop(columns="threshold")


def text(frame) -> pd.DataFrame:
    names = {
        "iqm": "IQM",
        "mean": "mean",
        "median": "median",
        "optimality_gap": "optimality gap",
        "P(TRPO > arm)": "P(TRPO > arm)",
    }
    rows = []
    for arm, group in by_arm(frame):
        cells = group.set_index("kind")
        row = {"arm": arm_name(arm)}
        for kind, title in names.items():
            if kind in set(frame["kind"]):
                row[title] = interval_text(*cells.loc[kind, ["value", "low", "high"]]) if kind in cells.index else "–"
        rows.append(row | {"runs": str(int(group["runs"].iloc[0]))})
    return pd.DataFrame(rows)
