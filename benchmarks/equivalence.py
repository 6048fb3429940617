"""Do two versions of the code return the same? `python benchmarks/equivalence.py results/old results/new`

Each folder holds the same arms on the same tasks, trained by one version, with many seeds. Per arm and task: the
difference of the mean area under the learning curve, new less old, as a share of what the old version gained over its
first update's return, its 90 % interval (Welch), and whether the two one-sided tests at 5 % (Schuirmann 1987) put it
within the margin. Runs of one seed begin alike; the last two columns use that: the interval of the paired difference.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

MARGIN = 0.1  # of the gain


def scores(folder: Path) -> tuple[pd.Series, pd.Series]:
    """({(task, arm, seed): area under the curve}, {task: return before the first update})."""
    runs = pd.read_parquet(folder / "runs.parquet").set_index("run_id")
    curves = pd.read_parquet(folder / "curves.parquet").dropna(subset=["return_mean"])
    first = curves.sort_values("iteration").groupby("run_id")["return_mean"].first()
    untrained = first.groupby(runs["task"].reindex(first.index)).mean()
    area = curves.groupby("run_id")["return_mean"].mean()
    return area.rename(index=dict(zip(runs.index, zip(runs["task"], runs["arm"], runs["seed"])))), untrained


def main(old: Path, new: Path) -> bool:
    (before, untrained), (after, _) = scores(old), scores(new)
    rows = []
    for task, arm in sorted({(task, arm) for task, arm, _ in before.index} & {(t, a) for t, a, _ in after.index}):
        own = [{s: value for (t, a, s), value in side.items() if (t, a) == (task, arm)} for side in (after, before)]
        x, y = (np.array(list(side.values())) for side in own)
        pairs = np.array([[side[seed] for side in own] for seed in sorted(own[0].keys() & own[1].keys())])
        gain = y.mean() - untrained[task]
        interval = stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.9)
        low, high = (end / gain for end in interval)
        paired = [end / gain for end in stats.ttest_1samp(pairs[:, 0] - pairs[:, 1], 0).confidence_interval(0.9)]
        inside = -MARGIN < low and high < MARGIN
        rows.append(
            (task, arm, len(y), len(x), y.mean(), x.mean(), (x.mean() - y.mean()) / gain, low, high, inside, *paired)
        )
    columns = ["task", "arm", "old seeds", "new seeds", "old", "new", "share of gain", "low", "high", "equivalent"]
    columns += ["paired low", "paired high"]
    table = pd.DataFrame(rows, columns=columns)
    print(table.round(3).to_string(index=False))
    return bool(len(table) and table["equivalent"].all())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    given = parser.parse_args()
    sys.exit(0 if main(given.old, given.new) else 1)
