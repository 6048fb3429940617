"""Learning curves of a β too small, the best and one too large beside TRPO, on the two tasks where β matters most."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable, default_arm, grid, learned
from ..names import task_name
from ..style import FIXED, INK, facets, labels, legend_below, possible, steps_axis
from .learning_curves import band, curve_of

TITLE = "The smallest, the best and the largest β, beside TRPO"
CAPTION = """
Return over training, mean over seeds with 95 % interval from three seeds on, on the two tasks whose final return
depends most on β. The best β is the one with the highest mean final return on the task; the others are the smallest and
the largest one run. TRPO is at the δ its authors recommend, or the nearest one run.
"""
PART, ORDER = "overview", 5
NEEDS = ("kl_fixed", "trpo")

TASKS = 2
ROLES = {"smallest": ("#e08a5b", ":"), "best": (FIXED, "-"), "largest": ("#6b2a7a", "--"), "TRPO": (INK, "-")}


def numbers(study, runs) -> pd.DataFrame:
    trpo = default_arm(runs, "trpo")
    rows = []
    for task in sorted(set(trpo["task"]) & set(runs.loc[runs["family"] == "kl_fixed", "task"])):
        here = runs[runs["task"] == task]
        try:
            scores = learned(grid(here, "kl_fixed"))
        except NotApplicable:
            continue
        means = statistics.seed_means(scores.normalised)[0]
        best = int(np.nanargmax(means))
        if 0 < best < len(means) - 1:  # else none was too small, or too large
            rows.append((min(means[best] - means[0], means[best] - means[-1]), task, scores.settings[[0, best, -1]]))
    if not rows:
        raise NotApplicable("needs TRPO and three values of β, the middle one best, on a task that was learned")
    returns = pd.DataFrame(study.over_training("return_mean")).ffill(axis=1).to_numpy()
    parts = []
    for _, task, settings in sorted(rows, key=lambda row: -row[0])[:TASKS]:
        here = runs[(runs["task"] == task) & (runs["family"] == "kl_fixed")]
        groups = [here[here["setting"] == setting] for setting in settings] + [trpo[trpo["task"] == task]]
        parts += [curve_of(study, group, returns).assign(role=role) for role, group in zip(ROLES, groups)]
    return pd.concat(parts, ignore_index=True)


def draw(frame) -> Figure:
    """A plot per task, with the values in its title; intervals from three seeds on."""

    def title(task):
        own = frame[frame["task"] == task].drop_duplicates("role").set_index("role")["setting"]
        betas = ", ".join(f"{own[role]:g}" for role in ROLES if role != "TRPO")
        return f"{task_name(task)}: β = {betas}; δ = {own['TRPO']:g}"

    figure, axes = facets(list(dict.fromkeys(frame["task"])), height=2.3, title=title)
    for (task, role), curve in frame.groupby(["task", "role"], sort=False):
        (colour, line), ax = ROLES[role], axes[task]
        label = role if role == "TRPO" else f"{role} β"
        ax.plot(curve["env_steps"], curve["mean"], color=colour, ls=line, lw=1.8, label=label)
        band(ax, curve, colour)
    for task, ax in axes.items():
        own = frame[frame["task"] == task]
        possible(ax, own["least"].min(), own["most"].max())
        steps_axis(ax)
    labels(axes.values(), "environment steps", "return")
    legend_below(figure, axes.values())
    return figure
