"""Do the rules of `answers` decide as rarely by mistake as they say, and do the report's intervals hold the truth?

    python -m analysis.calibration results/population results/profiles results/table1 results/profiles_raw \\
        --out results/calibration.csv
    python -m analysis.calibration results/archive/quick_near --rules step --out results/calibration.csv
    python -m analysis.calibration results/forks --rules crossing --out results/calibration.csv
    python -m analysis.calibration results/many_tasks results/population results/profiles results/table1 \\
        results/profiles_raw --rules rate change contest --out results/calibration.csv
    python -m analysis.calibration results/many_normalised results/population results/profiles results/table1 \\
        results/profiles_raw --rules bound --out results/calibration.csv

Each imagined task takes the shape of a real task's smoothed response and the real spread between seeds, and has its
best value moved by a normal number of decades. How far is set so that the true effect is the one asked for: none, the
rule's boundary, more. A thousand studies of each kind are read by the very functions that read the data. Reported: how
often a rule shows its claim or the contrary, and how often the 95 % interval holds the truth.

Rows of the rule "interval" are the intervals of figures, tables and claims that no rule of `answers` reads. Rules that
the studies have the data for are made anew, at the end of the file, and the others are left as they are; `--rules
interval mechanism` makes these alone.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from . import answers, price, statistics
from .arms import default_arm, headline, normalised_scores
from .data import KNOBS, RAW, load
from .names import SYMBOLS

STUDIES = 1000
SEED = 20261127
SETTINGS = np.array([0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0])
FORKS = np.array([0.3, 1.0, 3.0, 10.0, 30.0, 100.0])
REACH = 4.0  # decades on either side of a shape's best value
MIDDLE = 0.5  # where best values spread about, log10
MANY = 4000  # imagined tasks that a truth is read from
RESAMPLES = 300  # of the studentised bootstrap in an imagined study
DESIGNS = {  # seeds of each task
    "7 tasks of 3 seeds": [3] * 7,
    "15 tasks of 3 seeds": [3] * 15,
    "15 tasks of 3 seeds, 15 of 2": [3] * 15 + [2] * 15,
    "15 tasks of 3 seeds, 45 of 2": [3] * 15 + [2] * 45,
}
IN_UNITS = {"6 tasks of 2 seeds": [2] * 6, "7 tasks of 2 seeds": [2] * 7, "10 tasks of 3 seeds": [3] * 10}
CARRIED = np.array([0.01, 0.1, 1.0])  # betas of the experiment `quick`
UNITS = np.array([-2.0, 0.0])  # decades, what its rewards are multiplied by
OF_FORKS = {"7 tasks of 5 seeds": [5] * 7, "12 tasks of 5 seeds": [5] * 12}
RULES = ("A", "rate", "B", "crossing", "change", "bound", "C", "contest", "step", "mechanism", "interval")
SEEDS = (3, 5, 10)  # of an interval's imagined studies
TASKS = (3, 7, 13)
NEW_TASKS = (7, 15, 30)
DRAWS = 300  # of the seeds, for the interval of an optimum
RIVALS = (0.01, 0.3, 3.0)  # betas against TRPO: it nearly always wins, sometimes, as often as not


class World:
    """Tasks to imagine others from: responses about their best value, and the spread between seeds there."""

    def __init__(self, scores):
        at = price.points(scores.settings)
        means = price.response(statistics.seed_means(scores.normalised), scores.settings, at)
        self.around = np.arange(-REACH, REACH + price.STEP / 2, price.STEP)
        self.shapes, self.spreads = [], []
        for mean, own in zip(means, np.nanstd(scores.normalised, axis=-1, ddof=1)):
            ran, best = np.isfinite(mean), at[np.nanargmax(mean)]
            self.shapes.append(np.interp(self.around, at[ran] - best, mean[ran]))
            known = np.isfinite(own)
            self.spreads.append(np.interp(self.around, np.log10(scores.settings[known]) - best, own[known]))
        self.shapes, self.spreads = np.array(self.shapes), np.array(self.spreads)

    def draw(self, generator, studies, tasks, apart):
        """(shape [studies, tasks], best value [studies, tasks]) of tasks whose bests spread over `apart` decades."""
        shape = generator.integers(len(self.shapes), size=(studies, tasks))
        return shape, generator.normal(MIDDLE, apart, shape.shape)

    def at(self, shape, best, settings):
        """(means, spreads), each [studies, tasks, H]."""
        offset = np.log10(settings) - best[..., None]
        index = np.rint((offset - self.around[0]) / price.STEP).astype(int).clip(0, len(self.around) - 1)
        return self.shapes[shape[..., None], index], self.spreads[shape[..., None], index]

    def price(self, apart):
        """What the best single value costs in the mean over very many tasks without noise."""
        means, _ = self.at(*self.draw(np.random.default_rng(SEED), 1, MANY, apart), SETTINGS)
        return float(price.prices(means[..., None], SETTINGS).mean())

    def apart(self, wanted):
        """Decades between best values at which the true price is the wanted one, by bisection."""
        low, high = 0.0, 2.0
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (middle, high) if self.price(middle) < wanted else (low, middle)
        return middle


def seen(means, spreads, seeds, generator):
    """[studies, tasks, H, S] scores of as many seeds as each task has."""
    values = means[..., None] + spreads[..., None] * generator.standard_normal((*means.shape, max(seeds)))
    absent = np.arange(max(seeds)) >= np.array(seeds)[:, None]
    return np.where(absent[:, None, :], np.nan, values)


def judged(effects, truth, rule, interval=statistics.mean_interval):
    """Of effects [studies, tasks]: shares shown, contrary shown and covered; mean error, mean half width."""
    mean, low, high = interval(effects.T)
    verdicts = np.array([rule(*each) for each in zip(low, high)])
    shown, contrary = np.mean(verdicts == answers.SHOWN), np.mean(verdicts == answers.CONTRARY)
    return shown, contrary, np.mean((low <= truth) & (truth <= high)), np.mean(mean) - truth, np.mean(high - low) / 2


def skewed(values):
    return statistics.skewed_mean_interval(values, RESAMPLES)


def of_prices(world):
    """Rule A: one shared best value, half the boundary, the boundary, twice it, and nothing but noise."""
    for design, seeds in DESIGNS.items():
        for wanted in (0.0, 0.5 * answers.PRICE, answers.PRICE, 2 * answers.PRICE):
            apart, generator = world.apart(wanted) if wanted else 0.0, np.random.default_rng(SEED + 1)
            shape, best = world.draw(generator, STUDIES, len(seeds), apart)
            values = seen(*world.at(shape, best, SETTINGS), seeds, generator)
            truth = world.price(apart)
            yield design, f"price {truth:.3f}", *judged(price.prices(values, SETTINGS), truth, answers.rule_a, skewed)
        flat, generator = np.full((STUDIES, len(seeds), len(SETTINGS)), 0.7), np.random.default_rng(SEED + 2)
        values = seen(flat, np.full_like(flat, np.median(world.spreads)), seeds, generator)
        yield design, "noise alone", *judged(price.prices(values, SETTINGS), 0.0, answers.rule_a, skewed)


def of_units(world):
    """Rule A where a value is carried to another unit: units that move the best value and units that do not."""
    for design, seeds in IN_UNITS.items():
        for name, shift in (("units are nothing", 0 * UNITS), ("the best follows its unit", UNITS)):
            # A value is tuned on few seeds, with noise: that is part of what is asked for.
            truth = float(losses(world, shift, 1, seeds[:1] * 10 * MANY, np.random.default_rng(SEED)).mean())
            effects = losses(world, shift, STUDIES, seeds, np.random.default_rng(SEED + 6))
            yield design, f"{name}, loss {truth:.2f}", *judged(effects, truth, answers.rule_a, skewed)


def losses(world, shift, studies, seeds, generator):
    """[studies, tasks] what a value loses that was tuned in one unit and used in the other."""
    shape, best = world.draw(generator, studies, len(seeds), 0.5)
    units = [seen(*world.at(shape, best + unit - MIDDLE, CARRIED), seeds, generator) for unit in shift]
    return answers.carried_over(np.stack(units, axis=2))[0]


def of_moves(world):
    """Rule B: peaks of parabolas through forks' gains, at two points between which the best value moves."""
    for design, seeds in OF_FORKS.items():
        for move in (0.0, answers.MOVE, answers.STAY, 2 * answers.STAY):
            generator = np.random.default_rng(SEED + 3)
            shape, best = world.draw(generator, STUDIES, len(seeds), 0.4)
            moved = best + generator.normal(move, 0.3, best.shape)
            peaks = []
            for place in (best, moved):
                means = statistics.seed_means(seen(*world.at(shape, place, FORKS), seeds, generator))
                peaks.append(np.apply_along_axis(lambda y: answers.peak(np.log10(FORKS), y), -1, means))
            yield design, f"moves {move:g} decades", *judged(peaks[1] - peaks[0], move, answers.rule_b)


