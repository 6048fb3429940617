"""Why is one raw beta harder to choose: does the best beta have the unit of the advantages?"""

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from .. import response
from ..arms import NotApplicable
from ..style import FIXED, INK, NARROW, available, log_axis, side_by_side
from . import CONTRARY, SAMPLES, SHOWN, UNDECIDED, Answer, estimated, fits, interval_text, rows, shares

QUESTION = "On one task, is the best raw β larger than the best normalised β by the scale of the advantages?"
FOLLOWS = 0.5  # slope above which the best raw beta has the unit of the advantages, below which it has not
RULE = f"""
Slope of log10(best raw β / best normalised β) on log10 of the standard deviation of the raw advantages, a point per
task: 1 if β has their unit, 0 if it has not. Shown that it has if the slope's interval is above {FOLLOWS:g} and
holds 1; the contrary if the interval is below {FOLLOWS:g}. Interval over tasks.
"""
KNOBS = (("kl_fixed", "raw"), ("kl_fixed", "normalised"))
CLEAR = 2.0  # decades: bars that are longer are drawn faint
FIRST = 10  # iterations that the scale of the advantages is read from

TITLE = "The best β against the scale of the advantages"
CAPTION = """
A point is a task: how many times larger its best β is on raw than on normalised advantages, against the standard
deviation of the raw advantages in the first ten iterations. If β has the unit of the advantages, points lie on the
dashed line of slope 1; if it has not, on a level one. Bars hold 68 % of the likelihood of the ratio, faint where they
are longer than two decades; the band is the 95 %
interval of the slope.
"""
PART, ORDER = "unit", 5


class Effects(NamedTuple):
    """by_task: a row per sample and task, log10; lines: {sample: (Line of the ratio, of the raw optimum, of the ratio
    with the scale over all of training, fits)}."""

    by_task: pd.DataFrame
    lines: dict


def effects(data) -> Effects:
    fitted, frames, lines = fits(data, KNOBS, SAMPLES), [], {}
    for sample in dict.fromkeys(sample for sample, _ in fitted):
        own = {knob: fitted[sample, knob] for knob in KNOBS if (sample, knob) in fitted}
        if len(own) < 2:
            continue
        raw, normalised = (fit for fit, _ in own.values())
        sigma, later = (log_sigma(data, rows(data, sample, *KNOBS[0]), until) for until in (FIRST, np.inf))
        try:
            asked = (normalised, sigma), (None, sigma), (normalised, later)
            lines[sample] = (*(response.slope(raw, other, scale) for other, scale in asked), own)
        except ValueError:  # fewer than four tasks with both
            continue
        frames.append(_by_task(sample, raw, normalised, sigma, lines[sample]))
    if not lines:
        raise NotApplicable("needs three values of β with raw and with normalised advantages on four learned tasks")
    return Effects(pd.concat(frames, ignore_index=True), lines)


def log_sigma(data, runs, until=FIRST):
    """Series by task: log10 of the standard deviation of the raw advantages, geometric mean over runs and their
    iterations before one."""
    early = data.curves[data.curves["run"].isin(runs.index) & (data.curves["iteration"] < until)]
    positive = early["sigma_advantage"].astype(float).where(early["sigma_advantage"] > 0)
    return np.log10(positive).groupby(early["run"].map(runs["task"])).mean().dropna()


def _by_task(sample, raw, normalised, sigma, lines):
    line, tasks = lines[0], lines[0].units.get_level_values("task")
    slope, intercept = line.slope, line.intercept
    grid, likelihood = differences(raw, normalised, tasks)
    return pd.DataFrame(
        {
            "sample": sample.name, "task": tasks, "family": line.units.get_level_values("family"),
            "log_sigma": sigma[tasks].to_numpy(),
            **dict(zip(("difference", "low", "high"), quantiles(grid, likelihood, (0.5, 0.16, 0.84)))),
            "slope": slope.value, "slope_low": slope.low, "slope_high": slope.high, "intercept": intercept.value,
            "scatter": line.scatter.value,
            "middle": line.sigma.mean(),
        }
    )  # fmt: skip


def differences(raw, normalised, tasks):
    """(grid [G], likelihood [n, G]) of log10(best raw value / best normalised value), as in `response.slope`."""
    mean, log_sd = normalised.maximum.theta[:2]
    both = [raw.alone, (normalised.alone * stats.norm.pdf(normalised.at, mean, np.exp(log_sd)))[:, ::-1]]
    places = [fit.units.get_level_values("task").get_indexer(tasks) for fit in (raw, normalised)]
    likelihood = np.array([np.convolve(*pair) for pair in zip(*(own[place] for own, place in zip(both, places)))])
    return raw.at[0] - normalised.at[-1] + (raw.at[1] - raw.at[0]) * np.arange(likelihood.shape[1]), likelihood


