"""index.html and report.md of a study: its first screen, figures and tables in their order (`exhibit.PARTS`), folds.

What few readers need (rules, method, what was not tested, provenance) is folded away at the end.
"""

import html
import json
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

from . import explorer, markup, opening, page, published, question, style
from .arms import NotApplicable
from .compare import compare_two
from .data import StudyError
from .defaults import defaults
from .exhibit import PARTS, Exhibit, one_line, usable
from .names import span, steps_name
from .panel import PANELS
from .table import TABLES, latex, markdown

COMMANDS_SHOWN = 12
LONG = 40  # rows of a table, above which it is folded
LAST = 1000  # the order of what no page describes


@dataclass(frozen=True)
class Section:
    """One figure, table or fold of the report; html and markdown say the same.

    frame        the numbers of a figure or table, if it has any
    part, order  where a figure or table stands; a fold stands at the end
    """

    name: str
    title: str
    html: str
    markdown: str
    frame: pd.DataFrame | None = None
    part: str = ""
    order: int = LAST


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
    made = _sections(study, out)
    if opening.contest(study):
        made.append(_counter_evidence(study))
    absent = [section for section in made if isinstance(section, str)]
    sections = {section.name: section for section in made if not isinstance(section, str)}
    frames = {name: section.frame for name, section in sections.items() if section.frame is not None}
    answered = question.report(study.whole or study)
    _write_answers(answered, out)
    first = sections.pop(opening.figure(frames), None)
    seen = opening.sentences(study, frames, answered)
    folds = [
        _answers(answered),
        _data(study),
        _not_applicable(absent),
        _glossary(),
        _provenance(study),
    ]
    folds = [fold for fold in folds if fold]
    explorable = explorer.write(study, out, opening.title(study))
    parts = _parts(sections, {} if opening.contest(study) else {"ruled_out": "Steps, collapses and seeds"})
    _write_page(study, first, seen, parts, folds, explorable, out)
    _write_markdown(study, first, seen, parts, folds, out)
    if strict and not study.missing.empty:
        raise StudyError(f"{len(study.missing)} runs are missing, the first: {study.missing['command'].iloc[0]}")
    return out / "index.html"


