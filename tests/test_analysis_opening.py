"""The report's first screen: it speaks of the arms that were run, and of no others."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import synthetic
from conftest import leave_undrawn
from synthetic import TRPO, Task, fixed

from analysis import data, names, question, style
from analysis.panel import PANELS
from analysis.report import build, first
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


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        task = Task("MountainCarContinuous-v0", -30, 90, best_beta=(3.0, 3.0))
        arms = fixed([0.3, 3.0, 30.0])
        return made(tmp_path_factory.mktemp("own"), *synthetic.study([task], arms, iterations=20))


def test_a_sweep_of_beta_alone_is_reported_as_that(own):
    parts, markdown = own
    assert parts["title"] == "β of a KL penalty on MountainCarContinuous-v0: 3 values, 3 seeds"
    opened = re.sub("<svg.*?</svg>|<details.*?</details>", "", parts["opening"], flags=re.S)
    assert not re.search("TRPO|constraint|undecided|[Cc]laim", opened)
    assert 'id="beta_profile"' in opened and parts["opening"].count("<svg") == 1
    assert re.search(r"On MountainCarContinuous-v0 β = 3 is best, with a final return of \d+\.?\d* \[\d", opened)
    assert "Constraint minus penalty: needs 3 values of a knob" in parts["folds"]["absent"]
    for line in ("# Experiment", parts["title"], "β = 3 is best"):
        assert line in markdown
    assert "What speaks against it" not in parts["page"]


def test_a_sweep_of_another_number_opens_with_its_profile(tmp_path, undrawn):
    deltas = [synthetic.Arm("trpo", max_kl=delta, quality=quality) for delta, quality in ((0.001, 0.3), (0.01, 0.9))]
    parts, markdown = made(tmp_path, *synthetic.study([Task("a-v0")], deltas, iterations=12))
    assert parts["title"] == "δ of TRPO on a-v0: 2 values, 3 seeds"
    opened = re.sub("<svg.*?</svg>|<details.*?</details>", "", parts["opening"], flags=re.S)
    assert 'id="beta_profile"' in opened and "penalty" not in opened
    assert "δ = 0.01 is best" in markdown and "largest value that was run" in markdown


def swept_to(finals, trainings, seeds=3):
    """The opening's sentences of a sweep of beta; {beta: mean final return} and mean returns over training."""
    offsets = [-0.5, 0.0, 0.5] if seeds > 1 else [0.0]
    rows = [
        {"task": "a", "algorithm": "kl_fixed", "family": "kl_fixed", "arm": f"kl_fixed beta={beta:g}", "setting": beta,
         "knob": "beta", "condition": "", "seed": seed, "score": final + offset, "auc_score": over + offset,
         "untrained": 0.0, "learned": True}
        for (beta, final), over in zip(finals.items(), trainings)
        for seed, offset in enumerate(offsets)
    ]  # fmt: skip
    runs = pd.DataFrame(rows)
    return first.own_sweep({"beta_profile": PANELS["beta_profile"].numbers(None, runs)})


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
        "On a β = 10 is best, with a final return of 94 [92.8, 95.2]; it is the largest value that was run, so the "
        "best may lie beyond it; it is fastest too (mean return over training)."
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
    rows = [{"task": "a", "arm": arm, "mean": mean, "low": mean - 1, "high": mean + 1, "not_worse": mean > 50}
            for arm, mean in arms.items()]  # fmt: skip
    called = names.arm_names({"clip clip_epsilon=0.2": ("clip", {"clip_epsilon": 0.2}, {})})
    with names.naming(SimpleNamespace(arm_names=called)):
        (tied,) = first.best_arms({"returns": pd.DataFrame(rows)})
        (alone,) = first.best_arms({"returns": pd.DataFrame([rows[0], rows[2]])})
    assert tied.text == (
        "On a clipping, ε=0.2 has the highest mean final return, 94 [93, 95]; no penalty is not shown to be worse."
    )
    assert alone.text == "On a clipping, ε=0.2 does best, with a final return of 94 [93, 95]."


def test_without_a_sweep_the_learning_curves_open(tmp_path, undrawn):
    parts, markdown = made(tmp_path, *synthetic.study([Task("CartPole-v1")], [synthetic.CLIP], seeds=2, iterations=12))
    assert parts["title"] == "Clipping on CartPole-v1: 2 seeds"
    assert 'id="learning_curves"' in parts["opening"]
    assert "On CartPole-v1 clipping, ε=0.2 has a final return of" in markdown


def test_tasks_that_no_arm_learned_are_named_where_seeds_can_tell(tmp_path):
    def notes(name, seeds, **options):
        study = synthetic.study([Task("a")], fixed([1.0, 10.0]), seeds=seeds, iterations=12, **options)
        return first.notes(data.load([synthetic.write(tmp_path / name, *study)]))

    line = (
        "No arm learned a (above the untrained policy in every seed): questions and normalised scores leave the 4 runs"
    )
    assert [note for note in notes("flat", 2, quality=0.0) if note.startswith(line)]
    for told in (notes("one", 1, quality=0.0), notes("rises", 2)):
        assert not [note for note in told if "learned" in note]


