"""Do the rules of `answers` decide as rarely by mistake as they say? Imagined studies with known truths.

    python -m analysis.calibration results/profiles results/table1 results/profiles_raw --out results/calibration.csv

Each imagined task takes the shape of a real task's smoothed response and the real spread between seeds, and has its
best value moved by a normal number of decades. How far is set so that the true effect is the one asked for: none, the
rule's boundary, twice that. A thousand studies of each kind are read by the very functions that read the data.
Reported: how often a rule shows its claim or the contrary, and how often the 95 % interval holds the truth.
"""

import argparse

import numpy as np
import pandas as pd

from . import answers, price, statistics
from .data import load
from .names import SYMBOLS

STUDIES = 1000
SEED = 20261127
SETTINGS = np.array([0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0])
REACH = 4.0  # decades on either side of a shape's best value
DESIGNS = {"6 tasks, 10 seeds": [10] * 6, "20 tasks, 5 or 10 seeds": [10] * 6 + [5] * 14}
SPLITS = 10  # halves of the seeds in an imagined study


class World:
    """Tasks to imagine others from: responses about their best value, and the spread between seeds there."""

    def __init__(self, scores):
        at = price.points(scores.settings)
        means = price.response(statistics.seed_means(scores.normalised), scores.settings, at)
        spread = np.nanstd(scores.normalised, axis=-1, ddof=1)
        around = np.arange(-REACH, REACH + price.STEP / 2, price.STEP)
        self.shapes, self.spreads = [], []
        for mean, own in zip(means, spread):
            ran = np.isfinite(mean)
            offset = at[ran] - at[np.nanargmax(mean)]
            self.shapes.append(np.interp(around, offset, mean[ran]))
            settings = np.log10(scores.settings[np.isfinite(own)]) - at[np.nanargmax(mean)]
            self.spreads.append(np.interp(around, settings, own[np.isfinite(own)]))
        self.shapes, self.spreads, self.around = np.array(self.shapes), np.array(self.spreads), around

    def draw(self, generator, studies, tasks, apart):
        """(means, spreads), each [studies, tasks, H], of tasks whose best values spread over `apart` decades."""
        shape = generator.integers(len(self.shapes), size=(studies, tasks))
        best = generator.normal(0.5, apart, (studies, tasks))
        offset = np.log10(SETTINGS) - best[..., None]
        index = np.rint((offset - self.around[0]) / price.STEP).astype(int).clip(0, len(self.around) - 1)
        return self.shapes[shape[..., None], index], self.spreads[shape[..., None], index]


def seen(means, spreads, seeds, generator):
    """[studies, tasks, H, S] scores of as many seeds as each task has."""
    noise = generator.standard_normal((*means.shape, max(seeds)))
    values = means[..., None] + spreads[..., None] * noise
    absent = np.arange(max(seeds)) >= np.array(seeds)[:, None]
    return np.where(absent[:, None, :], np.nan, values)


def true_price(means):
    """What prices are without noise: mean over tasks and studies."""
    at = price.points(SETTINGS)
    smooth = price.response(means, SETTINGS, at)
    return float((smooth.max(-1) - price.read(smooth, price.elsewhere(smooth))).mean())


def apart_for(world, tasks, wanted, seed=SEED):
    """Decades between best values at which one value's true price is the wanted one, by bisection."""
    low, high = 0.0, 3.0
    for _ in range(20):
        middle = (low + high) / 2
        means, _ = world.draw(np.random.default_rng(seed), 400, tasks, middle)
        low, high = (middle, high) if true_price(means) < wanted else (low, middle)
    return middle


def judged(effects, truth, rule):
    """Shares of studies [B, tasks] of effects in which a rule shows its claim, its contrary, and the truth is covered."""
    mean, low, high = statistics.mean_interval(np.moveaxis(effects, -1, 0))
    verdicts = np.array([rule(*each) for each in zip(low, high, mean)])
    return (
        np.mean(verdicts == answers.SHOWN),
        np.mean(verdicts == answers.CONTRARY),
        np.mean((low <= truth) & (truth <= high)),
        np.mean(mean - truth),
        np.mean(high - low) / 2,
    )


def of_prices(world, name):
    """Rule A: no price at all (one shared best value), the boundary, twice and four times it, and nothing but noise."""
    rows = []
    for design, seeds in DESIGNS.items():
        for wanted in (0.0, 0.5 * answers.PRICE, answers.PRICE, 2 * answers.PRICE, 4 * answers.PRICE):
            apart = apart_for(world, len(seeds), wanted) if wanted else 0.0
            generator = np.random.default_rng(SEED + 1)
            means, spreads = world.draw(generator, STUDIES, len(seeds), apart)
            truth = true_price(means)
            by_task = price.prices(seen(means, spreads, seeds, generator), SETTINGS, SPLITS)
            rows.append(("A", name, design, f"price {truth:.2f}", *judged(by_task, truth, answers.rule_a)))
        flat = np.full((STUDIES, len(seeds), len(SETTINGS)), 0.7)
        generator = np.random.default_rng(SEED + 2)
        noise = seen(flat, np.full_like(flat, np.median(world.spreads)), seeds, generator)
        rows.append(("A", name, design, "noise alone", *judged(price.prices(noise, SETTINGS, SPLITS), 0, answers.rule_a)))
    return rows


def of_contrasts(effects, name):
    """Rules B, C and mechanism: effects by task resampled from those at hand, moved to a truth."""
    rows = []
    rules = {
        "B": (answers.rule_b, (0.0, answers.MOVE, 2 * answers.MOVE)),
        "C": (answers.rule_c, (0.0, answers.BESIDE, 2 * answers.BESIDE)),
        "mechanism": (answers.rule_mechanism, (0.0, -0.25, -0.5)),
    }
    for key, (rule, truths) in rules.items():
        own = np.asarray(effects[key])
        own = own - own.mean()
        for design, seeds in DESIGNS.items():
            for truth in truths:
                generator = np.random.default_rng(SEED + 3)
                # Smoothed: resampling a handful of effects would repeat them.
                drawn = generator.choice(own, (STUDIES, len(seeds)))
                drawn = drawn + 0.5 * own.std() * generator.standard_normal(drawn.shape)
                rows.append((key, name, design, f"effect {truth:g}", *judged(drawn + truth, truth, rule)))
    return rows


def table(study):
    """Frame: rule, number, design, truth, shown, contrary_shown, coverage, bias, half_width."""
    rows = []
    for advantages, runs in answers.conditions(study):
        for algorithm, symbol in (("kl_fixed", "beta"), ("trpo", "max_kl")):
            scores = answers.grid_of(runs, study.runs, algorithm)
            if scores is not None:
                rows += of_prices(World(scores), f"{SYMBOLS[symbol]}, {advantages}")
    at_hand = {answer.key: answer.by_task["effect"] for answer in answers.answers(study)}
    # Before any fork: peaks are as uncertain as half a decade between neighbouring values makes them.
    at_hand.setdefault("B", np.array([-0.5, -0.25, 0.0, 0.0, 0.25, 0.5]))
    rows += of_contrasts(at_hand, "")
    columns = ["rule", "number", "design", "truth", "shown", "contrary_shown", "coverage", "bias", "half_width"]
    return pd.DataFrame(rows, columns=columns)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+")
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    frame = table(load(given.studies))
    frame.to_csv(given.out, index=False, float_format="%.3f")
    print(frame.round(3).to_string(index=False))
