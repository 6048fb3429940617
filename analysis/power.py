"""How many seeds would settle a claim, were the runs at hand a true picture of their arms.

Studies with other numbers of seeds are imagined, run by run, from normal distributions with the
means and covariances of the runs at hand, and judged by the rules of `claims`. That is a plan, no
evidence: the best of several means is too high, so that a chance to show a claim is flattered.
"""

import numpy as np
import pandas as pd

from . import claims, statistics
from .arms import NotApplicable, phase_returns, scale
from .data import KNOBS, PHASES
from .names import SYMBOLS

SEEDS = (3, 5, 10, 20, 40)
STUDIES = 200


def chances(study, runs):
    """Frame: claim, seeds, and the shares of imagined studies that show the claim and its contrary."""
    entries = [
        ("A", one_number("kl_fixed", "score")),
        ("A, whole training", one_number("kl_fixed", "auc_score")),
        ("B", one_beta_in_one_problem),
        ("C", fixed_beside_others),
        *((f"A for {SYMBOLS[KNOBS[name][0]]}", one_number(name, "score")) for name in ("trpo", "kl_adaptive", "clip")),
    ]
    rows = []
    for claim, imagine in entries:
        try:
            judge, at_hand = imagine(study, runs)
        except NotApplicable:
            continue
        for seeds in SEEDS:
            shown, contrary = judge(seeds, np.random.default_rng(seeds))
            rows.append((claim, seeds, np.mean(shown), np.mean(contrary), at_hand))
    if not rows:
        raise NotApplicable("needs two seeds of the runs of claim A, B or C")
    return pd.DataFrame(rows, columns=["claim", "seeds", "shown", "contrary_shown", "seeds_at_hand"])


# Each returns judge(seeds, generator) -> (shown, contrary shown), both [STUDIES], and the seeds it knows.


def one_number(algorithm, column):
    def imagine(study, runs):
        scores, everywhere = claims.settings_of(runs, algorithm, column)

        def judge(seeds, generator):
            tests = statistics.single_setting_tests(
                imagined(scores.values, seeds, generator), claims.MARGIN * scores.gain
            )
            return claims.settled(*(p[..., everywhere] for p in tests))

        return judge, several(scores.values)

    return imagine


def one_beta_in_one_problem(study, runs):
    claims.sweep(runs)
    by_task = phase_returns(study, runs)
    _, gains = scale(runs, list(by_task))
    tasks = [(values, gain) for (_, values), gain in zip(by_task.values(), gains) if np.isfinite(gain)]
    if not tasks:
        raise NotApplicable("needs a task on which any arm improved on the untrained policy")

    def judge(seeds, generator):
        verdicts = [
            claims.settled(
                *statistics.single_setting_tests(
                    imagined(values, seeds, generator, together=0), np.full(PHASES, claims.MARGIN * gain)
                )
            )
            for values, gain in tasks
        ]
        return tuple(2 * np.sum(verdict, axis=0) > len(tasks) for verdict in zip(*verdicts))

    return judge, min(several(values) for values, _ in tasks)


def fixed_beside_others(study, runs):
    _, _, rivals, fixed = claims.beside_fixed(runs, claims.FEEDBACK)

    def judge(seeds, generator):
        *_, p_beats, p_keeps_up = claims.rivalry(
            *([imagined(task, seeds, generator) for task in arms] for arms in (rivals, fixed))
        )
        return tuple((p <= claims.ALPHA).any(-1) for p in claims.contest(p_beats, p_keeps_up))

    return judge, min(several(task) for task in [*rivals, *fixed])


def several(values):
    """Fewest seeds of any cell that has some; with one there is no spread to imagine others from."""
    count = np.isfinite(values).sum(-1)
    fewest = int(count[count > 0].min())
    if fewest < 2:
        raise NotApplicable("needs two seeds")
    return fewest


def imagined(values, seeds, generator, together=None, studies=STUDIES):
    """[studies, ..., seeds] runs of the means and covariances of `values` [..., S], NaN where a seed was not run.

    together  an axis of `values` along which one run was measured several times, as in phases of
              training: what is drawn is correlated along it as the runs at hand are. Other axes
              are drawn independently.
    """
    residuals = values - statistics.seed_means(values)[..., None]
    known = np.isfinite(residuals)
    # sum_s r_s z_s / sqrt(S - 1) has the sample covariance of r.
    residuals = np.where(known, residuals, 0.0) / np.sqrt(np.maximum(1, known.sum(-1, keepdims=True) - 1))
    shape = list(values.shape)
    if together is not None:
        shape[together] = 1
    noise = generator.standard_normal((studies, *shape, seeds))
    return statistics.seed_means(values)[..., None] + (residuals[..., None] * noise).sum(-2)
