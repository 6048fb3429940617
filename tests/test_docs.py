"""README and docs: links lead somewhere, commands compose, code runs; the site needs no network and has no warning."""

import importlib.util
import logging
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
import yaml
from conftest import ROOT
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from hydra import compose, initialize_config_dir
from nbclient import NotebookClient
from omegaconf import OmegaConf

import analysis
import study
from analysis import numbers, panel
from analysis.__main__ import figure_parser, report_parser
from analysis.data import load
from hydra_plugins.fleet.sweeper import UnionSweeper
from study.config import parse
from study.launch import api
from study.record import CURVES, RUNS

PAGES = [path for folder in ("docs", "results") for path in sorted((ROOT / folder).rglob("*.md"))]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES]
SMALL = "horizon=64 total_steps=128 epochs=1 hidden=[8] execution.compile=false execution.workers=1".split()
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def text(page):
    """A page with its generated parts."""
    return generate().MARK.sub(lambda mark: generate().PARTS[mark[1]](), page.read_text())


def blocks(page, *languages):
    return [code for language, code in FENCE.findall(text(page)) if language in languages]


# Links ------------------------------------------------------------------------------------


def anchors(page):
    """Those of the headings, as GitHub and MkDocs make them."""
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


@pages
def test_links_lead_to_files_and_headings(page):
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), f"{target}: no such file"
        assert ROOT in linked.parents, f"{target}: not of this repository"
        if anchor:
            assert anchor in anchors(linked), f"{target}: no such heading; there are {sorted(anchors(linked))}"


def test_the_map_of_the_readme_has_every_module():
    """Of study/, its launcher and the repository's folders."""
    found = (ROOT / "README.md").read_text().split("## The map\n\n```\n")[1].split("```")[0]
    there = {path.name for folder in ("study", "study/launch") for path in (ROOT / folder).glob("[!_]*.py")}
    named = set(re.findall(r"\b\w+\.py\b", found))
    assert there <= named, there - named
    assert named <= there | {path.name for path in (ROOT / "analysis").glob("*.py")}, named - there
    folders = set(re.findall(r"^(\w+)/", found, re.MULTILINE))
    assert {"study", "conf", "analysis", "results", "docs", "tests"} <= folders
    assert all((ROOT / folder).is_dir() for folder in folders)


