"""The report as a whole: what is written, what is refused, what still works on little data."""

import re

import numpy as np
import pandas as pd
import pytest
import synthetic

from analysis import data, style
from analysis.__main__ import main
from analysis.panel import implied_beta


@pytest.fixture(scope="module")
def quick():
    return synthetic.quick()


@pytest.fixture
def svg_alone(monkeypatch):
    """Figures without PDF and PNG, which take most of the time; one report here has them all."""
    monkeypatch.setattr(style, "FORMATS", ("svg",))


@pytest.fixture(scope="module")
def report(tmp_path_factory, quick):
    directory = synthetic.write(tmp_path_factory.mktemp("a study") / "quick", *quick)
    assert main([str(directory), "--strict"]) == 0
    return directory / "report"


def test_page_needs_no_network(report):
    page = (report / "index.html").read_text()
    # Anchors, downloads inside the page and the files beside it; names of XML namespaces load nothing.
    for target in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert target.startswith(("#", "data:", "figures/", "tables/", "explorer.html")), target
    assert not re.search(r"@import|url\((?!#)", page)


def test_every_figure_has_its_numbers_and_three_formats(report):
    figures = sorted(path.stem for path in (report / "figures").glob("*.svg"))
    assert {"beta_profile", "learning_curves", "achieved_kl", "implied_beta"} <= set(figures)
    for name in figures:
        assert (report / "tables" / f"{name}.csv").stat().st_size > 0
        assert (report / "figures" / f"{name}.pdf").is_file()
        assert (report / "figures" / f"{name}.png").is_file()


def test_the_first_screen_asks_shows_a_figure_and_says_at_most_five_things_with_links(report):
    page = (report / "index.html").read_text()
    first = page[page.index("<header>") : page.index("<nav")]
    ids = set(re.findall(r'\bid="([^"]+)"', page))
    assert "Penalty or constraint: fixed β, TRPO, adaptive β and 2 others" in first and first.count("<svg") == 1
    seen = re.search('<ul class="seen">(.*?)</ul>', first, re.S)[1].split("</li>")[:-1]
    assert 2 <= len(seen) <= 5
    for line in seen:
        assert re.search(r'<a href="#(\w+)">(figure|table)</a>$', line)[1] in ids
        assert len(re.sub("<.*?>", "", line).split()) < 45
    assert "needs" not in first and "<nav aria-label" in page and "<details><summary>Contents" in page
    order = [page.index(f'<section id="{part}">') for part in ("unit", "windows_of_values", "within", "tuned")]
    assert order == sorted(order) and page.index('<details class="fold" id="verdicts">') > order[-1]


def test_the_markdown_says_the_same_in_the_same_order(report):
    page, markdown = (report / "index.html").read_text(), (report / "report.md").read_text()
    headings = [re.sub("&#x27;", "'", name) for name in re.findall(r"<h[23]>(.*?)</h[23]>", page)]
    shown = re.findall(r"(?:^#{3,4} |^<details><summary>)(.*?)(?:</summary>)?$", markdown, re.M)
    assert headings == [name for name in shown if name not in ("more", "The words used here")]


def test_every_id_in_the_page_is_unique(report):
    ids = re.findall(r'\bid="([^"]+)"', (report / "index.html").read_text())
    assert sorted({name for name in ids if ids.count(name) > 1}) == []


def test_beta_profile_numbers_are_the_means_of_the_runs(report, quick):
    frame = pd.read_csv(report / "tables" / "beta_profile.csv")
    runs = quick[0]
    for _, row in frame[frame["kind"] == "sweep"].iterrows():
        scores = runs[
            (runs["task"] == row["task"]) & (runs["beta"] == row["setting"]) & (runs["algorithm"] == "kl_fixed")
        ]
        assert row["mean"] == pytest.approx(scores["final_return"].mean(), rel=1e-5)
    best = frame[frame["kind"] == "best"].set_index("task")["setting"]
    assert best.to_dict() == {"halfcheetah": 10, "hopper": 0.1, "swimmer": 1}


