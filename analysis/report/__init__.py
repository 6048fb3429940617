"""index.html and report.md of a study, both from one source: sections, which are data, shown by `templates/`.

The first screen (`report.first`), figures and tables in their order (`item.PARTS`), and folded away at the end what few
readers need: questions with their rules, method, what was not tested, provenance.
"""

import multiprocessing
import os
import platform
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import scipy

from .. import markup, published, question, style
from ..arms import NotApplicable
from ..data import StudyError
from ..defaults import defaults
from ..item import FINDING, PARTS, Item, one_line, usable
from ..names import counted, lacking, naming, span, steps_name
from ..panel import PANELS
from ..table import TABLES, latex
from . import explorer, first, page

COMMANDS_SHOWN = 12
LONG = 40  # rows of a table, above which it is folded
LAST = 1000  # the order of what no module describes


@dataclass(frozen=True)
class Section:
    """A figure, a table or words: what the templates show of it, whatever it has.

    refused, commands  why some of it is not there, and what makes the runs that it lacks
    frame, csv         the numbers of a figure or table
    rows, latex        its cells as text
    entries, terms     pairs of a heading or term and its text
    asked              (question, rule, list of (sentence, verdict))
    """

    name: str
    title: str
    caption: str = ""
    more: str = ""
    part: str = ""
    order: int = LAST
    refused: str = ""
    commands: tuple = ()
    frame: pd.DataFrame | None = None
    csv: str = ""
    svg: str = ""
    rows: pd.DataFrame | None = None
    latex: str = ""
    paragraphs: tuple = ()
    points: tuple = ()
    entries: tuple = ()
    terms: tuple = ()
    asked: tuple = ()


@dataclass(frozen=True)
class Part:
    name: str
    title: str
    sections: list


@defaults()
def build(study, out, strict=False):
    """Writes the report of `study` into the directory `out` and returns the path of index.html.

    strict  any missing run raises StudyError, after everything that can be drawn is written.
    """
    out, study = Path(out), study.of_one_budget
    try:
        for folder in ("figures", "tables"):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write the report: {error}") from error
    with naming(study):
        content = contents(study, out)
    for name in ("index.html", "report.md"):
        text = page.render(f"{name}.j2", formats=style.FORMATS, long=LONG, **content)
        (out / name).write_text(text, encoding="utf-8")
    if strict and not study.missing.empty:
        raise StudyError(f"{lacking(study.missing)}, the first: {study.missing['command'].iloc[0]}")
    return out / "index.html"


def contents(study, out):
    """What the templates show; figures, tables and answers are written into `out`."""
    answered = question.report(study.whole or study)  # first: what it fits, the processes that draw have too
    made = _sections(study, out)
    absent = [section for section in made if isinstance(section, str)]
    sections = {section.name: section for section in made if not isinstance(section, str)}
    frames = {name: section.frame for name, section in sections.items() if section.frame is not None}
    _write(findings(frames, answered), out / "tables" / "findings.csv")
    _write(_verdicts(answered), out / "tables" / "verdicts.csv")
    if first.both_sides(study):
        sections["counter_evidence"] = _counter_evidence(frames, answered)
    svgs = [section.svg for section in sections.values()]
    opening = sections.pop(first.figure(frames), None)
    folds = [_answers(answered), _method(study), _absent(study, absent), _provenance(study)]
    title = first.title(study)
    return {
        "title": title,
        "lead": first.lead(study),
        "notes": first.notes(study),
        "first": opening,
        "findings": first.findings(study, frames, answered),
        "glossary": Section("glossary", "Glossary", terms=first.GLOSSARY),
        "explorable": explorer.write(study, out, title),
        "parts": _parts(sections, {} if first.both_sides(study) else {"ruled_out": "Steps, collapses and seeds"}),
        "folds": [fold for fold in folds if fold],
        "dark": page.dark_colours(svgs),
    }