def test_a_study_much_shorter_than_its_tasks_files_says_so_first():
    def runs(steps, algorithm="trpo", **changes):
        config = {"task": {"name": "hopper", "id": "Hopper-v5", "total_steps": 1_000_000}} | changes
        frame = pd.DataFrame([{"config": json.dumps(config), "total_steps": steps, "algorithm": algorithm}])
        return SimpleNamespace(runs=frame)

    line = first.short_budget(runs(100_000)).replace("\N{NO-BREAK SPACE}", " ")
    assert line.startswith("Trained for 100 000 of the task’s usual 1 000 000 steps: TRPO’s small steps lose most by")
    assert "TRPO" not in first.short_budget(runs(100_000, "clip"))
    assert first.short_budget(runs(1_000_000)) is None
    assert first.short_budget(runs(100_000, fork={"at": 5})) is None
    custom = {"name": "My-v0", "id": "My-v0", "total_steps": 1_000_000}  # no file, no usual budget
    assert first.short_budget(runs(100_000, task=custom)) is None


def test_no_title_leaves_its_panel_and_no_task_s_name_is_cut(tmp_path):
    tasks = [Task(name) for name in LONG]
    study = data.load(
        [synthetic.write(tmp_path / "s", *synthetic.study(tasks, [TRPO, *fixed([1, 10])], iterations=12))]
    )
    for panel in PANELS.values():
        if panel.name not in ("beta_profile", "kl_law", "transfer", "table_1"):
            continue
        figure = style.drawn(panel.draw, panel.numbers(study, study.main))
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


def test_what_a_caption_says_first_is_short():
    for item in [*PANELS.values(), *TABLES.values()]:
        assert 0 < len(item.caption) < 560, item.name


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
def test_on_a_phone_nothing_but_figures_and_tables_is_wider_than_the_screen(own, tmp_path):
    (tmp_path / "report.html").write_text(own[0]["page"])
    (tmp_path / "phone.html").write_text(
        '<iframe id=f width=390 height=844 src="report.html"></iframe><script>f.onload = () => setTimeout(() => {'
        "const page = f.contentDocument, root = page.documentElement;"
        "const wide = [...page.querySelectorAll('.plot, .table')].filter(box => box.scrollWidth > box.clientWidth + 4"
        " && !box.closest('details:not([open])'));"
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


def answer(name, contrast, count, **changes):
    tasks = tuple(f"t{number}" for number in range(count))
    ends = (0.1, 0.0, 0.2, float("nan"), float("nan"), 0.0)
    made = question.Answer(name, contrast, "old tasks", "points", *ends, tasks, 1, "2", {"β": "7", "δ": "3"}, "", "")
    return replace(made, **changes)


def test_the_first_answers_of_each_question_lead_where_they_have_enough_tasks():
    page = SimpleNamespace()
    regret = [answer("regret", "second", 20), answer("regret", "one", 20, verdict="shown")]  # judged ones first
    answered = [(page, [answer("constraint", "TRPO minus fixed β", 30)]), (page, regret)]
    answered += [(page, [answer("unit", "few", 5)]), (page, [answer("spread", "unknown", 9, high=float("inf"))])]
    found = first.leading(answered, {"regret": None})
    assert [line.text.split(":")[0] for line in found] == ["TRPO minus fixed β", "One"]
    assert [(line.anchor, line.verdict) for line in found] == [("", ""), ("regret", "shown")]


def test_the_first_screen_says_which_runs_it_leaves_out_and_the_largest_condition_leads(tmp_path, undrawn):
    task, other = Task("a"), (("horizon", 1024), ("hidden", "16"))
    betas = [synthetic.Arm("kl_fixed", beta=beta, settings=other) for beta in (0.1, 1.0, 10.0)]
    runs, curves = synthetic.study([task], [*betas, TRPO], seeds=2, iterations=12)
    short, short_curves = synthetic.study([task], fixed([1.0], horizon=1024, hidden="16"), seeds=1, iterations=6)
    runs, curves = (pd.concat(both, ignore_index=True) for both in ((runs, short), (curves, short_curves)))
    parts, markdown = made(tmp_path, runs, curves)
    for text in (parts["opening"], markdown):
        text = text.replace("\N{NO-BREAK SPACE}", " ")
        assert "it shows the 6 runs with horizon=1024 hidden=16; it leaves out 2 with the default protocol." in text
        assert "1 run of a with 12 288 steps left out: most runs of the task have 24 576." in text
    assert "β = 1 is best" in markdown
    absent = parts["folds"]["absent"]
    assert "kl_fixed (3 values of beta; horizon=1024 hidden=16), trpo (1 value of max_kl)" in absent
    found = data.load([tmp_path / "s"])
    for name in ("kl_fixed beta=1.0 horizon=1024 hidden=16", "kl_fixed beta=1 horizon=1024 hidden=16"):
        if name in set(found.runs["label"]):
            assert set(found.only(arms=[name]).runs["setting"]) == {1.0}
    assert "horizon=1024" in " ".join(found.runs["label"])
