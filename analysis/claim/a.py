"""Claim A, and the same question of any number: does one value serve all tasks?"""

import numpy as np
import pandas as pd

from .. import statistics
from ..arms import NotApplicable, grid, learned, sweep
from ..data import KNOBS
from ..names import SYMBOLS, listed, percent, task_name
from ..power import imagined, several
from ..rules import ALPHA, MARGIN, NOT_SUPPORTED, SUPPORTED, UNDECIDED, settled

NAME = "A"
CLAIM = "No single β performs well across different problems."
RULE = f"""
Metric: final return, lost against the best value of the grid on the same task, as a share of what the task's best arm
gains over the untrained policy. Supported when every value that was run on all tasks is shown to lose more than
{percent(MARGIN)} on some task; not supported when one value is shown to lose less on all tasks. One-sided Welch tests
at level {ALPHA:g}, Bonferroni over tasks and rivals.
"""
ORDER = 10
NEEDS = ("kl_fixed",)


def judge(study) -> tuple:
    return one_number_for_all_tasks(study.main, "kl_fixed")


def imagine(study, runs) -> tuple:
    return imagine_one_number(runs, "kl_fixed")


def one_number_for_all_tasks(runs, algorithm, column="score") -> tuple:
    """(verdict, sentence, numbers) on whether one setting of an algorithm serves all tasks. Raises NotApplicable."""
    symbol = SYMBOLS[KNOBS[algorithm][0]]
    scores, everywhere = settings_of(runs, algorithm, column)
    p_fails, p_suffices = statistics.single_setting_tests(scores.values, MARGIN * scores.gain)
    means = statistics.seed_means(scores.normalised)
    losses = np.nanmax(means, axis=1, keepdims=True) - means
    numbers = pd.DataFrame(
        {
            "algorithm": algorithm,
            "setting": scores.settings,
            "on_every_task": everywhere,
            "worst_task": [scores.tasks[int(np.nanargmax(loss))] for loss in losses.T],
            "loss_on_worst_task": np.nanmax(losses, axis=0),
            "mean_loss": np.nanmean(losses, axis=0),
            "p_fails_somewhere": p_fails,
            # Any of the settings may be the sufficient one: Bonferroni.
            "p_suffices_everywhere": np.minimum(1, p_suffices * everywhere.sum()),
        }
    )
    # A value that was not run on every task is a rival where it was, but no candidate.
    candidates = numbers[everywhere]
    best = int(np.where(everywhere, np.nanmean(means, axis=0), -np.inf).argmax())
    worst = int(np.nanargmax(losses[:, best]))
    price = (
        f"The best single {symbol} on average, {scores.settings[best]:g}, gives up "
        f"{percent(losses[worst, best])} of the gain on {task_name(scores.tasks[worst])}"
    )
    if scores.seeds > 1:
        without = statistics.seed_means(statistics.one_seed_left_out(scores.normalised[worst][None]))[:, 0]
        lost = np.nanmax(without, axis=-1) - without[:, best]
        price += f" ({percent(np.nanmin(lost))} to {percent(np.nanmax(lost))} with one seed left out)"
    seeds = f"{scores.seeds} seeds, {len(scores.tasks)} tasks, {len(candidates)} values of {symbol} on all of them"
    fails = candidates["p_fails_somewhere"]
    none_serves, one_serves = settled(p_fails[everywhere], p_suffices[everywhere])
    if none_serves:
        return (
            SUPPORTED,
            f"{price}; every {symbol} of the grid loses more than {percent(MARGIN)} to another one on some task "
            f"(largest p = {fails.max():.2g}; {seeds}).",
            numbers,
        )
    if one_serves:
        enough = candidates.loc[candidates["p_suffices_everywhere"] <= ALPHA, "setting"]
        return (
            NOT_SUPPORTED,
            f"{price}; {symbol} = {listed(enough)} stays within {percent(MARGIN)} of the best on every task ({seeds}).",
            numbers,
        )
    return (
        UNDECIDED,
        f"{price}; {symbol} = {listed(candidates.loc[fails > ALPHA, 'setting'])} neither shown to fail somewhere "
        f"nor to serve everywhere ({seeds}).",
        numbers,
    )


def settings_of(runs, algorithm, column="score"):
    """(grid of all settings, [H] which of them were run on every task). Raises NotApplicable."""
    chosen = sweep(runs, algorithm)
    if chosen["task"].nunique() < 2:
        raise NotApplicable(f"needs {algorithm} on at least 2 tasks")
    scores = learned(grid(chosen, algorithm, runs, column, common=False))
    everywhere = np.isfinite(scores.values).any(-1).all(0)
    if everywhere.sum() < 2:
        raise NotApplicable(f"needs at least 2 values of {KNOBS[algorithm][0]} that were run on every task")
    return scores, everywhere


def imagine_one_number(runs, algorithm, column="score") -> tuple:
    """What `imagine` returns, of any number. Raises NotApplicable."""
    scores, everywhere = settings_of(runs, algorithm, column)

    def judge(seeds, generator):
        tests = statistics.single_setting_tests(imagined(scores.values, seeds, generator), MARGIN * scores.gain)
        return settled(*(p[..., everywhere] for p in tests))

    return judge, several(scores.values)
