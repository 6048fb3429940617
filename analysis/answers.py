"""The four questions, each answered by an effect with its interval over tasks and a rule for what it shows.

Estimators and rules were written in results/LOG.md ("one look") before the runs they are read from. The task is the
unit: an effect per task, then Student's interval over tasks, so that it is about new tasks of the kinds that were run.
"""

import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from . import price, statistics
from .arms import NotApplicable, common_settings, default_arm, grid, log_median_kl, part, plain
from .data import KNOBS, RAW
from .names import SYMBOLS, UNIT, span

PRICE = 0.05  # of the gain: what one value may cost in the mean over tasks
MOVE = 0.25  # decades: the best beta moves within a run if it moves by more
STAY = 0.5  # decades: it stays if it moves by less
BESIDE = 0.05  # of the gain: how far above a penalty a constraint has to be
TWOFOLD = np.log10(2)  # decades: a step that another unit of reward changes by less is still the same step
EDGES = 0.1  # of the tasks: with more peaks at an end of the grid a move is not told
FIRST = 10  # iterations that the measured beta is taken from
LEAST = 3  # tasks for an effect
FEWEST = 5  # seeds, for a verdict on one task
ENOUGH = {
    "step": 6,
    "A": 30,
    "rate": 6,
    "B": 6,
    "change": 12,
    "bound": 25,
    "C": 12,
    "mechanism": 6,
}  # tasks for a verdict: with fewer, intervals cover too seldom
ENOUGH_IN_UNITS = 6  # tasks, where the same task in another unit of reward is what a value is carried to
UNITS = re.compile(rf"{RAW} reward_scale=([\d.e+-]+)")
RATES = re.compile(r"learning_rate=([\d.e+-]+)")
BOUND = re.compile(rf"(?:({RAW}) )?max_grad_norm=([\d.e+-]+)")
ONE = "one δ"  # of a contest whose δ is not tuned
SHOWN, CONTRARY, UNDECIDED = "shown", "contrary shown", "undecided"


@dataclass(frozen=True)
class Answer:
    """One question and what the runs say."""

    key: str  # step, A, rate, B, change, bound, C or mechanism
    question: str
    label: str  # the question's own part of it, short
    unit: str  # of the effect
    effect: float
    low: float
    high: float
    tasks: int
    seeds: str
    verdict: str
    rule: str
    by_task: pd.DataFrame  # task, effect
    candidates: str = ""  # values that each side was chosen from, where two sides are compared
    edges: int = 0  # forks: tasks with a peak at an end of the values that were run


def rule_step(low, high):
    return SHOWN if low > TWOFOLD else CONTRARY if -TWOFOLD < low and high < TWOFOLD else UNDECIDED


def rule_a(low, high):
    return SHOWN if low > PRICE else CONTRARY if high < PRICE else UNDECIDED


def rule_b(low, high):
    return SHOWN if low > MOVE or high < -MOVE else CONTRARY if -STAY < low and high < STAY else UNDECIDED


def rule_c(low, high):
    return SHOWN if low > 0 else CONTRARY if high < BESIDE else UNDECIDED


def rule_mechanism(low, high):
    return SHOWN if high < 0 else CONTRARY if low > 0 else UNDECIDED


def answers(study):
    """Every answer that the study has runs for."""
    found = []
    questions = (
        step_answers, unit_answers, price_answers, rate_answers, fork_answers, change_answers, bound_answers,
        contest_answers,
        mechanism_answers,
    )  # fmt: skip
    for ask in questions:
        try:
            found += ask(study)
        except NotApplicable:
            continue
    return found


def kinds_of_advantages(study):
    """Raw and normalised advantages, all else as the protocol has it: (name, runs, runs that set each task's gain)."""
    return [("raw", study.under(RAW), study.runs), ("normalised", study.under(""), study.runs)]


