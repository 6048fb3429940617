"""What a value costs on one task that was tuned on another: a row per knob and pair of tasks."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import statistics
from ..arms import swept_grids
from ..data import KNOBS
from ..names import ALGORITHMS, SYMBOLS, range_text, task_name
from ..style import INK, NARROW, available, shade, table_axes, table_blocks

TITLE = "What a value tuned elsewhere costs"
CAPTION = """
Normalised final return (untrained 0, best arm 100 %) that is lost on the column task with the value tuned on the row
task; last row, and the table: the value best in the mean over all tasks.

Values near or below zero mean no loss. Tuned on random halves of the seeds and evaluated on the other halves, so that
chance is not mistaken for tuning. In parentheses the smallest and largest loss with one seed left out, from three seeds
on.
"""
PART, ORDER = "windows_of_values", 50
NEEDS = tuple(KNOBS)
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    rows = []
    for algorithm, scores in swept_grids(runs):
        loss = losses(scores.normalised)
        low, high = np.full((2, *loss.shape), np.nan)
        if scores.seeds > 2:
            without = [losses(each) for each in statistics.one_seed_left_out(scores.normalised)]
            low, high = np.min(without, axis=0), np.max(without, axis=0)
        means = statistics.seed_means(scores.normalised)
        tuned = scores.settings[[*means.argmax(1), means.mean(0).argmax()]]
        for i, (tuned_on, setting) in enumerate(zip([*scores.tasks, "all tasks"], tuned)):
            for j, run_on in enumerate(scores.tasks):
                rows.append((algorithm, tuned_on, setting, run_on, loss[i, j], low[i, j], high[i, j], scores.seeds))
    return pd.DataFrame(rows, columns=["algorithm", "tuned_on", "setting", "run_on", "loss", "low", "high", "seeds"])


def losses(scores):
    """[E + 1, E] of scores [E, H, S]: loss on the column task of the setting tuned on the row task, in the last row of
    the best single setting."""
    select, evaluate = statistics.split_means(scores)
    return np.vstack([statistics.transfer(select, evaluate).mean(0), statistics.regret(select, evaluate).mean(0)])


def draw(frame) -> Figure:
    """Loss on the column task of the setting tuned on the row task, one matrix per number."""
    algorithms = list(frame["algorithm"].unique())
    tasks = sorted(frame["run_on"].unique())
    blocks = table_blocks([f"{task_name(task)}, 0.001" for task in tasks], tasks, least=0.24)
    columns = min(2 if available.get() > NARROW and len(blocks) == 1 else 1, len(algorithms))
    parts = [(algorithm, block) for algorithm in algorithms for block in blocks]
    rows = -(-len(parts) // columns)
    width = available.get() if columns > 1 else min(available.get(), 2.0 + 0.5 * len(blocks[0]))
    figure = Figure(figsize=(width, rows * (1.15 + 0.22 * (len(tasks) + 1))), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for (algorithm, block), ax in zip(parts, grid.flat):
        here = frame[(frame["algorithm"] == algorithm) & frame["run_on"].isin(block)]
        setting = here.drop_duplicates("tuned_on").set_index("tuned_on")["setting"]
        names = [name for name in [*tasks, "all tasks"] if name in setting.index]
        table_axes(ax, [f"{task_name(name)}, {setting[name]:g}" for name in names], block)
        for (tuned_on, run_on), cell in here.set_index(["tuned_on", "run_on"]).iterrows():
            text = f"{100 * cell['loss'] + 0.0:.0f}".replace("-0", "0")
            shade(
                ax, block.index(run_on), names.index(tuned_on), cell["loss"], text, "#d55e00", tuned_on == "all tasks"
            )
        ax.axhline(len(names) - 1.5, color=INK, lw=0.8)
        ax.set_ylabel(f"{ALGORITHMS[algorithm]}: {SYMBOLS[KNOBS[algorithm][0]]} tuned on")
    for ax in grid.flat[len(parts) :]:
        ax.remove()
    return figure


def text(frame) -> pd.DataFrame:
    rows = []
    one = frame[frame["tuned_on"] == "all tasks"]
    for (algorithm, setting), group in one.groupby(["algorithm", "setting"], sort=False):
        row = {"best single": f"{SYMBOLS[KNOBS[algorithm][0]]} = {setting:g}"}
        for cell in group.itertuples():
            row[task_name(cell.run_on)] = range_text(100 * cell.loss, 100 * cell.low, 100 * cell.high, digits=0)
        rows.append(row | {"seeds": str(group["seeds"].min())})
    return pd.DataFrame(rows).fillna("–")
