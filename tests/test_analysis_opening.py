"""The report's first screen: it speaks of the arms that were run, and of no others."""

import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import pandas as pd
import pytest
import synthetic
from synthetic import TRPO, Task, fixed

from analysis import data, opening, page, style
from analysis.panel import PANELS
from analysis.report import build
from analysis.table import TABLES

LONG = ("MountainCarContinuous-v0", "my_module:MyEnv-v0 size=3", "dm_control/quadruped-fetch-v0", "hopper", "swimmer")


def made(folder, *study):
    """(the page's parts by name, report.md) of a study."""
    found = data.load([synthetic.write(folder / "s", *study)])
    text = build(found, folder / "report").read_text()
    opened = text[text.index("<header>") : text.index("<nav")]
    folds = dict(re.findall(r'<details class="fold" id="(\w+)">(.*?)\n(?=<details class="fold"|</main>)', text, re.S))
    parts = {"title": re.search("<title>(.*)</title>", text)[1], "opening": opened, "page": text, "folds": folds}
    return parts, (folder / "report/report.md").read_text()


@pytest.fixture(autouse=True)
def svg_alone(monkeypatch):
    monkeypatch.setattr(style, "FORMATS", ("svg",))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "FORMATS", ("svg",))
        task = Task("MountainCarContinuous-v0", -30, 90, best_beta=(3.0, 3.0))
        arms = fixed([0.3, 3.0, 30.0])
        return made(tmp_path_factory.mktemp("own"), *synthetic.study([task], arms, iterations=20))


def test_a_sweep_of_beta_alone_is_reported_as_that(own):
    parts, markdown = own
    assert parts["title"] == "β of a KL penalty on MountainCarContinuous-v0: 3 values, 3 seeds"
    first = re.sub("<svg.*?</svg>", "", parts["opening"], flags=re.S)
    assert not re.search("TRPO|constraint|undecided|[Cc]laim", first)
    assert 'id="beta_profile"' in first and parts["opening"].count("<svg") == 1
    assert re.search(r"On MountainCarContinuous-v0 β = 3 is best, with a return of \d+\.?\d* \[\d", first)
    assert "Constraint less penalty: needs 3 values of a knob" in parts["folds"]["absent"]
    for line in ("# Experiment", parts["title"], "β = 3 is best"):
        assert line in markdown
    assert "What speaks against it" not in parts["page"]


def test_a_sweep_of_another_number_opens_with_its_profile(tmp_path):
    deltas = [synthetic.Arm("trpo", max_kl=delta, quality=quality) for delta, quality in ((0.001, 0.3), (0.01, 0.9))]
    parts, markdown = made(tmp_path, *synthetic.study([Task("a-v0")], deltas, iterations=12))
    assert parts["title"] == "δ of TRPO on a-v0: 2 values, 3 seeds"
    assert 'id="profile"' in parts["opening"] and "penalty" not in parts["opening"]
    assert "δ = 0.01 is best" in markdown and "largest value that was run" in markdown


def swept_to(finals, trainings, seeds=3):
    """The opening's sentences of a sweep of beta; {beta: mean final return} and mean returns over training."""
    offsets = [-0.5, 0.0, 0.5] if seeds > 1 else [0.0]
    rows = [
        {"task": "a", "algorithm": "kl_fixed", "family": "kl_fixed", "arm": f"kl_fixed beta={beta:g}", "setting": beta,
         "condition": "", "seed": seed, "score": final + offset, "auc_score": over + offset, "untrained": 0.0}
        for (beta, final), over in zip(finals.items(), trainings)
        for seed, offset in enumerate(offsets)
    ]  # fmt: skip
    runs = pd.DataFrame(rows)
    study = SimpleNamespace(runs=runs, main=runs)
    return opening._own(study, {"beta_profile": PANELS["beta_profile"].numbers(study, runs)})


def test_on_a_plateau_the_values_not_shown_to_be_worse_are_named_and_none_is_called_best():
    plateau = {0.03: 50.0, 0.1: 93.6, 0.3: 94.0, 1: 93.8, 10: 94.1}
    (found,) = swept_to(plateau, [90, 90.2, 89.9, 90.1, 68])
    assert found.text == (
        "On a β from 0.1 to 10 is not shown to be worse in final return (mean 93.6 to 94.1); in speed β from 0.03 to 1 "
        "is not shown to be worse (mean return over training)."
    )
    (found,) = swept_to({0.1: 94.0, 1: 50.0, 10: 94.1}, [90.0, 40.0, 90.1])  # two hills
    assert found.text == (
        "On a β = 0.1 and 10 are not shown to be worse in final return (mean 94 to 94.1), nor in speed (mean return "
        "over training)."
    )
    (found,) = swept_to({0.1: 10.0, 1: 50.0, 10: 94.0}, [10.0, 50.0, 90.0])  # no plateau: the edge is worth a word
    assert found.text == (
        "On a β = 10 is best, with a return of 94 [92.8, 95.2]; it is the largest value that was run, so the best may "
        "lie beyond it; it is fastest too (mean return over training)."
    )
    (found,) = swept_to({0.1: 10.0, 1: 94.0, 10: 90.0}, [10.0, 50.0, 90.0])
    assert found.text.endswith("; in speed β = 10 is best (mean return over training).")
    (found,) = swept_to({0.1: 10.0, 1: 94.0, 10: 90.0}, [10.0, 50.0, 90.0], seeds=1)
    assert found.text == (
        "On a β from 0.1 to 10 is not shown to be worse in final return (mean 10 to 94): one seed does not tell values "
        "apart."
    )