def units_of_reward(study):
    """The same of raw advantages with rewards in several units: each unit of a task is a problem of its own.

    A list with one entry, or none where all rewards have one unit.
    """
    units = {RAW: 1.0} | {
        condition: float(found[1])
        for condition in study.runs["condition"].unique()
        if (found := UNITS.fullmatch(condition))
    }
    if len(units) == 1:
        return []
    runs = study.runs[study.runs["condition"].isin(units)]
    labels = {unit: runs["task"] + f"{UNIT}{factor:g}" for unit, factor in units.items()}
    here = pd.concat([labels[unit][runs["condition"] == unit] for unit in units]).reindex(runs.index)
    # Returns are in the environment's own unit, so that a task's gain is one for all of them.
    everywhere = pd.concat([runs.assign(task=labels[unit]) for unit in units], ignore_index=True)
    return [("raw advantages in several units of reward", runs.assign(task=here, condition=RAW), everywhere)]


def with_bound(study, beside=()):
    """Kinds of advantages with a bound on the gradient of the SGD arms, as `kinds_of_advantages`; an entry per bound.

    beside  algorithms that have no such gradient, to be read with them as they are
    """
    found = []
    for condition in sorted(study.runs["condition"].unique()):
        if bound := BOUND.fullmatch(condition):
            raw, most = bound.groups()
            without = study.under(raw or "")
            runs = pd.concat([study.under(condition), *(plain(without, algorithm) for algorithm in beside)])
            found.append((f"{'raw' if raw else 'normalised'} advantages, gradient within {most}", runs, study.runs))
    return found


def conditions(study):
    """All that a number may be read under: the kinds of advantages, bounds on the gradient, units of reward."""
    return kinds_of_advantages(study) + with_bound(study) + units_of_reward(study)


def in_words(advantages):
    return advantages if "advantages" in advantages else f"{advantages} advantages"


# A: what one value costs ----------------------------------------------------------------


def price_answers(study):
    found = []
    for advantages, runs, everything in kinds_of_advantages(study) + with_bound(study):
        for algorithm in ("kl_fixed", "trpo", "kl_adaptive", "clip"):
            scores = grid_of(runs, everything, algorithm)
            if scores is None:
                continue
            lost = price.prices(scores.normalised, scores.settings)
            found.append(
                _answer(
                    "A",
                    f"What does one {SYMBOLS[KNOBS[algorithm][0]]} cost, {in_words(advantages)}?",
                    f"{SYMBOLS[KNOBS[algorithm][0]]}, {in_words(advantages)}",
                    "share of the gain", lost, scores.tasks, seeds_of(scores.values),
                    rule_a, statistics.skewed_mean_interval,
                    f"Shown: the interval is above {PRICE:g}. Contrary: below {PRICE:g}.",
                )
            )  # fmt: skip
    return found


def several_seeds(runs):
    """The runs whose arm has two seeds or more on its task."""
    return runs[runs.groupby(["task", "arm"])["seed"].transform("size") >= 2]


def grid_of(runs, everything, algorithm):
    """The grid of a number that was swept on enough learned tasks, or None.

    A task needs three values, each with two seeds; with one there is no telling noise from a difference.
    """
    chosen = several_seeds(plain(runs, algorithm))
    chosen = chosen[chosen.groupby("task")["setting"].transform("nunique") >= 3]
    if chosen["task"].nunique() < LEAST:
        return None
    scores = price.number(chosen, everything, algorithm)
    return scores if len(scores.tasks) >= LEAST else None


# The step in units of reward --------------------------------------------------------------


def steps_in_units(study):
    """Median KL of an update (geometric mean over seeds) per task, algorithm, setting and factor of the rewards."""
    if not (units := units_of_reward(study)):
        raise NotApplicable("needs a sweep of beta on raw advantages in several units of reward")
    ((_, runs, _),) = units
    chosen = pd.concat([plain(runs, algorithm) for algorithm in ("kl_fixed", "trpo")])
    named = chosen["task"].str.split(UNIT, expand=True)
    chosen = chosen.assign(task=named[0], reward_scale=named[1].astype(float), log_kl=log_median_kl(study))
    keys = ["task", "algorithm", "setting", "reward_scale"]
    frame = chosen.dropna(subset=["log_kl"]).groupby(keys)["log_kl"].agg(["mean", "size"]).reset_index()
    frame = frame[frame.groupby(keys[:3])["reward_scale"].transform("nunique") > 1]
    if frame.empty:
        raise NotApplicable("needs the same number in several units of reward on one task")
    return frame.assign(median_kl=10 ** frame["mean"]).rename(columns={"size": "seeds"}).drop(columns="mean")