def _sections(study, out) -> list:
    """The sections of all panels and tables; with several cores, in processes that share the study as it is in memory.

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
    return _section(study, item, out)


def _parts(sections, titles):
    """[(name, title, sections)] in the order of PARTS, without empty ones; titles: others for some names."""
    ordered = sorted(sections.values(), key=lambda section: section.order)
    parts = [
        (part, titles.get(part, title), [each for each in ordered if each.part == part])
        for part, title in PARTS.items()
    ]
    return [part for part in parts if part[2]]


# Panels and tables ----------------------------------------------------------------------


def _section(study, item: Exhibit, out) -> Section | str:
    """The section of a panel or table, or one line that says why it does not apply."""
    runs, missing = usable(study, item)
    refused = sorted(missing["task"].unique())
    note = _refusal(item, refused, missing) if refused else ("", "")
    if runs.empty:
        return Section(item.name, item.title, *note, None, item.part, item.order)
    try:
        frame = item.numbers(study.whole or study if item.whole else study, runs)
    except NotApplicable as reason:
        return f"{item.title.removesuffix('?')}: {reason}."
    csv = markup.csv(frame)
    (out / "tables" / f"{item.name}.csv").write_text(csv, encoding="utf-8", newline="")
    write = _draw if item.name in PANELS else _tabulate
    body_html, body_markdown = write(item, frame, csv, out)
    words = "\n\n".join(filter(None, [note[1], body_markdown]))
    return Section(item.name, item.title, note[0] + body_html, words, frame, item.part, item.order)


def _draw(panel, frame, csv, out):
    svg = style.save(style.drawn(panel.show, frame), out / "figures" / panel.name)
    links = " ".join(f'<a href="figures/{panel.name}.{kind}">{kind.upper()}</a>' for kind in style.FORMATS)
    caption, rest = page.split(panel.caption)
    return (
        f"<figure>{page.plot(svg, panel.name, panel.title)}"
        f"<figcaption>{markup.html(caption)}</figcaption></figure>{page.rest(rest)}"
        f'<p class="files">{page.download("numbers (CSV)", panel.name + ".csv", csv)} {links}</p>',
        f"![{panel.title}](figures/{panel.name}.svg)\n\n{caption} ([numbers](tables/{panel.name}.csv))"
        + _fold("more", rest),
    )


def _tabulate(table, frame, csv, out):
    text = table.show(frame)
    tex, words = latex(text, f"{table.title}. {table.caption}", table.name), markdown(text)
    (out / "tables" / f"{table.name}.tex").write_text(tex, encoding="utf-8")
    (out / "tables" / f"{table.name}.md").write_text(words + "\n", encoding="utf-8")
    caption, rest = page.split(table.caption)
    rows = page.table(text)
    if len(text) > LONG:
        rows = f"<details><summary>{len(text)} rows</summary>{rows}</details>"
    return (
        f'{rows}<p class="caption">{markup.html(caption)}</p>{page.rest(rest)}'
        f'<p class="files">{page.download("CSV", table.name + ".csv", csv)} '
        f"{page.download('LaTeX', table.name + '.tex', tex, 'text/x-tex')}</p>",
        f"{words}\n\n{caption}" + _fold("more", rest),
    )


def _fold(title, text):
    return f"\n\n<details><summary>{title}</summary>\n\n{text}\n\n</details>" if text else ""


def _refusal(item, refused, missing):
    what = f"Not drawn for {', '.join(refused)}" if item.per_task else "Not drawn"
    commands = missing["command"].tolist()
    rest = f"\n# and {len(commands) - COMMANDS_SHOWN} more" if len(commands) > COMMANDS_SHOWN else ""
    text = "\n".join(commands[:COMMANDS_SHOWN]) + rest
    line = f"{what}: {len(commands)} {'run is' if len(commands) == 1 else 'runs are'} missing."
    return (
        f'<div class="refused"><p>{markup.html(line)}</p><details><summary>The commands that make them</summary>'
        f"<pre>{html.escape(text)}</pre></details></div>",
        f"{markup.markdown(line)} The commands that make them:\n\n{markup.fenced(text, 'sh')}",
    )


def _not_applicable(lines):
    return _listed("absent", "What this study cannot show", lines)


def _listed(name, title, lines):
    """A fold that lists lines, or None without any."""
    items = "".join(f"<li>{markup.html(line)}</li>" for line in lines)
    words = "\n".join(f"- {markup.markdown(line)}" for line in lines)
    return Section(name, title, f"<ul>{items}</ul>", words) if lines else None


# Words ----------------------------------------------------------------------------------


def _write_answers(answered, out):
    rows = [
        asdict(answer) | {"tasks": " ".join(answer.tasks), "sentence": question.in_words(page, answer)}
        for page, answers in answered
        for answer in answers
    ]
    frame = pd.DataFrame(rows, columns=[*(field.name for field in fields(question.Answer)), "sentence"])
    (out / "tables" / "verdicts.csv").write_text(markup.csv(frame), encoding="utf-8", newline="")


def _answers(answered):
    """Every question with its answers, verdicts and rule."""
    cards, lines = [], []
    for asked, answers in answered:
        cards.append(f'<div class="verdict"><p><b>{markup.html(asked.QUESTION)}</b></p>')
        lines.append(f"**{asked.QUESTION}**")
        for answer in answers:
            words, verdict = question.in_words(asked, answer), answer.verdict or answer.refused
            strong = f' <strong class="{answer.verdict.replace(" ", "-")}">{markup.html(verdict)}</strong>'
            cards.append(f"<p>{markup.html(words)}{strong if verdict else ''}</p>")
            lines.append(f"{markup.markdown(words)} {f'**{markup.markdown(verdict)}**' if verdict else ''}".strip())
        rule = one_line(asked.RULE)
        cards.append(f"{page.rest(rule, 'the rule, fixed before the data')}</div>")
        lines.append(f"*Rule:* {rule}")
    return Section("verdicts", "Questions, answers and rules", "".join(cards), "\n\n".join(lines)) if lines else None


def _glossary():
    items = "".join(f"<dt>{markup.html(term)}</dt><dd>{markup.html(text)}</dd>" for term, text in opening.GLOSSARY)
    lines = "\n".join(f"- **{term}**: {text}" for term, text in opening.GLOSSARY)
    return Section("glossary", "Glossary", f"<dl>{items}</dl>", lines)


def _data(study):
    runs = study.runs
    seeds = runs.groupby(["condition", "task", "arm"])["seed"].nunique()
    lines = [
        f"{len(runs)} runs of {runs.groupby(['condition', 'arm']).ngroups} arms on {len(study.tasks)} tasks "
        f"({', '.join(study.tasks)}), "
        f"{span(seeds)} seeds per arm and task, {steps_name(runs)} environment steps per run.",
        "Seeds are the unit of every interval and test unless tasks are said to be. Intervals over seeds are such as "
        "held the truth in 93 % of simulated studies or more, with 3, 5 and 10 seeds; where no method did, there is no "
        "interval, but what changes with one seed or one task left out. The score of a run is "
        "its mean return over the last 100 episodes; the floor of each task is the untrained policy’s return.",
        *study.notes,
    ]
    if study.main_condition:
        lines.append(f"Unless said otherwise the panels show the runs with {study.main_condition}.")
    return _paragraphs("data", "Data and method", lines)


def _paragraphs(name, title, lines):
    text = "".join(f"<p>{markup.html(line)}</p>" for line in lines)
    return Section(name, title, text, "\n\n".join(map(markup.markdown, lines)))


def _counter_evidence(study):
    items = []
    for evidence in published.COUNTER_EVIDENCE:
        ours = _ours(study, *evidence.compare) if study.missing.empty else "Not compared: runs are missing."
        items.append((evidence.title, f"{evidence.text} {ours}"))
    return Section(
        "counter_evidence",
        "What speaks against it",
        "".join(f"<h4>{markup.html(title)}</h4><p>{markup.html(text)}</p>" for title, text in items),
        "\n\n".join(f"**{title}.** {text}" for title, text in items),
        part="ruled_out",
    )


def _ours(study, algorithm, reference):
    """One sentence with this study's number for two algorithms, each at its default or best single value."""
    try:
        difference, low, high, tasks, arms = compare_two(study.main, algorithm, reference)
    except NotApplicable as reason:
        return f"This study cannot add a number to it: it {reason}."
    return (
        f"In this study, in the mean over {tasks} tasks (untrained = 0, best arm = 1): {arms[0]}, minus {arms[1]} "
        f"= {difference:+.2f} [{low:+.2f}, {high:+.2f}]."
    )


