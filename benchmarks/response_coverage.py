"""Do the intervals of `analysis.response` hold the truth, and how often would its rules decide?

    python benchmarks/response_coverage.py --studies 1500          # simulates into a cache; stop and resume at will
    python benchmarks/response_coverage.py --studies 0 --out results/response

A simulated study has 30 tasks of eight families, two seeds, and four numbers on half-decade grids: normalised beta
with optima m ~ N(mu, tau^2), raw beta with optima m + slope log10 sigma + scatter, delta, and raw delta, whose optima
are nearly those of delta. The truth differs by study: tau, the shape of responses, the slope, how many optima lie
beyond the lower end of the values run, what families have in common. Widths, noise and lack of fit are
like those of the committed runs. Every estimate is read by the functions that read the data, on grids of optima and
widths twice as coarse. Written are OUT_coverage.csv and OUT_power.csv.
"""

import argparse
import itertools
import os
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # small matrices

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from analysis import response  # noqa: E402

response.STEP, response.WIDTHS = 2 * response.STEP, response.WIDTHS[::2]  # four times as fast
SEED = 20261201  # response.WIDER and TAILS were chosen on studies of 20261129 and 20261130
FAMILIES = np.repeat(np.arange(8), [7, 6, 5, 4, 3, 2, 2, 1])
GRIDS = {  # log10
    "raw": np.log10([0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]),
    "normalised": np.log10([0.03, 0.1, 0.3, 1, 3, 10, 30]),
    "delta": np.log10([0.003, 0.01, 0.03, 0.1, 0.3, 1]),
    "raw delta": np.log10([0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]),
}
FITTED = {"raw": response.BETA, "normalised": response.BETA, "delta": response.DELTA, "raw delta": response.DELTA}
NEAR = 0.1  # decades, SD of the best raw delta about the best delta
WIDTH = 1.25  # decades, the typical task's, of a side that falls
SKEW = 1.6  # how much wider the other side of a skewed response is
WIDTH_SPREAD = 0.35  # SD of ln w
LACK = 0.035  # of the height
NOISE = {"raw": 0.1, "normalised": 0.05, "delta": 0.11, "raw delta": 0.11}  # of the height: a seed's typical SD
NOISE_SPREAD = (0.7, 0.8)  # SD of its logarithm over tasks, and over the values of a task
EDGES = {"none": 5.0, "tenth": 1.2816, "third": 0.4307}  # SDs from the lower end to the mean optimum, see Truth
COLUMNS = ["estimate", "by", "truth", "value", "low", "high", "low90", "high90"]


@dataclass(frozen=True)
class Truth:
    tau: float  # decades, of normalised beta
    tau_delta: float
    slope: float = 1.0
    sigma: float = 0.8  # SD of log10 sigma over tasks
    scatter: float = 0.16  # decades
    shape: str = "raised"  # bump, plateau, raised, skewed
    edge: str = "none"  # share of optima beyond the lower end, the mean optimum at most mid-grid
    shared: float = 0.0  # share of the optima's variance that is between families
    kind: str = "coverage"  # or "power"

    @property
    def taus(self):
        raw = np.sqrt(self.tau**2 + (self.slope * self.sigma) ** 2 + self.scatter**2)
        near = np.hypot(self.tau_delta, NEAR)
        return {"raw": raw, "normalised": self.tau, "delta": self.tau_delta, "raw delta": near}


