"""Does advantage normalisation do what an adaptive beta would do?"""

import numpy as np
import pandas as pd

from .. import statistics
from ..arms import NotApplicable, default_arm, grid, implied_squares, learned, need, sweep
from ..data import PHASES
from ..names import listed, percent, task_name
from ..rules import ALPHA, MEAN_MARGIN, NOT_SUPPORTED, SUPPORTED, UNDECIDED
from .a import one_number_for_all_tasks

# The spread between tasks that advantage normalisation has to remove, decades of beta.
HIDDEN_DECADES = 0.5
RESAMPLES = 2000

NAME = "Hidden adaptation"
CLAIM = "Advantage normalisation is a hidden adaptation of β."
RULE = f"""
Supported when (1) the spread of TRPO's cross-fitted implied β between tasks (where it stands above the noise in
{percent(1 - ALPHA)} of resamples) is more than {HIDDEN_DECADES:g} decades wider in units of the raw advantages than in
those of the normalised ones, (2) the best single β loses more with raw advantages than with normalised ones, by more
than {percent(MEAN_MARGIN)} of the gain in the mean over tasks (95 % intervals by the jackknife over seeds for both; the
raw grid no wider), and (3) claim A is supported with raw advantages. Not supported when the contrary of one of them is
shown.
"""
ORDER = 70
NEEDS = ("kl_fixed", "trpo")
RAW_TOO = True


def judge(study) -> tuple:
    everything, (more, low, high) = implied_spread(study)
    frame = everything[everything["shown"]]
    left_out = sorted(set(everything.loc[~everything["shown"], "task"]))
    few = frame["seeds"].min() < 2
    if np.isnan(low) and not few:
        raise NotApplicable("needs tasks whose implied beta stands above the noise without any one of their seeds too")
    ranges = frame.groupby("advantages")["implied_beta"].agg(["min", "max"])
    sentence = (
        f"Over {frame['task'].nunique()} tasks the implied β spans {ranges.loc['normalised', 'min']:.2g} to "
        f"{ranges.loc['normalised', 'max']:.2g} with normalised advantages and {ranges.loc['raw', 'min']:.2g} to "
        f"{ranges.loc['raw', 'max']:.2g} in units of the raw ones: {more:.2f} decades more "
        f"[{low:.2f}, {high:.2f}]."
    )
    if left_out:
        sentence += f" Left out, because it does not stand above the noise there: {listed(map(task_name, left_out))}."
    if study.raw_condition is None or study.raw_condition == study.main_condition:
        return UNDECIDED, f"{sentence} Without runs on raw advantages the consequence is not tested.", everything
    raw_runs = study.under(study.raw_condition)
    raw_verdict, raw_sentence, _ = one_number_for_all_tasks(raw_runs, "kl_fixed")
    loss, scores, betas = loss_of_single_beta(study.main)
    raw_loss, raw_scores, raw_betas = loss_of_single_beta(raw_runs)
    price, raw_price = loss(scores), raw_loss(raw_scores)
    _, more_low, more_high = statistics.jackknife(
        lambda both: raw_loss(both[len(scores) :]) - loss(both[: len(scores)]), [*scores, *raw_scores]
    )
    sentence += (
        f" The best single β loses {percent(price)} of the gain in the mean over tasks with normalised advantages "
        f"and {percent(raw_price)} with raw ones, {percent(raw_price - price)} more [{percent(more_low)}, "
        f"{percent(more_high)}]. Claim A on raw advantages is {raw_verdict}: {raw_sentence}"
    )
    # Among more betas the best one of a task stands out further by chance: a wider raw grid cannot support the claim.
    decades, raw_decades = (np.log10(values[-1] / values[0]) for values in (betas, raw_betas))
    wider = len(raw_betas) > len(betas) or raw_decades > decades + 1e-9
    if wider:
        sentence += (
            f" The grid is wider on raw advantages, {len(raw_betas)} values over {raw_decades:.1f} decades against "
            f"{len(betas)} over {decades:.1f}, which by itself adds to what a single β loses there."
        )
    if few:
        return UNDECIDED, sentence, everything
    if low > HIDDEN_DECADES and more_low > MEAN_MARGIN and raw_verdict == SUPPORTED and not wider:
        return SUPPORTED, sentence, everything
    if high < HIDDEN_DECADES or more_high < MEAN_MARGIN or raw_verdict == NOT_SUPPORTED:
        return NOT_SUPPORTED, sentence, everything
    return UNDECIDED, sentence, everything


