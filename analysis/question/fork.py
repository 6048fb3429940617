"""Does the best beta move within a run? Runs of several betas that go on from an early and from a late point."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from .. import response
from ..arms import NotApplicable
from ..names import task_name
from ..statistics import LEVEL
from ..style import ALGORITHM_STYLE, INK, NARROW, available, facets, in_view, legend_below, log_axis
from . import (
    CONTRARY,
    LEAST_TASKS,
    LEAST_VALUES,
    SHOWN,
    UNDECIDED,
    Answer,
    Sample,
    holes,
    interval_text,
    registered,
    span,
)
from .unit import differences

QUESTION = "How far does the best β move from an early to a late point of the same run?"
MOVES = 0.25  # decades: the best beta moves if it moves by more
STAYS = 0.5  # decades: it stays if it moves by less
RULE = f"""
Decades from the best β of forks early in a run to that of forks late in it, by the model of responses, in which a best
value outside of the values run is as uncertain as the runs leave it. Shown that it moves if the interval over tasks is
farther than {MOVES:g} from 0; the contrary if it is within {STAYS:g} of 0. Raw and normalised advantages are read with
Holm’s correction.
"""
SAMPLES = (
    Sample("twelve tasks", ("wide_forks",), registered=True),
    Sample("seven tasks", ("forks",)),  # on a grid that is too narrow
)

TITLE = "The best β early and late in a run"
CAPTION = """
Runs of several β go on from an early and from a late point of the same run. Dots are the best β of each point with 95 %
intervals, which go on beyond the values run (arrows) where the best value may lie there. One model has all tasks of a
point: a dot whose runs tell little lies where the others do. Above: the mean move from early to late, in decades.
"""
PART, ORDER = "within", 7


class Effects(NamedTuple):
    """by_task: a row per sample, kind of advantages and task, log10; fits: of `moved`."""

    by_task: pd.DataFrame
    fits: dict


def gains(data, least=LEAST_VALUES):
    """Frame: sample, task, family, advantages, at, x, seed, score of every fork. Raises NotApplicable.

    The score is the mean return of the second half of the fork's steps minus that of its first rollout, which is the
    source's policy still. A diverged fork ends as the untrained policy.
    """
    runs = data.runs[data.runs["fork"].notna() & data.runs["setting"].notna()]
    if runs.empty or runs.groupby(["task", "advantages", "fork"])["setting"].nunique().max() < least:
        raise NotApplicable(f"has no runs of {least} values that go on from one point of another run (fork.at)")
    first = data.curves[data.curves["iteration"] == 0].set_index("run")["return_mean"].reindex(data.runs.index)
    later = pd.Series(data.over_training("return_mean", parts=2)[:, 1], data.runs.index)
    later = later.where(data.runs["status"] != "diverged", data.runs["floor"])
    score = (later - first.astype(float))[runs.index]
    frame = pd.DataFrame(
        {
            "task": runs["task"], "family": runs["family_of_task"].where(runs["family_of_task"] != "", runs["task"]),
            "advantages": runs["advantages"], "at": runs["fork"], "x": np.log10(runs["setting"]), "seed": runs["seed"],
            "score": score, "studies": runs["studies"], "words": runs["overrides"],
        }
    )  # fmt: skip
    return frame[np.isfinite(frame["score"])]


class Move(NamedTuple):
    """Mean of the differences between optima, decades, with 95 % intervals by tasks and by families (a jackknife).

    p  1 - level of the widest interval by tasks that has its verdict; 1 if it is undecided
    """

    value: float
    low: float
    high: float
    family_low: float
    family_high: float
    p: float

    @property
    def ends(self):
        """The mean and both intervals."""
        return self[:5]


def effects(data) -> Effects:
    every, fits, frames = gains(data), {}, []
    there = {name for names in every["studies"] for name in names}
    known = [sample for sample in SAMPLES if set(sample.studies) <= there]
    for sample in known or [Sample("these runs", tuple(there))]:
        mine = every[every["studies"].map(lambda names, sample=sample: not set(sample.studies).isdisjoint(names))]
        for advantages, own in mine.groupby("advantages"):
            try:
                fits[sample, advantages] = moved(own)
            except ValueError:  # fewer than three tasks
                continue
            frames.append(_by_task(sample, advantages, *fits[sample, advantages]))
    if not fits:
        raise NotApplicable("needs forks of three values from two points on four tasks")
    return Effects(pd.concat(frames, ignore_index=True), fits)


def moved(scores):
    """(`Move`, fit of the first point, of the last one, scores).

    Both points are fitted with one shape, so that where a shape puts its top is no move. Raises ValueError.
    """
    points = [own for at, own in scores.groupby("at") if at in (scores["at"].min(), scores["at"].max())]
    if len(points) < 2:
        raise ValueError("forks begin at one point")
    pairs = [[response.fit(own, shape) for own in points] for shape in response.BETA]
    first, last = max(pairs, key=lambda pair: sum(fit.predictive for fit in pair))
    units = first.units.intersection(last.units)
    if len(units) < LEAST_TASKS:
        raise ValueError(f"a move needs {LEAST_TASKS} tasks with both points")
    likelihood = differences(last, first, units.get_level_values("task"))
    return mean_move(*likelihood, units.get_level_values("family")), first, last, scores


def mean_move(grid, likelihood, families):
    """`Move` of differences with likelihoods [n, G] over a grid [G], that scatter over tasks by a normal law.

    The mean's profile likelihood; twice its fall at the ends of the interval is Student's quantile squared.
    """
    means, step = np.linspace(-4, 4, 801), grid[1] - grid[0]
    law = stats.norm.pdf(grid, means[:, None, None], np.geomspace(0.03, 3, 20)[:, None]) * step
    each = np.log(np.maximum(np.tensordot(likelihood / likelihood.max(1, keepdims=True), law, (1, 2)), 1e-300))

    def top(of):
        profile = each[of].sum(0).max(-1)
        return means[profile.argmax()], profile

    value, profile = top(slice(None))
    outside = 2 * stats.t.sf(np.sqrt(2 * (profile.max() - profile)), len(each) - 1)  # 1 - level that leaves a mean out
    inside = means[outside >= 1 - LEVEL]
    low, high = (np.inf * np.sign(end) if abs(end) == means[-1] else end for end in (inside.min(), inside.max()))
    against = {SHOWN: np.sign(value) * means <= MOVES, CONTRARY: np.abs(means) >= STAYS}.get(judged(low, high))
    p = 1.0 if against is None else outside[against].max()
    names = sorted(set(families))
    if len(names) < 3:
        return Move(value, low, high, np.nan, np.nan, p)
    without = np.array([top(families != name)[0] for name in names])
    error = np.sqrt((len(names) - 1) / len(names) * ((without - without.mean()) ** 2).sum())
    half = stats.t.ppf(0.975, len(names) - 1) * error
    return Move(value, low, high, value - half, value + half, p)


def _by_task(sample, advantages, move, first, last, scores):
    frame = pd.DataFrame({"task": first.units.intersection(last.units).get_level_values("task")})
    for name, fit in (("first", first), ("last", last)):
        own = fit.optimum.set_index("task").loc[frame["task"]].reset_index()
        frame = frame.assign(**{name: own["median"], f"{name}_low": own["low"], f"{name}_high": own["high"]})
    return frame.assign(
        sample=sample.name, advantages=advantages, smallest=scores["x"].min(), largest=scores["x"].max(),
        move=move.value, move_low=move.low, move_high=move.high,
    )  # fmt: skip


def decide(found: Effects) -> list[Answer]:
    answers = []
    for (sample, advantages), (move, first, last, scores) in found.fits.items():
        units = first.units.intersection(last.units)
        values = span(scores.groupby(["task", "at"])["x"].nunique())
        points = [("kl_fixed", own) for _, own in scores.groupby(["at"])]
        refused = holes(sample, points) if sample.registered else ""
        verdict = "" if refused else registered(sample, judged(move.low, move.high))
        answers.append(Answer(
            "fork", f"move of the best β within a run, {advantages} advantages", sample.name, "decades",
            *move.ends, 0.0,
            tuple(units.get_level_values("task")), len(set(units.get_level_values("family"))),
            span(scores.groupby(["task", "at", "x"]).size()), {"early": values, "late": values},
            verdict, RULE, refused, p=move.p if verdict else np.nan,
        ))  # fmt: skip
    return answers


def judged(low, high):
    if low > MOVES or high < -MOVES:
        return SHOWN
    return CONTRARY if -STAYS < low and high < STAYS else UNDECIDED


def sentence(answer):
    return f"The {answer.contrast}, is {interval_text(answer, signed=True)} decades over {len(answer.tasks)} tasks."


def claim(answer):
    return f"farther than {MOVES:g} from 0"


def imagine(move, tasks=12, scatter=0.3, sd=0.4, width=1.25, values=8, count=5, noise=0.15, studies=20, seed=0):
    """(share shown, share contrary shown) of studies whose best values move by `move` decades, with a scatter."""
    from . import shares
    from .spread import imagined

    generator, verdicts = np.random.default_rng(seed), []
    for _ in range(studies):
        best = generator.normal(0, sd, tasks)
        points = [best, best + generator.normal(move, scatter, tasks)]
        scores = [
            imagined(at, width, tasks, values, count, noise, generator).assign(at=i) for i, at in enumerate(points)
        ]
        found = moved(pd.concat(scores))[0]
        verdicts.append(judged(found.low, found.high))
    return shares(verdicts)


WORLDS = [{"move": move, "studies": 100} for move in (0.0, 0.25, 0.5, 0.75, 1.0)]


# The figure -------------------------------------------------------------------------------


def draw(frame) -> Figure:
    """A plot per kind of advantages, a row per task: early and late."""
    kinds = dict(list(frame.groupby(["sample", "advantages"], sort=False)))

    def title(kind):
        move, low, high = kinds[kind][["move", "move_low", "move_high"]].iloc[0]
        return f"{kind[1]} advantages\n{move:+.2f} [{low:+.2f}, {high:+.2f}]"

    height = 0.75 + 0.22 * max(map(len, kinds.values()))
    figure, axes = facets(kinds, height, 1 if available.get() < NARROW else 2, title)
    points = (("first", "early", 0.13, INK), ("last", "late", -0.13, ALGORITHM_STYLE["kl_fixed"][0]))
    for kind, ax in axes.items():
        own = kinds[kind].sort_values("first")
        view = own["smallest"].min() - 0.5, own["largest"].max() + 0.5
        for point, label, shift, ink in points:
            ax.plot([], [], "o", color=ink, ms=4, mew=0, label=label)
            for y, ends in enumerate(own[[point, f"{point}_low", f"{point}_high"]].to_numpy()):
                in_view(ax, y + shift, *ends, view, 4, color=ink, lw=0.9)
        ax.set_xlim(*(10**end for end in view))
        log_axis(ax.xaxis, ticks=5)
        ax.set_yticks(range(len(own)), [task_name(task) for task in own["task"]])
        ax.grid(axis="y", visible=False)
        ax.set_xlabel("best β")
    legend_below(figure, figure.axes[:1])
    return figure
