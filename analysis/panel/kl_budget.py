"""How the KL of updates is distributed and what large steps do. Per arm: rows of kind "histogram" (shares of updates by
log10 KL / δ) and one row for each share or number of `kind`.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..arms import NotApplicable, headline, scale
from ..data import PHASES
from ..names import arm_name
from ..style import FAINT, FIXED, arm_styles, beta_colours, by_arm, legend_below, log_axis, log_beta_axis, side_by_side
from .kl_law import REFERENCE_DELTA

TITLE = "KL budget and collapses"
CAPTION = """
Left, the distribution of the KL of all updates; middle, the share of runs that diverged or lost more than half of what
they had gained; right, the 99th percentile of the largest probability ratio of an update. Horizontal lines are the arms
without a fixed β.

The KL is relative to δ (TRPO), the target (adaptive β) or 0.01 nats (others).
"""
PART, ORDER = "ruled_out", 20


def numbers(study, runs) -> pd.DataFrame:
    chosen = headline(runs)
    curves = study.curves
    edges = np.linspace(-6, 4, 61)
    log_ratio = np.full(len(curves), np.nan)
    kl = curves["kl_after"].to_numpy(dtype=float)
    delta = study.runs["max_kl"].fillna(study.runs["kl_target"]).fillna(REFERENCE_DELTA).to_numpy()[curves["run"]]
    np.log10(kl / delta, out=log_ratio, where=kl > 0)
    if not np.isfinite(log_ratio[curves["run"].isin(chosen.index)]).any():
        raise NotApplicable("no policy moved: the KL of every update is 0")
    collapsed = collapses(study)
    code = curves["run"].to_numpy()
    # [run] upper percentile of the largest ratio, and entropy at the end.
    ratio = curves.groupby("run")["max_ratio"].quantile(0.99).reindex(study.runs.index).to_numpy()
    entropy = study.over_training("entropy", PHASES)
    rows = []
    for arm, group in chosen.groupby("arm"):
        first = group.iloc[0]
        head = {"arm": arm, "algorithm": first["algorithm"], "setting": first["setting"], "runs": len(group)}
        member = np.zeros(len(study.runs), dtype=bool)
        member[group.index] = True
        values = log_ratio[member[code]]
        values = values[np.isfinite(values)]
        count, _ = np.histogram(np.clip(values, edges[0], edges[-1] - 1e-9), edges)
        numbers = {
            "collapsed": collapsed[group.index].mean(),
            "diverged": (group["status"] == "diverged").mean(),
            "max_ratio_p99": finite_median(ratio[group.index]),
            "entropy_first_fifth": finite_median(entropy[group.index, 0]),
            "entropy_last_fifth": finite_median(entropy[group.index, -1]),
        }
        if len(values):
            for edge, share in zip(edges, count / len(values)):
                rows.append(head | {"kind": "histogram", "log10_kl_over_delta": edge, "value": share})
            numbers["kl_above_twice_delta"] = np.mean(values > np.log10(2))
        rows += [head | {"kind": kind, "value": value} for kind, value in numbers.items() if np.isfinite(value)]
    return pd.DataFrame(rows)


def collapses(study) -> np.ndarray:
    """[run] bool: diverged, or ended below half of what the run had once gained over the untrained policy."""
    returns = pd.DataFrame(study.over_training("return_mean", min(study.bins, 20)))
    floor = study.runs["untrained"].to_numpy()
    gained = returns.max(axis=1).to_numpy() - floor
    kept = study.runs["score"].to_numpy() - floor
    _, gain = scale(study.runs, study.runs["task"].tolist())
    # A run that never gained a tenth of the best arm's gain has nothing to lose.
    return (study.runs["status"] == "diverged").to_numpy() | ((gained > 0.1 * gain) & (kept < 0.5 * gained))


def finite_median(values) -> float:
    values = values[np.isfinite(values)]
    return np.median(values) if len(values) else np.nan


def draw(frame) -> Figure:
    """How the KL of updates is distributed, and what large steps do: collapses and extreme ratios."""
    figure, (histogram, collapse, ratio) = side_by_side(3, 2.9)
    styles = arm_styles(frame)
    shown = frame[frame["kind"] == "histogram"]
    used = shown[shown["value"] > 0]["log10_kl_over_delta"]
    for arm, counts in by_arm(shown):
        colour, line = styles[arm]
        histogram.plot(
            10 ** (counts["log10_kl_over_delta"] + 0.083), counts["value"], color=colour, ls=line, lw=1.3,
            label=arm_name(arm), drawstyle="steps-mid",
        )  # fmt: skip
    if len(used):
        histogram.set_xlim(10 ** (used.min() - 0.2), 10 ** (used.max() + 0.4))
    log_axis(histogram.xaxis)
    histogram.axvline(1, color=FAINT, lw=0.9, ls="--")
    histogram.set_title("KL of updates")
    histogram.set_xlabel("KL / δ")
    histogram.set_ylabel("share of updates")
    arms = frame[["arm", "algorithm", "setting"]].drop_duplicates("arm")
    ends = frame[frame["kind"] != "histogram"].pivot(index="arm", columns="kind", values="value")
    numbers = arms.merge(ends, left_on="arm", right_index=True)
    fixed = numbers[numbers["algorithm"] == "kl_fixed"].sort_values("setting")
    for ax, column, title in (
        (collapse, "collapsed", "share of runs that collapsed"),
        (ratio, "max_ratio_p99", "largest ratio (99th pct.)"),
    ):
        if column in numbers:
            if len(fixed):
                ax.plot(fixed["setting"], fixed[column], color=FIXED, lw=1.2)
                for beta, colour in beta_colours(fixed["setting"]).items():
                    ax.plot(beta, fixed.loc[fixed["setting"] == beta, column], "o", ms=4.5, color=colour)
                log_beta_axis(ax, fixed["setting"])
                ax.set_xlabel("β (fixed)")
            else:
                ax.set_xticks([])
            for _, row in numbers[numbers["algorithm"] != "kl_fixed"].iterrows():
                colour, line = styles[row["arm"]]
                ax.axhline(row[column], color=colour, ls=line, lw=1.2)
        ax.set_title(title)
    collapse.set_ylim(-0.03, 1.03)
    if "max_ratio_p99" in numbers:
        log_axis(ratio.yaxis)
    legend_below(figure, [histogram], most=5)
    return figure