def step_changes(frame):
    """{algorithm: decades by task} from the smallest to the largest unit, mean over the number's values.

    frame  of steps_in_units
    """
    found = {}
    for algorithm, here in frame.sort_values("reward_scale").groupby("algorithm"):
        ends = np.log10(here["median_kl"]).groupby([here["task"], here["setting"]])
        found[algorithm] = (ends.last() - ends.first()).groupby("task").mean()
    return found


def step_answers(study):
    """By how much the unit of reward changes the step that one number makes."""
    frame, found = steps_in_units(study), []
    factor = frame["reward_scale"].max() / frame["reward_scale"].min()
    for algorithm, change in step_changes(frame).items():
        symbol, seeds = SYMBOLS[KNOBS[algorithm][0]], frame.loc[frame["algorithm"] == algorithm, "seeds"]
        if len(change) < LEAST:
            continue
        found.append(_answer(
            "step", f"By how much do rewards {factor:g} times larger change the step (median KL) of one {symbol}?",
            f"step of one {symbol} in another unit of reward", "decades of KL", change.to_numpy(), list(change.index),
            str(seeds.min()) if seeds.nunique() == 1 else f"{seeds.min()} to {seeds.max()}", rule_step,
            statistics.mean_interval, "Shown: the interval is above a factor of two. Contrary: within a factor of two.",
        ))  # fmt: skip
    return found


# A in units of reward: a value carried to the same task in another unit -------------------


def unit_answers(study):
    """What a number loses that was tuned with rewards in another unit, and TRPO less fixed beta, both tuned so.

    Tuned on all seeds in one unit; beside it stands the best value of the unit it is used in, chosen on all seeds but
    the one it is read on. Every ordered pair of a task's units counts, every task once. Raw advantages.
    """
    if not (units := units_of_reward(study)):
        raise NotApplicable("needs a sweep of beta on raw advantages in several units of reward")
    ((_, runs, everything),) = units
    found, carried = [], {}
    for algorithm in ("kl_fixed", "trpo"):
        scores = price.number(several_seeds(runs), everything, algorithm)
        if len(scores.settings) < 2:
            continue
        names, effects = np.array([problem.split(UNIT)[0] for problem in scores.tasks]), {}
        for task in dict.fromkeys(names):
            if (names == task).sum() > 1:
                effects[task], carried[algorithm, task] = carried_over(scores.normalised[names == task])
        symbol = SYMBOLS[KNOBS[algorithm][0]]
        found.append((
            "A", f"What does a {symbol} lose that was tuned in another unit of reward, raw advantages?", symbol,
            effects, seeds_of(scores.values), rule_a,
            f"Shown: the interval is above {PRICE:g}. Contrary: below {PRICE:g}.",
        ))  # fmt: skip
    leads = {
        task: score - carried["kl_fixed", task]
        for (algorithm, task), score in carried.items()
        if algorithm == "trpo" and ("kl_fixed", task) in carried
    }
    if leads:
        found.append((
            "C", "How far is TRPO above a fixed β, both tuned in another unit of reward, raw advantages?",
            "TRPO less fixed β", leads, found[0][4], rule_c,
            f"Shown: the interval is above 0. Contrary: its upper end is below {BESIDE:g}.",
        ))  # fmt: skip
    return [
        _answer(
            key, question, f"{what} tuned in another unit of reward", "share of the gain",
            np.array(list(effects.values())), list(effects), seeds, rule,
            statistics.skewed_mean_interval if key == "A" else statistics.mean_interval, words, ENOUGH_IN_UNITS,
        )
        for key, question, what, effects, seeds, rule, words in found
        if len(effects) >= LEAST
    ]  # fmt: skip


