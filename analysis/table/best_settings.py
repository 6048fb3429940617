"""Best setting, those that no other is shown to beat, and those within WINDOW of it: a row per knob and task."""

import numpy as np
import pandas as pd

from .. import statistics
from ..arms import NotApplicable, grid, knobs, learned
from ..data import KNOBS
from ..names import symbol, task_name

TITLE = "Best value per task"
CAPTION = """
The value with the highest mean final return, the stretch of values that no other is shown to beat (Welch tests at 5 %,
which hold the best one in 94 % of simulated studies or more), and the 90 %-of-best range, the values that lose less
than 0.1 (untrained 0, best arm 1); last row: those that do so on every task.
"""
PART, ORDER = "windows_of_values", 70
NEEDS = tuple(KNOBS)

WINDOW = 0.10  # that a setting may lose and still be in a task's range, untrained 0, best arm 1


def numbers(study, runs) -> pd.DataFrame:
    rows = []
    for algorithm, knob in knobs(runs).items():
        scores = learned(grid(runs, algorithm, common=False))
        means = statistics.seed_means(scores.normalised)
        ran = np.isfinite(means)
        inside = statistics.window(np.where(ran, means, -np.inf), np.zeros(len(means)), WINDOW)
        for e, task in enumerate(scores.tasks):
            best = statistics.best_setting(scores.values[e, ran[e]], scores.settings[ran[e]])
            rows.append((algorithm, knob, task, *best, *_ends(scores.settings[inside[e]]), scores.seeds))
        if len(scores.tasks) > 1:
            ends = _ends(scores.settings[inside.all(0)])
            rows.append((algorithm, knob, "all tasks", np.nan, np.nan, np.nan, *ends, scores.seeds))
    if not rows:
        raise NotApplicable("needs a number swept over at least 2 values")
    ends = ["best", "low", "high", "window_low", "window_high", "window_size"]
    return pd.DataFrame(rows, columns=["algorithm", "number", "task", *ends, "seeds"])


def _ends(settings):
    """(smallest, largest, how many)."""
    return (settings.min(), settings.max(), len(settings)) if len(settings) else (np.nan, np.nan, 0)


def text(frame) -> pd.DataFrame:
    def ends(low, high):
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    kept = [ends(*pair) if np.isfinite(pair[0]) else "–" for pair in zip(frame["low"], frame["high"])]
    return pd.DataFrame(
        {
            "knob": [symbol(name) for name in frame["number"]],
            "task": [task_name(name) for name in frame["task"]],
            "best": [f"{value:g}" if np.isfinite(value) else "–" for value in frame["best"]],
            "none shown better": kept,
            "90 %-of-best range": [
                ends(*pair) if size else "none"
                for *pair, size in zip(frame["window_low"], frame["window_high"], frame["window_size"])
            ],
            "seeds": [str(value) for value in frame["seeds"]],
        }
    )
