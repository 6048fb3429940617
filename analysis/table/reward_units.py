"""Arms that were run with every factor of the rewards: a row per arm and factor, and one (factor NaN) over all; the
cells of a mean are tasks x factors.
"""

import numpy as np
import pandas as pd

from .. import compare
from ..arms import NotApplicable, default_arm
from ..names import arm_name, signed
from ..panel.reward_scales import rescaled

TITLE = "One β for all units of the reward"
CAPTION = """
Final return in the mean over tasks (untrained policy = 0, best arm of the main condition = 1) with rewards multiplied
by each factor. Then its mean over the factors, and TRPO’s mean minus it, with the same advantages (95 % interval by
Welch’s t over seeds, stratified by task and factor).
"""
PART, ORDER = "unit", 80
NEEDS = ("kl_fixed", "trpo")
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    chosen = rescaled(study)
    factors = sorted(chosen["reward_scale"].unique())
    if len(factors) < 2:
        raise NotApplicable("needs runs with several values of reward_scale")
    by_task = compare.units_of(runs, sorted(chosen["task"].unique()))
    cells = {factor: {f"{task} x {factor:g}": unit for task, unit in by_task.items()} for factor in factors}
    cells[np.nan] = {name: unit for units in cells.values() for name, unit in units.items()}  # all of them
    chosen = chosen.assign(task=chosen["task"] + " x " + chosen["reward_scale"].map("{:g}".format))
    rows = []
    for advantages, here in chosen.groupby("advantages"):
        trpo = default_arm(here, "trpo")
        for name, arm in here.groupby("arm"):
            if not by_task or not set(cells[np.nan]) <= set(arm["task"]):
                continue
            for factor, units in cells.items():
                row = {"arm": name, "advantages": advantages, "reward_scale": factor, "tasks": len(by_task)}
                row |= {"trpo": trpo["arm"].iloc[0] if len(trpo) else "", "sample": " ".join(units)}
                row |= {"mean": compare.mean_score(arm, units)} | compare.difference("trpo_minus", trpo, arm, units)
                rows.append(row | {"seeds": compare.fewest_seeds(units, arm)})
    if not rows:
        raise NotApplicable("needs an arm that was run with every value of reward_scale on the same tasks")
    return pd.DataFrame(rows)


def text(frame) -> pd.DataFrame:
    rows = []
    for (advantages, arm), group in frame.groupby(["advantages", "arm"]):
        row = {"arm": arm_name(arm) + (", raw advantages" if advantages == "raw" else "")}
        single, every = group.dropna(subset=["reward_scale"]), group[group["reward_scale"].isna()].iloc[0]
        for i, (factor, average) in enumerate(zip(single["reward_scale"], single["mean"])):
            row[f"{'rewards ' if i == 0 else ''}× {factor:g}"] = f"{average:.2f}"
        row |= {"mean": f"{every['mean']:.2f}", "TRPO minus it": signed(every, "trpo_minus")}
        rows.append(row | {"tasks": str(every["tasks"]), "seeds": str(every["seeds"])})
    return pd.DataFrame(rows)


def findings(frame) -> pd.DataFrame:
    names = [f"{arm_name(row.arm)} minus {arm_name(row.trpo)}" for row in frame.itertuples()]
    return compare.findings(frame, names, "trpo_minus", -1)
