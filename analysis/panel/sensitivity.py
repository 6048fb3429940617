"""Φ of each method’s number (Adkins et al. 2024): a row per number."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable, grid, percentile_scores, swept_algorithms
from ..data import KNOBS
from ..names import ALGORITHMS, SYMBOLS, range_text
from ..published import PPO_PHI
from ..style import ALGORITHM_STYLE, FAINT, INK, NARROW, WIDTH, available, side_by_side

TITLE = "Which knob has to be tuned"
CAPTION = """
Sensitivity Φ (Adkins et al. 2024): mean score with the knob tuned for each task, minus that of the best single value.
The larger Φ, the more is gained by tuning for each task; the dashed line is the published Φ of PPO’s four numbers
together.

Black lines, in the table parentheses, go from the smallest to the largest Φ with one task left out; they are no
intervals. Scores are scaled per task to the 5th and 95th percentile of all runs. Φ grows with the number of values and
with noise, because a maximum is taken; the diamonds, selected and evaluated on different seeds, do not. “To
tune per task” is whether the knob needs tuning per task to reach 95 % of the tuned score.
"""
PART, ORDER = "windows_of_values", 60
NEEDS = tuple(KNOBS)
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    algorithms = swept_algorithms(runs)
    if not algorithms:
        raise NotApplicable("needs a number swept over at least 2 values on at least 2 tasks")
    scored = percentile_scores(runs)
    rows = []
    for algorithm in algorithms:
        scores = grid(scored, algorithm, column="normalised")
        means = statistics.seed_means(scores.values)
        low, high = without_one_task(means)
        rows.append(
            {
                "algorithm": algorithm,
                "number": KNOBS[algorithm][0],
                "phi": statistics.sensitivity(means),
                "low": low,
                "high": high,
                "phi_split": statistics.split_sensitivity(scores.values) if scores.seeds > 1 else np.nan,
                "best_single": scores.settings[means.mean(0).argmax()],
                "score_of_best_single": means.mean(0).max(),
                "score_tuned_per_task": means.max(1).mean(),
                "numbers_to_tune": statistics.effective_dimensionality(
                    pd.DataFrame(
                        means, columns=pd.MultiIndex.from_arrays([scores.settings], names=[KNOBS[algorithm][0]])
                    )
                ),
                "values": len(scores.settings),
                "decades": np.log10(scores.settings[-1] / scores.settings[0]),
                "tasks": len(scores.tasks),
                "seeds": scores.seeds,
            }
        )
    return pd.DataFrame(rows)


def without_one_task(means):
    """(smallest, largest) Φ of means [E, H] with one task left out; NaN of two tasks, of which one has none."""
    if len(means) < 3:
        return np.nan, np.nan
    phi = [statistics.sensitivity(np.delete(means, task, axis=0)) for task in range(len(means))]
    return min(phi), max(phi)


def draw(frame) -> Figure:
    """Phi of each method's number: what tuning it per task gains over one value for all tasks."""
    narrow = available.get() < NARROW
    figure, (ax,) = side_by_side(1, 0.9 + 0.42 * len(frame), width=WIDTH * 0.75)
    for y, row in enumerate(frame.itertuples()):
        colour = ALGORITHM_STYLE[row.algorithm][0]
        ax.barh(y, row.phi, height=0.55, color=colour, alpha=0.55)
        ax.plot([row.low, row.high], [y, y], color=INK, lw=1.2)
        if np.isfinite(row.phi_split):
            ax.plot(row.phi_split, y, "D", color=INK, mfc="#ffffff", ms=5)
        if not narrow:
            ax.annotate(
                f"best single {row.best_single:g}; {row.values} values over {row.decades:.1f} decades",
                (1.0, y), xycoords=("axes fraction", "data"), fontsize=6.5, ha="left", va="center", color=INK,
                xytext=(5, 0), textcoords="offset points",
            )  # fmt: skip
    ax.axvline(0, color=INK, lw=0.6)
    ax.axvline(PPO_PHI, color=FAINT, ls="--", lw=1)
    place = ax.get_xaxis_transform()
    ax.annotate("PPO’s four numbers", (PPO_PHI, 1), xycoords=place, fontsize=6.5, color=FAINT, va="bottom")
    ax.set_yticks(range(len(frame)), [f"{SYMBOLS[KNOBS[name][0]]} ({ALGORITHMS[name]})" for name in frame["algorithm"]])
    ax.invert_yaxis()
    ax.set_xlabel("sensitivity Φ")
    return figure


def text(frame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "knob": [SYMBOLS[name] for name in frame["number"]],
            "Φ": [range_text(*row) for row in zip(frame["phi"], frame["low"], frame["high"])],
            "Φ, split seeds": [f"{value:.2f}" if np.isfinite(value) else "–" for value in frame["phi_split"]],
            "best single": [f"{value:g}" for value in frame["best_single"]],
            "to tune per task": [f"{value} of 1" for value in frame["numbers_to_tune"]],
            "values (decades)": [f"{n} ({d:.1f})" for n, d in zip(frame["values"], frame["decades"])],
            "seeds": [str(value) for value in frame["seeds"]],
        }
    )
