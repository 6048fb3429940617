"""Do published tables come out here: number by number, in their contrasts, and in the values that they settled on?"""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from .. import published, statistics
from ..arms import NotApplicable
from ..data import KNOBS
from ..names import SYMBOLS, task_name
from . import CONTRARY, SHOWN, UNDECIDED, Answer, Effects, belong, interval_text, shares, span

QUESTION = "Do published tables come out here, number by number and in their contrasts?"
NUMBER = 0.25  # of their number: what a difference has to be smaller than
MARGINS = " and ".join(f"{table.margin:g} ({table.name})" for table in published.TABLES if table.contrasts)
RULE = f"""
Ours minus theirs with both uncertainties (Welch, 95 %). A number agrees if the interval is within {NUMBER:.0%} of it, a
contrast, in units of a task's mean over rows, if within {MARGINS}; else it
differs if 0 is outside. That an effect is above 0: the contrary is shown if its interval is below half of theirs, else
it is shown if that is above 0. It is shown to be larger than the size of another if both their sum and their difference
are above 0; the contrary if either is below 0. A value that they settled on is worse if another value of the sweep is
shown above it: one-sided, 5 %, Bonferroni over the values of the task, with the variance between seeds that all values
of the knob have there; else it stands. A departure of the protocol is the cause of a difference if without it the
number no longer differs and the change is shown (Welch, 95 %).
"""
ALSO = {"last": "last 100 episodes"}  # other scores in words
AGREES, DIFFERS = "agrees", "differs"  # of numbers; contrasts have the verdicts of the questions
STANDS, WORSE = "stands", "worse"
CAUSE, NO_CAUSE = "the cause", "not shown to be"  # of a departure

TITLE = "Beside published tables"
CAPTION = """
Ours beside theirs, with 95 % intervals over seeds, and ours minus theirs. Versions of the tasks, protocols and what a
number is made of: the studies’ pages.
"""
PART, ORDER = "ruled_out", 41
COLUMNS = [
    "source", "kind", "task", "what", "seeds", "ours", "ours_low", "ours_high", "theirs", "theirs_low", "theirs_high",
    "difference", "low", "high", "verdict",
]  # fmt: skip


def effects(data) -> Effects:
    """A row per number, contrast, conclusion (kinds "above" and "exceeds"), chosen value (kind "best") and value of its
    sweep ("profile"), number and contrast of another score ("also"), number without a departure less that with it
    ("change").
    """
    there = {name for names in data.runs["studies"] for name in names}
    frames = [beside(data, table) for table in published.TABLES if table.study in there]
    if not frames:
        studies = " or ".join(f"results/{table.study}" for table in published.TABLES)
        raise NotApplicable(f"needs runs of a published protocol, {studies}")
    return Effects(pd.concat(frames, ignore_index=True))


def beside(data, table):
    """`compared` with our runs; rows of another score, if the table has one, are of kind "also" and have no verdict;
    those of `taken_back`, if it is another table's with one departure less, of kind "change"."""
    found = compared(table, *ours(data, table))
    if table.base:
        (base,) = (own for own in published.TABLES if own.name == table.base)
        return pd.concat([found, taken_back(table, *(ours(data, own)[0] for own in (table, base)))])
    if not table.also:
        return found
    other = compared(table, *ours(data, replace(table, score=table.also)))
    other = other[other["kind"].isin(["number", "contrast"])]
    what = other["what"] + f", {ALSO[table.also]}"
    return pd.concat([found, other.assign(kind="also", verdict="", what=what)], ignore_index=True)


def ours(data, table):
    """(scores of a table's cells {task: {row: [runs]}}, scores of the sweep behind each chosen value, by
    (task, algorithm, chosen value): {value: [runs]})."""
    runs = data.runs[belong(data.runs, (table.study,))]
    runs = runs.assign(score=scored(data, table.score))
    runs = runs[runs["score"].notna()]
    cells = {
        task: {row: _of(own, *table.rows[row])["score"].to_numpy() for row in known}
        for task, known in table.cells.items()
        for own in [runs[runs["task"] == table.labels.get(task, task)]]
    }
    sweeps = {
        (task, algorithm, value): {x: own["score"].to_numpy() for x, own in swept.groupby("setting")}
        for (algorithm, value), tasks in (table.best or {}).items()
        for task in tasks
        for swept in [runs[(runs["task"] == task) & (runs["algorithm"] == algorithm)]]
    }
    return cells, sweeps