def test_the_newest_version_of_the_changes_is_the_one_that_is_built_and_cited():
    newest, date = re.search(r"^## ([\d.]+) \(([\d-]+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE).groups()
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (cited["version"], str(cited["date-released"])) == (newest, date)
    assert ProjectMetadata(str(ROOT), PluginManager()).version == newest


def test_what_the_changes_call_stable_is_there():
    """The Python names, and the columns that 0.2.0 is said to have brought."""
    changes = (ROOT / "CHANGELOG.md").read_text()
    for package in (study, analysis):
        for name in re.findall(rf"`{package.__name__}\.(\w+)`", changes.split("\n## 0")[0]):
            assert name in package.__all__ and getattr(package, name), name
    runs, curves = re.search(r"New columns: (.*?) of runs; (.*?) of\s+curves", changes, re.DOTALL).groups()
    assert set(re.findall(r"`(\w+)`", runs)) <= set(RUNS) and set(re.findall(r"`(\w+)`", curves)) <= set(CURVES)


def test_the_log_leads_to_every_study():
    log = (ROOT / "results/LOG.md").read_text()
    studies = {
        path.parent.relative_to(ROOT / "results").as_posix()
        for path in (ROOT / "results").rglob("runs.parquet")
        if path.with_name("README.md").exists()  # others are a reader's own, as make study's
    }
    linked = set(re.findall(r"\]\(([\w/]+)/README\.md\)", log))
    # Sources and a part of an experiment are linked from the study that they belong to.
    parts = {"fork_sources", "wide_fork_sources", "crossing_sources", "modifications_projection", "fresh_screen"}
    assert studies - parts <= linked, studies - parts - linked


# Numbers ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells():
    return numbers.table()


@pytest.mark.parametrize("page", numbers.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_each_number_with_an_interval_is_its_cell(page, cells):
    """Of a study's page what is above its record, which is history."""
    written = page.read_text()
    assert numbers.fill(written, cells) == written, "python -m analysis.numbers --fill"
    read = re.sub(r"^```.*?^```", "", written.split("\n## Record\n")[0], flags=re.MULTILINE | re.DOTALL)
    places = {found.start(1) for found in numbers.PLACE.finditer(read)}
    loose = [found[0] for found in re.finditer(numbers.INTERVAL, read) if found.start() not in places]
    assert loose == [], "without the name of a row of results/numbers.csv"


VERDICTS = {  # in a row of a table: (its number, low, high) -> whether it is so
    r"above ([\d.]+): shown": lambda number, low, high: low > number,
    r"(?:a lead|a fall) of ([\d.]+): refuted": lambda number, low, high: high < number,
    r"gains less than ([\d.]+): shown": lambda number, low, high: high < number,
    r"undecided: the interval contains ([\d.]+)": lambda number, low, high: low <= number <= high,
}


def test_verdicts_in_tables_follow_from_their_intervals(cells):
    read = 0
    for page in numbers.pages():
        for row in re.findall(r"^\|.*\|$", page.read_text(), re.MULTILINE):
            for form, holds in VERDICTS.items():
                if found := re.search(form, row):
                    (name,) = re.findall(r"<!-- ([\w./-]+) -->", row)
                    assert holds(float(found[1]), float(cells[name]["low"]), float(cells[name]["high"])), row
                    read += 1
    assert read >= 10


def test_a_number_that_was_typed_anew_is_found(cells):
    row = {**cells["units/one-beta"], "value": "85.3", "low": "36", "high": "202.4", "tasks": "12"}
    right = "an 85-fold [36, 202]<!-- units/one-beta --> step on 12<!-- units/one-beta:tasks --> tasks"
    for wrong in ("58-fold [36, 202]", "85-fold [36, 203]", "85 [36, 202]", "85-fold\n[36, 202]"):
        assert numbers.fill(right.replace("85-fold [36, 202]", wrong), {"units/one-beta": row}) == right
    assert numbers.fill(right.replace("12<", "13<"), {"units/one-beta": row}) == right
    assert re.findall(numbers.INTERVAL, "+0.1 [-2, 0.3], 3.7 % [3.1, 4], 1 decades [0, 2], [0, 1], range 3 [a, b]") == [
        "+0.1 [-2, 0.3]", "3.7 % [3.1, 4]", "1 decades [0, 2]"
    ]  # fmt: skip
    with pytest.raises(KeyError, match="no/such"):
        numbers.fill("1 [0, 2]<!-- no/such -->", cells)


def test_the_table_of_numbers_is_what_the_committed_runs_give(cells):
    made = {row["name"]: row for row in numbers.made(load())}
    kept = {name: row for name, row in cells.items() if not row["commit"]}
    assert kept.keys() == made.keys(), "python -m analysis.numbers"
    for name, row in made.items():
        for column in ("value", "low", "high"):
            was, now = (float(own[column] or "nan") for own in (kept[name], row))
            assert was == pytest.approx(now, rel=2e-3, abs=2e-3, nan_ok=True), name
        assert (kept[name]["tasks"], kept[name]["form"]) == (row["tasks"], row["form"]), name


def test_readings_of_studies_name_studies_that_there_are(cells):
    for row in cells.values():
        if row["commit"]:
            studies = re.findall(r"results/([\w/]+)", row["command"])
            assert studies and all((ROOT / "results" / study / "runs.parquet").is_file() for study in studies), row


# Commands ---------------------------------------------------------------------------------


def commands(page):
    """[words] of the commands of a page, variables replaced; those cut short by ... are only for show."""
    found, variables = [], {}
    for language, code in FENCE.findall(text(page)):
        if language not in ("sh", "console"):
            continue
        for name, value in re.findall(r'^(\w+)="([^"]*)"', code, re.MULTILINE):
            variables[name] = " ".join(value.split())
        lines = code.replace("\\\n", " ").splitlines()
        if language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        for line in lines:
            for name, value in variables.items():
                line = line.replace(f"${name}", value)
            words = shlex.split(line, comments=True) if re.match(r"(python|make|pip|PIP\w*=\S+ make) ", line) else []
            if words and "..." not in words:
                found.append(words)
    return found


def modules(page, folder):
    """Writes the page's files, `\"\"\"name.py: ...` and `# conf/name.yaml`, into a folder; their names."""
    names = []
    for code in blocks(page, "python", "yaml"):
        if found := re.match(r'"""(\w+\.py):|(?:# @package _global_\n)?# (\w[\w/]*\.yaml)\n', code):
            path = folder / (found[1] or found[2])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
            names.append(path.stem)
    return names


@pytest.fixture
def folder(page, tmp_path, monkeypatch):
    """A folder with the page's files and the committed results, in which its commands are given."""
    names = modules(page, tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path
    for name in names:
        sys.modules.pop(name, None)


@pages
def test_commands_of_the_study_compose(page, folder):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for words in commands(page):
            if words[:3] == ["python", "-m", "study"] and "=" in " ".join(words):
                composes(words[3:], folder)


def composes(words, folder):
    own = []
    if "--config-dir" in words:
        at = words.index("--config-dir")
        own = [f"hydra.searchpath=[file://{folder / words[at + 1]}]"]
        words = words[:at] + words[at + 2 :]
    overrides = [word for word in words if "=" in word]
    assert all(word == "-m" or "=" in word or word.startswith("--") or word == "job" for word in words), words
    sweeper = UnionSweeper({}, [])
    if experiment := next((word for word in overrides if word.startswith("+experiment=")), None):
        file = f"experiment/{experiment.split('=')[1]}.yaml"
        path = next(path for path in (folder / "conf" / file, ROOT / "conf" / file) if path.exists())
        if len(overrides) == 1 and ROOT in path.parents and "-m" in words:
            return  # each of its arms composes in test_command_line.py
        sweeper = UnionSweeper(**{"params": {}, "grids": []} | yaml.safe_load(path.read_text())["hydra"]["sweeper"])
    jobs = sweeper.jobs(overrides)
    arms = {tuple(word for word in job if not word.startswith("seed=")): job for job in jobs}
    assert len(jobs) == 1 or "-m" in words, words
    for job in list(arms.values())[:: max(1, len(arms) - 1)]:  # first and last; all arms compose in another test
        compose_once(*job, *own)


@cache
def compose_once(*words):
    """The same command stands on several pages. Files of a page's own lie in a folder of its test's own."""
    parse(OmegaConf.to_container(compose("config", list(words)), resolve=True))


@pages
def test_commands_of_the_analysis_name_figures_and_studies_that_there_are(page):
    made = {path.relative_to(ROOT / "results").as_posix() for path in (ROOT / "results").rglob("*") if path.is_dir()}
    made |= {"NAME"}
    made |= {word[5:] for other in PAGES for words in commands(other) for word in words if word.startswith("name=")}
    for words in commands(page):
        if words[:3] == ["python", "-m", "analysis"]:
            drawn = words[3] == "figure"
            options = (figure_parser() if drawn else report_parser()).parse_args(words[4 if drawn else 3 :])
            assert {study.removeprefix("results/") for study in options.studies} <= made, words
            if drawn:
                panel.named(options.name)


@pages
def test_other_commands_name_files_targets_and_extras_that_there_are(page):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for words in commands(page):
        if "make" in words[:2]:
            assert set(words[words.index("make") + 1 :]) <= targets, words
        elif words[0] == "pip" and "[" in words[-1]:
            assert set(re.search(r"\[(.*)\]", words[-1])[1].split(",")) <= set(extras), words
        elif words[0] == "python" and words[1] not in ("-m", "-c"):
            assert (ROOT / words[1]).is_file(), words


# Code -------------------------------------------------------------------------------------


# README's own example runs in tests/test_install.py.
@pytest.mark.parametrize(
    "page", [page for page in PAGES[1:] if "```python" in page.read_text()], ids=lambda page: page.stem
)
def test_code_runs_at_small_settings(page, folder, monkeypatch):
    (folder / "results").unlink()
    (folder / "results").mkdir()
    (folder / "results/table1").symlink_to(ROOT / "results/table1")
    (folder / "results/again").symlink_to(ROOT / "results/table1")
    through = api._through_hydra
    monkeypatch.setattr(api, "_through_hydra", lambda how, task, words: through(how, task, [*words, *SMALL]))
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), {"__name__": "example"})


def test_runs_counted_on_the_page_for_libraries_are_the_committed_ones(monkeypatch, capsys):
    page = ROOT / "docs/evidence/your_library.md"
    (code,) = blocks(page, "python")
    monkeypatch.chdir(ROOT)
    exec(code, {})
    runs, largest, below = printed = capsys.readouterr().out.split()
    assert re.search(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)[1].split() == printed
    prose = " ".join(page.read_text().split())
    assert f"In {runs} runs with targets" in prose and f"never rose above {float(largest):g}" in prose
    assert f"in {below} runs beta fell below a millionth" in prose


# The notebook -----------------------------------------------------------------------------

NOTEBOOK = ROOT / "docs/tutorial.ipynb"


def test_the_notebook_is_what_its_command_makes_of_the_tutorial(tmp_path):
    (tmp_path / "tutorial.md").write_bytes(NOTEBOOK.with_suffix(".md").read_bytes())
    subprocess.run([sys.executable, ROOT / "docs/notebook.py", tmp_path / "tutorial.md"], check=True)
    made = (tmp_path / "tutorial.ipynb").read_bytes()
    assert made == NOTEBOOK.read_bytes(), "python docs/notebook.py docs/tutorial.md"


def test_the_notebook_has_every_line_of_the_tutorial_and_a_cell_for_each_command():
    page = NOTEBOOK.with_suffix(".md")
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    given = [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    assert [source[1:] for source in code if source.startswith("!")] == given
    held = "\n".join([cell.source for cell in cells] + [out.text for cell in cells for out in cell.get("outputs", [])])
    lines = {re.sub(r'^\$ |^(own)="', r"\1", line) for line in page.read_text().splitlines()}
    lines -= {"```python", "```console", "```sh", "```"}
    assert [line for line in lines if line.removeprefix("own") not in held] == []


@pytest.mark.slow
def test_the_notebook_runs_at_small_settings(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.source.startswith("own ="):
            cell.source = cell.source.replace("total_steps=20480 horizon=1024 hidden=[32]", " ".join(SMALL))
            assert "total_steps=128" in cell.source
        elif cell.source.startswith("!"):
            cell.source += "\nassert _exit_code == 0"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    runs, _ = analysis.load(tmp_path / "results/mine").runs, (tmp_path / "curves.pdf").stat()
    assert len(runs) == 24 and set(runs["task"]) == {"my_tasks:LongPole-v0"}


# The site ---------------------------------------------------------------------------------


def test_an_equation_becomes_mathml_and_what_cannot_be_set_is_refused():
    root = ElementTree.fromstring(generate().mathml(r"\lambda^{\ast} = \sqrt{g^\top F^{-1} g}"))
    (under,) = root.iter("{http://www.w3.org/1998/Math/MathML}msqrt")
    assert "".join(under.itertext()) == "g⊤F−1g"
    for wrong in (r"\begin{aligned} a &= b \end{aligned}", r"\nosuchcommand x"):
        with pytest.raises(ValueError, match=re.escape(wrong)):
            generate().mathml(wrong)


def test_every_equation_of_an_algorithm_or_a_column_is_typeset():
    used = set()
    for name in generate().NAMES:
        for paragraph in re.split(r"\n\s*\n", generate().page(name).__doc__):
            indented = [line.split("   ") for line in paragraph.splitlines() if line.startswith("    ")]
            for text in [" ".join(paragraph.split()), *(" ".join(" ".join(line).split()) for line in indented)]:
                found = [piece[0] for piece in generate().PIECE.finditer(text) if piece["equation"]]
                used.update(found)
                assert found or not (text.startswith("maximise ") or " = " in text), (name, text)
                rest = generate().PIECE.sub("", text)
                assert not re.search(r"\^|\|\||<-|<=|>=|sqrt|_n\b|\b(beta|lambda|epsilon|eta)\b", rest), (name, rest)
    for meaning in [*RUNS.values(), *CURVES.values()]:
        used.update(piece[0] for piece in generate().PIECE.finditer(meaning) if piece["equation"])
        assert not re.search(r"\^|sqrt", generate().PIECE.sub("", meaning)), meaning
    assert set(generate().EQUATIONS) - used == set(), "docs/equations.yaml has what the code has no more"


def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    with caplog.at_level(logging.WARNING, "mkdocs"):
        build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path)))
    assert not caplog.records
    for file in tmp_path.rglob("*.html"):
        html = file.read_text()
        assert not re.search(r"<(script|img|iframe)[^>]* src=\"?(https?:)?//", html), file
        assert not re.search(r"<link[^>]* href=\"?(https?:)?//", html), file
        assert not re.search(r"arithmatex|\\\(|\$\\", html.split("<article")[-1].split("</article")[0]), (
            f"{file}: an equation is not set"
        )
    documented = (tmp_path / "reference/api.html").read_text()
    names = [f"{package.__name__}.{name}" for package in (study, analysis) for name in package.__all__]
    assert [name for name in names if f'id="{name}"' not in documented] == []
    arms = (tmp_path / "reference/arms.html").read_text()
    assert "<msqrt>" in arms and "<math" in (tmp_path / "why.html").read_text()
    assert all(f'id="{name}"' in arms for name in generate().NAMES)
