"""Figures and tables of the report: each is described by a module of `panel/` or `table/`, called its page.

A page has

    TITLE, CAPTION           for people; the report shows a caption's first two sentences and folds the rest
    PART, ORDER              its heading in the report, one of PARTS, and its place there
    NEEDS                    algorithms whose runs must be complete; left out: all that the study has
    PER_TASK                 False where a task with missing runs cannot be left out without touching the others
    WHOLE                    True where `numbers` reads tasks at every budget; else the study has one for each
    numbers(study, runs)     -> frame, which becomes the CSV. `runs` are those of the main condition without the tasks
                             whose runs are missing. Raises NotApplicable, which says what the study lacks.
    draw(frame)              -> Figure, of a figure; no number is computed there
    text(frame)              -> frame of strings, of a table
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import pandas as pd

# The argument of the report: the headings in their order.
PARTS = {
    "overview": "In short",
    "unit": "The unit of β: what one value does to the step",
    "windows_of_values": "The window: which values do well",
    "within": "Within one run: does the best value move?",
    "tuned": "Arm against arm, tuned against tuned",
    "ruled_out": "What was ruled out",
    "others": "Further figures and tables",
}


@dataclass(frozen=True)
class Exhibit:
    """A figure or table as its page describes it; `show` is the page's `draw` or `text`."""

    name: str
    title: str
    caption: str
    part: str
    order: int
    numbers: Callable
    show: Callable
    needs: tuple | None
    per_task: bool
    whole: bool


def modules(package: str, path) -> list[ModuleType]:
    """The modules of a package, by their ORDER."""
    found = [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(path)]
    return sorted(found, key=lambda module: module.ORDER)


def found(package: str, path, show: str) -> dict[str, Exhibit]:
    """The exhibits of a package by name, in the order of the report. `show` names the pages' function."""
    exhibits = [
        Exhibit(
            name(page), page.TITLE, one_line(page.CAPTION), page.PART, page.ORDER, page.numbers, getattr(page, show),
            getattr(page, "NEEDS", None), getattr(page, "PER_TASK", True), getattr(page, "WHOLE", False),
        )
        for page in modules(package, path)
    ]  # fmt: skip
    return in_order({each.name: each for each in exhibits})


def in_order(exhibits: dict) -> dict:
    """Exhibits by name, in the order of the report."""
    headings = list(PARTS)
    return dict(sorted(exhibits.items(), key=lambda item: (headings.index(item[1].part), item[1].order)))


def name(page: ModuleType) -> str:
    """ "kl_law" of analysis.panel.kl_law."""
    return page.__name__.rpartition(".")[2]


def one_line(text: str) -> str:
    """A text without the line breaks that the page's width puts into it."""
    return " ".join(text.split())


def usable(study, exhibit: Exhibit) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(runs, missing) of an exhibit: of the main condition, without the tasks whose runs are missing."""
    runs = study.main
    missing = study.missing[study.missing["condition"] == study.main_condition]
    if exhibit.needs is not None:
        missing = missing[missing["algorithm"].isin(exhibit.needs)]
    refused = missing["task"].unique()
    if len(refused):
        runs = runs[~runs["task"].isin(refused)] if exhibit.per_task else runs.iloc[:0]
    return runs, missing
