"""What the ends of fresh_judged's candidates, and the size of the steps, have to do with its answers; exploratory.

    python benchmarks/fresh_ends.py results/fresh results/fresh_judged

`fresh` has nine values of beta, and of delta on raw advantages; `fresh_judged` chooses among seven. Here either set is
chosen from on one of the two seeds of `fresh` and read on the other, and the other way round.
"""

import sys

import numpy as np

from analysis import load, question, statistics, tuning

BETAS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
BETA, NORMALISED, DELTA = ("kl_fixed", "raw"), ("kl_fixed", "normalised"), ("trpo", "raw")
CENTRED = ("kl_fixed", "centred")
NINE = {BETA: BETAS, NORMALISED: (0.003, *BETAS[:-1]), DELTA: (0.003, *BETAS[:-2], 30)}


def crossed(study, candidates, pick):
    """{knob: [33] score of each task} at what one seed chooses, read on the other."""
    score = {}
    for knob in NINE:
        runs = question.swept(study, question.FRESH, *knob)
        scores = tuning.candidates(runs[runs["normalised"].notna()], runs[:0], candidates[knob])
        score[knob] = tuning.judged(scores.choose, None, pick)[0]
    return score


def steps(study, chosen, algorithm):
    """[33] median over updates and runs of the KL at each task's chosen value."""
    runs = question.rows(study, question.FRESH, *algorithm, ["fresh_judged"])
    own = chosen.loc[algorithm, "own_value"]
    runs = runs[np.isclose(runs["setting"], runs["task"].map(own))]
    updates = study.curves[study.curves["run"].isin(runs.index)].groupby("run")["kl_after"].median()
    return updates.groupby(runs["task"]).median().reindex(own.index)


def main():
    study = load(sys.argv[1:])
    for name, candidates in ("nine", NINE), ("seven", question.CANDIDATES):
        for of, pick in ("tuned on the task", tuning.best_here), ("carried over", tuning.best_elsewhere):
            score = crossed(study, candidates, pick)
            for what, first in ("TRPO minus fixed beta, raw", DELTA), ("normalised minus raw beta", NORMALISED):
                mean, low, high = statistics.mean_interval(score[first] - score[BETA])
                print(f"{name} values, {what}, {of}: {mean:+.3f} [{low:+.3f}, {high:+.3f}]")
    frame = question.tuned(study, [*NINE, CENTRED], (question.FRESH,))
    chosen = frame.set_index(["algorithm", "advantages", "task"]).sort_index()
    for knob in NINE:
        ends = chosen.loc[knob, "own_value"].isin([min(question.CANDIDATES[knob]), max(question.CANDIDATES[knob])])
        print(f"{question.knob_name(*knob)}: the choice of {ends.sum()} tasks is at an end of the seven")
    penalty, constraint = (steps(study, chosen, knob) for knob in (BETA, DELTA))
    lead, scale, both = (
        question.paired(frame, ((first, "own"), (second, "own"))).set_index("task")["effect"]
        for first, second in ((DELTA, BETA), (NORMALISED, CENTRED), (NORMALISED, BETA))
    )
    for what, which in ("less", penalty < constraint), ("more", penalty > constraint):
        print(f"the penalty's median step is {what}: {which.sum()} tasks, TRPO leads by {lead[which].mean():+.2f}")
    mean, low, high = statistics.mean_interval(scale)
    print(f"normalised minus centred beta, judged: {mean:+.3f} [{low:+.3f}, {high:+.3f}], {len(scale)} tasks")
    print(f"normalised minus raw beta: median {both.median():+.2f}, {(both > 0).sum()} of {len(both)} above 0")


if __name__ == "__main__":
    main()