def carried_over(values):
    """(loss [...], score [...]) of the value tuned in one unit and used in another, means over ordered pairs.

    values  [..., U, H, S] scores of one task's units, settings and seeds, NaN where a seed was not run
    """
    means = statistics.seed_means(values)
    tuned = np.nan_to_num(means, nan=-np.inf).argmax(-1)
    losses, scores = [], []
    for used in range(values.shape[-3]):
        best = best_elsewhere_chosen(values[..., used, :, :])
        for unit in range(values.shape[-3]):
            if unit != used:
                scores.append(price.read(means[..., used, :], tuned[..., unit]))
                losses.append(best - scores[-1])
    return np.mean(losses, axis=0), np.mean(scores, axis=0)


def best_elsewhere_chosen(values):
    """[...] mean over seeds of the score at the setting that is best on the other seeds; values [..., H, S]."""
    found = []
    for seed in range(values.shape[-1]):
        others = statistics.seed_means(np.delete(values, seed, axis=-1))
        found.append(price.read(values[..., seed], np.nan_to_num(others, nan=-np.inf).argmax(-1)))
    return np.nanmean(found, axis=0)


# B: forks -------------------------------------------------------------------------------


def fork_answers(study):
    """How far the peak of the gain over beta moves from the first point of training to the last.

    A peak at an end of the values that were run may lie beyond it: its move is censored, and leans to the side that is
    open. Where more than a tenth of the tasks have such a peak, the effect and its interval are NaN.
    """
    gains = fork_gains(study)
    found = []
    for advantages, here in gains.groupby("advantages", sort=False):
        first, last = here["at"].min(), here["at"].max()
        moves, edges = {}, 0
        for task, own in here.groupby("task"):
            peaks, ends = {}, {}
            for at, cell in own.groupby("at"):
                means = cell.groupby("setting")["gain"].mean()
                x = np.log10(means.index.to_numpy())
                peaks[at] = peak(x, means.to_numpy())
                ends[at] = peaks[at] in (x[0], x[-1])
            if first in peaks and last in peaks:
                moves[task] = peaks[last] - peaks[first]
                edges += ends[first] or ends[last]
        if len(moves) < LEAST:
            continue
        answer = replace(
            _answer(
                "B", f"How far does the best β move within a run, {in_words(advantages)}?",
                f"{in_words(advantages)}", "decades",
                np.array(list(moves.values())), list(moves), f"{here.groupby(['task', 'at', 'setting']).size().min()}",
                rule_b, statistics.mean_interval,
                f"Shown: the interval is farther than {MOVE:g} from 0. Contrary: it is within {STAY:g} of 0.",
            ),
            edges=edges,
        )  # fmt: skip
        if edges > EDGES * len(moves):
            words = f" Undecided: on {edges} of {len(moves)} tasks a peak is an end of the values that were run."
            censored = {"effect": np.nan, "low": np.nan, "high": np.nan, "verdict": UNDECIDED}
            answer = replace(answer, rule=answer.rule + words, **censored)
        found.append(answer)
    return found


def fork_gains(study):
    """Frame: task, advantages, at, setting, seed, gain of every fork. Raises NotApplicable.

    The gain is the mean return of the second half of the fork's steps less that of its first rollout, which is the
    source's policy still, the same for every beta.
    """
    points = [(json.loads(config).get("fork") or {}).get("at") for config in study.runs["config"]]
    chosen = study.runs.assign(at=points).dropna(subset=["at", "setting"])
    if chosen.empty or chosen.groupby(["task", "advantages", "at"])["setting"].nunique().max() == 1:
        raise NotApplicable("has no runs of several values that go on from one point of another run (fork.at)")
    first = study.curves[study.curves["iteration"] == 0].set_index("run")["return_mean"]
    later = study.over_training("return_mean", parts=2)[:, 1]
    gain = later - first.reindex(study.runs.index).to_numpy(dtype=float)
    chosen = chosen.assign(gain=gain[chosen.index]).dropna(subset=["gain"])
    return chosen[["task", "advantages", "at", "setting", "seed", "gain"]]


