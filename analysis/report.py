"""index.html and report.md of a study: verdicts, figures, tables, what is missing, and where it all comes from."""

import html
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import scipy

from . import claims, figures, page, panels, published, tables
from .arms import NotApplicable
from .data import StudyError
from .names import span

TITLE = "Penalty or constraint: experiment"
COMMANDS_SHOWN = 12


@dataclass(frozen=True)
class Section:
    """One heading of the report; html and markdown say the same."""

    name: str
    title: str
    html: str
    markdown: str


def build(study, out, strict=False):
    """Writes the report of `study` into the directory `out` and returns the path of index.html.

    strict  any missing run raises StudyError, after everything that can be drawn is written.
    """
    out = Path(out)
    try:
        for folder in ("figures", "tables"):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write the report: {error}") from error
    drawn = [_section(study, panel, out, _draw) for panel in panels.PANELS]
    tabled = [_section(study, table, out, _tabulate) for table in tables.TABLES]
    absent = [section for section in drawn + tabled if isinstance(section, str)]
    verdicts = claims.evaluate(study)
    sections = [
        _verdicts(verdicts, out),
        _data(study),
        *(section for section in drawn + tabled if not isinstance(section, str)),
        _counter_evidence(study),
        *([_not_applicable(absent)] if absent else []),
    ]
    _write_page(study, _lead(study, verdicts), sections, out)
    _write_markdown(study, _lead(study, verdicts), sections, out)
    if strict and not study.missing.empty:
        raise StudyError(f"{len(study.missing)} runs are missing, the first: {study.missing['command'].iloc[0]}")
    return out / "index.html"


# Panels and tables ----------------------------------------------------------------------


def _section(study, item, out, write):
    """The section of a panel or table, or one line that says why it does not apply."""
    runs, missing = panels.usable(study, item)
    refused = sorted(missing["task"].unique())
    note = _refusal(item, refused, missing) if refused else ("", "")
    if runs.empty:
        return Section(item.name, item.title, *note)
    try:
        frame = item.numbers(study, runs)
    except NotApplicable as reason:
        return f"{item.title}: {reason}."
    csv = frame.to_csv(index=False, float_format="%.6g")
    (out / "tables" / f"{item.name}.csv").write_text(csv, encoding="utf-8")
    body_html, body_markdown = write(item, frame, csv, out)
    return Section(item.name, item.title, note[0] + body_html, "\n\n".join(filter(None, [note[1], body_markdown])))


def _draw(panel, frame, csv, out):
    svg = figures.save(panel.figure(frame), out / "figures" / panel.name)
    links = " ".join(f'<a href="figures/{panel.name}.{kind}">{kind.upper()}</a>' for kind in figures.FORMATS)
    caption = html.escape(panel.caption)
    return (
        f'<figure><div class="plot">{page.inline_svg(svg, panel.name, panel.title)}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
        f'<p class="files">{page.download("numbers (CSV)", panel.name + ".csv", csv)} {links}</p>',
        f"![{panel.title}](figures/{panel.name}.svg)\n\n{panel.caption} ([numbers](tables/{panel.name}.csv))",
    )


def _tabulate(table, frame, csv, out):
    text = table.text(frame)
    latex, markdown = tables.latex(text, f"{table.title}. {table.caption}", table.name), tables.markdown(text)
    (out / "tables" / f"{table.name}.tex").write_text(latex, encoding="utf-8")
    (out / "tables" / f"{table.name}.md").write_text(markdown + "\n", encoding="utf-8")
    return (
        f'{page.table(text)}<p class="caption">{html.escape(table.caption)}</p>'
        f'<p class="files">{page.download("CSV", table.name + ".csv", csv)} '
        f"{page.download('LaTeX', table.name + '.tex', latex, 'text/x-tex')}</p>",
        f"{markdown}\n\n{table.caption}",
    )


