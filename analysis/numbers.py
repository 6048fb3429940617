"""The numbers in README.md, docs/ and results/*/README.md: rows of results/numbers.csv, filled into marked places.

    python -m analysis.numbers           makes the rows anew that committed data give, then fills every place
    python -m analysis.numbers --fill    fills the places alone

A place is a number with its interval, and behind it a comment with the name of a row:

    0.103 [0.055, 0.162]<!-- many_tasks/regret -->    33<!-- many_tasks/regret:tasks --> tasks

Rows without a commit are made anew: answers of `analysis.question`, named question/sample/contrast (with /by-families
where families of tasks are the units: `tasks` counts these), what they foretell
of a new task, times of results/benchmark, named speed/measure, and published tables, named published/source/task/row,
with ours, named replication/source/task/row (before they are run they are empty, and their places say "not run"), one
of them by hand, too (by-hand/way/row). The others are readings of one study by the rule that was registered for it.
They are history: the command made them at that commit or before, and they are not made again.
"""

import argparse
import csv
import difflib
import re
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from . import load, published, question
from .question import replication
from .table import new_task

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "results/numbers.csv"
COLUMNS = ["name", "value", "low", "high", "form", "tasks", "command", "commit"]
INTERVAL = r"[+-]?\d[\d.,]*(?:-fold)?(?:\s%)?(?:\sdecades)?\s\[[+-]?\d[^\]]*,\s[^\]]*\]"
LACKING = "not run"
PLACE = re.compile(rf"({INTERVAL}|\d+|{LACKING})<!--\s([\w./-]+)(:tasks)?\s-->")
COMMAND = "python -m analysis.numbers"
BY_HAND = "python benchmarks/klip_by_hand.py"
SPELLED = {"β": "beta", "δ": "delta", "ε": "epsilon", "+": "-plus"}


def pages():
    """The pages that have places."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "results").rglob("README.md"))]


def table():
    """{name: row} of the committed table."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def text(row):
    """ "0.103 [0.055, 0.162]", as the row's form has it; "not run" of an empty row."""
    return LACKING if not row["value"] else row["form"].format(*(float(row[end]) for end in ("value", "low", "high")))


def fill(page, rows):
    """A page's text with its places filled. Raises KeyError for a name that no row has."""

    def place(found):
        row = rows[found[2]]
        return f"{row['tasks'] if found[3] else text(row)}<!-- {found[2]}{found[3] or ''} -->"

    return PLACE.sub(place, page)


def answered(data):
    """Rows of all answers that the questions have for these runs, with families of tasks as units where there are
    three."""
    rows = []
    for _, answers in question.report(data):
        for answer in answers:
            name, form = f"{answer.question}/{_word(answer.sample)}/{_word(answer.contrast)}", _form(answer)
            rows.append(_row(name, (answer.effect, answer.low, answer.high), form, COMMAND, len(answer.tasks)))
            if pd.notna(answer.family_low):
                ends = (answer.effect, answer.family_low, answer.family_high)
                rows.append(_row(f"{name}/by-families", ends, form, COMMAND, answer.families))
    return rows


def foretold(data):
    """Rows of what is expected on one more task: each knob's best value, what a value from other tasks loses there."""
    frame, rows = new_task.numbers(data, data.main), []
    for own in frame.itertuples():
        name = f"{_word(own.sample)}/{_word(question.knob_name(own.algorithm, own.advantages))}"
        place = f"new-task/{name}{'-by-scale' if own.slope else ''}"
        best = (own.best, own.best_low, own.best_high)
        rows.append(_row(place, best, "{:.2g} [{:.2g}, {:.2g}]", COMMAND, own.tasks))
        if not own.slope and own.loss == own.loss:
            loss = (own.loss, own.loss_low, own.loss_high)
            rows.append(_row(f"{place}-loss", loss, "{:+.2f} [{:+.2f}, {:+.2f}]", COMMAND, own.tasks))
    return rows


def timed():
    """Rows of what was timed: medians with the interval of `make benchmark`; on a GPU with the smallest and largest."""
    folder = ROOT / "results/benchmark"
    known = pd.read_csv(folder / "summary.csv").dropna(subset="low")
    rows = [
        _row(f"speed/{_word(own.measure)}", (own.value, own.low, own.high), "{:.3g} [{:.2f}, {:.2f}]", "make benchmark")
        for own in known.itertuples()
    ]
    turns = pd.read_csv(folder / "gpu.csv")
    turns["learning"] = turns["us_per_step"] - turns["acting_us_per_step"]
    for key, own in turns.groupby(["algorithm", "hidden", "runs", "device"])["learning"]:
        ends = (own.median(), own.min(), own.max())
        digits = 1 if ends[0] < 10 else 0
        form = f"{{:.{digits}f}} [{{:.{digits}f}}, {{:.{digits}f}}]"
        rows.append(_row("gpu/" + "/".join(map(str, key)), ends, form, "python benchmarks/on_a_gpu.py"))
    return rows