def crossings(study):
    """Do small β gain more at first and large β later? A row per kind of advantages and task of the forks.

    The lead of small β at a point of training is the mean gain of the smaller half of the values less that of the
    larger half, paired by seed. A task crosses if the lead is above 0 at the first point and below 0 at the last: both
    are to be shown, so that p is the larger one of two t-tests, p < 0.05 where both 95 % intervals exclude 0 (an
    intersection-union test; Gail and Simon 1985 call such a change of sign a qualitative interaction). Columns:
    lead_first and lead_last with intervals, p, holm, seeds.
    """
    rows = []
    for (advantages, task), own in fork_gains(study).groupby(["advantages", "task"], sort=False):
        gains = own.pivot(index=["at", "seed"], columns="setting", values="gain").dropna()
        points, lead = gains.index.unique("at"), lead_of_small(gains)
        first, last = (lead[at].to_numpy() for at in (points.min(), points.max()))
        if len(points) < 2 or min(len(first), len(last)) < 2:
            continue
        row = {"advantages": advantages, "task": task}
        for name, values in (("lead_first", first), ("lead_last", last)):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), statistics.mean_interval(values)))
        rows.append(row | {"p": crossing_p(first, last), "seeds": min(len(first), len(last))})
    if not rows:
        raise NotApplicable("needs runs with two seeds that go on from two points of another run (fork.at)")
    frame = pd.DataFrame(rows)
    return frame.assign(holm=statistics.holm(frame["p"].to_numpy()))


def lead_of_small(gains):
    """Mean gain of the smaller half of the values less that of the larger half, of gains with a column per value."""
    half = gains.shape[1] // 2
    return gains.iloc[:, :half].mean(axis=1) - gains.iloc[:, -half:].mean(axis=1)


def crossing_p(first, last):
    """[...] p of a lead [..., S] that is above 0 at the first point and below 0 at the last; 1 where nothing varies."""
    with np.errstate(invalid="ignore", divide="ignore"):
        above = stats.ttest_1samp(first, 0, axis=-1, alternative="greater").pvalue
        below = stats.ttest_1samp(last, 0, axis=-1, alternative="less").pvalue
    return np.nan_to_num(np.minimum(1.0, 2 * np.maximum(above, below)), nan=1.0)


def peak(x, y):
    """Where a parabola through y over x is highest, within x; an end where it opens upwards."""
    curvature, slope, _ = np.polyfit(x, y, 2)
    if curvature >= 0:
        return x[0] if slope + curvature * (x[0] + x[-1]) < 0 else x[-1]
    return float(np.clip(-slope / (2 * curvature), x[0], x[-1]))


# Does the best beta follow the learning rate? ---------------------------------------------


def rate_answers(study):
    """How far the best beta moves from the smallest learning rate to the largest, per task; normalised advantages."""
    rates = {
        float(found[1]): study.under(condition)
        for condition in study.runs["condition"].unique()
        if (found := RATES.fullmatch(condition))
    }
    if len(rates) < 2:
        raise NotApplicable("needs a sweep of beta under two learning rates")
    bests = []
    for rate in (min(rates), max(rates)):
        scores = grid_of(rates[rate], study.runs, "kl_fixed")
        if scores is None:
            raise NotApplicable("needs three betas on three learned tasks under each learning rate")
        at = price.points(scores.settings)
        smooth = price.response(statistics.seed_means(scores.normalised), scores.settings, at)
        bests.append(dict(zip(scores.tasks, at[np.nanargmax(smooth, axis=-1)])))
    moves = {task: bests[1][task] - own for task, own in bests[0].items() if task in bests[1]}
    if len(moves) < LEAST:
        return []
    factor = max(rates) / min(rates)
    return [
        _answer(
            "rate", f"How far does the best β move when the learning rate is {factor:g} times larger?",
            f"learning rate times {factor:g}", "decades", np.array(list(moves.values())), list(moves),
            seeds_of(scores.values), rule_b, statistics.mean_interval,
            f"Shown: the interval is farther than {MOVE:g} from 0. Contrary: it is within {STAY:g} of 0.",
        )
    ]  # fmt: skip


# B: does it pay to change beta within a run? ----------------------------------------------