def drawn(number):
    """The truth of a study: every property by chance, independently; the next of `POWER` every other time."""
    if number % 2 == 0:
        return POWER[number // 2 % len(POWER)]
    generator = np.random.default_rng([SEED, number])
    tau = generator.choice([0.15, 0.3, 0.6, 0.9])
    properties = {
        "slope": generator.choice([0.0, 1.0]),
        "shape": generator.choice(["bump", "plateau", "raised", "skewed"]),
        "edge": generator.choice(list(EDGES), p=[0.4, 0.4, 0.2]),
        "shared": generator.choice([0.0, 0.4], p=[0.75, 0.25]),
    }
    return Truth(tau, tau, **properties)


def _power():
    """Raw beta is as hard to choose as normalised beta or twice as hard, delta harder by a factor."""
    made = []
    for difficulty, (slope, scatter) in itertools.product((0.25, 0.35), ((0.0, 0.02), (1.0, 0.16))):
        tau = WIDTH * difficulty
        sigma = np.sqrt(3 * tau**2 - scatter**2)
        made += [Truth(tau, factor * tau, slope, sigma, scatter, kind="power") for factor in (1, 1.4, 0.5, 2)]
    return made


POWER = _power()


def curve(shape, z, side, generator):
    """[n, J] responses; z [n, J]. side: -1 or 1, that of the raised side, which falls to a level of each task's own."""
    if shape == "plateau":
        return np.exp(-(z**4) / 2)
    if shape == "skewed":
        return np.exp(-((z / np.where(side * z > 0, SKEW, 1.0)) ** 2) / 2)
    level = generator.uniform(0, 0.9, (len(z), 1)) if shape == "raised" else 0.0
    level = np.where(side * z > 0, level, 0.0)
    return level + (1 - level) * np.exp(-(z**2) / 2)


def scores(optima, knob, shape, generator):
    """Frame of the scores of one number: task, family, x, seed, score."""
    x, n = GRIDS[knob], len(optima)
    width = WIDTH * np.exp(WIDTH_SPREAD * generator.standard_normal((n, 1)))
    mean = curve(shape, (x - optima[:, None]) / width, 1 if "delta" in knob else -1, generator)
    mean = mean + LACK * generator.standard_normal(mean.shape)
    task, value = (generator.standard_normal(size) for size in ((n, 1), mean.shape))
    noise = NOISE[knob] * np.exp(NOISE_SPREAD[0] * task + NOISE_SPREAD[1] * value)
    made = mean[..., None] + noise[..., None] * generator.standard_normal((*mean.shape, 2))
    task, place, seed = (index.ravel() for index in np.indices(made.shape))
    names = {"task": [f"{t:02d}" for t in task], "family": FAMILIES[task]}
    return pd.DataFrame(names | {"x": x[place], "seed": seed, "score": made.ravel()})


def normal(generator, shared):
    """[n] standard normal values of tasks, of whose variance a part is that between families."""
    common = generator.standard_normal(FAMILIES.max() + 1)[FAMILIES]
    return np.sqrt(shared) * common + np.sqrt(1 - shared) * generator.standard_normal(len(FAMILIES))


def study(truth, number):
    """Frame of every estimate of one simulated study: COLUMNS."""
    generator = np.random.default_rng([SEED, number, 1])
    taus = truth.taus
    width = WIDTH * ((1 + SKEW) / 2 if truth.shape == "skewed" else 1)
    middle = {knob: min(x.mean(), x[0] + EDGES[truth.edge] * taus[knob]) for knob, x in GRIDS.items()}
    log_sigma = truth.sigma * normal(generator, truth.shared)
    optima = {"normalised": middle["normalised"] + truth.tau * normal(generator, truth.shared)}
    intercept = middle["raw"] - middle["normalised"]
    off = truth.scatter * normal(generator, truth.shared)
    optima["raw"] = optima["normalised"] + intercept + truth.slope * log_sigma + off
    optima["delta"] = middle["delta"] + truth.tau_delta * normal(generator, truth.shared)
    made = {knob: scores(own, knob, truth.shape, generator) for knob, own in optima.items()}
    optima["raw delta"] = optima["delta"] + middle["raw delta"] - middle["delta"]
    optima["raw delta"] += NEAR * normal(generator, truth.shared)
    made["raw delta"] = scores(optima["raw delta"], "raw delta", truth.shape, generator)
    fits = {knob: response.fit(own, *FITTED[knob]) for knob, own in made.items()}
    sigma = pd.Series(log_sigma, [f"{task:02d}" for task in range(len(log_sigma))])
    difference, alone = response.slope(fits["raw"], fits["normalised"], sigma), response.slope(fits["raw"], None, sigma)
    rows = []

    def read(name, by, true, estimate, *arguments):
        wide, narrow = estimate(*arguments, by=by), estimate(*arguments, by=by, level=0.9)
        rows.append((name, by, true, *wide, *narrow[1:]))

    for by in ("task", "family"):
        for knob, own in fits.items():
            read(f"spread, {knob}", by, taus[knob], own.estimate, "spread")
            read(f"difficulty, {knob}", by, taus[knob] / width, own.estimate, "difficulty")
        for first, second in (("raw", "normalised"), ("normalised", "delta"), ("raw delta", "delta")):
            for of in ("spread", "difficulty"):
                true = taus[first] / taus[second]
                read(f"{of}, {first} / {second}", by, true, response.ratio, fits[first], fits[second], of)
        for of, true in (("slope", truth.slope), ("scatter", truth.scatter)):
            read(f"{of}, raw / normalised on sigma", by, true, difference.estimate, of)
        rest = np.hypot(truth.tau, truth.scatter)
        for of, true in (("slope", truth.slope), ("scatter", rest)):
            read(f"{of}, raw on sigma", by, true, alone.estimate, of)
    for knob, own in fits.items():
        for prefix, name in (("", ""), ("flat_", ", flat prior")):
            found = own.optimum[[prefix + end for end in ("median", "low", "high")]].to_numpy()
            for true, row in zip(optima[knob], found):
                rows.append((f"optimum, {knob}{name}", "seed", true, *row, np.nan, np.nan))
    return pd.DataFrame(rows, columns=COLUMNS)


def simulate(cache, studies, batch=10):
    """A file for every ten studies, so that little is lost when it is stopped."""
    cache.mkdir(parents=True, exist_ok=True)
    for first in range(0, studies, batch):
        path = cache / f"{first:05d}.parquet"
        if not path.exists():
            made = [
                study(drawn(number), number).assign(**asdict(drawn(number)), number=number)
                for number in range(first, first + batch)
            ]
            pd.concat(made, ignore_index=True).to_parquet(path)


def coverage(studies):
    """Frame: how often intervals hold the truth, by estimate, units and one property of the truth at a time."""
    own = studies[(studies["by"] != "task") | (studies["shared"] == 0)]
    own = own.assign(
        holds=(own["low"] <= own["truth"]) & (own["truth"] <= own["high"]),
        too_high=own["low"] > own["truth"],
        too_low=own["high"] < own["truth"],
        open=~np.isfinite(own["low"]) | ~np.isfinite(own["high"]) | (own["low"] == 0),
        width=np.where(np.isfinite(own["high"]) & (own["low"] > 0), own["high"] / own["low"], np.nan),
    )
    found = []
    for of in ("all", "kind", "tau", "shape", "edge", "slope", "shared"):
        groups = own.assign(all="all").groupby(["estimate", "by", of])
        frame = groups.agg(
            studies=("number", "size"), holds=("holds", "mean"), too_high=("too_high", "mean"),
            too_low=("too_low", "mean"), open=("open", "mean"),
        )  # fmt: skip
        found.append(frame.reset_index().rename(columns={of: "is"}).assign(of=of))
    frame = pd.concat(found).astype({"is": str})
    frame["error"] = np.sqrt(frame["holds"] * (1 - frame["holds"]) / frame["studies"])
    return frame[["estimate", "by", "of", "is", "studies", "holds", "error", "too_high", "too_low", "open"]]


HARDER, ALIKE, SLOPE = (
    "difficulty, raw / normalised",
    "difficulty, normalised / delta",
    "slope, raw / normalised on sigma",
)
RULES = {  # name: (estimate, kind of truth, columns of the interval, whether it decides)
    "raw beta is harder to choose than normalised": (HARDER, "power", "low high", lambda low, high: low > 1),
    "normalised beta as easy as delta, within 1.5": (
        ALIKE, "power", "low90 high90", lambda low, high: (low > 1 / 1.5) & (high < 1.5)),
    "normalised beta as easy as delta, within 2": (
        ALIKE, "power", "low90 high90", lambda low, high: (low > 1 / 2) & (high < 2)),
    "normalised beta as easy as delta, within 2.5": (
        ALIKE, "power", "low90 high90", lambda low, high: (low > 1 / 2.5) & (high < 2.5)),
    "normalised beta at most 2 as hard as delta": (ALIKE, "power", "low90 high90", lambda low, high: high < 2),
    "normalised beta at most 2 as hard as delta, 95 %": (ALIKE, "power", "low high", lambda low, high: high < 2),
    "normalised beta at most 1.5 as hard as delta": (ALIKE, "power", "low90 high90", lambda low, high: high < 1.5),
    "0 is not the slope of raw / normalised": (SLOPE, "coverage", "low high", lambda low, high: low > 0),
    "1 is not the slope of raw / normalised": (SLOPE, "coverage", "low high", lambda low, high: (low > 1) | (high < 1)),
    "the slope of raw / normalised is above 0.5": (SLOPE, "coverage", "low high", lambda low, high: low > 0.5),
}  # fmt: skip


def power(studies):
    """Frame: how often a rule decides, by the truth of its estimate and the difficulty of normalised beta."""
    found = []
    for rule, (estimate, kind, ends, decides) in RULES.items():
        own = studies[(studies["estimate"] == estimate) & (studies["kind"] == kind) & (studies["shared"] == 0)]
        low, high = (own[end] for end in ends.split())
        difficulty = (own["tau"] / WIDTH).round(2) if kind == "power" else "any"
        own = own.assign(rule=rule, decides=decides(low, high), truth=own["truth"].round(2), difficulty=difficulty)
        found.append(own.groupby(["rule", "by", "truth", "difficulty"])["decides"].agg(["size", "mean"]).reset_index())
    frame = pd.concat(found).rename(columns={"size": "studies", "mean": "decides"})
    return frame.assign(error=np.sqrt(frame["decides"] * (1 - frame["decides"]) / frame["studies"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1500)
    parser.add_argument("--cache", type=Path, default=Path("response_studies"), help="folder of what was simulated")
    parser.add_argument("--out", help="write the tables, OUT_coverage.csv and OUT_power.csv")
    given = parser.parse_args()
    simulate(given.cache, given.studies)
    if given.out:
        studies = pd.concat([pd.read_parquet(path) for path in sorted(given.cache.glob("*.parquet"))])
        coverage(studies).round(4).to_csv(f"{given.out}_coverage.csv", index=False)
        power(studies).round(4).to_csv(f"{given.out}_power.csv", index=False)


if __name__ == "__main__":
    main()
