"""The figures of the report, a module each (`analysis.item` says what it has)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .. import question
from ..arms import NotApplicable
from ..data import Study, StudyError
from ..defaults import defaults
from ..item import Item, found, in_order, usable
from ..names import lacking, naming
from ..style import drawn

ASKED = found(question.__name__, question.__path__)
PANELS = in_order(found(__name__, __path__) | {name: item for name, item in ASKED.items() if item.draw})
RENAMED = {
    "changing": "within_run",
    "contests": "task_by_task",
    "diagonal": "mechanism",
    "gradient_bound": "clipping",
    "unit_steps": "step",
}
REPLACED = {  # figures that were, and what a reader takes now
    "profile": "beta_profile draws the values of every method's knob",
    "best_by_phase": "fork shows where the best β is early and late in a run",
    "four_answers": "the report has every question with its answers, and tables/verdicts.csv their numbers",
}


@defaults()
def figure(
    name: str,
    study: Study,
    width: float | None = None,
    arms: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    style: str | Path | dict[str, Any] | None = None,
) -> Figure:
    """A figure of the report as a matplotlib Figure, `width` inches wide, of some arms and tasks (`Study.only`).

    - name: one of the gallery's.
    - width: 7.2 inches unless said otherwise; letters keep their size.
    - style: a style of matplotlib (a file, a name or a dict), which goes over ours.

    As in the report, a task whose runs are missing is left out. Raises StudyError for a name that is none, and where
    the study has too few runs for the figure.
    """
    panel, study = named(name), study.only(arms, tasks)
    study = study if panel.whole else study.of_one_budget
    runs, missing = usable(study, panel)
    if runs.empty:
        raise StudyError(f"{name}: {lacking(missing)}, the first: {missing['command'].iloc[0]}")
    try:
        with naming(study):
            return drawn(panel.draw, panel.numbers(study, runs), width, style)
    except NotApplicable as reason:
        raise StudyError(f"{name}: this study {reason}; it has {study.contents}") from None


def named(name: str) -> Item:
    """The panel of that name. Raises StudyError."""
    name = RENAMED.get(name, name)
    if name in REPLACED:
        raise StudyError(f"there is no figure {name!r} any more: {REPLACED[name]}")
    if name not in PANELS:
        raise StudyError(f"no figure {name!r}; there are {', '.join(PANELS)}")
    return PANELS[name]