def made(data):
    """All rows that are made anew."""
    return [*answered(data), *foretold(data), *timed(), *replicated(data), *by_hand()]


def replicated(data):
    """Rows of published tables, of the same made here, and of ours minus theirs."""
    rows = []
    for table in published.TABLES:
        found = replication.beside(data, table)
        for own in found[found["kind"].isin(["number", "contrast", "also", "profile", "change"])].itertuples():
            digits = 0 if own.task else 2
            form, signed = (
                f"{{:{sign}.{digits}f}} [{{:{sign}.{digits}f}}, {{:{sign}.{digits}f}}]" for sign in ("", "+")
            )
            name = "/".join(filter(None, (_word(table.name), own.task, _word(own.what))))
            theirs, mine, change = (
                _row(f"published/{name}", (own.theirs, own.theirs_low, own.theirs_high), form, "analysis/published.py"),
                _row(f"replication/{name}", (own.ours, own.ours_low, own.ours_high), form, COMMAND),
                _row(f"replication/{name}/difference", (own.difference, own.low, own.high), signed, COMMAND),
            )
            kept = {"profile": [mine], "change": [change], "also": [mine, change]}  # theirs have one score
            rows += kept.get(own.kind, [mine, change] if table.base else [theirs, mine, change])
    return rows


def by_hand():
    """Rows of `benchmarks/klip_by_hand.py`: scores, these less theirs, and less those of the way that is ours."""
    runs = pd.read_csv(ROOT / "results/klip_ppo_again/by_hand.csv")
    row = {algorithm: row for row, (algorithm, _) in published.KLIP.rows.items()}
    cells = {
        way: {"cartpole": {row[arm]: scores.to_numpy() for arm, scores in own.groupby("arm")["score"]}}
        for way, own in runs.groupby("way")
    }
    table = replace(published.KLIP_AGAIN, cells={"cartpole": published.KLIP.cells["cartpole"]})
    rows, form = [], "{:.0f} [{:.0f}, {:.0f}]"
    for way, own in cells.items():
        for number in replication.compared(table, own, {}).itertuples():
            name, signed = f"by-hand/{way}/{number.what}", form.replace(":", ":+")
            rows += [
                _row(name, (number.ours, number.ours_low, number.ours_high), form, BY_HAND),
                _row(f"{name}/difference", (number.difference, number.low, number.high), signed, BY_HAND),
            ]
        if way != "ours":
            for change in replication.taken_back(table, own, cells["ours"]).itertuples():
                name = f"by-hand/{way}/{change.what.replace(', ', '/')}"
                rows.append(_row(name, (change.difference, change.low, change.high), signed, BY_HAND))
    return rows


def _row(name, ends, form, command, tasks=""):
    ends = dict(zip(("value", "low", "high"), (f"{end:.5g}" if end == end else "" for end in ends)))
    return {"name": name, **ends, "form": form, "tasks": str(tasks), "command": command, "commit": ""}


def _form(answer):
    signed = "+" if answer.unit == "normalised score" or answer.contrast.startswith("move ") else ""
    return f"{{:{signed}.2f}} [{{:{signed}.2f}}, {{:{signed}.2f}}]"


def _word(label):
    for symbol, name in SPELLED.items():
        label = label.replace(symbol, name)
    return re.sub(r"\W+", "-", label.replace("/", "over")).strip("-").lower()


def write(rows):
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m analysis.numbers", description=__doc__.splitlines()[0])
    parser.add_argument("--fill", action="store_true", help="fill the places alone, with the rows as they are")
    rows, fill_alone = table(), parser.parse_args(arguments).fill
    if not fill_alone:
        kept = [row for row in rows.values() if row["commit"]]
        write([*made(load()), *kept])
        rows = table()
    for page in pages():
        before = page.read_text(encoding="utf-8")
        try:
            after = fill(before, rows)
        except KeyError as error:
            near = ", ".join(difflib.get_close_matches(error.args[0], rows, 1, 0))
            sys.exit(f"{page.relative_to(ROOT)}: no number {error} in {TABLE.relative_to(ROOT)}; the nearest is {near}")
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
