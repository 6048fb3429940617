"""MkDocs hook: the parts of the reference that are read off the code, and the repository's files that pages link to.

A page has a line such as `<!-- arms -->`, which the function of that name below replaces. A link out of docs/
(`../study/solver.py`) leads to a copy of that file in the site, and so do the links of a page that is such a copy.
Equations ($...$ and blocks of `math`, as GitHub takes them too) become MathML, which browsers set without a script.
"""

import html
import posixpath
import re
import runpy
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import yaml
from latex2mathml.converter import convert
from mkdocs.structure.files import File

from analysis.panel import PANELS
from hydra_plugins.fleet.sweeper import UnionSweeper
from study import record
from study.algorithm import NAMES, page
from study.files import CONF

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(\]\()(?![a-z]+:)([^)\s#]+)(#[^)\s]*)?\)")
EQUATIONS = yaml.safe_load((Path(__file__).parent / "equations.yaml").read_text())
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
MARK = re.compile(r"^<!-- (\w+) -->$", re.MULTILINE)


# What MkDocs calls ------------------------------------------------------------------------


def on_page_markdown(markdown, page, config, files):
    markdown = MARK.sub(lambda mark: PARTS[mark[1]](), markdown)
    source = _source(page.file.src_uri)
    if not source.endswith(".md"):  # a page that shows code
        return markdown
    return LINK.sub(lambda link: _link(link, source, page.file.src_uri), markdown)


def on_page_content(text, page, config, files):
    return EQUATION.sub(lambda found: mathml(html.unescape(found[3]), block=found[2] == "["), text)


def on_files(files, config):
    """Every file outside of docs/ that a page links to, as a copy; text as a page, whose links are followed too."""
    pages = [_source(file.src_uri) for file in files.documentation_pages()]
    while pages:
        page = pages.pop()
        text = MARK.sub(lambda mark: PARTS[mark[1]](), (ROOT / page).read_text())
        for _, target, _ in LINK.findall(text):
            path = _path(target, page)
            if (ROOT / path).is_file() and not files.get_file_from_path(_uri(path)):
                files.append(_copy(path, config))
                pages += [path] if path.endswith(".md") else []
    return files


def mathml(tex, block=False):
    """An equation of TeX as MathML. Raises ValueError for what the library passes on as it stands."""
    made = convert(tex.strip(), display="block" if block else "inline")
    try:
        root = ElementTree.fromstring(made)
    except ElementTree.ParseError:
        raise ValueError(f"no equation that can be set: {tex}") from None
    if any("\\" in (part.text or "") for part in root.iter()):
        raise ValueError(f"an unknown command of TeX in {tex}")
    return f'<div class="equation">{made}</div>' if block else made


WRITTEN = "|".join(rf"(?<![\w^]){re.escape(plain)}(?![\w^])" for plain in sorted(EQUATIONS, key=len, reverse=True))
PIECE = re.compile(rf"(?P<equation>{WRITTEN})|(?P<code>`[^`]+`|\b(?:[\w-]+[/.])*[a-z]+(?:_[a-z]+)+(?:[/.]\w+)*\b)")


def typeset(docstring):
    """An algorithm's docstring as HTML: paragraphs, and indented lines as rows whose columns are three spaces apart."""
    made = []
    for paragraph in re.split(r"\n\s*\n", docstring.strip("\n")):
        lines = paragraph.splitlines()
        if all(line.startswith("    ") for line in lines):
            rows = [[typeset_line(cell) for cell in re.split(r"(?<!,) {3,}", line.strip())] for line in lines]
            rows = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
            made.append(f'<table class="equations">{"".join(f"<tr>{row}</tr>" for row in rows)}</table>')
        else:
            made.append(f"<p>{typeset_line(' '.join(lines))}</p>")
    return f'<div class="equations">{"".join(made)}</div>'


def typeset_line(text):
    """A line of plain text as HTML: its equations, and what stands in backticks or has an underscore as code."""

    def piece(found):
        if found["equation"]:
            return mathml(EQUATIONS[found[0]])
        return f"<code>{found[0].strip('`')}</code>"

    text, made, at = " ".join(text.split()), "", 0
    for found in PIECE.finditer(text):
        made += html.escape(text[at : found.start()]) + piece(found)
        at = found.end()
    return made + html.escape(text[at:])


# Paths are from the root of the repository; a uri is the name of a page's text in the site.


def _source(uri):
    """The path of the file that a page shows."""
    names = (uri, uri.removesuffix(".md"))
    return next(path for name in names for path in (f"docs/{name}", name) if (ROOT / path).is_file())


def _path(target, page):
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def _uri(path):
    path = path.removeprefix("docs/")
    return path if path.endswith((".png", ".md", ".ipynb")) else f"{path}.md"


def _copy(path, config):
    if path.endswith((".png", ".md")):
        return File.generated(config, path, abs_src_path=str(ROOT / path))
    language = {".py": "python", ".yaml": "yaml", ".cpp": "cpp"}.get(Path(path).suffix, "")
    text = f"# `{path}`\n\n```{language}\n{(ROOT / path).read_text()}```\n"
    return File.generated(config, _uri(path), content=text)


def _link(link, page, uri):
    path = _path(link[2], page)
    if not (ROOT / path).is_file():
        return link[0]
    return f"{link[1]}{posixpath.relpath(_uri(path), posixpath.dirname(uri) or '.')}{link[3] or ''})"


# The parts --------------------------------------------------------------------------------


def settings():
    """conf/config.yaml as tables, one per block of the file; the comment beside a key is its meaning."""
    blocks, above = [["", []]], ""
    lines = (CONF / "config.yaml").read_text().split("\nhydra:")[0].splitlines()
    for line in lines[lines.index(next(line for line in lines if line.startswith("name:"))) :]:
        if heading := re.match(r"# (.*)", line):
            blocks.append([heading[1], []])
        elif found := re.match(r"( *)(\w+):([^#]*)(?:# *(.*))?", line):
            indent, key, value, comment = found[1], found[2], found[3].strip(), found[4] or ""
            if not value:
                above = key
                blocks.append([f"`{key}`: {comment}" if comment else f"`{key}`", []])
                continue
            blocks[-1][1].append((f"`{above}.{key}`" if indent else f"`{key}`", f"`{value}`", comment))
    return "\n\n".join(
        "\n\n".join([f"## {heading}"] * bool(heading) + [_table(("key", "default", "meaning"), rows)])
        for heading, rows in blocks
        if rows
    )


def arms():
    """A table of all, then for each its page's text and its numbers."""
    rows, parts = [], []
    for name in NAMES:
        title = page(name).__doc__.strip().split("\n")[0]
        rows.append((f"[`{name}`](#{name})", title.rstrip(".")))
        numbers = _numbers(CONF / f"algorithm/{name}.yaml")
        table = _table(("number", "default", "meaning"), numbers) if numbers else "It has no number of its own."
        parts.append(
            f"## {name}\n\n{typeset(page(name).__doc__)}\n\n{table}\n\n"
            f"Code: [study/algorithm/{name}.py](../../study/algorithm/{name}.py)"
        )
    return "\n\n".join([_table(("arm", "what it does"), rows), *parts])


def tasks():
    rows = []
    for path in sorted((CONF / "task").glob("*.yaml")):
        numbers = yaml.safe_load(path.read_text())
        remark = dict((key, comment) for key, _, comment in _numbers(path)).get("`algorithm.backend`", "")
        remark = "" if remark.startswith("auto (") else remark
        if path.stem != "custom":
            rows.append((f"`{path.stem}`", numbers["id"], f"{numbers['total_steps']:,}", numbers["backend"], remark))
    return _table(("task", "environment", "steps", "backend", "remark"), rows)


def experiments():
    parts = []
    for path in sorted((CONF / "experiment").glob("*.yaml")):
        text = path.read_text()
        asks = " ".join(line[2:] for line in text.splitlines() if re.match(r"# (?!@)", line))
        sweeper = yaml.safe_load(text)["hydra"]["sweeper"]
        grids = sweeper.get("grids", [])
        jobs = UnionSweeper(sweeper.get("params", {}), grids).jobs([])
        seeds = {word for job in jobs for word in job if word.startswith("seed=")}
        of = "\n".join(f"- {_words(grid)}" for grid in grids)
        params = ", ".join(f"`{key}`: {value}" for key, value in sweeper.get("params", {}).items())
        committed = ROOT / "results" / path.stem / "runs.parquet"
        there = "not committed yet"
        if committed.exists():
            runs = pd.read_parquet(committed, columns=["seed"])
            there = f"{len(runs)} runs of {runs['seed'].nunique()} seeds are committed"
        parts.append(
            f"## {path.stem}\n\n{asks}\n\n```sh\npython -m study -m +experiment={path.stem}\n```\n\n"
            f"{len(jobs)} runs of {len(seeds)} seeds; {there}. In common: {params}."
            + (f" Arms:\n\n{of}" if grids else "")
        )
    return "\n\n".join(parts)


def columns():
    parts = []
    for name, one, kept in (("runs", "run", record.RUNS), ("curves", "run and iteration", record.CURVES)):
        rows = [(f"`{column}`", typeset_line(meaning)) for column, meaning in kept.items()]
        parts.append(f"## {name}.parquet: one row per {one}\n\n{_table(('column', 'meaning'), rows)}")
    return "\n\n".join(parts)


def gallery():
    """Every figure with its command; with a picture where one is committed, of the studies that it was drawn from."""
    drawn = {}
    for place, studies in yaml.safe_load((ROOT / "results/figures.yaml").read_text()).items():
        folder, _, name = place.rpartition("/")
        drawn.setdefault(name, (f"{folder}/", studies))
    parts = []
    for panel in PANELS.values():
        folder, studies = drawn.get(panel.name, ("", []))
        path = f"results/{folder}report/figures/{panel.name}.png"
        image = f"\n\n![{panel.title}](../../{path})" if (ROOT / path).exists() else ""
        words = ["python -m analysis figure", panel.name, *(f"results/{name}" for name in studies)]
        parts.append(f"## {panel.title}\n\n{panel.caption}\n\n```sh\n{' '.join(words)}\n```{image}")
    return "\n\n".join(parts)


def benchmark():
    """The committed tables of `make benchmark`."""
    folder = ROOT / "results/benchmark"
    return f"{(folder / 'table.md').read_text().strip()}\n\n*{(folder / 'machine.txt').read_text().strip()}*"


def beside_jax():
    """The committed table of benchmarks/beside_jax.py."""
    return (ROOT / "results/benchmark/jax.md").read_text().strip()


def why():
    """The figure of docs/why.md."""
    return runpy.run_path(str(ROOT / "docs/why.py"))["figure"]()


PARTS = {
    part.__name__: part for part in (settings, arms, tasks, experiments, columns, gallery, benchmark, beside_jax, why)
}


def _numbers(path):
    """(key, default, comment) of a file below conf/, but for its name."""
    rows = []
    for line in path.read_text().splitlines():
        if (found := re.match(r"(\w+): *([^#]*)(?:# *(.*))?", line)) and found[1] != "name":
            rows.append((f"`algorithm.{found[1]}`", f"`{found[2].strip()}`", found[3] or ""))
    return rows


def _words(grid):
    return " ".join(f"`{shlex.quote(f'{key}={value}')}`" for key, value in grid.items())


def _table(head, rows):
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
