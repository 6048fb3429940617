"""The claims under test, one module ("page") each; what their rules have in common is in `analysis.rules`.

A page has

    NAME, CLAIM, RULE     for people; the rule is fixed before the data
    ORDER                 its place among the claims
    NEEDS                 algorithms whose runs must be complete
    RAW_TOO               True where those on raw advantages must be complete as well
    judge(study)          -> (verdict, sentence with its numbers, frame they come from). Raises NotApplicable.
    imagine(study, runs)  -> (judge, seeds measured), where the rule's power is simulated (`analysis.power`):
                          judge(seeds, generator) -> (shown, contrary shown), both [STUDIES]. Raises NotApplicable.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from ..arms import NotApplicable
from ..exhibit import modules, name, one_line
from ..rules import UNDECIDED


@dataclass(frozen=True)
class Claim:
    """A claim as its page describes it; `page` is the name of that."""

    page: str
    name: str
    claim: str
    rule: str
    needs: tuple
    raw_too: bool
    judge: Callable
    imagine: Callable | None


@dataclass(frozen=True)
class Verdict:
    """One claim evaluated. `sentence` holds its numbers; `numbers` is the frame they come from."""

    page: str
    name: str
    claim: str
    rule: str
    verdict: str
    sentence: str
    numbers: pd.DataFrame
    tested: bool = True  # False where the study has no such arms


CLAIMS = [
    Claim(
        name(page), page.NAME, one_line(page.CLAIM), one_line(page.RULE), page.NEEDS,
        getattr(page, "RAW_TOO", False), page.judge, getattr(page, "imagine", None),
    )
    for page in modules(__name__, __path__)
]  # fmt: skip


def evaluate(study) -> list[Verdict]:
    """All verdicts for a study. A claim whose runs are absent or incomplete is undecided, and says why."""
    return [_evaluate(study, claim) for claim in CLAIMS]


def _evaluate(study, claim: Claim) -> Verdict:
    head = (claim.page, claim.name, claim.claim, claim.rule)
    conditions = [study.main_condition, *([study.raw_condition] if claim.raw_too else [])]
    missing = study.missing["condition"].isin(conditions) & study.missing["algorithm"].isin(claim.needs)
    if missing.any():
        return Verdict(*head, UNDECIDED, f"{missing.sum()} of the runs it needs are missing.", pd.DataFrame())
    try:
        return Verdict(*head, *claim.judge(study))
    except NotApplicable as reason:
        return Verdict(*head, UNDECIDED, f"The study {reason}.", pd.DataFrame(), tested=False)