def _refusal(item, refused, missing):
    what = f"Not drawn for {', '.join(refused)}" if item.per_task else "Not drawn"
    commands = missing["command"].tolist()
    rest = f"\n# and {len(commands) - COMMANDS_SHOWN} more" if len(commands) > COMMANDS_SHOWN else ""
    text = "\n".join(commands[:COMMANDS_SHOWN]) + rest
    line = f"{what}: {len(commands)} runs are missing. These commands make them:"
    return (
        f'<div class="refused"><p>{html.escape(line)}</p><pre>{html.escape(text)}</pre></div>',
        f"{line}\n\n```sh\n{text}\n```",
    )


def _not_applicable(lines):
    return Section(
        "absent",
        "What this study cannot show",
        "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>",
        "\n".join(f"- {line}" for line in lines),
    )


# Words ----------------------------------------------------------------------------------


def _verdicts(verdicts, out):
    rows = [(v.name, v.claim, v.verdict, v.sentence, v.rule) for v in verdicts]
    summary = pd.DataFrame(rows, columns=["name", "claim", "verdict", "numbers", "rule"])
    summary.to_csv(out / "tables" / "verdicts.csv", index=False)
    cards, lines = [], []
    for verdict in [verdict for verdict in verdicts if verdict.tested]:
        if len(verdict.numbers):
            spelled = verdict.name.lower().replace("δ", "delta").replace("ε", "epsilon")
            slug = re.sub(r"[^a-z]+", "_", spelled)
            verdict.numbers.to_csv(out / "tables" / f"claim_{slug}.csv", index=False, float_format="%.6g")
        style = verdict.verdict.replace(" ", "-")
        cards.append(
            f'<div class="verdict"><p><b>{html.escape(verdict.name)}.</b> {html.escape(verdict.claim)} '
            f'<strong class="{style}">{verdict.verdict}</strong></p><p>{html.escape(verdict.sentence)}</p>'
            "<details><summary>the rule, fixed before the data</summary>"
            f"<p>{html.escape(verdict.rule)}</p></details></div>"
        )
        lines.append(f"**{verdict.name}. {verdict.claim} {verdict.verdict.capitalize()}.** {verdict.sentence}")
    untested = [f"{verdict.name}: {verdict.claim} {verdict.sentence}" for verdict in verdicts if not verdict.tested]
    if untested:
        cards.append(
            "<h3>Not tested by this study</h3><ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in untested)
        )
        cards.append("</ul>")
        lines.append("Not tested by this study:\n\n" + "\n".join(f"- {line}" for line in untested))
    rules = "\n".join(f"- *{verdict.name}.* {verdict.rule}" for verdict in verdicts if verdict.tested)
    if rules:
        lines.append(f"The rules, fixed before the data existed:\n\n{rules}")
    return Section("verdicts", "What the data say", "".join(cards), "\n\n".join(lines))


def _lead(study, verdicts):
    """One sentence under the title."""
    short = "; ".join(f"{verdict.name}: {verdict.verdict}" for verdict in verdicts if verdict.name in ("A", "B", "C"))
    return (
        f"Study {study.name}: TRPO’s hard KL constraint against a KL penalty of fixed and adaptive coefficient β. "
        f"Claims {short}."
    )


def _data(study):
    runs = study.runs
    seeds = runs.groupby(["condition", "task", "arm"])["seed"].nunique()
    lines = [
        f"{len(runs)} runs of {runs.groupby(['condition', 'arm']).ngroups} arms on {len(study.tasks)} tasks "
        f"({', '.join(study.tasks)}), "
        f"{span(seeds)} seeds per arm and task, {_steps(runs)} environment steps per run.",
        "Seeds are the unit of every interval and test. 95 % intervals of means are Student’s, "
        "others percentile bootstrap intervals; the score "
        "of a run is "
        "its mean return over the last 100 episodes; the floor of each task is the untrained policy’s return.",
        *study.notes,
    ]
    if study.main_condition:
        lines.append(f"Unless said otherwise the panels show the runs with {study.main_condition}.")
    diverged = int((runs["status"] == "diverged").sum())
    if diverged:
        lines.append(f"{diverged} runs diverged; they count, with the score of the untrained policy.")
    if len(study.missing):
        lines.append(f"{len(study.missing)} runs are missing; the panels that need them say how to make them.")
    if seeds.min() < 10:
        lines.append(
            f"With {seeds.min()} seeds a percentile bootstrap interval (of anything but a mean) is narrower than "
            "its 95 % promise; it comes "
            "to hold at "
            "about 10. The verdicts rest on t-tests, which allow for few seeds."
        )
    return Section("data", "The data", "".join(f"<p>{html.escape(line)}</p>" for line in lines), "\n\n".join(lines))