def test_arms_that_tie_are_not_ranked():
    arms = {"clip clip_epsilon=0.2": 94.0, "unpenalised": 93.9, "trpo max_kl=0.01": 20.0}
    rows = [
        {"task": "a", "arm": arm, "seed": seed, "score": mean + offset}
        for arm, mean in arms.items()
        for seed, offset in enumerate([-0.5, 0.0, 0.5])
    ]
    (found,) = opening._best_arms(SimpleNamespace(main=pd.DataFrame(rows)), {})
    assert found.text == (
        "On a clipping, ε=0.2 has the highest mean return, 94 [92.8, 95.2]; no penalty is not shown to be worse."
    )
    rows = [row for row in rows if row["arm"] != "unpenalised"]
    (found,) = opening._best_arms(SimpleNamespace(main=pd.DataFrame(rows)), {})
    assert found.text == "On a clipping, ε=0.2 does best, with a return of 94 [92.8, 95.2]."


def test_without_a_sweep_the_learning_curves_open(tmp_path):
    parts, markdown = made(tmp_path, *synthetic.study([Task("CartPole-v1")], [synthetic.CLIP], seeds=2, iterations=12))
    assert parts["title"] == "Clipping on CartPole-v1: 2 seeds"
    assert 'id="learning_curves"' in parts["opening"]
    assert "On CartPole-v1 clipping, ε=0.2 returns" in markdown


def test_a_study_much_shorter_than_its_tasks_files_says_so_first():
    def runs(steps, algorithm="trpo", **changes):
        config = {"task": {"name": "hopper", "id": "Hopper-v5", "total_steps": 1_000_000}} | changes
        frame = pd.DataFrame([{"config": json.dumps(config), "total_steps": steps, "algorithm": algorithm}])
        return SimpleNamespace(runs=frame)

    line = opening.short_budget(runs(100_000))
    assert line.startswith("Trained for 100 000 of the task’s usual 1 000 000 steps: TRPO’s small steps lose most by")
    assert "TRPO" not in opening.short_budget(runs(100_000, "clip"))
    assert opening.short_budget(runs(1_000_000)) is None
    assert opening.short_budget(runs(100_000, fork={"at": 5})) is None
    custom = {"name": "My-v0", "id": "My-v0", "total_steps": 1_000_000}  # no file, no usual budget
    assert opening.short_budget(runs(100_000, task=custom)) is None


def test_no_title_leaves_its_panel_and_no_task_s_name_is_cut(tmp_path):
    tasks = [Task(name) for name in LONG]
    study = data.load(
        [synthetic.write(tmp_path / "s", *synthetic.study(tasks, [TRPO, *fixed([1, 10])], iterations=12))]
    )
    for panel in PANELS.values():
        if panel.name not in ("beta_profile", "kl_law", "best_by_phase", "transfer", "table_1"):
            continue
        figure = style.drawn(panel.show, panel.numbers(study, study.main))
        rows = {}
        for ax in figure.axes:
            title = ax._left_title
            if title.get_text():
                box = title.get_window_extent()
                assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, (panel.name, title.get_text())
                assert title.get_fontsize() >= 5.9 and title.get_text().count("\n") < 3
                rows.setdefault(round(ax.get_position().y0, 3), []).append(box)
            for label in [*ax.get_xticklabels(), *ax.get_yticklabels()]:
                if label.get_text() and not re.fullmatch(r"[−\d.⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", label.get_text()):
                    box = label.get_window_extent()
                    assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1, panel.name
        for boxes in rows.values():
            boxes = sorted(boxes, key=lambda box: box.x0)
            assert all(left.x1 <= right.x0 for left, right in zip(boxes, boxes[1:])), panel.name
        words = "".join(text.get_text() for text in figure.findobj(match=style.matplotlib.text.Text))
        squeezed = re.sub(r"\s", "", words)
        assert all(re.sub(r"\s", "", name) in squeezed for name in LONG[:3]), panel.name