def taken_back(table, without, with_it):
    """A row per cell that has runs: ours without the departure minus ours with it, and whether it is the cause: with it
    the number differs from theirs, without it no longer, and the change is shown."""
    rows = []
    for task, known in table.cells.items():
        for row, theirs in known.items():
            ours, before = _mean(without[task][row]), _mean(with_it[task][row])
            margin = NUMBER * abs(theirs[0])
            *_, difference, low, high, change = _beside(ours, before, 0.0, ("", SHOWN))
            verdicts = [_beside(own, theirs, margin, (AGREES, DIFFERS))[-1] for own in (before, ours)]
            cause = change == SHOWN and verdicts[0] == DIFFERS != verdicts[1]
            what, verdict = f"{row}, change", "" if change == "" else CAUSE if cause else NO_CAUSE
            rows.append((table.name, "change", task, what, ours[2], *[np.nan] * 6, difference, low, high, verdict))
    return pd.DataFrame(rows, columns=COLUMNS)


def scored(data, score):
    """[run] the mean of return_mean over the last tenth of training ("tail"), its largest value ("peak"), or the mean
    over the last 100 episodes ("last"); in the tail a diverged run has the return of the untrained policy."""
    curves = data.curves
    if score == "last":
        return data.runs["final_return"].astype(float)
    if score == "peak":
        return curves.groupby("run")["return_mean"].max().reindex(data.runs.index).astype(float)
    last = curves[curves["progress"] > 0.9 + 1e-4].groupby("run")["return_mean"].mean().reindex(data.runs.index)
    return last.astype(float).where(data.runs["status"] != "diverged", data.runs["floor"])


def _of(runs, algorithm, settings):
    keep = runs["algorithm"] == algorithm
    for name, value in settings.items():
        found = (
            runs["setting"]
            if name == "setting"
            else pd.Series([own.get(name, False) for own in runs["changes"]], runs.index)
        )
        keep &= np.isclose(found.astype(float), float(value))
    return runs[keep]


def compared(table, cells, sweeps):
    """The rows of `Effects` of one table; what was not run here is NaN, without a verdict."""
    rows = []
    mine = {task: {row: _mean(scores) for row, scores in known.items()} for task, known in cells.items()}
    fewest = min(known[2] for own in mine.values() for known in own.values())
    for task, known in table.cells.items():
        for row, theirs in known.items():
            own, margin = mine[task][row], NUMBER * abs(theirs[0])
            rows.append(("number", task, row, own[2], *_beside(own, theirs, margin, (AGREES, DIFFERS))))
    found = {
        name: [_contrast(weights, own, table.cells) for own in (mine, table.cells)]
        for name, weights in table.contrasts.items()
    }
    rows += [
        ("contrast", "", name, fewest, *_beside(*both, table.margin, (SHOWN, CONTRARY))) for name, both in found.items()
    ]
    rows += [
        (kind, "", what, fewest, *ends, *[np.nan] * 3, verdict)
        for kind, what, *ends, verdict in conclusions(table, mine)
    ]
    for (task, algorithm, value), swept in sweeps.items():
        what = f"{SYMBOLS[KNOBS[algorithm][0]]} = {value:g}, chosen of {len(swept)}"
        seeds = min(map(len, swept.values()), default=0)
        rows.append(("best", task, what, seeds, *[np.nan] * 6, *standing(swept, value)))
        rows += [
            ("profile", task, f"{SYMBOLS[KNOBS[algorithm][0]]} = {x:g}", len(scores), *ends, *[np.nan] * 6, "")
            for (x, scores), ends in zip(swept.items(), profile(swept))
        ]
    return pd.DataFrame([(table.name, *row) for row in rows], columns=COLUMNS)


def conclusions(table, mine):
    """[(kind, what, ours, low, high, theirs, low, high, verdict)]: of the table's `exceeds`, that the first effect is
    above 0 and exceeds the second's size; mine: cells as the table has them."""
    if not table.exceeds:
        return []
    names, (effect, other) = table.exceeds, map(table.contrasts.get, table.exceeds)
    own, theirs = (_ends(_contrast(effect, of, table.cells)) for of in (mine, table.cells))
    rows = [("above", f"{names[0]} above 0", *own, *theirs, _positive(own[1], own[2] - theirs[0] / 2))]
    both = {
        sign: {row: effect.get(row, 0) + sign * other.get(row, 0) for row in {**effect, **other}} for sign in (1, -1)
    }
    own, theirs = (
        tuple(min(ends) for ends in zip(*(_ends(_contrast(both[sign], of, table.cells)) for sign in both)))
        for of in (mine, table.cells)
    )
    return [*rows, ("exceeds", f"{names[0]} minus the size of the {names[1]}", *own, *theirs, _positive(*own[1:]))]


