"""How often the rule of each question decides wrongly and rightly, in simulated studies (`analysis.sizes`)."""

from pathlib import Path

import pandas as pd

from ..arms import NotApplicable
from ..names import percent

TITLE = "How the rules decide when the truth is known"
CAPTION = """
Simulated studies whose truth is known, judged by the rules of this report (python -m analysis.sizes): how often a claim
or its contrary is shown. The keywords of a world are those of the question’s module; true effect: where they do not say
it.
"""
PART, ORDER = "ruled_out", 60
NEEDS = ()
PER_TASK = False


def numbers(study, runs) -> pd.DataFrame:
    file = Path(study.directories[0]).resolve().parent / "question_sizes.csv"
    if not file.exists():
        raise NotApplicable(f"needs {file.name} beside the study, from python -m analysis.sizes")
    return pd.read_csv(file)


def text(frame) -> pd.DataFrame:
    shares = {"shown": "shown", "contrary_shown": "contrary shown"}
    words = (
        frame[["question", "world", "studies"]]
        .astype(str)
        .join(frame[list(shares)].rename(columns=shares).map(percent))
    )
    return words.assign(**{"true effect": [f"{x:.3f}" if x == x else "–" for x in frame["true_effect"]]})