def _steps(runs):
    steps = sorted(runs["total_steps"].unique())
    return " or ".join(f"{int(value):,}".replace(",", " ") for value in steps[:4]) + (" …" if len(steps) > 4 else "")


def _counter_evidence(study):
    items = []
    for evidence in published.COUNTER_EVIDENCE:
        ours = _ours(study, *evidence.compare) if study.missing.empty else "Not compared: runs are missing."
        items.append((evidence.title, f"{evidence.text} {ours}"))
    return Section(
        "counter_evidence",
        "What speaks against it",
        "".join(f"<h3>{html.escape(title)}</h3><p>{html.escape(text)}</p>" for title, text in items),
        "\n\n".join(f"**{title}.** {text}" for title, text in items),
    )


def _ours(study, algorithm, reference):
    """One sentence with this study's number for two algorithms, each at its default or best single value."""
    try:
        difference, low, high, tasks, arms = claims.compare_two(study.main, algorithm, reference)
    except NotApplicable as reason:
        return f"This study cannot add a number to it: it {reason}."
    return (
        f"In this study, in the mean over {tasks} tasks (untrained = 0, best arm = 1): {arms[0]} less {arms[1]} "
        f"= {difference:+.2f} [{low:+.2f}, {high:+.2f}]."
    )


def _provenance(study):
    commits = sorted({str(commit)[:12] for commit in study.runs["commit"].dropna()})
    hours = study.runs["wall_seconds"].sum() / 3600
    return [
        f"Data: {', '.join(directory.name for directory in study.directories)}; trained at commit "
        f"{', '.join(commits[:8]) or 'unknown'}{' and others' if len(commits) > 8 else ''}; "
        f"{len(study.runs)} runs, {study.runs['seed'].nunique()} seeds, {hours:.1f} hours of run time in all.",
        f"Report: Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}, pandas "
        f"{pd.__version__}, Matplotlib {matplotlib.__version__}, on {platform.system()} {platform.machine()}.",
    ]


# Files ----------------------------------------------------------------------------------


def _write_page(study, lead, sections, out):
    body = "\n".join(
        f'<section id="{section.name}"><h2>{html.escape(section.title)}</h2>{section.html}</section>'
        for section in sections
    )
    contents = "\n".join(f'<li><a href="#{section.name}">{html.escape(section.title)}</a></li>' for section in sections)
    text = page.PAGE.substitute(
        title=TITLE,
        lead=html.escape(lead),
        style=page.STYLE + page.dark_colours(body),
        contents=contents,
        body=body,
        footer="".join(f"<p>{html.escape(line)}</p>" for line in _provenance(study)),
    )
    (out / "index.html").write_text(text, encoding="utf-8")


def _write_markdown(study, lead, sections, out):
    """The note's Experiment section, as a Jekyll post."""
    front = (
        f'---\nlayout: post\ntitle: "{TITLE}"\ntags: [reinforcement-learning, trpo, ppo, kl-penalty]\nmath: true\n---\n'
    )
    body = "\n\n".join(f"### {section.title}\n\n{section.markdown}" for section in sections)
    foot = "\n\n".join(_provenance(study))
    (out / "report.md").write_text(f"{front}\n## Experiment\n\n{lead}\n\n{body}\n\n---\n\n{foot}\n", encoding="utf-8")
