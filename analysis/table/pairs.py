"""Each algorithm minus TRPO and minus clipping, every one at one value of its knob for all tasks: a row per pair."""

import pandas as pd

from .. import compare, question
from ..arms import NotApplicable, default_arm, plain
from ..data import KNOBS
from ..names import arm_name, signed

TITLE = "Algorithm minus algorithm"
CAPTION = """
Difference in final return (untrained policy 0, best arm 1), mean over the tasks that both have, with 95 % interval by
Welch’s t over seeds, stratified by task. A method without an authors’ value, as fixed β, is at the value best in the
mean over these tasks, which is chosen in hindsight and flatters it; the others are at their authors’ value or the
nearest one run, not tuned.

TRPO and a fixed β are in the question of the constraint instead, where both are tuned, if the study can answer it.
"""
PART, ORDER = "tuned", 15
PER_TASK = False

AGAINST = ("trpo", "clip")


def numbers(study, runs) -> pd.DataFrame:
    arms = {name: one_value(runs, name) for name in sorted(set(runs["algorithm"]))}
    asked = answered(study)
    rows = []
    for against in AGAINST:
        for name, (arm, chosen) in arms.items():
            if against not in arms or name == against or (name, against) == ("trpo", "clip"):
                continue
            if {name, against} == {"kl_fixed", "trpo"} and asked:
                continue
            other, chosen_other = arms[against]
            units = compare.units_of(runs, sorted(set(arm["task"]) & set(other["task"])))
            if units:
                rows.append({
                    "algorithm": name, "arm": arm["arm"].iloc[0], "chosen": chosen, "against": against,
                    "other": other["arm"].iloc[0], "chosen_other": chosen_other,
                    "advantages": arm["advantages"].iloc[0], **compare.difference("value", arm, other, units),
                    "tasks": len(units), "sample": " ".join(units), "seeds": compare.fewest_seeds(units, arm, other),
                })  # fmt: skip
    if not rows:
        raise NotApplicable("needs TRPO or clipping and another algorithm on a task where some arm improved")
    return pd.DataFrame(rows)


def answered(study) -> bool:
    """Whether the question of the constraint has an answer, which is then the number for TRPO minus fixed β."""
    try:
        return bool(question.constraint.decide(question.constraint.effects(study.whole or study)))
    except NotApplicable:
        return False


def one_value(runs, algorithm) -> tuple:
    """(runs of an algorithm at one value of its knob, how the value was chosen)."""
    knob, usual = KNOBS.get(algorithm, (None, None))
    chosen = default_arm(runs, algorithm)
    if usual is not None:
        same = chosen["setting"].iloc[0] == usual
        return chosen, "its authors’ value" if same else "the value run that is nearest to its authors’"
    own = plain(runs, algorithm) if knob else runs[runs["algorithm"] == algorithm]
    if own["arm"].nunique() < 2:
        return chosen, "the only value run"
    units = compare.units_of(runs, sorted(own["task"].unique()))
    means = pd.DataFrame(
        {task: (here.groupby("arm")["score"].mean() - units[task][0]) / units[task][1]
         for task, here in own.groupby("task") if task in units}
    ).dropna()  # fmt: skip
    if means.empty:
        return chosen, "one of the values run"
    kept = own[own["arm"] == means.mean(axis=1).idxmax()]
    return kept, f"best of {len(means)} in the mean over tasks, in hindsight"


def text(frame) -> pd.DataFrame:
    rows = []
    for _, row in frame.iterrows():
        texts = {"algorithm": f"{arm_name(row['arm'])} ({row['chosen']})"}
        texts |= {"minus": f"{arm_name(row['other'])} ({row['chosen_other']})", "difference": signed(row, "value")}
        rows.append(texts | {"tasks": str(row["tasks"]), "seeds": str(row["seeds"])})
    return pd.DataFrame(rows)


def findings(frame) -> pd.DataFrame:
    names = [f"{arm_name(row.arm)} minus {arm_name(row.other)}" for row in frame.itertuples()]
    return compare.findings(frame, names, "value")


def sentence(row) -> str:
    """One pair in words; a row of the frame."""
    number = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(row[f"value{end}"] for end in ("", "_low", "_high")))
    sides = [f"{arm_name(row[arm])} ({row[how]})" for arm, how in (("arm", "chosen"), ("other", "chosen_other"))]
    tasks = f"{row['tasks']} {'task' if row['tasks'] == 1 else 'tasks'}, {row['advantages']} advantages"
    return f"{' minus '.join(sides)}: {number} in {compare.METRIC}, mean over {tasks}."