def test_missing_run_refuses_its_panels_names_it_and_goes_on(tmp_path, undrawn, monkeypatch, capsys):
    arms = [synthetic.TRPO, *synthetic.fixed([1.0, 10.0])]
    runs, curves = synthetic.study(synthetic.QUICK_TASKS, arms, iterations=20)
    lost = (runs["task"] == "hopper") & (runs["beta"] == 10) & (runs["algorithm"] == "kl_fixed") & (runs["seed"] > 0)
    assert lost.sum() == 2
    directory = synthetic.write(tmp_path / "s", runs[~lost], curves)
    assert main([str(directory)]) == 0
    text = (directory / "report" / "report.md").read_text()
    assert "Not drawn for hopper" in text
    command = r"^python -m study task=hopper algorithm=kl_fixed algorithm\.beta=10 total_steps=\d+ seed=%d name=s .*$"
    for page in (text, (directory / "report" / "index.html").read_text()):  # each on a line of its own
        assert all(re.search(command % seed, page, re.M) for seed in (1, 2))
    profile = pd.read_csv(directory / "report" / "tables" / "beta_profile.csv")
    assert set(profile["task"]) == {"halfcheetah", "swimmer"}
    implied = pd.read_csv(directory / "report" / "tables" / "implied_beta.csv")
    assert "hopper" in set(implied["task"])
    monkeypatch.setattr("analysis.report.PANELS", {})
    monkeypatch.setattr("analysis.report.TABLES", {})
    assert main([str(directory), "--strict"]) != 0
    assert "seed=1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arms, seeds, tasks, drawing",
    [
        ([synthetic.TRPO], 1, 1, "svg_alone"),
        ([synthetic.CLIP], 2, 1, "undrawn"),
        (synthetic.fixed([1.0]), 1, 1, "undrawn"),
        ([synthetic.TRPO, *synthetic.fixed([0.1, 10.0])], 1, 3, "undrawn"),
        ([synthetic.TRPO, *synthetic.fixed([0.1, 10.0])], 3, 1, "undrawn"),
        ([synthetic.Arm("my_own_rule", quality=0.5)], 2, 2, "svg_alone"),
    ],
    ids=["one run", "clip only", "one beta", "one seed", "one task", "unknown algorithm"],
)
def test_small_studies_get_the_panels_that_apply(tmp_path, request, arms, seeds, tasks, drawing):
    request.getfixturevalue(drawing)
    study = synthetic.study(synthetic.QUICK_TASKS[:tasks], arms, seeds=seeds, iterations=20)
    directory = synthetic.write(tmp_path / "s", *study)
    assert main([str(directory)]) == 0
    assert (directory / "report" / "figures" / "learning_curves.svg").is_file()


def test_columns_full_of_nan_do_not_stop_the_report(tmp_path, svg_alone):
    arms = [synthetic.TRPO, synthetic.ADAPTIVE, *synthetic.fixed([1.0, 10.0])]
    runs, curves = synthetic.study(synthetic.QUICK_TASKS[:2], arms, iterations=20)
    for column in ("implied_beta", "implied_beta_crossfit", "sigma_advantage", "entropy", "max_ratio"):
        curves[column] = np.nan
    assert main([str(synthetic.write(tmp_path / "s", runs, curves))]) == 0


def test_implied_beta_recovers_the_synthetic_one(tmp_path):
    task = synthetic.Task("hopper", implied_beta=(2.0, 2.0), sigma_advantage=(10.0, 10.0))
    study = data.load([synthetic.write(tmp_path / "s", *synthetic.study([task], [synthetic.TRPO], seeds=10))])
    frame = implied_beta.numbers(study, study.main)
    full = frame[frame["estimate"] == "full batch"].groupby("units")["mean"].mean()
    assert full["as the algorithm saw it"] == pytest.approx(2.0, rel=0.05)
    assert full["raw advantages"] == pytest.approx(20.0, rel=0.05)
    # The synthetic cross-fitted value is half as large, and negative in one update of four.
    crossfit = frame[(frame["estimate"] == "cross-fitted") & (frame["units"] == "raw advantages")]["mean"]
    assert crossfit.mean() == pytest.approx(20 * 0.5 * np.sqrt(0.75 - 0.25), rel=0.1)


def test_a_study_in_which_no_policy_moved_has_a_report_that_says_so_where_it_is_asked_for(tmp_path, undrawn, capsys):
    runs, curves = synthetic.quick(seeds=2, iterations=12)
    still = curves.assign(kl_after=0.0, kl_attempted=0.0, surrogate_gain=0.0, return_mean=0.0, max_ratio=1.0)
    runs = runs.assign(final_return=0.0, auc_return=0.0)
    directory = synthetic.write(tmp_path / "still", runs, still)
    assert main([str(directory), "--out", str(tmp_path / "elsewhere")]) == 0
    assert capsys.readouterr().out.strip().endswith(str(tmp_path / "elsewhere" / "index.html"))
    assert not (directory / "report").exists()
    text = (tmp_path / "elsewhere" / "report.md").read_text()
    assert "no policy moved: the KL of every update is 0" in text.split("What this study cannot show")[1]
    assert (tmp_path / "elsewhere" / "index.html").exists()
