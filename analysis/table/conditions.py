"""Arms under other conditions beside the same arms under the main one, in the mean over their common tasks: a row per
arm and condition.
"""

import pandas as pd

from .. import compare
from ..arms import NotApplicable, default_arm
from ..names import arm_name, signed
from .steps import WILD_KL, updates

TITLE = "The same arms under other conditions"
CAPTION = f"""
Final return in the mean over tasks (untrained policy = 0, best arm of the main condition = 1) under another condition
and without it, their difference, and TRPO without it minus the arm with it. Then the share of updates whose
KL is more than {WILD_KL} times the run’s median. 95 % intervals by Welch’s t over seeds, stratified by task.
"""
PART, ORDER = "ruled_out", 10
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    reference = default_arm(runs, "trpo")
    wild = updates(study)["wild_kl"]
    rows = []
    for (condition, arm), cell in study.runs[study.runs["condition"] != study.main_condition].groupby(
        ["condition", "arm"]
    ):
        own = runs[runs["arm"] == arm]
        common = sorted(set(cell["task"]) & set(own["task"]))
        units = compare.units_of(runs, common)
        if not units:
            continue
        row = {"arm": arm, "algorithm": cell["algorithm"].iloc[0], "setting": cell["setting"].iloc[0]}
        row |= {"condition": condition, "tasks": len(units), "sample": " ".join(units)}
        row |= {"advantages": cell["advantages"].iloc[0], "trpo": reference["arm"].iloc[0] if len(reference) else ""}
        row |= {"mean": compare.mean_score(cell, units), "mean_without": compare.mean_score(own, units)}
        pairs = {"difference": (cell, own), "trpo_minus": (reference, cell)}
        for name, (x, y) in pairs.items():
            row |= compare.difference(name, x, y, units)
        for name, arm_runs in (("wild_kl", cell), ("wild_kl_without", own)):
            here = arm_runs[arm_runs["task"].isin(units)]
            row[name] = wild.reindex(here.index).groupby(here["task"]).mean().mean()
        row["seeds"] = compare.fewest_seeds(units, cell, own)
        rows.append(row)
    if not rows:
        raise NotApplicable("needs an arm that was run under another condition too")
    return pd.DataFrame(rows)


def text(frame) -> pd.DataFrame:
    rows = []
    for _, row in frame.sort_values(["condition", "algorithm", "setting"]).iterrows():
        texts = {"arm": arm_name(f"{row['arm']} {row['condition']}"), "tasks": str(row["tasks"])}
        texts |= {"score": f"{row['mean']:.2f}", "without": f"{row['mean_without']:.2f}"}
        texts |= {"difference": signed(row, "difference"), "TRPO minus it": signed(row, "trpo_minus")}
        texts |= {
            "KL above 10 medians": f"{100 * row['wild_kl']:.1f} %",
            "same, without": f"{100 * row['wild_kl_without']:.1f} %",
        }
        rows.append(texts | {"seeds": str(row["seeds"])})
    return pd.DataFrame(rows)


def findings(frame) -> pd.DataFrame:
    names = [arm_name(f"{row.arm} {row.condition}") for row in frame.itertuples()]
    parts = []
    for column, sign, other in (("difference", 1, frame["arm"]), ("trpo_minus", -1, frame["trpo"])):
        contrasts = [f"{name} minus {arm_name(own)}" for name, own in zip(names, other)]
        parts.append(compare.findings(frame, contrasts, column, sign))
    return pd.concat(parts, ignore_index=True)
