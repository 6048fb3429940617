"""Scores by arm and task as in PPO’s Table 1, with the average over tasks and, on tasks of that paper, the published
one.
"""

from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import NotApplicable, headline, normalised_scores, per_task
from ..names import arm_name, interval_text, task_name
from ..published import PPO_TABLE_1, PPO_TASKS
from ..style import INK, arm_styles, by_arm, shade, side_by_side, table_axes, table_blocks

TITLE = "Scores by task, as in PPO’s Table 1"
CAPTION = """
Final return per task (mean over seeds; the untrained policy at 0, the best single run at 1, the scaling of the PPO
paper), the average over tasks and, on tasks of that paper, its published average over seven tasks and three seeds.
Averages hide what single columns show; 95 % intervals are in the table.
"""
PART, ORDER = "tuned", 30
PER_TASK = False

TABLE_1_ARMS = [*PPO_TABLE_1, *(f"trpo max_kl={delta:g}" for delta in (0.003, 0.01, 0.03))]


def numbers(study, runs) -> pd.DataFrame:
    shown = runs[runs["arm"].isin(TABLE_1_ARMS)]
    wide = pd.concat([shown, headline(runs)])
    wide = wide[~wide.index.duplicated()]
    if shown["arm"].nunique() < 3 or wide["arm"].nunique() <= 18:
        shown = wide
    tasks = sorted(shown["task"].unique())
    scored = normalised_scores(shown).dropna(subset=["normalised"])
    tasks = [task for task in tasks if (scored["task"] == task).any()]
    if not tasks:
        raise NotApplicable("needs a task on which some arm improved on the untrained policy")
    rows = []
    for arm, group in scored.groupby("arm"):
        first = group.iloc[0]
        head = (arm, first["algorithm"], first["setting"])
        for task, cell in group.groupby("task"):
            average, low, high = statistics.mean_interval(cell["normalised"].to_numpy())
            rows.append((*head, task, average, low, high, len(cell)))
        if set(group["task"]) == set(tasks):
            average, low, high = statistics.stratified_mean(per_task(group, tasks))
            rows.append((*head, "average", average, low, high, len(group)))
        if arm in PPO_TABLE_1 and PPO_TASKS.issuperset(tasks):
            rows.append((*head, "published", PPO_TABLE_1[arm], np.nan, np.nan, 21))
    return pd.DataFrame(rows, columns=["arm", "algorithm", "setting", "task", "mean", "low", "high", "runs"])


def draw(frame) -> Figure:
    """PPO's Table 1 by task: normalised scores as shaded cells, our average and the published one."""
    arms = list(arm_styles(frame))
    columns = _columns(frame)
    cells = frame.set_index(["arm", "task"])
    names = [arm_name(arm) for arm in arms]
    blocks = table_blocks(names, columns)
    width = max(3.6, 1.6 + 0.8 * len(blocks[0]))
    figure, axes = side_by_side(len(blocks), 0.75 + 0.23 * len(arms), least=np.inf, width=width)
    for block, ax in zip(blocks, axes):
        table_axes(ax, names, block)
        for (y, arm), (x, column) in product(enumerate(arms), enumerate(block)):
            if (arm, column) in cells.index:
                mean = cells.loc[(arm, column), "mean"]
                text = f"{mean:.2f}".replace("-0.00", "0.00")
                shade(ax, x, y, mean, text, "#0072b2", bold=column == "average")
        if "average" in block:
            ax.axvline(block.index("average") - 0.5, color=INK, lw=0.8)
    return figure


def _columns(frame):
    columns = sorted(set(frame["task"]) - {"average", "published"})
    return columns + [name for name in ("average", "published") if name in set(frame["task"])]


def text(frame) -> pd.DataFrame:
    """The same with intervals."""
    rows = []
    for arm, group in by_arm(frame):
        cells = {cell.task: interval_text(cell.mean, cell.low, cell.high) for cell in group.itertuples()}
        row = {"arm": arm_name(arm)} | {task_name(name): cells.get(name, "–") for name in _columns(frame)}
        runs = group.loc[~group["task"].isin(["average", "published"]), "runs"].sum()
        rows.append(row | {"runs": str(int(runs))})
    return pd.DataFrame(rows)