def of_rates(world):
    """The rule of learning rates: tops of responses under two rates, between which the best value moves."""
    settings, tasks, seeds = SETTINGS[:5], 10, [2] * 10
    at = price.points(settings)
    for move in (0.0, answers.MOVE, answers.STAY, 2 * answers.STAY):
        generator = np.random.default_rng(SEED + 14)
        shape, best = world.draw(generator, STUDIES, tasks, 0.4)
        moved = best + generator.normal(move, 0.3, best.shape)
        tops = []
        for place in (best, moved):
            means = statistics.seed_means(seen(*world.at(shape, place - MIDDLE, settings), seeds, generator))
            tops.append(at[price.response(means, settings, at).argmax(-1)])
        yield "10 tasks of 2 seeds", f"moves {move:g} decades", *judged(tops[1] - tops[0], move, answers.rule_b)


def of_crossings(gains):
    """The rule of crossings: leads that scatter over seeds as those of the tasks at hand do, at both points.

    gains  of one kind of advantages
    """
    scatter = {}
    for (_, at), own in gains.groupby(["task", "at"]):
        own = own.pivot(index="seed", columns="setting", values="gain").dropna()
        lead = answers.lead_of_small(own).to_numpy()
        lead = (lead - lead.mean()) * np.sqrt(len(lead) / (len(lead) - 1))
        scatter.setdefault(at, []).append(lead / lead.std(ddof=1))
    early, late = (np.concatenate(scatter[at]) for at in (min(scatter), max(scatter)))
    for seeds in (*SEEDS, 20):
        for sizes in ((9.0, 0.0), (0.0, -9.0), (0.0, 0.0), (1.5, -1.5), (3.0, -3.0)):
            generator, shape = np.random.default_rng(SEED + 11), (STUDIES, seeds)
            first, last = (size + generator.choice(own, shape) for size, own in zip(sizes, (early, late)))
            shown, contrary = (np.mean(answers.crossing_p(*pair) < 0.05) for pair in ((first, last), (last, first)))
            truth = f"leads of {sizes[0]:+g} and {sizes[1]:+g} spreads between seeds"
            yield f"1 task of {seeds} seeds", truth, shown, contrary, np.nan, np.nan, np.nan