def change_answers(study):
    """PPO's adaptive beta minus the best constant one, each at the value best on the same task.

    A problem by itself: what other problems ask for plays no part. The best of more candidates is higher, so that the
    contrary is shown only where no task has fewer targets than constants.
    """
    found = []
    for advantages, runs, everything in kinds_of_advantages(study):
        constant, adaptive = grid_of(runs, everything, "kl_fixed"), several_seeds(plain(runs, "kl_adaptive"))
        if constant is None or adaptive.empty:
            continue
        adaptive = price.number(adaptive, everything, "kl_adaptive")
        theirs = dict(zip(constant.tasks, price.tops(constant.normalised)))
        gain = {
            task: own - theirs[task]
            for task, own in zip(adaptive.tasks, price.tops(adaptive.normalised))
            if task in theirs
        }
        if len(gain) < LEAST:
            continue
        targets, constants = (
            np.array([np.isfinite(own).any(-1).sum() for task, own in zip(scores.tasks, scores.values) if task in gain])
            for scores in (adaptive, constant)
        )
        answer = replace(
            _answer(
                "change",
                f"How far is PPO’s adaptive β above the best constant one of the task, {in_words(advantages)}?",
                f"{in_words(advantages)}", "share of the gain", np.array(list(gain.values())), list(gain),
                seeds_of(adaptive.values), rule_c, statistics.mean_interval,
                f"Shown: the interval is above 0. Contrary: its upper end is below {BESIDE:g}.",
            ),
            candidates=f"{span(targets)} {'targets' if targets.max() > 1 else 'target'}, {span(constants)} constants",
        )  # fmt: skip
        if (targets < constants).any() and answer.verdict == CONTRARY:
            words = f" Undecided: fewer candidates for the adaptive β ({answer.candidates})."
            answer = replace(answer, verdict=UNDECIDED, rule=answer.rule + words)
        found.append(answer)
    return found


# The bound on the gradient: how much of A does it take away? -------------------------------


def bound_answers(study):
    """What a bound on the gradient takes off the price of one β: the price without it less that with it, by task."""
    found = []
    for words, free, bounded in without_and_with_bound(study):
        lost = [price.prices(scores.normalised, scores.settings) for scores in (free, bounded)]
        found.append(
            _answer(
                "bound", f"How much of the price of one β does the bound on the gradient take away, {words}?",
                words, "share of the gain", lost[0] - lost[1], free.tasks, seeds_of(bounded.values),
                rule_c, statistics.skewed_mean_interval,
                f"Shown: the interval is above 0. Contrary: its upper end is below {BESIDE:g}.",
            )
        )  # fmt: skip
    return found


def without_and_with_bound(study):
    """List of (words, Grid of fixed beta without the bound, Grid with it), of the tasks and values that both have."""
    found, kinds = [], {kind: runs for kind, runs, _ in kinds_of_advantages(study)}
    for words, runs, everything in with_bound(study):
        both = [grid_of(of, everything, "kl_fixed") for of in (kinds[words.split()[0]], runs)]
        if None in both:
            continue
        tasks, settings = (sorted(set(a) & set(b)) for a, b in zip(*((g.tasks, g.settings) for g in both)))
        both = [part(scores, tasks, settings) for scores in both]
        ran = np.logical_and(*(np.isfinite(scores.values).any(-1) for scores in both))
        both = [replace(scores, values=np.where(ran[..., None], scores.values, np.nan)) for scores in both]
        tasks = [task for task, count in zip(tasks, ran.sum(-1)) if count >= LEAST]
        if len(tasks) >= LEAST:
            found.append((words, *(part(scores, tasks, settings) for scores in both)))
    return found


# C: constraint against penalty ----------------------------------------------------------