def implied_spread(study, resamples=RESAMPLES):
    """(frame, (value, low, high)): implied beta per task, normalised and raw, and how many decades wider the spread
    (largest to smallest) over tasks is raw than normalised.

    `shown` in the frame is False for tasks that tell nothing of beta, as a solved one does, whose
    gradient is noise: more than ALPHA of the resamples do not stand above it. They are no part of the spreads.
    """
    chosen = need(default_arm(study.main, "trpo"), "trpo")
    tasks = sorted(chosen["task"].unique())
    if (chosen["advantages"] == "raw").any():
        raise NotApplicable("needs trpo with normalised advantages")
    both = np.stack([implied_squares(study, chosen, PHASES, raw=raw).mean(axis=1) for raw in (False, True)])
    squares = [both[:, (chosen["task"] == task).to_numpy()] for task in tasks]  # a [2, n] per task
    if not all(np.isfinite(values).all() and values.size for values in squares):
        raise NotApplicable("needs implied_beta_crossfit and sigma_advantage in the curves of trpo")
    shown = np.array([(noise <= ALPHA).all() for noise in noise_of(squares, resamples)])
    if shown.sum() < 2:
        raise NotApplicable("needs trpo on at least 2 tasks whose implied beta stands above the noise")
    rows = [
        (task, name, statistics.signed_root(values[kind].mean()), values.shape[1], known)
        for kind, name in enumerate(("normalised", "raw"))
        for task, values, known in zip(tasks, squares, shown)
    ]
    frame = pd.DataFrame(rows, columns=["task", "advantages", "implied_beta", "seeds", "shown"])
    return frame, statistics.jackknife(wider_spread, [values for values, known in zip(squares, shown) if known])


def noise_of(squares, resamples, seed=0):
    """Per task of squares [2, n] the share of draws of its runs, with replacement, whose mean is not positive, [2]."""
    generator = np.random.default_rng(seed)
    for values in squares:
        drawn = generator.integers(values.shape[1], size=(resamples, values.shape[1]))
        yield np.mean(values[:, drawn].mean(-1) <= 0, axis=-1)


def wider_spread(squares):
    """Decades that the spread of the implied beta over tasks is wider in the second unit than in the first.

    squares  list with the mean squared implied betas [..., 2, n] of each task; NaN where noise hides one
    """
    means = np.stack([values.mean(-1) for values in squares])
    decades = 0.5 * np.log10(np.where(means > 0, means, np.nan))
    spread = decades.max(0) - decades.min(0)
    return spread[..., 1] - spread[..., 0]


def loss_of_single_beta(runs):
    """(loss, scores, betas): what the best single beta loses in the mean over tasks, `loss(scores)`.

    scores  list with an array [H, n] per task. A task's own best may be any beta run on it; the single one is among
            those run on every task, which are returned.
    """
    fixed = learned(grid(sweep(runs), "kl_fixed", runs, common=False))
    scores = [task[:, np.isfinite(task).any(0)] for task in fixed.normalised]
    everywhere = np.isfinite(fixed.normalised).any(-1).all(0)
    if not everywhere.any():
        raise NotApplicable("needs one β that was run on every task")

    def loss(scores):
        means = np.stack([statistics.seed_means(task) for task in scores])
        return float(np.nanmax(means, axis=-1).mean() - means[:, everywhere].mean(0).max())

    return loss, scores, fixed.settings[everywhere]
