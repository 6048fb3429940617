"""index.html and report.md of a study, from its panels."""

import html
import io
import platform
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import scipy

from . import page, panels
from .arms import NotApplicable
from .data import StudyError

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

    strict  a panel refused for missing runs raises StudyError, after everything else is written.
    """
    out = Path(out)
    try:
        for folder in ("figures", "tables"):
            (out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write the report: {error}") from error
    sections, refused = [], []
    for panel in panels.PANELS:
        section, missing = _panel(study, panel, out)
        sections.append(section)
        refused += missing
    sections = [_summary(study), *sections]
    _write_page(study, sections, out)
    _write_markdown(study, sections, out)
    if strict and not study.missing.empty:
        raise StudyError(f"{len(study.missing)} runs are missing, the first: {study.missing['command'].iloc[0]}")
    return out / "index.html"


def _panel(study, panel, out):
    """(section, names of refused tasks) of one panel; writes its table and figures."""
    runs = study.main
    missing = study.missing[study.missing["condition"] == study.main_condition]
    if panel.algorithms is not None:
        missing = missing[missing["algorithm"].isin(panel.algorithms)]
    refused = sorted(missing["task"].unique())
    note_html = note_markdown = ""
    if refused:
        note_html, note_markdown = _refusal(panel, refused, missing)
        runs = runs[~runs["task"].isin(refused)] if panel.per_task else runs.iloc[:0]
    if runs.empty:
        return Section(panel.name, panel.title, note_html, note_markdown), refused
    try:
        frame = panel.numbers(study, runs)
    except NotApplicable as reason:
        text = f"Not drawn: {reason}."
        return Section(panel.name, panel.title, f'<p class="refused">{text}</p>', f"_{text}_"), refused
    csv = frame.to_csv(index=False, float_format="%.6g")
    (out / "tables" / f"{panel.name}.csv").write_text(csv)
    svg = _export(panel.figure(frame), out / "figures" / panel.name)
    links = " ".join(f'<a href="figures/{panel.name}.{kind}">{kind.upper()}</a>' for kind in ("svg", "pdf", "png"))
    body = (
        f'<figure><div class="plot">{page.inline_svg(svg, panel.name, panel.title)}</div>'
        f"<figcaption>{html.escape(panel.caption)}</figcaption></figure>"
        f'<p class="files">{page.download("numbers (CSV)", panel.name + ".csv", csv)} {links}</p>'
    )
    text = f"![{panel.title}](figures/{panel.name}.svg)\n\n{panel.caption} ([numbers](tables/{panel.name}.csv))"
    return Section(panel.name, panel.title, note_html + body, "\n\n".join(filter(None, [note_markdown, text]))), refused


def _export(figure, path):
    """Saves SVG, PDF and PNG; returns the SVG's text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    path.with_suffix(".svg").write_text(buffer.getvalue())
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    figure.savefig(path.with_suffix(".png"), dpi=200)
    return buffer.getvalue()


def _refusal(panel, refused, missing):
    what = "Not drawn" if not panel.per_task else f"Not drawn for {', '.join(refused)}"
    commands = missing["command"].tolist()
    rest = f"\n# and {len(commands) - COMMANDS_SHOWN} more" if len(commands) > COMMANDS_SHOWN else ""
    text = "\n".join(commands[:COMMANDS_SHOWN]) + rest
    line = f"{what}: {len(commands)} runs are missing. These commands make them:"
    return (
        f'<div class="refused"><p>{html.escape(line)}</p><pre>{html.escape(text)}</pre></div>',
        f"{line}\n\n```sh\n{text}\n```",
    )


def _summary(study):
    runs = study.runs
    seeds = runs.groupby(["condition", "task", "arm"])["seed"].nunique()
    lines = [
        f"{len(runs)} runs of {runs['arm'].nunique()} arms on {len(study.tasks)} tasks "
        f"({', '.join(study.tasks)}), {_range(seeds)} seeds per arm and task.",
        *study.notes,
    ]
    diverged = int((runs["status"] == "diverged").sum())
    if diverged:
        lines.append(f"{diverged} runs diverged; they count, with the score of the untrained policy.")
    if len(study.missing):
        lines.append(f"{len(study.missing)} runs are missing.")
    if seeds.min() < 10:
        lines.append("Bootstrap intervals from fewer than 10 seeds are narrower than their 95 % promise.")
    return Section(
        "data",
        "The data",
        "".join(f"<p>{html.escape(line)}</p>" for line in lines),
        "\n\n".join(lines),
    )


def _range(counts):
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _provenance(study):
    commits = sorted({str(commit)[:12] for commit in study.runs["commit"].dropna()})
    hours = study.runs["wall_seconds"].sum() / 3600
    return [
        f"Data: {', '.join(directory.name for directory in study.directories)}; trained at commit "
        f"{', '.join(commits[:8]) or 'unknown'}{' and others' if len(commits) > 8 else ''}; "
        f"{len(study.runs)} runs, {study.runs['seed'].nunique()} seeds, {hours:.1f} hours of run time in all.",
        f"Report: Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}, "
        f"pandas {pd.__version__}, Matplotlib {matplotlib.__version__}, on {platform.system()} {platform.machine()}.",
    ]


def _write_page(study, sections, out):
    body = "\n".join(
        f'<section id="{section.name}"><h2>{html.escape(section.title)}</h2>{section.html}</section>'
        for section in sections
    )
    contents = "\n".join(f'<li><a href="#{section.name}">{html.escape(section.title)}</a></li>' for section in sections)
    text = page.PAGE.substitute(
        title=TITLE,
        lead=f"Study {html.escape(study.name)}: TRPO’s hard KL constraint against a KL penalty of fixed "
        "and adaptive coefficient β.",
        style=page.STYLE + page.dark_colours(body),
        contents=contents,
        body=body,
        footer="".join(f"<p>{html.escape(line)}</p>" for line in _provenance(study)),
    )
    (out / "index.html").write_text(text, encoding="utf-8")


def _write_markdown(study, sections, out):
    front = (
        f'---\nlayout: post\ntitle: "{TITLE}"\ntags: [reinforcement-learning, trpo, ppo, kl-penalty]\nmath: true\n---\n'
    )
    body = "\n\n".join(f"### {section.title}\n\n{section.markdown}" for section in sections)
    foot = "\n\n".join(_provenance(study))
    (out / "report.md").write_text(f"{front}\n## Experiment\n\n{body}\n\n---\n\n{foot}\n", encoding="utf-8")
