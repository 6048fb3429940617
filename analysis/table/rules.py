"""How often each rule decides wrongly and rightly, and how often its interval holds the truth, in simulated studies."""

from pathlib import Path

import pandas as pd

from ..arms import NotApplicable
from ..names import percent

TITLE = "How the rules decide when the truth is known"
CAPTION = """
A thousand simulated studies per row, judged by the rules of this report (python -m analysis.calibration): how often a
claim or its contrary is shown, and how often the 95 % interval holds the truth. Rows of the rule “interval” are
intervals of other figures and tables.
"""
PART, ORDER = "ruled_out", 60
NEEDS = ()
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    file = Path(study.directories[0]).resolve().parent / "calibration.csv"
    if not file.exists():
        raise NotApplicable(f"needs {file.name} beside the study, from python -m analysis.calibration")
    return pd.read_csv(file)


def text(frame) -> pd.DataFrame:
    columns = {"rule": "rule", "number": "number", "design": "tasks and seeds", "truth": "truth"}
    shares = {"shown": "shown", "contrary_shown": "contrary shown", "coverage": "interval holds it"}
    words = frame[list(columns)].rename(columns=columns)
    return words.join(
        frame[list(shares)].rename(columns=shares).map(lambda share: percent(share) if share >= 0 else "–")
    )