def contest_answers(study):
    """TRPO minus fixed beta, both at the single value best for them, and both at their defaults.

    Where one delta alone was run it is not tuned: no verdict against a beta that is.
    """
    found = []
    for advantages, runs, everything in kinds_of_advantages(study) + with_bound(study, beside=["trpo"]):
        penalty = grid_of(runs, everything, "kl_fixed")
        if penalty is None:
            continue
        default = at_default(runs, penalty, "trpo")
        delta = grid_of(runs, everything, "trpo")
        constraint = default if delta is None else dict(zip(delta.tasks, at_best_single(delta)))
        which = "the best single δ and β" if delta is not None else "δ = 0.01, the best single β"
        values = [1 if scores is None else common(scores).sum() for scores in (delta, penalty)]
        for short, words, ours, theirs in (
            ("tuned" if delta is not None else ONE, which, constraint, at_best_single(penalty)),
            ("defaults", "δ = 0.01, β = 3", default, nearest(penalty, 3.0)),
        ):
            contrast = {task: ours[task] - own for task, own in zip(penalty.tasks, theirs) if task in ours}
            if len(contrast) < LEAST:
                continue
            answer = _answer(
                "C", f"How far is TRPO above a fixed β, {in_words(advantages)} ({words})?",
                f"{in_words(advantages)}, {short}", "share of the gain",
                np.array(list(contrast.values())), list(contrast), seeds_of(penalty.values),
                rule_c, statistics.mean_interval,
                f"Shown: the interval is above 0. Contrary: its upper end is below {BESIDE:g}.",
            )  # fmt: skip
            if short != "defaults":
                answer = replace(answer, candidates=f"{values[0]} δ, {values[1]} β")
            if short == ONE:
                words = f" Undecided: δ is not tuned ({answer.candidates})."
                answer = replace(answer, verdict=UNDECIDED, rule=answer.rule + words)
            found.append(answer)
    return found


def common(scores):
    """[H] which settings of a grid all its tasks have."""
    return np.isfinite(scores.values).any(-1).all(0)


def contests(study):
    """TRPO's default less the fixed beta that is best in the mean over tasks, task by task: a row per task.

    Welch's t-test over seeds, two-sided; Holm over the tasks of one kind of advantages. Columns: advantages, task,
    beta, lead with interval (shares of the gain), p, holm, seeds (the fewer of both).
    """
    rows = []
    for advantages, runs, everything in kinds_of_advantages(study):
        kept = price.priced_tasks(everything)
        trpo, betas = (
            several_seeds(arm[arm["task"].isin(kept)]) for arm in (default_arm(runs, "trpo"), plain(runs, "kl_fixed"))
        )
        common = set(trpo["task"]) & set(betas["task"])
        trpo, betas = (arm[arm["task"].isin(common)] for arm in (trpo, betas))
        if not common or (trpo["algorithm"] != "trpo").any() or not common_settings(betas):
            continue
        scores = grid(betas, "kl_fixed", everything, "auc_score")
        beta = scores.settings[statistics.seed_means(scores.normalised).mean(0).argmax()]
        own = []
        for task, floor, gain in zip(scores.tasks, scores.floor, scores.gain):
            ours, theirs = (
                ((arm.loc[arm["task"] == task, "auc_score"] - floor) / gain).to_numpy()
                for arm in (trpo, betas[betas["setting"] == beta])
            )
            test = stats.ttest_ind(ours, theirs, equal_var=False)
            low, high = test.confidence_interval(statistics.LEVEL)
            lead, seeds = ours.mean() - theirs.mean(), min(len(ours), len(theirs))
            own.append((advantages, task, beta, lead, low, high, test.pvalue, seeds))
        frame = pd.DataFrame(own, columns=["advantages", "task", "beta", "lead", "lead_low", "lead_high", "p", "seeds"])
        rows.append(frame.assign(holm=statistics.holm(frame["p"].fillna(1.0).to_numpy())))
    if not rows:
        raise NotApplicable("needs TRPO and one β, two seeds each, on a task that was learned")
    return pd.concat(rows, ignore_index=True)


def shown(frame):
    """Which rows of `contests` or `crossings` show what they ask: with fewer seeds it is shown by mistake too often."""
    return (frame["holm"] < 1 - statistics.LEVEL) & (frame["seeds"] >= FEWEST)


def both_ways(frame):
    """Whether TRPO is above fixed beta on one task and below it on another, of the rows of `contests`, after Holm."""
    return {-1.0, 1.0} <= set(np.sign(frame.loc[shown(frame), "lead"]))


def at_best_single(scores):
    """[E] mean score at the setting best in the mean over the tasks, of those that all tasks have; not smoothed,
    because smoothing lowers a top and the rival has none to lower."""
    means = statistics.seed_means(scores.normalised)
    return means[..., price.best_single(means)]


