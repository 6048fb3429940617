"""README and docs: links lead somewhere, commands compose, code runs; the site needs no network and has no warning."""

import importlib.util
import logging
import re
import shlex
import sys
import tomllib
from functools import cache

import numpy as np
import pytest
import yaml
from conftest import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from analysis import answers, panel
from analysis.__main__ import figure_parser, report_parser
from analysis.data import load
from analysis.table import steps
from hydra_plugins.fleet.sweeper import UnionSweeper
from study.config import parse
from study.launch import api

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
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


def test_the_readme_is_short_and_its_times_are_those_measured():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 170
    rows = re.findall(r"^\| .* / .* \| .*\[.*\] \|$", readme, re.MULTILINE)
    measured = (ROOT / "results/benchmark/table.md").read_text()
    assert len(rows) == 4 and all(row.removesuffix("|") in measured for row in rows)
    speed = text(ROOT / "docs/reference/speed.md")
    assert measured.strip() in speed and (ROOT / "results/benchmark/machine.txt").read_text().strip() in speed


BOUNDED = "max_grad_norm=0.5"


@pytest.fixture(scope="module")
def committed():
    return load([ROOT / f"results/{name}" for name in ("profiles", "table1", "profiles_raw", "bounded")])


def test_the_numbers_of_the_readme_are_those_of_the_committed_runs():
    readme = (ROOT / "README.md").read_text()
    said = re.findall(r"\S+\s\[\S+, \S+\]", readme.split("## Results so far")[1].split("\n## ")[0])
    raw = ("many_tasks", "population", "profiles", "table1", "profiles_raw")
    studies = {
        "raw": raw,
        "normalised": ("many_normalised", *raw[1:]),
        "clipped, short": ("gradient_bound", "many_normalised", "population"),
        "clipped, MuJoCo": ("gradient_bound_long", "bounded", "profiles", "table1"),
        "units": ("units",),
        "forks": ("forks",),
        "changing": ("changing", *raw),
    }
    found = {}
    for study, names in studies.items():
        loaded = load([ROOT / f"results/{name}" for name in names])
        found |= {(study, each.key, each.label): each for each in answers.answers(loaded)}
    asked = [
        (("raw", "A", "β, raw advantages"), ""),
        (("normalised", "A", "β, normalised advantages"), ""),
        (("units", "step", "step of one β in another unit of reward"), "fold 0"),
        (("units", "step", "step of one δ in another unit of reward"), "fold 3"),
        (("normalised", "C", "normalised advantages, tuned"), "+"),
        (("clipped, short", "C", "normalised advantages, gradient within 0.5, tuned"), "+"),
        (("clipped, MuJoCo", "C", "normalised advantages, gradient within 0.5, tuned"), "+"),
        (("raw", "mechanism", "raw advantages"), "+"),
    ]
    numbers = []
    for key, form in asked:
        ends = np.array([found[key].effect, found[key].low, found[key].high])
        if form.startswith("fold"):
            middle, *ends = [f"{end:.{form[-1]}f}" for end in 10**ends]
            numbers.append(f"{middle}-fold [{', '.join(ends)}]")
        else:
            numbers.append("{} [{}, {}]".format(*(f"{end:{form}.3f}" for end in ends)))
    assert [re.sub(r"\s", " ", each) for each in said] == numbers
    spelled = {7: "seven"}
    prose = re.sub(r"\s+", " ", readme.split("## Results so far")[1].split("\n## ")[0])
    for key, _ in asked:
        count = found[key].tasks
        assert re.search(rf"(over|on) (the )?({count}|{spelled.get(count, count)}) tasks", prose), key
    # What the README says is not told, and why.
    verdicts = {key: found[key].verdict for key, _ in asked}
    assert verdicts.pop(asked[0][0]) == verdicts.pop(asked[2][0]) == answers.SHOWN
    assert verdicts.pop(asked[3][0]) == verdicts.pop(asked[5][0]) == answers.CONTRARY
    assert set(verdicts.values()) == {answers.UNDECIDED}
    assert found[asked[4][0]].candidates == "2 δ, 6 β"
    assert found["raw", "C", "raw advantages, one δ"].candidates == "1 δ, 7 β"
    changing = found["changing", "change", "raw advantages"]
    assert changing.candidates == "1 to 3 targets, 7 to 9 constants" and changing.verdict == answers.UNDECIDED
    assert [found["forks", "B", f"{kind} advantages"].edges for kind in ("raw", "normalised")] == [5, 7]
    leads = answers.contests(load(ROOT / "results/task_by_task"))
    signs = np.sign(leads["lead"])[leads["holm"] < 0.05]
    assert (len(leads), (signs > 0).sum(), (signs < 0).sum()) == (8, 3, 3)
    page = (ROOT / "docs/evidence/task_by_task.md").read_text()
    assert "TRPO is above on three tasks and below on three" in page


def test_the_intervals_of_the_evidence_are_those_of_the_log_or_of_todays_tables(committed):
    wild = [steps.numbers(committed, runs) for runs in (committed.main, committed.under(BOUNDED))]
    drawn = panel.number_profiles.numbers(committed, committed.main)
    drawn = drawn[drawn["task"] == "all tasks"]
    known = (ROOT / "results/LOG.md").read_text()
    known += " ".join(steps.text(frame).to_csv() for frame in wild)
    known += " ".join("{:.2f} [{:.2f}, {:.2f}]".format(*row) for row in drawn[["mean", "low", "high"]].to_numpy())
    known = plain(known)
    for page in (ROOT / "docs/evidence").glob("*.md"):
        brackets = re.findall(r"\[-?\d[^\]]*, [^\]]*\]", plain(page.read_text()))
        assert [bracket for bracket in brackets if bracket not in known] == [], page


def plain(text):
    """Without signs that say nothing and line breaks."""
    return re.sub(r"\s+", " ", text.replace("[+", "[").replace(", +", ", ").replace("-0.0,", "0.0,"))


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
        sweeper = UnionSweeper(**{"params": {}} | yaml.safe_load(path.read_text())["hydra"]["sweeper"])
    jobs = sweeper.jobs(overrides)
    arms = {tuple(word for word in job if not word.startswith("seed=")): job for job in jobs}
    assert len(jobs) == 1 or "-m" in words, words
    # Every arm of every experiment composes in another test.
    for job in list(arms.values())[:: max(1, len(arms) // 4)]:
        parse(OmegaConf.to_container(compose("config", [*job, *own]), resolve=True))


@pages
def test_commands_of_the_analysis_name_figures_and_studies_that_there_are(page):
    made = {path.name for path in (ROOT / "results").iterdir()} | {"NAME"}
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


# The site ---------------------------------------------------------------------------------


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
    arms = (tmp_path / "reference/arms.html").read_text()
    assert all(f'id="{name}"' in arms for name in generate().NAMES)