def _positive(low, high):
    """The verdict on what has to be above 0, of its low end, and of what is below 0 where the contrary is shown."""
    return "" if np.isnan(low) else CONTRARY if high < 0 else SHOWN if low > 0 else UNDECIDED


def _mean(scores):
    """(mean, its standard error, runs) of one cell; NaN without two runs."""
    if len(scores) < 2:
        return np.nan, np.nan, len(scores)
    return float(np.mean(scores)), float(np.std(scores, ddof=1) / np.sqrt(len(scores))), len(scores)


def _contrast(weights, cells, units):
    """(mean over tasks, standard error, degrees of freedom + 1) of a weighted sum of a task's cells, in units of the
    mean over rows that they have in `units`; Satterthwaite over cells."""
    parts = []
    for task, known in cells.items():
        scale = np.mean([mean for mean, *_ in units[task].values()]) * len(cells)
        parts += [
            (weight * known[row][0] / scale, (weight * known[row][1] / scale) ** 2, known[row][2] - 1)
            for row, weight in weights.items()
        ]
    value, variance, freedom = (np.array(part, dtype=float) for part in zip(*parts))
    known = (variance > 0) & (freedom > 0)
    freedom = statistics.satterthwaite(np.where(known, variance, 0.0), np.where(known, freedom, 1))
    return value.sum(), np.sqrt(variance.sum()), freedom + 1


def _ends(cell):
    """(value, low, high) of (mean, standard error, runs), or as they are given behind these."""
    mean, error, runs, *given = cell
    if given:
        return mean, *given
    half = statistics.half_width(error, runs - 1) if np.isfinite(error) else np.nan
    return mean, mean - half, mean + half


def _beside(mine, theirs, margin, verdicts):
    """ours, low, high, theirs, low, high, difference, low, high, verdict."""
    variances = np.array([mine[1] ** 2, theirs[1] ** 2])
    freedoms = np.array([mine[2] - 1, theirs[2] - 1], dtype=float)
    freedom = statistics.satterthwaite(variances, np.maximum(freedoms, 1))
    difference, low, high = _ends((mine[0] - theirs[0], np.sqrt(variances.sum()), freedom + 1))
    verdict = "" if np.isnan(low) else judged(low, high, margin, *verdicts)
    return (*_ends(mine), *_ends(theirs), difference, low, high, verdict)


def judged(low, high, margin, agrees=SHOWN, differs=CONTRARY):
    """The verdict on a difference with its interval."""
    if -margin < low and high < margin:
        return agrees
    return differs if low > 0 or high < 0 else UNDECIDED


def standing(swept, chosen):
    """(difference, low, high, verdict): the best other value minus the chosen one, with its simultaneous interval, and
    whether the chosen one stands; swept {value: scores}.

    The low end is the one that decides: above 0 for any other value, the chosen one is worse.
    """
    variance, freedom = _pooled(swept)
    others = [value for value in swept if not np.isclose(value, chosen)]
    mine = next((scores for value, scores in swept.items() if np.isclose(value, chosen)), ())
    if not others or freedom < 1 or not len(mine):
        return np.nan, np.nan, np.nan, ""
    quantile = stats.t.ppf(1 - (1 - statistics.LEVEL) / len(others), freedom)
    leads = np.array([np.mean(swept[value]) - np.mean(mine) for value in others])
    halves = quantile * np.sqrt(variance * (1 / len(mine) + np.array([1 / len(swept[value]) for value in others])))
    best = (leads - halves).argmax()
    verdict = WORSE if leads[best] - halves[best] > 0 else STANDS
    return leads[best], leads[best] - halves[best], leads[best] + halves[best], verdict


def profile(swept):
    """[(mean, low, high)] by value, with the variance between seeds that all values have; swept {value: scores}."""
    variance, freedom = _pooled(swept)
    halves = [
        statistics.half_width((variance / len(own)) ** 0.5, freedom) if freedom else np.nan for own in swept.values()
    ]
    return [(mean, mean - half, mean + half) for mean, half in zip(map(np.mean, swept.values()), halves)]


def _pooled(swept):
    """(variance, degrees of freedom) between the seeds of one value, alike for all of them."""
    freedom = sum(len(scores) - 1 for scores in swept.values())
    squares = sum(((scores - np.mean(scores)) ** 2).sum() for scores in swept.values())
    return squares / freedom if freedom else np.nan, freedom