def nearest(scores, value):
    """[E] mean score at the setting nearest to a value."""
    at = np.abs(np.log(scores.settings / value)).argmin()
    return statistics.seed_means(scores.normalised)[:, at]


def at_default(runs, scores, algorithm):
    """{task: mean score of an algorithm's default, in the unit of `scores`}."""
    means = default_arm(runs, algorithm).groupby("task")["auc_score"].mean()
    return {
        task: (means[task] - floor) / gain
        for task, floor, gain in zip(scores.tasks, scores.floor, scores.gain)
        if task in means
    }


# Mechanism: does the implied beta predict the best one? ----------------------------------


def mechanism_answers(study):
    """Absolute error of the measured beta less that of the best constant of the other tasks, raw advantages."""
    frame = diagonal(study)
    frame = frame[frame["measured"].notna()]
    if len(frame) < LEAST:
        raise NotApplicable("needs a sweep of beta and TRPO on raw advantages on three tasks")
    measured, best = np.log10(frame["measured"]).to_numpy(), np.log10(frame["best"]).to_numpy()
    difference = errors_beyond_constant(measured, best)
    return [
        _answer(
            "mechanism", "Does the β measured in ten iterations predict the best β better than a constant?",
            "raw advantages", "decades", difference, list(frame["task"]), f"{frame['seeds'].min()}",
            rule_mechanism, statistics.mean_interval,
            "Shown: the interval is below 0. Contrary: above 0.",
        )
    ]  # fmt: skip


def errors_beyond_constant(measured, best):
    """[..., E] absolute error of a prediction of each best value less that of the mean of the others, log10."""
    constant = (best.sum(-1, keepdims=True) - best) / (best.shape[-1] - 1)
    return np.abs(measured - best) - np.abs(constant - best)


def diagonal(study):
    """Frame, a task a row, raw advantages: measured beta and best swept beta with intervals."""
    runs = study.under(RAW)
    scores = grid_of(runs, study.runs, "kl_fixed")
    if scores is None:
        raise NotApplicable("needs a sweep of beta on raw advantages on three tasks")
    _, windows = price.windows(scores)
    rows = []
    for task, window in zip(scores.tasks, windows):
        measured, low, high, seeds = measured_beta(study, runs[runs["task"] == task])
        rows.append((task, measured, low, high, window.optimum, window.optimum_low, window.optimum_high, seeds))
    columns = ["task", "measured", "measured_low", "measured_high", "best", "best_low", "best_high", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def measured_beta(study, runs):
    """(beta_hat, low, high, seeds) of TRPO's first ten iterations; NaN where its mean square is not positive."""
    trpo = default_arm(runs, "trpo")
    trpo = trpo[trpo["algorithm"] == "trpo"]
    if trpo.empty:
        return np.nan, np.nan, np.nan, 0
    squares = early_squares(study, trpo)
    mean, low, high = statistics.mean_interval(squares.to_numpy())
    root = [np.sqrt(value) if value > 0 else np.nan for value in (mean, low, high)]
    return *root, len(squares)


def early_squares(study, runs):
    """Series by run: mean squared implied beta, signed, of the first iterations."""
    early = study.curves[study.curves["run"].isin(runs.index) & (study.curves["iteration"] < FIRST)]
    return statistics.signed_square(early["implied_beta_crossfit"].astype(float)).groupby(early["run"]).mean()


# Shared ---------------------------------------------------------------------------------


def _answer(key, question, label, unit, by_task, tasks, seeds, decide, interval, rule, enough=None):
    mean, low, high = interval(by_task)
    frame = pd.DataFrame({"task": tasks, "effect": by_task})
    enough = enough or ENOUGH[key]
    if len(tasks) < enough:
        rule += f" Undecided with fewer than {enough} tasks, whose intervals cover too seldom."
    verdict = decide(low, high) if len(tasks) >= enough else UNDECIDED
    return Answer(key, question, label, unit, mean, low, high, len(tasks), seeds, verdict, rule, frame)


def seeds_of(values):
    """ "5 to 10": seeds per cell."""
    count = np.isfinite(values).sum(-1)
    count = count[count > 0]
    return str(count.min()) if count.min() == count.max() else f"{count.min()} to {count.max()}"