def test_captions_show_two_sentences_and_fold_the_rest():
    assert page.split("A et al. 2024 is drawn. See this! More: β is so. And more.") == (
        "A et al. 2024 is drawn. See this!",
        "More: β is so. And more.",
    )
    for item in [*PANELS.values(), *TABLES.values()]:
        shown, rest = page.split(item.caption)
        assert len(shown) < 420 and f"{shown} {rest}".strip() == item.caption


def test_the_glossary_is_short():
    assert len(opening.GLOSSARY) <= 15 and len({term for term, _ in opening.GLOSSARY}) == len(opening.GLOSSARY)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_on_a_phone_nothing_but_figures_and_tables_is_wider_than_the_screen(own, tmp_path):
    (tmp_path / "report.html").write_text(own[0]["page"])
    (tmp_path / "phone.html").write_text(
        '<iframe id=f width=390 height=844 src="report.html"></iframe><script>f.onload = () => setTimeout(() => {'
        "const page = f.contentDocument, root = page.documentElement;"
        "const wide = [...page.querySelectorAll('.plot, .table')].filter(box => box.scrollWidth > box.clientWidth + 4);"
        "document.title = [root.scrollWidth <= root.clientWidth, wide.length > 0,"
        " wide.every(box => box.matches('.more') && box.nextElementSibling.offsetHeight > 0)]"
        ".join() }, 500)</script>"
    )
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         "--virtual-time-budget=3000", "--window-size=900,900", "--dump-dom", (tmp_path / "phone.html").as_uri()],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "<title>true,true,true</title>" in done.stdout


def test_forks_open_with_the_tasks_whose_best_betas_change_sides():
    row = {"advantages": "raw", "lead_first": 100.5, "lead_first_low": 15.4, "lead_first_high": 186.0}
    row |= {"lead_last": -3826.2, "lead_last_low": -6871.0, "lead_last_high": -781.0, "p": 0.001, "seeds": 10}
    frame = pd.DataFrame([row | {"task": "hopper", "holm": 0.002}, row | {"task": "swimmer", "holm": 0.7}])
    (found,) = opening._own(None, {"crossing": frame})
    assert found.text.startswith(
        "On Hopper small β gain +100 [+15.4, +186] more than large ones early and -3,830 [-6,870,"
    )
    assert "Swimmer" not in found.text and found.anchor == "crossing"
    (found,) = opening._own(None, {"crossing": frame.assign(holm=0.7)})
    assert found.text == "That small β gain most early and large β late is not shown on 2 tasks."


def test_an_adaptive_beta_is_told_where_enough_tasks_have_one():
    row = {"key": "change", "effect": -0.04, "low": -0.09, "high": 0.01, "tasks": 20}
    row |= {"candidates": "3 targets, 7 constants"}
    frame = pd.DataFrame(
        [row | {"label": "raw advantages"}, row | {"label": "normalised advantages", "tasks": 7, "effect": 0.5}]
    )
    found = opening._changes(list(frame.itertuples()), {"four_answers": frame})
    assert "-0.04 [-0.09, +0.01] with raw advantages (3 targets, 7 constants)." in found.text
    assert "PPO’s" in found.text and found.anchor == "four_answers"
    assert opening._changes(list(frame[1:].itertuples()), {}) is None


def test_a_contest_of_single_tasks_says_on_which_each_is_better():
    names, leads = ["a", "b", "c", "d"], [0.3, -0.2, 0.1, -0.3]
    frame = pd.DataFrame({"task": names, "lead": leads, "holm": [0.01, 0.02, 0.5, 0.01], "seeds": 8, "beta": 1.4})
    (found,) = opening._each_task({"contests": frame.assign(advantages="raw")})
    assert found.text == (
        "TRPO is shown to be above β = 1.4 on 1 (a) and below it on 2 (b and d) of 4 tasks, with raw advantages. "
        "Neither number is tuned to the task."
    )
    (found,) = opening._each_task({"contests": frame.assign(advantages="raw", holm=[0.01, 0.2, 0.5, 0.3])})
    assert "on 1 (a) and below it on none of 4 tasks, with raw advantages." in found.text
    assert opening._each_task({"contests": frame.assign(advantages="raw", seeds=2)}) == []
    assert opening.figure({"contests": frame, "learning_curves": frame}) == "contests"
    assert opening.figure({"contests": frame[:2], "learning_curves": frame}) == "learning_curves"


def test_what_a_bound_on_the_gradient_takes_off_is_told_where_it_was_asked_of_enough_tasks():
    row = {"key": "bound", "effect": 0.028, "low": 0.007, "high": 0.055, "tasks": 27}
    frame = pd.DataFrame([row | {"label": "normalised advantages, gradient within 0.5"}])
    found = opening._takes_off(list(frame.itertuples()), {"four_answers": frame})
    assert found.text.endswith("loses: 3 % [1 %, 6 %] (normalised advantages, gradient within 0.5).")
    assert opening._takes_off(list(frame.assign(tasks=24).itertuples()), {"four_answers": frame}) is None
