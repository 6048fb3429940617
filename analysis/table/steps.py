"""What the updates of each arm are like, in the mean over runs and tasks: a row per arm and quantity of `updates`."""

import numpy as np
import pandas as pd

from .. import statistics
from ..arms import NotApplicable, headline, log_median_kl, per_task
from ..data import PHASES
from ..names import arm_name
from ..style import by_arm

WILD_KL = 10  # times the median KL of the run
WILD_RATIO = 100  # pi_new / pi_old of some action of the batch

TITLE = "Which updates run away"
CAPTION = f"""
KL(old‖new) of a run’s median update, and the share of updates whose KL is more than {WILD_KL} times that median, in all
of training and in its first and last fifth. Last, the share of updates after which some action of the batch is more
than {WILD_RATIO} times as likely as before.

Means over tasks and runs with 95 % interval over runs; of the KL a geometric mean over runs.
"""
PART, ORDER = "ruled_out", 30


def numbers(study, runs) -> pd.DataFrame:
    chosen = headline(runs)
    tasks = sorted(chosen["task"].unique())
    quantities = updates(study)
    rows = []
    for arm, group in chosen.groupby("arm"):
        first = group.iloc[0]
        for name, values in quantities.items():
            runs_of = group.assign(value=values.reindex(group.index)).dropna(subset=["value"])
            if set(runs_of["task"]) != set(tasks):
                continue
            value, low, high = statistics.stratified_mean(per_task(runs_of, tasks, "value"))
            rows.append((arm, first["algorithm"], first["setting"], name, value, low, high, len(runs_of)))
    if not rows:
        raise NotApplicable("needs kl_after in the curves of arms that were run on the same tasks")
    return pd.DataFrame(rows, columns=["arm", "algorithm", "setting", "quantity", "mean", "low", "high", "runs"])


def updates(study) -> dict:
    """What the updates of each run are like: name -> Series by the rows of study.runs."""
    run, kl, ratio, progress = (study.curves[name] for name in ("run", "kl_after", "max_ratio", "progress"))
    median = kl.groupby(run).median().reindex(study.runs.index)
    # An unknown KL stays unknown.
    wild = (kl > WILD_KL * median.to_numpy()[run]).where(kl.notna())
    wild_ratio = (ratio > WILD_RATIO).where(ratio.notna())

    def share(updates):
        return updates.astype(float).groupby(run).mean()

    return {
        "log10_median_kl": log_median_kl(study),
        "wild_kl": share(wild),
        "wild_kl_first_fifth": share(wild[progress <= 1 / PHASES]),
        "wild_kl_last_fifth": share(wild[progress > 1 - 1 / PHASES]),
        "wild_ratio": share(wild_ratio),
    }


def text(frame) -> pd.DataFrame:
    def share(cell):
        low, high = np.clip([cell["low"], cell["high"]], 0, 1)  # of no share goes an interval below 0 or above 1
        return f"{100 * cell['mean']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"

    def nats(cell):
        return "{:.2g} [{:.2g}, {:.2g}]".format(*10 ** cell[["mean", "low", "high"]].astype(float))

    titles = {
        "log10_median_kl": ("median KL, nats", nats),
        "wild_kl": (f"KL above {WILD_KL} medians", share),
        "wild_kl_first_fifth": ("first fifth", share),
        "wild_kl_last_fifth": ("last fifth", share),
        "wild_ratio": (f"a ratio above {WILD_RATIO}", share),
    }
    rows = []
    for arm, group in by_arm(frame):
        cells = group.set_index("quantity")
        row = {title: text(cells.loc[name]) if name in cells.index else "–" for name, (title, text) in titles.items()}
        rows.append({"arm": arm_name(arm)} | row | {"runs": str(group["runs"].min())})
    return pd.DataFrame(rows)
