"""Within one problem: is a beta that changes during training better than a constant one?"""

import re
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..data import PHASES
from ..names import algorithm_name
from . import Answer, rows, samples, span, tuned
from . import sentence as plain_sentence
from .constraint import MATTERS, claim, contrasts, decided, differences, imagine, judged  # noqa: F401 (one rule)

QUESTION = "On one task, is a β that changes within a run better than the best constant one?"
RULE = f"""
Normalised score on the same task, each side at the value tuned on that task, read on seeds that did not choose it, from
as many candidates: β on normalised advantages (which follows their scale) minus a constant raw one; centred minus raw
advantages, the control; each adaptive rule minus a constant β. Shown if the interval over tasks is above 0; the
contrary if its upper end is below {MATTERS:g}.
"""
MAIN = "normalised minus raw"  # the one test
ADAPTIVE = ("kl_adaptive", "kl_dual", "kl_bisect")

TITLE = "A β that changes within a run, against the best constant one"
CAPTION = """
Normalised score (untrained 0, best arm 1), both sides tuned on the task itself and read on other seeds: small dots are
tasks, the large one is their mean with its 95 % interval; an arrow is a task beyond the plot. β on normalised
advantages follows their scale; centring them alone is the control.
"""
PART, ORDER = "within", 5


class Effects(NamedTuple):
    """by_task: a row per sample, contrast and task; moves: of `scale_moves`."""

    by_task: pd.DataFrame
    moves: pd.DataFrame


def effects(data) -> Effects:
    fixed = [("kl_fixed", kind) for kind in ("raw", "centred", "normalised")]
    rules = [(rule, kind) for rule in ADAPTIVE for kind in ("normalised", "raw")]
    sides = [
        (MAIN, ((fixed[2], "own"), (fixed[0], "own"))),
        ("centred minus raw (control)", ((fixed[1], "own"), (fixed[0], "own"))),
        *(
            (f"{algorithm_name(rule)} minus constant β, {kind}", (((rule, kind), "own"), (("kl_fixed", kind), "own")))
            for rule, kind in rules
        ),
    ]
    return Effects(contrasts(tuned(data, fixed + rules), sides), scale_moves(data))


def scale_moves(data):
    """Frame: how far log10 of the standard deviation of the raw advantages moves within runs of fixed raw betas.

    Columns sample, task, reach (largest minus smallest fifth of training), drift (last minus first), means over runs.
    """
    frames = []
    with np.errstate(divide="ignore", invalid="ignore"):
        fifths = data.over_training(np.log10(data.curves["sigma_advantage"].to_numpy(dtype=float)), PHASES)
    for sample in samples(data):
        runs = rows(data, sample, "kl_fixed", "raw")
        own = fifths[runs.index]
        own = np.where(np.isfinite(own), own, np.nan)
        whole = np.isfinite(own).all(1)
        own, runs = own[whole], runs[whole]
        moves = pd.DataFrame({"task": runs["task"], "reach": np.ptp(own, axis=1), "drift": own[:, -1] - own[:, 0]})
        frames.append(moves.groupby("task", as_index=False).mean().assign(sample=sample.name))
    return pd.concat(frames, ignore_index=True)


def decide(found: Effects) -> list[Answer]:
    return decided("within_run", found.by_task, judged, RULE, MAIN)


def moved(found: Effects) -> list[str]:
    """How far the scale of the advantages moves, a sentence per sample."""
    return [
        f"Within a run the standard deviation of the raw advantages moves {10 ** own['reach'].median():.2g}-fold in "
        f"the median task, {10 ** own['reach'].max():.2g}-fold at most ({span([len(own)])} {sample})."
        for sample, own in found.moves.groupby("sample", sort=False)
    ]


def in_full(contrast):
    """ "normalised minus raw" -> "β, normalised minus raw advantages"."""
    return re.sub(r"^(centred|normalised) minus raw", r"β, \1 minus raw advantages", contrast)


def sentence(answer) -> str:
    contrast = f"On one task, values tuned there: {in_full(answer.contrast)}"
    return plain_sentence(replace(answer, contrast=contrast))


WORLDS = [{"effect": effect, "scatter": 0.2} for effect in (0.0, 0.05, 0.1)]


def draw(frame) -> Figure:
    return differences(frame.assign(contrast=frame["contrast"].map(in_full)), "difference of normalised scores")
