"""explorer.html: every single run of a study on one page that needs no network, for questions no figure was made for.

The library that draws (Plotly) and the runs travel inside the page, compressed; the browser unpacks them.
"""

import base64
import gzip
import json
from functools import cache

import numpy as np
import pandas as pd

from .. import markup
from ..names import DISPLAY_ORDER, symbol, task_name
from . import page

POINTS = 40  # of a curve


def write(study, out, title):
    """Writes explorer.html into `out`; its path, or None without Plotly."""
    try:
        library = _library()
    except ImportError:
        return None
    path = out / "explorer.html"
    runs = _packed(json.dumps(content(study)))
    text = page.render("explorer.html.j2", title=title, library=library, runs=runs)
    path.write_text(text, encoding="utf-8")
    return path


@cache
def _library():
    from plotly.offline import get_plotlyjs

    return _packed(get_plotlyjs())


def _packed(text):
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def content(study):
    """What the page holds: tasks, arms with the values of their number, and of each run its curves.

    runs: [task, arm, value, seed, final return, returns, KLs] with task, arm and value as places in their lists.
    """
    runs = study.runs
    tasks = study.tasks
    parts = min(POINTS, study.bins)
    returns = pd.DataFrame(study.over_training("return_mean", parts)).ffill(axis=1).to_numpy()
    kl = study.curves["kl_after"].to_numpy(dtype=float)
    log_kl = study.over_training(np.log(np.where(kl > 0, kl, np.nan)), parts)
    order = runs["algorithm"].map(DISPLAY_ORDER).fillna(len(DISPLAY_ORDER))
    arms, place = [], {}
    keys = [runs["condition"] != study.main_condition, "condition", order, "family"]
    for (_, condition, _, family), here in runs.groupby(keys):
        values = sorted(here["setting"].dropna().unique())
        called = symbol(here["knob"].iloc[0]) if values else ""
        place[condition, family] = len(arms), {value: i for i, value in enumerate(values)}
        name = markup.visible(study.arm_names[f"{family} {condition}".strip()])
        arms.append({"name": name, "symbol": called, "values": [float(value) for value in values] or [None]})
    rows = []
    for number, run in runs.iterrows():
        arm, at = place[run["condition"], run["family"]]
        rows.append([
            tasks.index(run["task"]), arm, at.get(run["setting"], 0), int(run["seed"]), _short(run["score"]),
            [_short(value) for value in returns[number]],
            [_short(value, 3) for value in np.exp(log_kl[number])],
        ])  # fmt: skip
    steps = pd.Series(study.steps, index=runs.index).groupby(runs["task"]).max()
    return {
        "tasks": [markup.visible(task_name(task)) for task in tasks],
        "steps": [float(steps[task]) for task in tasks],
        "points": parts,
        "arms": arms,
        "runs": rows,
    }


def _short(value, digits=4):
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None
