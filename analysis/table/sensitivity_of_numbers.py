"""The numbers of the figure `sensitivity`, with what else is known of them."""

import numpy as np
import pandas as pd

from ..data import KNOBS
from ..names import SYMBOLS, range_text
from ..panel import sensitivity

TITLE = "Sensitivity of each method to its number"
CAPTION = """
Φ, in parentheses the smallest and largest with one task left out, and the numbers that need tuning per task to reach
95 % of the tuned score (Adkins et al. 2024).
"""
PART, ORDER = "windows_of_values", 90
NEEDS = tuple(KNOBS)
PER_TASK = False


numbers = sensitivity.numbers


def text(frame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "number": [SYMBOLS[name] for name in frame["number"]],
            "Φ": [range_text(*row) for row in zip(frame["phi"], frame["low"], frame["high"])],
            "Φ, split seeds": [f"{value:.2f}" if np.isfinite(value) else "–" for value in frame["phi_split"]],
            "best single": [f"{value:g}" for value in frame["best_single"]],
            "to tune per task": [f"{value} of 1" for value in frame["numbers_to_tune"]],
            "values (decades)": [f"{n} ({d:.1f})" for n, d in zip(frame["values"], frame["decades"])],
            "seeds": [str(value) for value in frame["seeds"]],
        }
    )