def _provenance(study):
    commits = sorted({str(commit)[:12] for commit in study.runs["commit"].dropna()})
    hours = study.runs["wall_seconds"].sum() / 3600
    lines = [
        f"Data: {', '.join(directory.name for directory in study.directories)}; trained at commit "
        f"{', '.join(commits[:8]) or 'unknown'}{' and others' if len(commits) > 8 else ''}; "
        f"{len(study.runs)} runs, {study.runs['seed'].nunique()} seeds, {hours:.1f} hours of run time in all.",
        f"Report: Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}, pandas "
        f"{pd.__version__}, Matplotlib {matplotlib.__version__}, on {platform.system()} {platform.machine()}.",
    ]
    return _paragraphs("provenance", "Where it comes from", lines)


# Files ----------------------------------------------------------------------------------


def _write_page(study, first, seen, parts, folds, explorable, out):
    start = "".join(f'<p class="note">{page.text(line)}</p>' for line in opening.notes(study))
    start += f'<div id="{first.name}">{first.html}</div>' if first else ""
    if seen:
        items = "".join(f"<li>{page.text(line.text)}{_link(line.anchor)}</li>" for line in seen)
        figure, end, more = start.partition("</figure>")
        start = f'{figure}{end}<ul class="seen">{items}</ul>{more}'
    if explorable:
        start += '<p><a href="explorer.html">Explorer</a>: the single runs behind each mean, by task and arm.</p>'
    body, contents = [], []
    for name, title, sections in parts:
        body.append(f'<section id="{name}"><h2>{markup.html(title)}</h2>')
        inner = []
        for section in sections:
            body.append(f'<section id="{section.name}"><h3>{markup.html(section.title)}</h3>{section.html}</section>')
            inner.append(f'<li><a href="#{section.name}">{markup.html(section.title)}</a></li>')
        body.append("</section>")
        contents.append(f'<li><a href="#{name}">{markup.html(title)}</a><ol>{"".join(inner)}</ol></li>')
    for fold in folds:
        title = markup.html(fold.title)
        body.append(f'<details class="fold" id="{fold.name}"><summary><h2>{title}</h2></summary>{fold.html}</details>')
        contents.append(f'<li><a href="#{fold.name}">{title}</a></li>')
    body, title = "\n".join(body), markup.html(opening.title(study))
    text = page.PAGE.substitute(
        title=title,
        heading=title.replace("-", "\N{NON-BREAKING HYPHEN}"),
        lead=page.text(opening.lead(study)),
        style=page.STYLE + page.dark_colours(start + body),
        opening=start,
        contents="\n".join(contents),
        body=body,
    )
    (out / "index.html").write_text(text, encoding="utf-8")


def _link(anchor):
    if not anchor:
        return ""
    kind = "table" if anchor in TABLES else "figure"
    return f' <a href="#{anchor}">{kind}</a>'


def _write_markdown(study, first, seen, parts, folds, out):
    """The note's Experiment section, as a Jekyll post; the same things in the same order as the page."""
    title = json.dumps(markup.visible(opening.title(study)), ensure_ascii=False)  # YAML reads JSON
    tags = "[reinforcement-learning, trpo, ppo, kl-penalty]"
    front = f"---\nlayout: post\ntitle: {title}\ntags: {tags}\nmath: true\n---\n"
    lines = [markup.markdown(opening.lead(study)), *(f"> {markup.markdown(note)}" for note in opening.notes(study))]
    lines += [first.markdown] if first else []
    lines.append("\n".join(f"- {markup.markdown(line.text)}{_markdown_link(line.anchor)}" for line in seen))
    for _, title, sections in parts:
        lines.append(f"### {title}")
        lines += [f"#### {section.title}\n\n{section.markdown}" for section in sections]
    lines += [_fold(fold.title, fold.markdown).strip() for fold in folds]
    body = "\n\n".join(line for line in lines if line)
    (out / "report.md").write_text(f"{front}\n## Experiment\n\n{body}\n", encoding="utf-8")


def _markdown_link(anchor):
    if not anchor:
        return ""
    return f" ([figure](figures/{anchor}.svg))" if anchor in PANELS else f" ([table](tables/{anchor}.csv))"