def quantiles(grid, likelihood, shares):
    """[len(shares)][n] quantiles of likelihoods [n, G] made densities over a grid."""
    total = np.cumsum(likelihood, axis=1) / likelihood.sum(1, keepdims=True)
    return np.array([[np.interp(share, own, grid) for own in total] for share in shares])


def decide(found: Effects) -> list[Answer]:
    answers = []
    for sample, (ratio, raw, later, own) in found.lines.items():
        for words, line, of, judge in (
            ("slope of best raw β / best normalised β", ratio, "slope", judged),
            ("slope, with the scale over all of training, of best raw β / best normalised β", later, "slope", None),
            ("slope of best raw β", raw, "slope", None),
            ("scatter about that line of best raw β / best normalised β", ratio, "scatter", None),
            ("scatter about that line of best raw β", raw, "scatter", None),
        ):
            unit, estimate = "decades per decade" if of == "slope" else "decades", partial(line.estimate, of)
            answers.append(estimated("unit", words, sample, unit, estimate, 0.0, own, RULE, judge, list(line.units)))
    return answers


def judged(low, high):
    """The verdict on a slope with its interval."""
    if low > FOLLOWS and low <= 1 <= high:
        return SHOWN
    return CONTRARY if high < FOLLOWS else UNDECIDED


def sentence(answer) -> str:
    what = answer.contrast
    if answer.unit == "decades per decade":
        what += " against the standard deviation of the raw advantages"
    return f"The {what} is {interval_text(answer)} {answer.unit} ({len(answer.tasks)} tasks, {answer.sample})."


def claim(answer):
    return f"above {FOLLOWS:g}, and 1 is within"


def imagine(slope=1.0, scatter=0.15, sigma=0.8, normalised=0.35, tasks=30, studies=20, seed=0, **of_responses):
    """(share shown, share contrary shown) of simulated studies in which the best raw beta follows the advantages' scale
    by `slope`; sigma: SD of log10 of that scale over tasks. Others: see `spread.imagined_scores`."""
    from .spread import imagined

    generator, verdicts = np.random.default_rng(seed), []
    given = {"width": 1.25, "values": 9, "count": 2, "noise": 0.1} | of_responses
    for _ in range(studies):
        scale, best = generator.normal(0, sigma, tasks), generator.normal(0, normalised, tasks)
        both = [best + slope * scale + generator.normal(0, scatter, tasks), best]
        raw_and_normalised = [imagined(at, tasks=tasks, generator=generator, **given) for at in both]
        known = pd.Series(scale, [f"task {task}" for task in range(tasks)])
        found = response.slope(*(response.fit(own, *response.BETA) for own in raw_and_normalised), known).slope
        verdicts.append(judged(found.low, found.high))
    return shares(verdicts)


# The figure -------------------------------------------------------------------------------


def draw(frame) -> Figure:
    """A point per task with its errors, fitted line and unit line."""
    samples_ = list(dict.fromkeys(frame["sample"]))
    frame = frame[frame["sample"] == samples_[-1]]
    narrow = available.get() < NARROW
    figure, (ax,) = side_by_side(1, 2.7 if narrow else 3.6, width=5.2)
    clear = frame["high"] - frame["low"] < CLEAR
    for part, alpha in ((frame[clear], 1.0), (frame[~clear], 0.3)):
        x = 10 ** part["log_sigma"]
        ax.vlines(x, 10 ** part["low"], 10 ** part["high"], color=FIXED, lw=0.9, alpha=0.6 * alpha)
        ax.plot(x, 10 ** part["difference"], "o", color=FIXED, ms=3 if narrow else 4, alpha=alpha, mew=0)
    low, high = frame.loc[clear, "low"].min() - 0.2, frame.loc[clear, "high"].max() + (1.2 if narrow else 0.5)
    row = frame.iloc[0]
    grid = np.linspace(frame["log_sigma"].min() - 0.2, frame["log_sigma"].max() + 0.2, 50)
    middle = row["intercept"] + row["slope"] * grid
    ends = [middle + (row[end] - row["slope"]) * (grid - row["middle"]) for end in ("slope_low", "slope_high")]
    ax.plot(10**grid, 10**grid, color=INK, ls="--", lw=1.2, label="slope 1: β has the unit of the advantages")
    ax.fill_between(10**grid, 10 ** np.minimum(*ends), 10 ** np.maximum(*ends), color=FIXED, alpha=0.15, lw=0)
    fitted = f"fit: slope {row['slope']:.2f} [{row['slope_low']:.2f}, {row['slope_high']:.2f}]"
    ax.plot(10**grid, 10**middle, color=FIXED, lw=1.4, label=fitted)
    ax.set_xlim(10 ** grid[0], 10 ** grid[-1])
    ax.set_ylim(10**low, 10**high)
    for axis in (ax.xaxis, ax.yaxis):
        log_axis(axis, ticks=6)
    ax.set_xlabel("standard deviation of the raw advantages")
    ax.set_ylabel("best raw β / best normalised β")
    ax.legend(loc="upper left", fontsize=6.5 if narrow else 7.5)
    return figure