def of_steps(changes):
    """The rule of the step: changes of log KL that scatter about the truth as those of the tasks at hand do."""
    for tasks in (answers.ENOUGH["step"], 12, 24):
        for truth in (0.0, np.log10(2), 2 * np.log10(2)):
            generator = np.random.default_rng(SEED + 10)
            scatter = np.sqrt(len(changes) / (len(changes) - 1)) * (changes - changes.mean())
            effects = truth + generator.choice(scatter, (STUDIES, tasks))
            row = judged(effects, truth, answers.rule_step)
            yield f"{tasks} tasks", f"{10**truth:.0f}-fold", *row


def of_contests(world, lead):
    """Rule C: TRPO less the best single beta; `lead` [tasks] is TRPO less each real task's own best."""
    for design, seeds in DESIGNS.items():
        apart = world.apart(answers.PRICE)
        exact, _ = world.at(*world.draw(np.random.default_rng(SEED), 1, MANY, apart), SETTINGS)
        shapes, _ = world.draw(np.random.default_rng(SEED), 1, MANY, apart)
        loss = world.shapes.max(-1)[shapes].mean() - exact[0].mean(0).max()
        for truth in (0.0, answers.BESIDE, 2 * answers.BESIDE):
            generator = np.random.default_rng(SEED + 4)
            shape, best = world.draw(generator, STUDIES, len(seeds), apart)
            exact, spreads = world.at(shape, best, SETTINGS)
            means = statistics.seed_means(seen(exact, spreads, seeds, generator))
            theirs = np.take_along_axis(means, price.best_single(means)[:, None, None], -1)[..., 0]
            top = world.shapes.max(-1)[shape]
            spread = np.median(world.spreads) / np.sqrt(seeds)
            ours = top + generator.choice(lead - lead.mean(), shape.shape) + truth - loss
            effects = ours + spread * generator.standard_normal(shape.shape) - theirs
            yield design, f"effect {truth:g}", *judged(effects, truth, answers.rule_c)