def _sections(study, out) -> list:
    """The sections of all items; with several cores, in processes that share the study as it is in memory.

    Drawing is nearly all of a report's time: two cores take the canonical one from 94 to 54 seconds.
    """
    items = [*PANELS.values(), *TABLES.values()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if cores == 1:
        return [_section(study, item, out) for item in items]
    with ProcessPoolExecutor(cores, multiprocessing.get_context("fork"), _remember, (study, out)) as pool:
        return list(pool.map(_remembered_section, items))


def _remember(*given):
    global _remembered
    _remembered = given


def _remembered_section(item):
    study, out = _remembered
    with naming(study):
        return _section(study, item, out)


def _parts(sections, titles):
    """List of `Part` in the order of PARTS, without empty ones; titles: others for some names."""
    ordered = sorted(sections.values(), key=lambda section: section.order)
    parts = [
        Part(part, titles.get(part, title), [each for each in ordered if each.part == part])
        for part, title in PARTS.items()
    ]
    return [part for part in parts if part.sections]


# Figures and tables ---------------------------------------------------------------------


def _section(study, item: Item, out) -> Section | str:
    """The section of a figure or table, or one line that says why it does not apply."""
    runs, missing = usable(study, item)
    refused = sorted(missing["task"].unique())
    shown = {"part": item.part, "order": item.order, "caption": item.caption, "more": item.more}
    shown |= _refusal(item, refused, missing) if refused else {}
    if runs.empty:
        return Section(item.name, item.title, **shown | {"caption": "", "more": ""})
    try:
        frame = item.numbers(study.whole or study if item.whole else study, runs)
    except NotApplicable as reason:
        return f"{item.title.removesuffix('?')}: {reason}."
    shown |= {"frame": frame, "csv": _write(frame, out / "tables" / f"{item.name}.csv")}
    if item.draw:
        shown["svg"] = style.save(style.drawn(item.draw, frame), out / "figures" / item.name)
    if item.text:
        shown["rows"] = item.text(frame)
        shown["latex"] = latex(shown["rows"], f"{item.title}. {item.caption}", item.name)
        (out / "tables" / f"{item.name}.tex").write_text(shown["latex"], encoding="utf-8")
    return Section(item.name, item.title, **shown)


def _write(frame, path):
    csv = markup.csv(frame)
    path.write_text(csv, encoding="utf-8", newline="")
    return csv


def _refusal(item, refused, missing):
    what = f"Not drawn for {', '.join(refused)}" if item.per_task else "Not drawn"
    commands = missing["command"].tolist()
    rest = [f"# and {len(commands) - COMMANDS_SHOWN} more"] if len(commands) > COMMANDS_SHOWN else []
    return {"refused": f"{what}: {lacking(missing)}.", "commands": (*commands[:COMMANDS_SHOWN], *rest)}


# What is compared -----------------------------------------------------------------------


def findings(frames, answered):
    """Every comparison of arms in the report: FINDING, its value with the interval, and the item where it stands."""
    made = {item.name: item.findings(frames[item.name]) for item in [*PANELS.values(), *TABLES.values()]
            if item.findings and item.name in frames}  # fmt: skip
    rows = [
        {"contrast": answer.contrast, "sample": answer.sample, "metric": answer.unit, "advantages": "",
         "value": answer.effect, "low": answer.low, "high": answer.high, "item": answer.question}
        for _, answers in answered
        for answer in answers
    ]  # fmt: skip
    parts = [frame.assign(item=name) for name, frame in made.items()]
    columns = [*FINDING, "value", "low", "high", "item"]
    return pd.concat([pd.DataFrame(rows, columns=columns), *parts], ignore_index=True)[columns]


def _counter_evidence(frames, answered):
    """Published results that speak against the study, each with this study's own number."""
    entries = [
        (evidence.title, f"{evidence.text} {first.pair_in_words(frames, *evidence.compare, answered)}")
        for evidence in published.COUNTER_EVIDENCE
    ]
    return Section("counter_evidence", "What speaks against it", entries=entries, part="ruled_out")


# Words ----------------------------------------------------------------------------------


def _verdicts(answered):
    rows = [
        asdict(answer) | {"tasks": " ".join(answer.tasks), "sentence": question.in_words(asked, answer)}
        for asked, answers in answered
        for answer in answers
    ]
    return pd.DataFrame(rows, columns=[*(field.name for field in fields(question.Answer)), "sentence"])


def _answers(answered):
    """Every question with its answers, verdicts and rule."""
    asked = [
        (asks.QUESTION, one_line(asks.RULE),
         [(question.in_words(asks, answer), answer.verdict or answer.refused) for answer in answers])
        for asks, answers in answered
    ]  # fmt: skip
    return Section("verdicts", "Questions, answers and rules", asked=asked) if asked else None


def _method(study):
    runs = study.runs
    seeds = runs.groupby(["condition", "task", "arm"])["seed"].nunique()
    lines = [
        f"{counted(len(runs), 'run')} of {counted(runs.groupby(['condition', 'arm']).ngroups, 'arm')} on "
        f"{counted(len(study.tasks), 'task')} "
        f"({', '.join(study.tasks)}), "
        f"{counted(span(seeds), 'seed')} per arm and task, {steps_name(runs)} environment steps per run.",
        "Seeds are the unit of every interval and test unless tasks are said to be. Intervals over seeds are such as "
        "covered the truth in 93 % of simulated studies or more, with 3, 5 and 10 seeds; where no method did, there is "
        "no interval, but what changes with one seed or one task left out. The score of a run is "
        "its mean return over the last 100 episodes; the floor of each task is the untrained policy’s return.",
        *study.warnings,
        *study.notes,
    ]
    return Section("data", "Data and method", paragraphs=lines)


def _absent(study, lines):
    """What the study has no runs for, and what it has."""
    has = [f"The study has {study.contents}."]
    return Section("absent", "What this study cannot show", paragraphs=has, points=lines) if lines else None


def _provenance(study):
    commits = sorted({str(commit)[:12] for commit in study.runs["commit"].dropna()})
    hours = study.runs["wall_seconds"].sum() / 3600
    lines = [
        f"Data: {', '.join(directory.name for directory in study.directories)}; trained at commit "
        f"{', '.join(commits[:8]) or 'unknown'}{' and others' if len(commits) > 8 else ''}; "
        f"{counted(len(study.runs), 'run')}, {counted(study.runs['seed'].nunique(), 'seed')}, {hours:.1f} hours of run "
        "time in all.",
        f"Report: Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}, pandas "
        f"{pd.__version__}, Matplotlib {matplotlib.__version__}, on {platform.system()} {platform.machine()}.",
    ]
    return Section("provenance", "Where it comes from", paragraphs=lines)
