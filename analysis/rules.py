"""What the rules of the claims have in common. They were fixed before the canonical data existed.

Every rule names its metric, its threshold and its test, and ends in one of three verdicts: "supported" (shown at level
ALPHA), "not supported" (the contrary shown at level ALPHA) and "undecided" (neither). The tests are one-sided Welch
tests on seeds, corrected where several chances are taken; none selects a setting and then tests it on the same runs. A
single run per cell decides nothing.
"""

from .names import task_name

ALPHA = 0.05
# "Performs well" on a task: loses less than this share of what the task's best arm gains over
# the untrained policy, in final return (mean of the last 100 episodes).
MARGIN = 0.10
# The same for a mean over tasks, in which losses on single tasks are diluted. The whole spread
# over beta in PPO's Table 1 is 0.10, from its best fixed beta to clipping 0.10.
MEAN_MARGIN = 0.05
SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"


def settled(p_fails, p_suffices) -> tuple:
    """(none serves, one serves), each [...], of the p-values [..., H] of `statistics.single_setting_tests`."""
    # Any of the settings may be the sufficient one: Bonferroni.
    return (p_fails <= ALPHA).all(-1), p_suffices.min(-1) * p_suffices.shape[-1] <= ALPHA


def majority(numbers, yes, no) -> tuple:
    """(verdict, sentence, numbers): what more than half of the tasks show."""
    shown = {
        verdict: numbers.loc[numbers["verdict"] == verdict, "task"].tolist() for verdict in (SUPPORTED, NOT_SUPPORTED)
    }
    total = len(numbers)
    verdict = UNDECIDED
    for candidate, tasks in shown.items():
        if 2 * len(tasks) > total:
            verdict = candidate
    sentence = (
        f"Shown that {yes} on {_some(shown[SUPPORTED], total)}; shown that {no} on "
        f"{_some(shown[NOT_SUPPORTED], total)} ({numbers['seeds'].min()} seeds)."
    )
    return verdict, sentence, numbers


def _some(tasks, total) -> str:
    return f"{len(tasks)} of {total} tasks" + (f" ({', '.join(map(task_name, tasks))})" if tasks else "")
