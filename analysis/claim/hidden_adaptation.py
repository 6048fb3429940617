"""Does advantage normalisation do what an adaptive beta would do?"""

import numpy as np
import pandas as pd

from .. import statistics
from ..arms import NotApplicable, default_arm, grid, implied_squares, learned, need, sweep
from ..data import PHASES
from ..names import listed, percent
from ..rules import ALPHA, MEAN_MARGIN, NOT_SUPPORTED, SUPPORTED, UNDECIDED
from .a import one_number_for_all_tasks

# The spread between tasks that advantage normalisation has to remove, decades of beta.
HIDDEN_DECADES = 0.5

NAME = "Hidden adaptation"
CLAIM = "Advantage normalisation is a hidden adaptation of β."
RULE = f"""
Supported when (1) the spread of TRPO's cross-fitted implied β between tasks (where it stands above the noise in
{percent(1 - ALPHA)} of resamples) is more than {HIDDEN_DECADES:g} decades wider in units of the raw advantages than in
those of the normalised ones, (2) the best single β loses more with raw advantages than with normalised ones, by more
than {percent(MEAN_MARGIN)} of the gain in the mean over tasks (95 % bootstrap intervals for both; the raw grid no
wider), and (3) claim A is supported with raw advantages. Not supported when the contrary of one of them is shown.
"""
ORDER = 70
NEEDS = ("kl_fixed", "trpo")
RAW_TOO = True


def judge(study) -> tuple:
    everything, samples = implied_spread(study)
    if np.isnan(samples).mean() > ALPHA:
        raise NotApplicable("needs tasks whose implied beta stands above the noise together")
    frame = everything[everything["shown"]]
    left_out = sorted(set(everything.loc[~everything["shown"], "task"]))
    low, high = statistics.interval(samples)
    few = frame["seeds"].min() < 2
    ranges = frame.groupby("advantages")["implied_beta"].agg(["min", "max"])
    sentence = (
        f"Over {frame['task'].nunique()} tasks the implied β spans {ranges.loc['normalised', 'min']:.2g} to "
        f"{ranges.loc['normalised', 'max']:.2g} with normalised advantages and {ranges.loc['raw', 'min']:.2g} to "
        f"{ranges.loc['raw', 'max']:.2g} in units of the raw ones: {np.nanmedian(samples):.2f} decades more "
        f"[{low:.2f}, {high:.2f}]."
    )
    if left_out:
        sentence += f" Left out, because it does not stand above the noise there: {listed(left_out)}."
    if study.raw_condition is None or study.raw_condition == study.main_condition:
        return UNDECIDED, f"{sentence} Without runs on raw advantages the consequence is not tested.", everything
    raw_runs = study.under(study.raw_condition)
    raw_verdict, raw_sentence, _ = one_number_for_all_tasks(raw_runs, "kl_fixed")
    price, drawn, betas = loss_of_single_beta(study.main)
    raw_price, raw_drawn, raw_betas = loss_of_single_beta(raw_runs)
    more_low, more_high = statistics.interval(raw_drawn - drawn)
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


def implied_spread(study, resamples=statistics.RESAMPLES):
    """(frame, samples): implied beta per task, normalised and raw, and [B] bootstrap samples of the
    difference in decades between the spreads (largest to smallest) over tasks, raw less normalised.

    `shown` in the frame is False for tasks that tell nothing of beta, as a solved one does, whose
    gradient is noise: more than ALPHA of the resamples do not stand above it. They are no part of the spreads.
    """
    chosen = need(default_arm(study.main, "trpo"), "trpo")
    tasks = sorted(chosen["task"].unique())
    if (chosen["advantages"] == "raw").any():
        raise NotApplicable("needs trpo with normalised advantages")
    rows, decades = [], []
    for raw in (False, True):
        squares = implied_squares(study, chosen, PHASES, raw=raw).mean(axis=1)
        per_task = [squares[(chosen["task"] == task).to_numpy()] for task in tasks]
        if not all(np.isfinite(values).all() and len(values) for values in per_task):
            raise NotApplicable("needs implied_beta_crossfit and sigma_advantage in the curves of trpo")
        drawn = np.stack([sample.mean(-1) for sample in statistics.resample(per_task, resamples)], axis=-1)
        decades.append(0.5 * np.log10(np.where(drawn > 0, drawn, np.nan)))
        for task, values in zip(tasks, per_task):
            rows.append((task, "raw" if raw else "normalised", statistics.signed_root(values.mean()), len(values)))
    decades = np.stack(decades)
    shown = (np.isnan(decades).mean(axis=1) <= ALPHA).all(axis=0)
    if shown.sum() < 2:
        raise NotApplicable("needs trpo on at least 2 tasks whose implied beta stands above the noise")
    frame = pd.DataFrame(rows, columns=["task", "advantages", "implied_beta", "seeds"])
    frame["shown"] = np.tile(shown, 2)
    spread = decades[..., shown].max(axis=-1) - decades[..., shown].min(axis=-1)
    return frame, spread[1] - spread[0]


def loss_of_single_beta(runs):
    """(value, [B] bootstrap samples, betas) of what the best single beta loses in the mean over tasks.

    A task's own best may be any beta run on it; the single one is among those run on every task, the returned ones.
    """
    fixed = learned(grid(sweep(runs), "kl_fixed", runs, common=False))
    scores = fixed.normalised
    everywhere = np.isfinite(scores).any(-1).all(0)
    if not everywhere.any():
        raise NotApplicable("needs one β that was run on every task")

    def loss(means):
        return np.nanmean(np.nanmax(means, axis=-1), axis=-1) - means[..., everywhere].mean(-2).max(-1)

    means, drawn = statistics.seed_means(scores), statistics.resampled_means(scores)
    return float(loss(means)), loss(drawn), fixed.settings[everywhere]
