"""The mechanism of claim B: does the beta that the constraint implies move during training?"""

import numpy as np
import pandas as pd

from .. import statistics
from ..arms import NotApplicable, default_arm, implied_squares, need
from ..data import PHASES
from ..names import task_name
from ..rules import ALPHA, NOT_SUPPORTED, SUPPORTED, UNDECIDED, majority

# The implied beta "changes" when it moves by this factor: PPO's adaptive rule's own step.
DRIFT = 2.0

NAME = "B, mechanism"
CLAIM = "The β that the constraint implies changes during training, in the units the algorithm sees."
RULE = f"""
Metric: TRPO's cross-fitted implied β, first against last fifth of training. On a task the claim is shown when it moves
by more than {DRIFT:g}× (paired t-test over seeds on the squares, both directions), the contrary when it is shown to
stay within. Decided by more than half of the tasks.
"""
ORDER = 40
NEEDS = ("trpo",)


def judge(study) -> tuple:
    return drift(study, raw=False)


def drift(study, raw):
    chosen = need(default_arm(study.main, "trpo"), "trpo")
    squares = implied_squares(study, chosen, PHASES, raw=raw)
    rows = []
    for task, group in chosen.groupby("task"):
        first, last = squares[chosen.index.get_indexer(group.index)][:, [0, -1]].T
        known = np.isfinite(first) & np.isfinite(last)
        first, last = first[known], last[known]
        if len(first) == 0:
            continue
        # The implied beta is a root: a factor DRIFT in it is DRIFT^2 in the squares, which are
        # linear in the data and may be negative.
        rises, falls = _p_positive(last - DRIFT**2 * first), _p_positive(first - DRIFT**2 * last)
        stays = max(_p_positive(DRIFT**2 * first - last), _p_positive(DRIFT**2 * last - first))
        moves = min(1.0, 2 * min(rises, falls))
        rows.append(
            {
                "task": task,
                "first_fifth": statistics.signed_root(first.mean()),
                "last_fifth": statistics.signed_root(last.mean()),
                "p_moves": moves,
                "p_stays": stays,
                "seeds": len(first),
                "verdict": SUPPORTED if moves <= ALPHA else NOT_SUPPORTED if stays <= ALPHA else UNDECIDED,
            }
        )
    if not rows:
        raise NotApplicable("needs implied_beta_crossfit in the curves of trpo")
    numbers = pd.DataFrame(rows)
    verdict, sentence, numbers = majority(numbers, f"it moves by more than {DRIFT:g}×", f"it stays within {DRIFT:g}×")
    # A negative mean square is less than nothing above the noise; the table keeps it.
    ends = numbers[["first_fifth", "last_fifth"]].map(lambda beta: f"{beta:.2g}" if beta > 0 else "below the noise")
    moves = "; ".join(
        f"{task} {first} → {last}" for task, first, last in zip(map(task_name, numbers["task"]), *ends.to_numpy().T)
    )
    return verdict, f"{sentence} First to last fifth: {moves}.", numbers


def _p_positive(values):
    """One-sided p of a positive mean; 1 for fewer than two values."""
    if len(values) < 2:
        return 1.0
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return float(statistics.p_greater(np.mean(values), error, len(values) - 1))
