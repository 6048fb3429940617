"""Return by constant β in each fifth of training: a row per task, phase and β, `loss` in shares of the task’s gain."""

import matplotlib.patches
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable, phase_returns, scale, sweep
from ..style import FIXED, INK, facets, labels

TITLE = "The best beta by phase of training"
CAPTION = """
Return of runs with a constant β in each fifth of training: the β with the highest mean (line; bars span those that no
other is shown to beat, by Welch tests at 5 %, which hold the best one in 94 % of simulated studies or more) and how
near the others come (tint; none where half of the task’s gain is lost). Each run keeps its β from the start, so the
return in a phase also depends on what the β did before it.
"""
PART, ORDER = "within", 20
NEEDS = ("kl_fixed",)


def numbers(study, runs) -> pd.DataFrame:
    sweep(runs)
    by_task = phase_returns(study, runs)
    _, gains = scale(runs, list(by_task))
    rows = []
    for (task, (settings, values)), gain in zip(by_task.items(), gains):
        if not np.isfinite(gain) or len(settings) < 2:
            continue
        means = statistics.seed_means(values)
        for phase in range(len(means)):
            if not np.isfinite(means[phase]).any():
                continue
            best = int(np.nanargmax(means[phase]))
            _, low, high = statistics.best_setting(values[phase], settings)
            for h, beta in enumerate(settings):
                rows.append(
                    {
                        "task": task,
                        "phase": phase + 1,
                        "beta": beta,
                        "return": means[phase, h],
                        "loss": (means[phase, best] - means[phase, h]) / gain,
                        "best_beta": settings[best],
                        "best_low": low,
                        "best_high": high,
                        "seeds": int(np.isfinite(values[phase, h]).sum()),
                    }
                )
    if not rows:
        raise NotApplicable("needs a task on which some arm improved on the untrained policy")
    return pd.DataFrame(rows)


def draw(frame) -> Figure:
    """Which constant beta does best in each phase of training; tint: closeness to the phase's best."""
    figure, axes = facets(frame["task"].unique(), height=1.9)
    for task, ax in axes.items():
        here = frame[frame["task"] == task]
        betas = sorted(here["beta"].unique())
        index = {beta: i for i, beta in enumerate(betas)}
        for row in here.itertuples():
            share = np.clip(1 - row.loss / 0.5, 0, 1)
            ax.add_patch(
                matplotlib.patches.Rectangle(
                    (row.phase - 0.5, index[row.beta] - 0.5), 1, 1, fc=FIXED, alpha=0.55 * float(share), lw=0
                )
            )
        best = here.drop_duplicates("phase")
        middle = best["best_beta"].map(index)
        ends = [middle - best["best_low"].map(index), best["best_high"].map(index) - middle]
        ax.errorbar(
            best["phase"], middle, np.maximum(0, ends), color=INK, marker="o", ms=4, lw=1.3, elinewidth=1, capsize=2
        )
        ax.set_xlim(0.5, best["phase"].max() + 0.5)
        ax.set_ylim(-0.5, len(betas) - 0.5)
        every = max(1, len(betas) // 5)
        ax.set_yticks(range(0, len(betas), every), [f"{beta:g}" for beta in betas[::every]])
        ax.set_xticks(sorted(best["phase"]))
        ax.grid(False)
    labels(axes.values(), "fifth of training", "β (fixed)")
    return figure
