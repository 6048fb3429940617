"""Report items: figures and tables, each described by a module of `panel/`, `table/` or `question/`.

Such a module has

    TITLE, CAPTION           for people; the report folds what stands below a caption's first paragraph
    PART, ORDER              its heading in the report, one of PARTS, and its place there
    NEEDS                    algorithms whose runs must be complete; left out: all that the study has, and of a question
                             none
    PER_TASK                 False where a task with missing runs cannot be left out without touching the others
    WHOLE                    True, as of questions, where `numbers` reads tasks at every budget; else the study has one
                             for each
    numbers(study, runs)     -> frame, which becomes the CSV. `runs` are those of the main condition without the tasks
                             whose runs are missing. Raises NotApplicable, which says what the study lacks. Left out of
                             a question: the `by_task` of its effects
    draw(frame)              -> Figure, of a figure; no number is computed there
    text(frame)              -> frame of strings, of a table; with `draw` as well, the table is folded below the figure
    findings(frame)          -> frame of what compares arms (`FINDING` and value), so that no quantity has two values
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import pandas as pd

# The argument of the report: the headings in their order.
PARTS = {
    "overview": "In short",
    "unit": "The unit of β: what one value does to the step",
    "windows_of_values": "Which values do well",
    "within": "Within one run: does the best value move?",
    "tuned": "Arm against arm",
    "ruled_out": "What was ruled out",
    "others": "Further figures and tables",
}
FINDING = ["contrast", "sample", "metric", "advantages"]  # what makes a quantity one quantity


@dataclass(frozen=True)
class Item:
    """A figure or table as its module describes it; `more` is what the report folds of its caption."""

    name: str
    title: str
    caption: str
    more: str
    part: str
    order: int
    numbers: Callable
    draw: Callable | None
    text: Callable | None
    findings: Callable | None
    needs: tuple | None
    per_task: bool
    whole: bool


def modules(package: str, path) -> list[ModuleType]:
    """The modules of a package, by their ORDER."""
    found = [importlib.import_module(f"{package}.{module.name}") for module in pkgutil.iter_modules(path)]
    return sorted(found, key=lambda module: module.ORDER)


def found(package: str, path) -> dict[str, Item]:
    """The items of a package by name, in the order of the report."""
    return in_order({name(module): _item(module) for module in modules(package, path)})


def _item(module):
    caption, _, more = module.CAPTION.strip().partition("\n\n")
    words = name(module), module.TITLE, one_line(caption), one_line(more), module.PART, module.ORDER
    asked = hasattr(module, "effects")  # a question
    numbers = module.numbers if hasattr(module, "numbers") else partial(_by_task, module.effects)
    shown = (getattr(module, name, None) for name in ("draw", "text", "findings"))
    needs, whole = getattr(module, "NEEDS", () if asked else None), getattr(module, "WHOLE", asked)
    return Item(*words, numbers, *shown, needs, getattr(module, "PER_TASK", True), whole)


def _by_task(effects, study, runs):
    return effects(study).by_task


def in_order(items: dict) -> dict:
    """Items by name, in the order of the report."""
    headings = list(PARTS)
    return dict(sorted(items.items(), key=lambda item: (headings.index(item[1].part), item[1].order)))


def name(module: ModuleType) -> str:
    """ "kl_law" of analysis.panel.kl_law."""
    return module.__name__.rpartition(".")[2]


def one_line(text: str) -> str:
    """A text without the line breaks that a source file's width puts into it."""
    return " ".join(text.split())


def usable(study, item: Item) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(runs, missing) of an item: of the main condition, without the tasks whose runs are missing."""
    runs = study.main
    missing = study.missing[study.missing["condition"] == study.main_condition]
    if item.needs is not None:
        missing = missing[missing["algorithm"].isin(item.needs)]
    refused = missing["task"].unique()
    if len(refused):
        runs = runs[~runs["task"].isin(refused)] if item.per_task else runs.iloc[:0]
    return runs, missing