def decide(found: Effects) -> list[Answer]:
    """An answer per contrast and conclusion that was run."""
    answers = []
    for row in found.by_task.itertuples():
        table = next(own for own in published.TABLES if own.name == row.source)
        if row.kind == "contrast" and row.verdict:
            contrast, ends = f"{row.what}, ours minus theirs", (row.difference, row.low, row.high)
        elif row.kind in ("above", "exceeds") and row.verdict:
            contrast, ends = row.what, (row.ours, row.ours_low, row.ours_high)
        else:
            continue
        seeds = found.by_task.loc[
            (found.by_task["source"] == row.source) & (found.by_task["kind"] == "number"), "seeds"
        ]
        answers.append(Answer(
            "replication", contrast, row.source, "of the mean over rows", *ends, np.nan, np.nan, 0.0,
            tuple(table.cells), len(table.cells), span(seeds), {}, row.verdict, RULE,
        ))  # fmt: skip
    return answers


def sentence(answer) -> str:
    number = interval_text(answer, signed=True)
    return f"{answer.sample}: the {answer.contrast}, is {number} {answer.unit} ({answer.seeds} seeds)."


def imagine(
    difference=None, error=0.05, above=None, exceeds=None, algorithm=0.0, better=None, others=4, scatter=0.2, seeds=5,
    studies=300, seed=0,
):  # fmt: skip
    """(share shown, share contrary shown) of studies whose runs scatter by `scatter` of the mean over rows.

    difference  that one number of ours truly has from theirs, whose standard error is `error`: that it agrees
    above       the code-level effect, beside the published table: that it is above 0
    exceeds     the same, and an `algorithm` effect: that it exceeds the size of that
    better      one of so many `others` than the value chosen, which has five seeds, by standard deviations between
                seeds: that the chosen one is worse
    """
    generator, verdicts = np.random.default_rng(seed), []
    if better is not None:
        swept = {0: generator.normal(0, 1, (studies, 5)), 1: generator.normal(better, 1, (studies, seeds))}
        swept |= {value: generator.normal(0, 1, (studies, seeds)) for value in range(2, others + 1)}
        found = [standing({value: own[study] for value, own in swept.items()}, 0)[-1] for study in range(studies)]
        return shares([SHOWN if verdict == WORSE else UNDECIDED for verdict in found])
    if difference is not None:
        runs, other = generator.normal(1 + difference, scatter, (studies, seeds)), generator.normal(1, error, studies)
        both = [(_mean(own), (number, error, 5)) for own, number in zip(runs, other)]
        return shares([_beside(*pair, NUMBER, (SHOWN, CONTRARY))[-1] for pair in both])
    table, kind = published.ENGSTROM, "exceeds" if above is None else "above"
    sizes = dict(zip(table.exceeds, (exceeds if above is None else above, algorithm)))
    means = {row: 1 + sum(size * table.contrasts[name][row] for name, size in sizes.items()) for row in table.rows}
    for _ in range(studies):
        mine = {
            task: {row: _mean(generator.normal(mean, scatter, seeds) * scale) for row, mean in means.items()}
            for task, known in table.cells.items()
            for scale in [np.mean([mean for mean, *_ in known.values()])]
        }
        verdicts += [verdict for which, *_, verdict in conclusions(table, mine) if which == kind]
    return shares(verdicts)


WORLDS = [
    *({"difference": at, "scatter": 0.1, "error": 0.05} for at in (0.0, 0.25, 0.5)),
    *({"difference": at, "scatter": 0.5, "error": 0.25} for at in (0.0, 0.5)),
    *({"above": at, "seeds": seeds} for seeds in (5, 10) for at in (0.0, 0.155)),
    *(
        {"exceeds": at, "algorithm": other, "seeds": seeds}
        for seeds in (5, 10)
        for at, other in ((0.1, 0.1), (0.155, 0.031), (0.031, 0.155))
    ),
    *({"better": at, "seeds": seeds} for seeds in (2, 5) for at in (0.0, 2.0)),
]


# The table --------------------------------------------------------------------------------


def text(frame) -> pd.DataFrame:
    def value(row, *names):
        middle, *ends = (getattr(row, name) for name in names)
        form = f"{{:,.{0 if row.task else 2}f}}".format
        return f"{form(middle)} [{', '.join(map(form, ends))}]" if np.isfinite(middle) else "–"

    return pd.DataFrame(
        [
            {
                "source": row.source,
                "task": task_name(row.task) if row.task else "all",
                "what": row.what,
                "ours": value(row, "ours", "ours_low", "ours_high"),
                "theirs": value(row, "theirs", "theirs_low", "theirs_high"),
                "difference": value(row, "difference", "low", "high"),
                "seeds": str(row.seeds),
                "verdict": row.verdict or "–",
            }
            for row in frame.itertuples()
        ]
    )
