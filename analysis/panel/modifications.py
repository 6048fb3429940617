"""Per algorithm what it gains over the best constant β, the arms of both chosen on the other tasks, in the main
condition and with gradient clipping. Rows of kind "all" (with KL in nats and time relative to a fixed β) and
"task".
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from .. import compare, statistics
from ..arms import NotApplicable, log_median_kl, scale, several_seeds
from ..names import algorithm_name, task_name
from ..question import only_changes
from ..style import FAINT, INK, available, legend_below, log_axis, side_by_side, task_colours, task_points

TITLE = "What each modification gains"
CAPTION = """
Left: mean return over training of each method minus that of a constant β, each at the value that is best on the other
tasks (untrained 0, best arm 1); points are tasks, bars the mean with Student’s 95 % interval, diamonds filled where it
excludes 0 after Holm’s correction. Middle and right: median KL of an update (filled: mean over states; open: worst
state) and time of a run relative to a fixed β’s.

KL and time are geometric means over runs. Final returns are in “Algorithm minus algorithm”, at values that are chosen
otherwise; two methods may be in the other order there.
"""
PART, ORDER = "others", 10
NEEDS = ("kl_fixed",)  # any other method is read on the tasks that it has

MODIFICATIONS = (
    "kl_measured", "kl_reverse", "kl_stop", "lr_adaptive", "simple_policy_optimization", "fixpo", "projection", "vmpo",
)  # fmt: skip


def numbers(study, runs) -> pd.DataFrame:
    if not runs["algorithm"].isin(MODIFICATIONS).any():
        raise NotApplicable(f"needs runs of one of {', '.join(MODIFICATIONS)}")
    everything = study.runs[study.runs["task"].isin(runs["task"])]
    main = {name: value for name, value in runs["changes"].iloc[0].items() if name != "max_grad_norm"}
    everything = everything[only_changes(everything, main, but=("max_grad_norm",))]
    tasks = sorted(everything.loc[everything["learned"], "task"].unique())
    if len(tasks) < 3:
        raise NotApplicable("needs three tasks on which some arm learned")
    everything = several_seeds(everything[everything["task"].isin(tasks)])
    _, gain = scale(everything, tasks, "auc_score")
    share = (everything["auc_score"] - everything["untrained"]) / everything["task"].map(dict(zip(tasks, gain)))
    keys = ["algorithm", "condition", "arm"]
    means = everything.assign(share=share).groupby([*keys, "task"])["share"].mean().unstack("task")
    constant = ("kl_fixed", runs["condition"].iloc[0])
    if constant not in means.index.droplevel("arm"):
        raise NotApplicable("needs kl_fixed with at least 2 values of beta on three tasks")
    cells = everything.groupby([*keys, "task"]).groups
    bounds = {
        name: own.get("max_grad_norm", np.nan) for name, own in zip(everything["condition"], everything["changes"])
    }
    usual = everything[everything["algorithm"] == "kl_fixed"].groupby("task")["wall_seconds"].median()
    time = np.log10(everything["wall_seconds"] / everything["task"].map(usual))
    kl, worst = log_median_kl(study), log_median_kl(study, "kl_max")
    rows = []
    for name, own in means.groupby(level=["algorithm", "condition"]):
        common = [task for task in tasks if own[task].notna().any() and means.loc[constant][task].notna().any()]
        own, reference = own[common].dropna(), means.loc[constant][common].dropna()
        if len(common) < 3 or own.empty or len(reference) < 2:
            continue
        ours, theirs = elsewhere(own.droplevel([0, 1])), elsewhere(reference)
        effect = np.array([own.loc[(*name, ours[t]), t] - reference.loc[theirs[t], t] for t in common])
        chosen = np.concatenate([cells[*name, ours[task], task] for task in common])
        mean, low, high = statistics.mean_interval(effect)
        p = stats.ttest_1samp(effect, 0).pvalue if effect.any() else 1.0  # none of the best constant against itself
        head = {"algorithm": name[0], "condition": name[1], "clipped": bounds[name[1]], "values": len(own)}
        head |= {"values_of_beta": len(reference)}
        medians = [10 ** x.reindex(chosen).mean() for x in (kl, worst, time)]
        rows.append(
            head
            | {"kind": "all", "effect": mean, "low": low, "high": high, "tasks": len(common), "p": float(p)}
            | {"sample": " ".join(common), "advantages": runs["advantages"].iloc[0]}
            | dict(zip(("kl", "kl_max", "time"), medians))
        )
        rows += [head | {"kind": "task", "task": task, "effect": x} for task, x in zip(common, effect)]
    if not rows:
        raise NotApplicable("needs kl_fixed with at least 2 values of beta on three tasks")
    frame = pd.DataFrame(rows)
    tested = (frame["kind"] == "all") & ~((frame["algorithm"] == constant[0]) & (frame["condition"] == constant[1]))
    frame.loc[tested, "holm"] = statistics.holm(frame.loc[tested, "p"])
    return frame


def elsewhere(means) -> dict:
    """{task: the arm best in the mean over the other tasks} of mean scores, arms by tasks."""
    others = -means.sub(means.sum(axis=1), axis=0)
    return others.idxmax().to_dict()


def findings(frame) -> pd.DataFrame:
    whole = frame[frame["holm"].notna()]  # without the constant β beside itself
    names = [
        f"{_name(row)} ({_chosen(row.values)}) minus constant β ({_chosen(row.values_of_beta)})"
        for row in whole.itertuples()
    ]
    return whole.assign(contrast=names, metric=compare.TRAINING, value=whole["effect"])


def _name(row):
    clipped = f"gradient clipped to {row.clipped:g}" if np.isfinite(row.clipped) else ""
    return ", ".join(filter(None, [algorithm_name(row.algorithm), clipped]))


def _chosen(values):
    return f"best of {values} on the other tasks" if values > 1 else "the only value run"


def draw(frame) -> Figure:
    """What each method gains over the best constant beta, the KL it holds, and its time."""
    whole = frame[frame["kind"] == "all"].sort_values("effect", ascending=False).reset_index(drop=True)
    wide = {"width_ratios": [2, 1.4, 1]} if available.get() >= 2.2 * 3 else {}
    figure, (effect, kl, time) = side_by_side(3, 0.9 + 0.19 * len(whole), sharey=True, **wide)
    tasks = frame["task"].dropna()
    colours = task_colours(tasks)
    points = task_points(tasks)
    single = dict(list(frame[frame["kind"] == "task"].groupby(["algorithm", "condition"])))
    names = []
    for y, row in enumerate(whole.itertuples()):
        names.append(_name(row))
        for point in single[row.algorithm, row.condition].itertuples():
            colour, label = colours[point.task], task_name(point.task)
            effect.plot(point.effect, y + 0.25, points[point.task], ms=3.4, color=colour, mew=0, label=label)
        effect.plot([row.low, row.high], [y, y], color=INK, lw=1.2)
        effect.plot(row.effect, y, "D", ms=4.5, color=INK, mfc=INK if row.holm < 0.05 else "#ffffff")
        kl.plot([row.kl, row.kl_max], [y, y], color=FAINT, lw=0.9)
        kl.plot(row.kl, y, "o", ms=4, color=INK)
        kl.plot(row.kl_max, y, "o", ms=4, color=INK, mfc="#ffffff")
        time.plot(row.time, y, "o", ms=4, color=INK)
    effect.axvline(0, color=INK, lw=0.6)
    time.axvline(1, color=INK, lw=0.6)
    effect.set_yticks(range(len(whole)), names)
    effect.set_ylim(len(whole) - 0.4, -0.6)
    for ax, title, label in (
        (effect, "gain over the best constant β", "mean return over training\n(untrained 0, best arm 1)"),
        (kl, "KL of an update", "nats"),
        (time, "time", "relative to fixed β"),
    ):
        ax.set_title(title)
        ax.set_xlabel(label)
    for ax in (kl, time):
        log_axis(ax.xaxis, ticks=4)
    legend_below(figure, [effect])
    return figure
