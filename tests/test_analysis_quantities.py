"""A report agrees with itself: what compares two arms has one value, in frames, tables and sentences."""

import re

import numpy as np
import pandas as pd
import pytest
import synthetic
from conftest import leave_undrawn
from synthetic import ADAPTIVE, CLIP, TRPO, Arm, Task, fixed

from analysis import data, report
from analysis.item import FINDING
from analysis.table import TABLES

NUMBER = re.compile(r"([+-]?\d+\.\d+) \[([+-]?\d+\.\d+), ([+-]?\d+\.\d+)\]")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The report of a study that compares in every way there is: knobs, sources of beta, conditions, units."""
    folder = tmp_path_factory.mktemp("quantities")
    raw, tasks = {"advantage_normalization": "none"}, [Task(name, best_beta=(best, best)) for name, best in
                                                      zip("abcdef", (0.3, 1.0, 1.0, 3.0, 3.0, 10.0))]  # fmt: skip
    deltas = [Arm("trpo", max_kl=delta, quality=quality) for delta, quality in ((0.001, 0.5), (0.1, 0.7))]
    arms = [TRPO, *deltas, ADAPTIVE, CLIP, Arm("kl_bisect", kl_target=0.01, quality=0.9), *fixed([0.1, 1.0, 10.0])]
    arms += [*fixed([1.0], max_grad_norm=0.5), *fixed([1.0], **raw), *fixed([1.0], **raw, reward_scale=100.0)]
    arms += [Arm("trpo", max_kl=0.01, settings=tuple((raw | more).items()), quality=0.9)
             for more in ({}, {"reward_scale": 100.0})]  # fmt: skip
    study = data.load([synthetic.write(folder / "s", *synthetic.study(tasks, arms, seeds=2, iterations=12))])
    with pytest.MonkeyPatch.context() as patch:
        leave_undrawn(patch)
        drawn = ("constraint", "regret", "one_value", "spread")
        patch.setattr(report, "PANELS", {name: report.PANELS[name] for name in drawn})
        return report.build(study, folder / "report").parent


def test_no_quantity_has_two_values(out):
    found = pd.read_csv(out / "tables/findings.csv", keep_default_na=False, na_values=[""])
    found["advantages"] = found["advantages"].fillna("")
    assert {"pairs", "sources", "conditions", "reward_units", "constraint", "regret"} <= set(found["item"])
    assert not found[["contrast", "sample", "metric"]].isna().any(axis=None)
    sides = found["contrast"].str.split(" minus ")
    backwards = [len(two) == 2 and two != sorted(two) for two in sides]  # b minus a is a minus b
    found["contrast"] = [" minus ".join(sorted(two)) for two in sides]
    found["value"] = np.where(backwards, -1, 1) * found["value"]
    twice = 0
    for key, own in found.groupby(FINDING):
        assert np.ptp(own["value"]) < 1e-5, (key, own[["item", "value"]])
        twice += own["item"].nunique() > 1
    assert twice >= 2  # adaptive and bisected beta minus TRPO stand in two tables


def test_sentences_and_tables_take_their_numbers_from_the_same_cells(out):
    found = pd.read_csv(out / "tables/findings.csv")
    text = (out / "report.md").read_text()
    opening = [line for line in text[: text.index("The words used here")].splitlines() if line.startswith("- ")]
    assert len(opening) >= 3 and any("constraint" in line for line in opening)
    for line in opening:
        item = re.search(r"\((?:figures|tables)/(\w+)\.", line)
        if item is None:  # its figure is not drawn here
            continue
        cells = found.loc[found["item"] == item[1], ["value", "low", "high"]].to_numpy()
        numbers = [[float(number) for number in match] for match in NUMBER.findall(line)]
        assert any(np.abs(cells - number).max(axis=1).min() < 0.0051 for number in numbers), line  # two decimals
    for name in ("pairs", "sources", "conditions"):
        frame = pd.read_csv(out / f"tables/{name}.csv", keep_default_na=False, na_values=["", "nan"])
        rows, cells = TABLES[name].text(frame), TABLES[name].findings(frame)
        shown = {match for cell in rows.astype(str).to_numpy().ravel() for match in NUMBER.findall(cell)}
        shown |= {(f"{-float(a):+.2f}", f"{-float(c):+.2f}", f"{-float(b):+.2f}") for a, b, c in shown}
        for value, low, high in cells[["value", "low", "high"]].to_numpy():
            assert (f"{value:+.2f}", f"{low:+.2f}", f"{high:+.2f}") in shown, name


def test_a_question_s_figure_shows_the_answers_that_its_sentences_say(out):
    verdicts = pd.read_csv(out / "tables/verdicts.csv").set_index(["question", "contrast", "sample"])
    assert verdicts.index.is_unique
    frame = pd.read_csv(out / "tables/constraint.csv")
    for (sample, contrast), own in frame.groupby(["sample", "contrast"]):
        assert verdicts.loc[("constraint", contrast, sample), "effect"] == pytest.approx(own["effect"].mean(), abs=1e-5)
    assert frame["contrast"].nunique() == 2  # tuned on the task, and carried over
    text = (out / "report.md").read_text()
    for sentence in verdicts["sentence"]:
        assert sentence.split("[")[0].split(":")[0] in text
