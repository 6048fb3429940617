"""Final returns and what else is known of them: a row per task and arm."""

import numpy as np
import pandas as pd

from .. import statistics
from ..names import arm_name, interval_text, span, task_name
from ..style import by_arm

TITLE = "Final returns"
CAPTION = """
Mean return of the last 100 episodes, mean over seeds with 95 % interval; a diverged run counts as the untrained
policy.
The CSV adds medians, 10th and 90th percentile, the mean over training, whether no other arm is shown to be better
(Welch tests at 5 %), and divergences.
"""
PART, ORDER = "tuned", 50


def numbers(study, runs) -> pd.DataFrame:
    kept = {task: _not_shown_worse(here) for task, here in runs.groupby("task")}
    rows = []
    for (task, arm), cell in runs.groupby(["task", "arm"]):
        values = cell["score"].to_numpy()
        average, low, high = statistics.mean_interval(values)
        first = cell.iloc[0]
        rows.append(
            {
                "task": task,
                "arm": arm,
                "algorithm": first["algorithm"],
                "setting": first["setting"],
                "mean": average,
                "low": low,
                "high": high,
                "median": np.median(values),
                "p10": np.quantile(values, 0.1),
                "p90": np.quantile(values, 0.9),
                "auc_mean": cell["auc_score"].mean(),
                "not_worse": arm in kept[task],
                "diverged": int((cell["status"] == "diverged").sum()),
                "untrained": first["untrained"],
                "seeds": len(cell),
            }
        )
    return pd.DataFrame(rows)


def _not_shown_worse(runs):
    """Arms of a task that no other is shown to beat (Welch's tests)."""
    scores = runs.pivot_table(index="arm", columns="seed", values="score")
    return set(scores.index[statistics.not_shown_worse(scores.to_numpy())])


def text(frame) -> pd.DataFrame:
    tasks = sorted(frame["task"].unique())
    rows = []
    for arm, group in by_arm(frame):
        cells = {
            cell.task: interval_text(cell.mean, cell.low, cell.high, 0 if abs(cell.mean) >= 100 else 1)
            for cell in group.itertuples()
        }
        row = {task_name(task): cells.get(task, "–") for task in tasks}
        rows.append({"arm": arm_name(arm)} | row | {"seeds": span(group["seeds"])})
    return pd.DataFrame(rows)
