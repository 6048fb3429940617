"""Claim B: does one beta serve all phases of training?"""

import numpy as np
import pandas as pd

from .. import statistics
from ..arms import NotApplicable, phase_returns, scale, sweep
from ..data import PHASES
from ..names import percent
from ..power import imagined, several
from ..rules import MARGIN, NOT_SUPPORTED, SUPPORTED, UNDECIDED, majority, settled

NAME = "B"
CLAIM = "Nor within one problem, whose characteristics change over the course of learning."
RULE = f"""
Metric: mean return in each of {PHASES} equal phases of training. On a task the claim is shown when every constant β
loses more than {percent(MARGIN)} of the task's whole gain to another one in some phase, and the contrary when one β is
shown to lose less in all phases (tests as for A, phases in place of tasks). Supported, or not supported, when shown on
more than half of the tasks.
"""
ORDER = 30
NEEDS = ("kl_fixed",)


def judge(study) -> tuple:
    runs = study.main
    sweep(runs)
    by_task = phase_returns(study, runs)
    tasks = list(by_task)
    _, gains = scale(runs, tasks)
    rows = []
    for (task, (settings, values)), gain in zip(by_task.items(), gains):
        if not np.isfinite(gain) or len(settings) < 2:
            continue
        p_fails, p_suffices = statistics.single_setting_tests(values, np.full(PHASES, MARGIN * gain))
        means = statistics.seed_means(values)
        best_by_phase = settings[means.argmax(1)]
        losses = (means.max(1, keepdims=True) - means) / gain
        single = int(losses.max(0).argmin())
        none_serves, one_serves = settled(p_fails, p_suffices)
        rows.append(
            {
                "task": task,
                **{f"best_beta_phase_{i + 1}": beta for i, beta in enumerate(best_by_phase)},
                "best_single_beta": settings[single],
                "its_worst_loss": losses[:, single].max(),
                "p_every_beta_fails": p_fails.max(),
                "p_one_beta_suffices": min(1.0, float(p_suffices.min()) * len(settings)),
                "seeds": int(np.isfinite(values).sum(-1).min()),
                "verdict": SUPPORTED if none_serves else NOT_SUPPORTED if one_serves else UNDECIDED,
            }
        )
    if not rows:
        raise NotApplicable("has no task on which any arm improved on the untrained policy")
    numbers = pd.DataFrame(rows)
    return majority(
        numbers, "the best β changes within training", "one constant β stays within reach of the best in every phase"
    )


def imagine(study, runs) -> tuple:
    sweep(runs)
    by_task = phase_returns(study, runs)
    _, gains = scale(runs, list(by_task))
    tasks = [(values, gain) for (_, values), gain in zip(by_task.values(), gains) if np.isfinite(gain)]
    if not tasks:
        raise NotApplicable("needs a task on which any arm improved on the untrained policy")

    def judge(seeds, generator):
        verdicts = [
            settled(
                *statistics.single_setting_tests(
                    imagined(values, seeds, generator, together=0), np.full(PHASES, MARGIN * gain)
                )
            )
            for values, gain in tasks
        ]
        return tuple(2 * np.sum(verdict, axis=0) > len(tasks) for verdict in zip(*verdicts))

    return judge, min(several(values) for values, _ in tasks)
