"""How many seeds would settle a claim: a row per claim and number of seeds, with the shares of simulated studies that
show the claim and its contrary (`analysis.power`).
"""

import numpy as np
import pandas as pd

from ..arms import NotApplicable
from ..claim import CLAIMS
from ..names import percent
from ..power import SEEDS, STUDIES

TITLE = "How many seeds would settle it"
CAPTION = f"""
Share of simulated studies with so many seeds in which the rule shows the claim / shows its contrary; the rest are
undecided. For planning, not evidence: the best of several means is too high, which favours the claim. Runs are drawn
from normal distributions with the means and covariances of these runs ({STUDIES} studies each, standard error at most
{percent(0.5 / STUDIES**0.5)}). Fix the number of seeds beforehand: adding seeds until a claim is shown shows it in the
end.
"""
PART, ORDER = "ruled_out", 50
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    rows = []
    for claim in CLAIMS:
        if claim.imagine is None:
            continue
        try:
            judge, at_hand = claim.imagine(study, runs)
        except NotApplicable:
            continue
        for seeds in SEEDS:
            shown, contrary = judge(seeds, np.random.default_rng(seeds))
            rows.append((claim.name, seeds, np.mean(shown), np.mean(contrary), at_hand))
    if not rows:
        raise NotApplicable("needs two seeds of the runs of claim A, B or C")
    return pd.DataFrame(rows, columns=["claim", "seeds", "shown", "contrary_shown", "seeds_at_hand"])


def text(frame) -> pd.DataFrame:
    rows = []
    for claim, group in frame.groupby("claim", sort=False):
        cells = {
            f"{row.seeds} seeds": f"{percent(row.shown)} / {percent(row.contrary_shown)}" for row in group.itertuples()
        }
        rows.append({"claim": claim, **cells, "seeds measured": str(group["seeds_at_hand"].iloc[0])})
    return pd.DataFrame(rows)