def of_changes(constant, adaptive):
    """The rule of changing: an adaptive beta at three targets against constants, each at the task's best.

    Tasks scatter about the truth as the effects on the seven tasks known beforehand do.
    """
    targets, scatter = np.array([0.01, 0.03, 0.1]), 0.2
    for design, seeds in DESIGNS.items():
        for truth in (-answers.BESIDE, 0.0, answers.BESIDE, 2 * answers.BESIDE):
            generator = np.random.default_rng(SEED + 12)
            means, spreads = constant.at(*constant.draw(generator, STUDIES, len(seeds), 0.6), SETTINGS)
            shape, best = adaptive.draw(generator, STUDIES, len(seeds), 0.3)
            rivals, rival_spreads = adaptive.at(shape, best - MIDDLE + np.log10(targets[1]), targets)
            apart = truth + generator.normal(0, scatter, shape.shape)
            rivals = rivals - rivals.max(-1, keepdims=True) + (means.max(-1) + apart)[..., None]
            both = seen(rivals, rival_spreads, seeds, generator), seen(means, spreads, seeds, generator)
            effects = price.tops(both[0]) - price.tops(both[1])
            yield design, f"effect {truth:g}", *judged(effects, truth, answers.rule_c)


def of_bounds(world):
    """The rule of the bound: prices of the same tasks and seeds, whose bests the bound moves together, or does not."""
    priced = answers.PRICE + 0.01  # as the data at hand have it
    for design, seeds in {"22 tasks of 2 seeds": [2] * 22, "27 tasks of 2 seeds": [2] * 27}.items():
        for fall in (0.0, answers.BESIDE):
            apart = [world.apart(priced), world.apart(priced - fall)]
            truth = world.price(apart[0]) - world.price(apart[1])
            generator = np.random.default_rng(SEED + 14)
            shape, best = world.draw(generator, STUDIES, len(seeds), apart[0])
            moved = MIDDLE + (best - MIDDLE) * apart[1] / apart[0]
            free, bounded = (
                price.prices(seen(*world.at(shape, own, SETTINGS), seeds, generator), SETTINGS) for own in (best, moved)
            )
            yield design, f"falls by {truth:.3f}", *judged(free - bounded, truth, answers.rule_c, skewed)


def of_both_ways(runs):
    """The rule of both ways, eight tasks: seeds scatter as those of TRPO and the fixed betas at hand do."""
    tasks, scatter = 8, []
    for _, own in runs.groupby(["task", "arm"])["auc_score"]:
        if len(own) >= 3 and own.std() > 0:
            scatter.append((own - own.mean()).to_numpy() * np.sqrt(len(own) / (len(own) - 1)) / own.std())
    scatter = np.concatenate(scatter)
    for seeds in (5, 8):
        for name, leads in (
            ("no lead anywhere", [0.0] * 8),
            ("leads of +9 spreads on four tasks", [9.0] * 4 + [0.0] * 4),
            ("leads of +2 and -2 spreads on four tasks each", [2.0, -2.0] * 4),
        ):
            generator = np.random.default_rng(SEED + 13)
            drawn = generator.choice(scatter, (2, STUDIES, tasks, seeds))
            drawn[0] += np.array(leads)[:, None]
            p = stats.ttest_ind(*drawn, axis=-1, equal_var=False).pvalue
            shown = 0
            for lead, own in zip((drawn[0] - drawn[1]).mean(-1), p):
                frame = pd.DataFrame({"lead": lead, "holm": statistics.holm(own), "seeds": seeds})
                shown += answers.both_ways(frame)
            yield f"8 tasks of {seeds} seeds", name, shown / STUDIES, *[np.nan] * 4


