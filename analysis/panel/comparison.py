"""Score distributions over tasks and runs: per arm rows of kind "profile" (share of runs above a threshold), one for
each of AGGREGATES and "P(TRPO > arm)", with 95 % intervals; "profile", "median" and "iqm" have none, because with few
runs no method covers the truth as often as it says.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable, default_arm, headline, normalised_scores, per_task
from ..names import arm_name, interval_text
from ..style import FAINT, INK, arm_styles, by_arm, legend_below, side_by_side

TITLE = "All arms together"
CAPTION = """
Left: share of runs, over all tasks, whose final return, scaled as in Table 1 (untrained 0, best run 1), exceeds τ.
Right: probability that a run of TRPO returns more than a run of the other arm on the same task, averaged over tasks,
with a 95 % interval over tasks.

That interval is Wilson’s, a trial per task: rather too wide, it covers the truth in 98 to 100 % of simulated studies.
In the table 95 % intervals of mean and optimality gap are over seeds, stratified by task (Student); IQM and median have
none, because with few runs no method covers the truth as often as it says.
"""
PART, ORDER = "tuned", 10
PER_TASK = False

AGGREGATES = {
    "mean": statistics.stratified_mean,
    "median": lambda scores: (statistics.median(scores), np.nan, np.nan),
    "iqm": lambda scores: (statistics.iqm(scores), np.nan, np.nan),
    "optimality_gap": statistics.optimality_gap_interval,
}


def numbers(study, runs) -> pd.DataFrame:
    chosen = headline(runs)
    tasks = sorted(chosen["task"].unique())
    scored = normalised_scores(chosen).dropna(subset=["normalised"])
    tasks = [task for task in tasks if (scored["task"] == task).any()]
    complete = [arm for arm, group in scored.groupby("arm") if set(group["task"]) == set(tasks)]
    if len(complete) < 2:
        raise NotApplicable("needs at least 2 arms on the same tasks")
    scores = {arm: per_task(scored[scored["arm"] == arm], tasks) for arm in complete}
    reference = default_arm(runs, "trpo")["arm"].unique()
    reference = reference[0] if len(reference) and reference[0] in scores else None
    thresholds = np.linspace(0, 1, 41)
    rows = []
    for arm, values in scores.items():
        first = scored[scored["arm"] == arm].iloc[0]
        head = {"arm": arm, "algorithm": first["algorithm"], "setting": first["setting"], "runs": sum(map(len, values))}
        for threshold, share in zip(thresholds, statistics.profile(values, thresholds)):
            rows.append(head | {"kind": "profile", "threshold": threshold, "value": share})
        found = {name: aggregate(values) for name, aggregate in AGGREGATES.items()}
        if reference and arm != reference:
            found["P(TRPO > arm)"] = statistics.probability_interval(scores[reference], values)
        rows += [head | {"kind": name} | dict(zip(("value", "low", "high"), ends)) for name, ends in found.items()]
    return pd.DataFrame(rows)


def draw(frame) -> Figure:
    """Performance profiles of all arms, and the probability that TRPO beats each of them."""
    profile = frame[frame["kind"] == "profile"]
    better = frame[frame["kind"] == "P(TRPO > arm)"]
    styles = arm_styles(frame)
    figure, grid = side_by_side(2 if len(better) else 1, 3.4)
    for arm, curve in by_arm(profile):
        colour, line = styles[arm]
        thick = 2.0 if curve["algorithm"].iloc[0] == "trpo" else 1.2
        grid[0].plot(curve["threshold"], curve["value"], color=colour, ls=line, lw=thick, label=arm_name(arm))
    grid[0].set_xlabel("normalised score τ (untrained 0, best run 1)")
    grid[0].set_ylabel("share of runs above τ")
    grid[0].set_title("performance profiles")
    if len(better):
        ax = grid[1]
        better = pd.concat([row for _, row in by_arm(better)], ignore_index=True)
        ax.axvline(0.5, color=FAINT, lw=1, ls="--")
        for y, row in better.iterrows():
            colour, _ = styles[row["arm"]]
            ax.plot([row["low"], row["high"]], [y, y], color=colour, lw=2.2)
            ax.plot(row["value"], y, "o", color=colour, ms=5, mec=INK, mew=0.5)
        ax.set_yticks(range(len(better)), [arm_name(arm) for arm in better["arm"]])
        ax.set_ylim(len(better) - 0.5, -0.5)
        ax.set_xlim(-0.02, 1.02)
        ax.set_title("P(TRPO > arm)")
    legend_below(figure, grid[:1], most=5)
    return figure


def text(frame) -> pd.DataFrame:
    """The aggregates, without the profiles."""
    names = {"iqm": "IQM", "mean": "mean", "median": "median", "optimality_gap": "optimality gap"}
    names |= {name: name for name in ("P(TRPO > arm)",) if name in set(frame["kind"])}
    rows = []
    for arm, group in by_arm(frame[frame["kind"] != "profile"]):
        cells = {cell.kind: interval_text(cell.value, cell.low, cell.high) for cell in group.itertuples()}
        row = {"arm": arm_name(arm)} | {title: cells.get(kind, "–") for kind, title in names.items()}
        rows.append(row | {"runs": str(int(group["runs"].iloc[0]))})
    return pd.DataFrame(rows)
