"""Figures for papers: from the command line, as wide as asked, with letters that stay letters."""

import re

import pytest
import yaml
from conftest import ROOT

import analysis
from analysis import style
from analysis.__main__ import main
from analysis.panel import PANELS

EXAMPLE = str(ROOT / "results/archive/example")


@pytest.fixture(scope="module")
def example():
    return analysis.load(EXAMPLE)


def test_a_figure_is_a_file_of_the_width_arms_and_tasks_asked_for(tmp_path, capsys):
    style = tmp_path / "paper.mplstyle"
    style.write_text("font.size: 6\nfont.family: serif\n")
    out = tmp_path / "curves"
    words = ["--width", "3.3", "--arms", "trpo", "kl_fixed beta=3", "--tasks", "hopper", "swimmer"]
    assert main(["figure", "learning_curves", EXAMPLE, *words, "--style", str(style), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"figure: {out}.pdf\n"
    pdf = out.with_suffix(".pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf and b"DejaVuSerif" in pdf and b"CreationDate" not in pdf
    width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)[1]) / 72
    assert width == pytest.approx(3.3)


def test_the_format_is_that_of_the_file_or_the_one_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = ["--tasks", "hopper", "--arms", "trpo"]
    assert main(["figure", "learning_curves", EXAMPLE, *few, "--out", "curves.svg"]) == 0
    assert main(["figure", "learning_curves", EXAMPLE, *few, "--format", "png"]) == 0
    assert (tmp_path / "curves.svg").read_text().count("<svg") == 1
    assert (tmp_path / "learning_curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "words, said",
    [
        (["beta_profil", EXAMPLE], ["no figure 'beta_profil'", "beta_profile", "kl_law"]),
        (["learning_curves", EXAMPLE, "--arms", "trpoo"], ["no arm 'trpoo'", "trpo max_kl=0.01", "kl_fixed"]),
        (["learning_curves", EXAMPLE, "--tasks", "hoper"], ["no task 'hoper'", "hopper, swimmer"]),
        (["learning_curves", EXAMPLE, "--style", "nowhere.mplstyle"], ["nowhere.mplstyle"]),
        (["learning_curves", EXAMPLE, "--width", "0"], ["--width 0", "at least 2 inches"]),
        (["learning_curves", EXAMPLE, "--out", "x.docx"], ["no format 'docx'", "pdf"]),
        (["learning_curves", EXAMPLE, "--out", "no/such/x.pdf"], ["no/such/x.pdf"]),
        (["learning_curves", "nowhere"], ["nowhere"]),
        (["reward_scales", EXAMPLE], ["reward_scales: this study needs"]),
    ],
    ids=lambda words: words[-1],
)
def test_what_cannot_be_drawn_is_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["figure", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and all(word in error for word in said), error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PANELS)
def test_at_the_width_of_a_column_everything_can_be_read(name, example):
    try:
        figure = analysis.figure(name, example, width=3.3)
    except analysis.StudyError as reason:
        pytest.skip(str(reason))
    assert figure.get_figwidth() == pytest.approx(3.3)
    assert hidden(figure) == []


def hidden(figure):
    """Texts outside of the figure or on top of each other, and plots too narrow to see."""
    figure.draw_without_rendering()
    inside, found, titles = figure.bbox.padded(2), [], []
    for ax in figure.axes:
        if ax.get_window_extent().width < figure.bbox.width / 6:
            found.append(f"narrow plot {ax.get_title()}")
        titles += [(text.get_text(), text.get_window_extent()) for text in (ax.title, ax._left_title)]
        texts = [ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            shown = [text for tick in ticks for text in (tick.label1, tick.label2) if text.get_visible()]
            texts += shown
            if not any(text.get_rotation() for text in shown):
                found += overlaps([(text.get_text(), text.get_window_extent()) for text in shown])
        for text in texts:
            box = text.get_window_extent()
            if text.get_text() and text.get_visible() and not (inside.contains(*box.min) and inside.contains(*box.max)):
                found.append(f"{text.get_text()} is cut")
    for legend in figure.legends:
        if not (inside.x0 <= legend.get_window_extent().x0 and legend.get_window_extent().x1 <= inside.x1):
            found.append("the legend is cut")
    return found + overlaps(titles)


def overlaps(boxes):
    boxes = [(text, box) for text, box in boxes if text]
    return [
        f"{one} on {other}"
        for i, (one, box) in enumerate(boxes)
        for other, earlier in boxes[:i]
        if box.overlaps(earlier)
    ]


def test_without_folders_a_figure_is_of_all_committed_evidence(tmp_path, monkeypatch, capsys):
    read = []
    example = analysis.load(EXAMPLE)
    monkeypatch.setattr("analysis.__main__.load", lambda *given: read.append(given) or example)
    assert main(["figure", "learning_curves", "--out", str(tmp_path / "a.svg"), "--arms", "trpo"]) == 0
    assert read == [(None, False)]


@pytest.mark.parametrize("name, instead", [("profile", "beta_profile"), ("best_by_phase", "fork")])
def test_a_figure_that_was_says_in_one_line_what_replaced_it(name, instead, capsys):
    assert main(["figure", name, EXAMPLE]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and name in error and instead in error and instead in PANELS


def test_every_figure_that_a_page_shows_is_drawn_by_make_report():
    drawn = yaml.safe_load((ROOT / "results/figures.yaml").read_text())
    for place, studies in drawn.items():
        assert place.rpartition("/")[2] in PANELS, place
        assert all((ROOT / "results" / name / "runs.parquet").is_file() for name in studies), place
        assert studies[0] == place.rpartition("/")[0]
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "results").glob("*/README.md")]
    shown = {(page.parent / path).resolve() for page in pages
             for path in re.findall(r"\]\(([^)]*report/figures/[^)]*\.png)\)", page.read_text())}  # fmt: skip
    made = {ROOT / "results" / place.replace("/", "/report/figures/") for place in drawn}
    for path in shown:
        assert path.is_file(), path
        assert path.with_suffix("") in made or path.parent == ROOT / "results/report/figures", path


def test_any_number_of_tasks_has_colours_and_markers():
    tasks = [f"t{number:03d}" for number in range(200)]
    colours, markers = style.task_colours(tasks), style.task_markers(tasks)
    assert set(colours) == set(markers) == set(tasks)
    assert len({(colours[task], markers[task]) for task in tasks[:16]}) == 16