def of_predictions(frame):
    """The rule of the mechanism: predictions of best values that spread over tasks as those at hand do."""
    best = np.log10(frame["best"])
    apart, found = best.std(ddof=1), np.log10(frame["best_high"] / frame["best_low"]).median() / (2 * 1.96)
    for design, seeds in DESIGNS.items():
        tasks = len(seeds)
        constant = apart**2 * tasks / (tasks - 1)  # mean squared error of the mean of the others
        for share in (1.0, 0.5, 0.25):
            generator = np.random.default_rng(SEED + 5)
            true = generator.normal(0, apart, (STUDIES, tasks))
            measured = true + generator.normal(0, share * np.sqrt(constant), true.shape)
            effects = answers.errors_beyond_constant(measured, true + generator.normal(0, found, true.shape))
            # Mean absolute values of normal numbers; what is wrong with the bests found adds to both errors.
            ours = np.sqrt(share**2 * constant + found**2)
            theirs = np.sqrt((apart**2 + found**2) * tasks / (tasks - 1))
            truth = np.sqrt(2 / np.pi) * (ours - theirs)
            yield design, f"error {share:g} of a constant's", *judged(effects, truth, answers.rule_mechanism)


def of_intervals(study):
    """Rows (number, design, truth, NaN, NaN, coverage, bias, half width) of the intervals that no rule reads."""
    scored = normalised_scores(headline(study.main)).dropna(subset=["normalised"])
    cells = scored.groupby(["algorithm", "setting", "task"])["normalised"].agg(["mean", "std"]).dropna()
    yield from of_aggregates(cells.to_numpy())
    trpo = cells.loc["trpo"].droplevel("setting")
    for beta in RIVALS:
        rival = cells.loc["kl_fixed", beta]
        yield from of_improvement(trpo.join(rival, rsuffix="_rival", how="inner").to_numpy(), f"β = {beta:g}")
    worlds = {}
    for advantages, runs, _ in answers.kinds_of_advantages(study):
        worlds[advantages] = World(answers.grid_of(runs, study.runs, "kl_fixed"))
        for name, row in (("best", of_bests), ("optimum", of_optima), ("new task", of_new_tasks)):
            yield from ((f"{name}, β, {advantages}: {what}", *rest) for what, *rest in row(worlds[advantages]))
    yield from of_measured(study)


def held(interval, truth):
    """(NaN, NaN, coverage, bias, half width) of (value, low, high), each [studies]."""
    value, low, high = interval
    # What does not vary is held by an interval without width, up to rounding.
    inside = (low <= truth + 1e-9) & (truth <= high + 1e-9)
    return np.nan, np.nan, np.mean(inside), np.mean(value - truth), np.mean(high - low) / 2


def designs(tasks=TASKS):
    """(name, tasks, seeds, generator) of imagined studies."""
    for count in tasks:
        for seeds in SEEDS:
            yield f"{count} tasks of {seeds} seeds", count, seeds, np.random.default_rng(SEED + 7)


def of_aggregates(cells):
    """Scores of an arm on tasks drawn from cells [N, 2] of means and spreads between seeds."""
    for design, tasks, seeds, generator in designs():
        mean, spread = np.moveaxis(cells[generator.integers(len(cells), size=(STUDIES, tasks))], -1, 0)
        scores = mean[..., None] + spread[..., None] * generator.standard_normal((STUDIES, tasks, seeds))
        scores = list(np.moveaxis(scores, 1, 0))
        with np.errstate(invalid="ignore", divide="ignore"):
            below = (1 - mean) / spread  # E max(0, 1 - x) of normal x
            gap = np.where(spread > 0, (1 - mean) * stats.norm.cdf(below) + spread * stats.norm.pdf(below), 1 - mean)
        for name, interval, truth in (
            ("mean score", statistics.stratified_mean, mean.mean(-1)),
            ("optimality gap", statistics.optimality_gap_interval, gap.mean(-1)),
        ):
            yield name, design, "each study's own", *held(interval(scores), truth)


