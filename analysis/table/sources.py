"""Every way to a β beside TRPO and beside each task’s best constant β, over the tasks common to all three: a row per
arm.
"""

import numpy as np
import pandas as pd

from .. import compare
from ..arms import NotApplicable, default_arm, need, plain
from ..names import arm_name, percent, signed

HELD = 1.5  # times delta or more, or delta / 1.5 or less, is a step that was not held: PPO's rule has this tolerance
HINDSIGHT = "each task’s best β"
SOURCES = ("kl_fixed", "kl_adaptive", "kl_dual", "kl_scheduled", "kl_replay", "kl_bisect")

TITLE = "Where beta comes from"
CAPTION = f"""
The same SGD with β from different sources: final return in the mean over tasks (untrained policy 0, best arm 1), minus
TRPO’s, and minus that of the constant β best on each task, which is chosen in hindsight and has an advantage. “KL held”
is the share of updates whose KL is within a factor of {HELD:g} of TRPO’s δ.

95 % intervals by Welch’s t over seeds, stratified by task; too wide for a constant β, which shares runs with the one
chosen in hindsight. “One task left out”: the smallest and largest difference from TRPO without one of the tasks.
"""
PART, ORDER = "tuned", 70
NEEDS = SOURCES
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    arms, trpo, hindsight = arms_and_rivals(runs)
    delta = float(trpo["max_kl"].iloc[0])
    kl = study.curves["kl_after"]
    held = kl.between(delta / HELD, delta * HELD).where(kl.notna()).astype(float).groupby(study.curves["run"]).mean()
    rows = []
    for name, (arm, units) in arms.items():
        row = {"arm": name, "algorithm": arm["algorithm"].iloc[0], "setting": arm["setting"].iloc[0]}
        row |= {"trpo": trpo["arm"].iloc[0], "advantages": arm["advantages"].iloc[0], "sample": " ".join(units)}
        row |= {"tasks": len(units), "mean": compare.mean_score(arm, units)}
        for against, other in (("trpo", trpo), ("hindsight", hindsight)):
            row |= compare.difference(f"minus_{against}", arm, other, units)
        without = [
            compare.difference("it", arm, trpo, {task: unit for task, unit in units.items() if task != left_out})["it"]
            for left_out in (units if len(units) > 1 else ())
        ]
        row |= {"without_one_least": min(without, default=np.nan), "without_one_most": max(without, default=np.nan)}
        here = arm[arm["task"].isin(units)]
        row["held"] = held.reindex(here.index).groupby(here["task"]).mean().mean()
        row["seeds"] = compare.fewest_seeds(units, arm, trpo)
        rows.append(row)
    return pd.DataFrame(rows)


def arms_and_rivals(runs) -> tuple:
    """({name: (runs, units)} of every way to a beta, TRPO's runs, those of each task's best constant beta).

    units: see `compare.units_of`. Raises NotApplicable.
    """
    if not {"kl_bisect", "kl_replay"} & set(runs["algorithm"]):
        raise NotApplicable("needs a beta that is solved for in every update or replayed (kl_bisect, kl_replay)")
    trpo, fixed = need(default_arm(runs, "trpo"), "trpo"), need(plain(runs, "kl_fixed"), "kl_fixed")
    best = fixed.groupby(["task", "setting"])["score"].mean().groupby("task").idxmax()
    hindsight = fixed[pd.MultiIndex.from_frame(fixed[["task", "setting"]]).isin(best)]
    arms = {name: arm for name, arm in runs[runs["algorithm"].isin(SOURCES)].groupby("arm")}
    arms |= {HINDSIGHT: hindsight, trpo["arm"].iloc[0]: trpo}
    common = set(trpo["task"]) & set(fixed["task"])
    arms = {name: (arm, compare.units_of(runs, sorted(common & set(arm["task"])))) for name, arm in arms.items()}
    return {name: (arm, units) for name, (arm, units) in arms.items() if units}, trpo, hindsight


def source_name(arm) -> str:
    return arm if arm == HINDSIGHT else arm_name(arm)


def text(frame) -> pd.DataFrame:
    rows = []
    for _, row in frame.sort_values("mean", ascending=False).iterrows():
        texts = {"beta": source_name(row["arm"]), "tasks": str(row["tasks"])}
        texts |= {"score": f"{row['mean']:.2f}", "minus TRPO": signed(row, "minus_trpo")}
        ends = row["without_one_least"], row["without_one_most"]
        texts |= {"one task left out": "{:+.2f} to {:+.2f}".format(*ends) if np.isfinite(ends).all() else "–"}
        texts |= {"minus each task’s best β": signed(row, "minus_hindsight"), "KL held": percent(row["held"])}
        rows.append(texts | {"seeds": str(row["seeds"])})
    return pd.DataFrame(rows)


def findings(frame) -> pd.DataFrame:
    names = [f"{source_name(row.arm)} minus {arm_name(row.trpo)}" for row in frame.itertuples()]
    return compare.findings(frame, names, "minus_trpo")