def of_improvement(cells, rival):
    """P(TRPO > rival) over tasks drawn from cells [N, 4]: TRPO's mean and spread, and the rival's."""
    lead, spread = cells[:, 0] - cells[:, 2], np.hypot(cells[:, 1], cells[:, 3])
    with np.errstate(invalid="ignore", divide="ignore"):
        truth = np.mean(np.where(spread > 0, stats.norm.cdf(lead / spread), (1 + np.sign(lead)) / 2))
    for design, tasks, seeds, generator in designs():
        own = np.moveaxis(cells[generator.integers(len(cells), size=(STUDIES, tasks))], 1, 0)[..., None]
        noise = generator.standard_normal((2, tasks, STUDIES, seeds))
        x, y = (own[:, :, 2 * arm] + own[:, :, 2 * arm + 1] * noise[arm] for arm in (0, 1))
        interval = statistics.probability_interval(list(x), list(y))
        yield f"P(TRPO > {rival})", design, f"{truth:.2f}", *held(interval, truth)


def one_task(world):
    """(seeds, generator, means [studies, H], scores [studies, H, seeds]) of studies of one task."""
    for seeds in SEEDS:
        generator = np.random.default_rng(SEED + 8)
        means, spreads = world.at(*world.draw(generator, 1, STUDIES, 0.5), SETTINGS)
        yield seeds, generator, means[0], seen(means, spreads, [seeds] * STUDIES, generator)[0]


def of_bests(world):
    """The settings that no other is shown to beat; half width: decades from the first to the last, halved."""
    for seeds, _, means, values in one_task(world):
        kept, best = statistics.not_shown_worse(values), means.argmax(-1)
        log = np.log10(SETTINGS)
        ends = [np.where(kept, log, sign * np.inf) for sign in (1, -1)]
        row = held((log[best], ends[0].min(-1), ends[1].max(-1)), log[best])
        share = np.mean(kept[np.arange(STUDIES), best])
        yield "none shown better", f"1 task of {seeds} seeds", "each study's own", *row[:2], share, np.nan, row[-1]


def of_optima(world):
    """Where the smoothed response is highest, decades."""
    at = price.points(SETTINGS)
    for seeds, generator, means, values in one_task(world):
        ends = np.array([price.optimum_interval(task, SETTINGS, generator, DRAWS) for task in values]).T
        top, truth = (
            at[price.response(each, SETTINGS, at).argmax(-1)] for each in (statistics.seed_means(values), means)
        )
        yield "of the response", f"1 task of {seeds} seeds", "each study's own", *held((top, *ends), truth)


def of_new_tasks(world):
    """One more task: the best value of its response, and what β = 3 loses there."""
    at, apart = price.points(SETTINGS), world.apart(answers.PRICE)
    usual = np.abs(at - np.log10(3.0)).argmin()
    for design, tasks, seeds, generator in designs(NEW_TASKS):
        means, spreads = world.at(*world.draw(generator, STUDIES, tasks + 1, apart), SETTINGS)
        measured = statistics.seed_means(seen(means[:, 1:], spreads[:, 1:], [seeds] * tasks, generator))
        smooth, new = price.response(measured, SETTINGS, at), price.response(means[:, 0], SETTINGS, at)
        for name, of in (
            ("best value", lambda response: at[response.argmax(-1)]),
            ("loss of the usual value", lambda response: response.max(-1) - response[..., usual]),
        ):
            found = np.array([statistics.prediction_interval(own) for own in of(smooth)]).T
            yield name, design, "one more task", *held(found, of(new))


def noise_between(values, task):
    """[K, m] how runs' values [K, R] differ from their task's mean, as shares of it; of tasks with positive values."""
    by_task = pd.DataFrame(values.T).groupby(task)
    clear = (by_task.transform("min") > 0).all(axis=1).to_numpy() & np.isfinite(values).all(axis=0)
    means, seeds = by_task.transform("mean").to_numpy().T, by_task[0].transform("size").to_numpy()
    # A run differs less from a mean that it is part of.
    noise = ((values / means - 1) * np.sqrt(seeds / (seeds - 1)))[:, clear]
    return noise - noise.mean(axis=1, keepdims=True)


def of_measured(study):
    """The mean square of the β measured in TRPO's first iterations, as a share of the true one."""
    trpo = default_arm(study.under(RAW), "trpo")
    squares = answers.early_squares(study, trpo).reindex(trpo.index).to_numpy()
    (noise,) = noise_between(squares[None], trpo["task"].to_numpy())
    for seeds in SEEDS:
        generator = np.random.default_rng(SEED + 9)
        values = 1 + noise[generator.integers(len(noise), size=(seeds, STUDIES))]
        yield "measured β", f"1 task of {seeds} seeds", "1", *held(statistics.mean_interval(values), 1.0)


def table(study, rules=RULES):
    """Frame: rule, number, design, truth, shown, contrary_shown, coverage, bias, half_width."""
    rows = []
    for advantages, runs, _ in answers.kinds_of_advantages(study):
        for algorithm in ("kl_fixed", "trpo"):
            scores = answers.grid_of(runs, study.runs, algorithm)
            if scores is None or not {"A", "B", "C"} & set(rules):
                continue
            world, name = World(scores), f"{SYMBOLS[KNOBS[algorithm][0]]}, {advantages}"
            if "A" in rules:
                rows += [("A", name, *row) for row in of_prices(world)]
                if algorithm == "kl_fixed" and advantages == "raw":
                    rows += [("A", f"{name}, tuned in another unit", *row) for row in of_units(world)]
            if algorithm == "kl_fixed" and "B" in rules:
                rows += [("B", name, *row) for row in of_moves(world)]
            if algorithm == "kl_fixed" and "C" in rules:
                trpo = answers.at_default(runs, scores, "trpo")
                top = np.nanmax(statistics.seed_means(scores.normalised), axis=-1)
                lead = np.array([trpo[task] - own for task, own in zip(scores.tasks, top) if task in trpo])
                rows += [("C", name, *row) for row in of_contests(world, lead)]
    if "rate" in rules and (scores := answers.grid_of(study.under(""), study.runs, "kl_fixed")) is not None:
        rows += [("rate", "β, normalised", *row) for row in of_rates(World(scores))]
    if "change" in rules:
        constant = answers.grid_of(study.under(RAW), study.runs, "kl_fixed")
        adaptive = answers.grid_of(study.under(""), study.runs, "kl_adaptive")
        if constant is not None and adaptive is not None:
            rows += [("change", "adaptive β, raw", *row) for row in of_changes(World(constant), World(adaptive))]
    if "bound" in rules and (scores := answers.grid_of(study.under(""), study.runs, "kl_fixed")) is not None:
        rows += [("bound", "β, normalised", *row) for row in of_bounds(World(scores))]
    if "contest" in rules:
        raw = study.under(RAW)
        rows += [
            ("contest", "TRPO less β, raw", *row)
            for row in of_both_ways(raw[raw["algorithm"].isin(["kl_fixed", "trpo"])])
        ]
    if "crossing" in rules and study.runs["overrides"].str.contains("fork=").any():
        gains = answers.fork_gains(study)
        rows += [("crossing", "β, raw", *row) for row in of_crossings(gains[gains["advantages"] == "raw"])]
    if "step" in rules and answers.units_of_reward(study):
        for algorithm, change in answers.step_changes(answers.steps_in_units(study)).items():
            rows += [("step", SYMBOLS[KNOBS[algorithm][0]], *row) for row in of_steps(change.to_numpy())]
    if "mechanism" in rules:
        rows += [("mechanism", "β, raw", *row) for row in of_predictions(answers.diagonal(study))]
    if "interval" in rules:
        rows += [("interval", *row) for row in of_intervals(study)]
    columns = ["rule", "number", "design", "truth", "shown", "contrary_shown", "coverage", "bias", "half_width"]
    return pd.DataFrame(rows, columns=columns)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--out", required=True)
    parser.add_argument("--rules", nargs="+", choices=RULES, help="make only their rows anew, and keep the others")
    given = parser.parse_args()
    frame = table(load(given.studies), given.rules or RULES)
    if Path(given.out).exists():
        kept = pd.read_csv(given.out)
        frame = pd.concat([kept[~kept["rule"].isin(frame["rule"])], frame])
    frame.to_csv(given.out, index=False, float_format="%.3f")
    print(frame.round(3).to_string(index=False))
