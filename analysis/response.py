"""How far the best value of a number differs between tasks: a hierarchical model of responses.

The score of task i at x = log10 of the number, with seed s, is

    y[i, x, s] = a_i + h_i b((x - m_i) / w_i) + lack of fit + noise

- b is a bump of height 1 at 0 (`SHAPES`), h_i >= 0 its height, a_i the score far from it;
- the optimum m_i ~ N(mu, tau^2) and the width ln w_i ~ N(nu, s^2) vary over tasks, in decades;
- the lack of fit ~ N(0, lambda^2), one for each value run, in units of the range of the task's mean scores;
- the noise of a mean is known from the spread of its seeds, moderated over values and tasks (`moderated`); together
  with the lack of fit it may be larger or smaller on a task, so that its errors have Student's distribution.

A task's scores may be shifted and multiplied by anything. a_i (flat prior) and h_i (wide prior, cut at 0) are
integrated out in closed form, m_i and w_i by sums over a grid; mu, tau, nu, s and lambda maximise what is left. Nothing
looks for the highest score, so an optimum outside of the values run is as uncertain as the likelihood leaves it.

    raw, normalised = fit(raw_scores, *BETA), fit(normalised_scores, *BETA)
    raw.spread                                             # tau with its interval
    ratio(raw, normalised, of="difficulty", by="family")
    slope(raw, normalised, log_sigma).slope

Intervals are those of profile likelihoods (`_cut`). results/response_coverage.csv has how often they cover the truth in
simulated studies of 30 tasks (benchmarks/response_coverage.py): 94 to 97 % by tasks, 96 to 99 % by families.

The width w is half the width at exp(-1/2) = 61 % of the height; a raised side counts as falling like the other.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import interpolate, optimize, special, stats

LEVEL = 0.95
TAILS = 0.98  # share of an optimum's posterior that its range holds, because 0.95 cover the truth too seldom
HEIGHT = (1.5, 1.0)  # e, d of the heights' prior, ranges
# What the variances of estimates are multiplied by for what profiles leave out (shape, lambda, e, d): by simulation.
WIDER = {"spread": 1.2, "difficulty": 1.45, "slope": 1.2, "scatter": 1.3, "ratio": 1.2}
FREEDOM = 4  # f, degrees of freedom of a task's error scale
BEYOND = 2.0  # decades that the grid of optima reaches beyond the values run
STEP = 0.05  # decades between its points
WIDTHS = np.log(10) * np.linspace(-0.7, 0.8, 31)  # ln decades
LACKS = 0.06 * 1.3 ** np.arange(-6, 7)  # lambda, ranges
SPREADS = np.log(np.geomspace(0.02, 4.0, 21))  # ln of the tau (decades) and tau / w that profiles are taken at
FAR = 8.0  # below its top a profile is not followed
LEAST_NOISE = 0.005  # ranges: seeds that agree by chance or by saturation
SIDE = np.array([0.0, 0.225, 0.45, 0.675, 0.9])  # what a raised side falls to, as a share of the height; each as likely


def _bump(z):
    return np.exp(-(z**2) / 2)


def _plateau(z):
    return np.exp(-(z**4) / 2)


SHAPES = {  # b, what it falls to on the side of small numbers, and on that of large ones
    "bump": (_bump, 0 * SIDE[:1], 0 * SIDE[:1]),
    "plateau": (_plateau, 0 * SIDE[:1], 0 * SIDE[:1]),
    "raised below": (_bump, SIDE, 0 * SIDE),
    "raised above": (_bump, 0 * SIDE, SIDE),
}
BETA = ("bump", "plateau", "raised below")  # a small beta fails otherwise than a large one, and gently on some tasks
DELTA = ("bump", "plateau", "raised above")


class Estimate(NamedTuple):
    """A value with its interval, of 95 % unless asked otherwise; an end that the data leave open is 0 or infinite."""

    value: float
    low: float
    high: float


# One task ---------------------------------------------------------------------------------


def cells(scores):
    """(tasks and families [n], x [J], mean [n, J], variance [n, J]) of scores, in units of each task's range of means.

    variance  moderated variance of the noise of each mean. Both are NaN where a task was not run at a value.
    Raises ValueError for scores that `fit` cannot take.
    """
    absent = {"task", "family", "x", "seed", "score"} - set(scores)
    if absent:
        raise ValueError(f"scores lack the columns {', '.join(sorted(absent))}")
    if not np.isfinite(scores[["x", "score"]].to_numpy(dtype=float)).all():
        raise ValueError("scores need finite x and score in every row; leave rows out that were not run")
    scores = scores.assign(x=scores["x"].astype(float).round(6))
    table = scores.groupby(["task", "x"])["score"].agg(["mean", "var", "count"]).unstack("x")
    mean, variance, count = (table[name].to_numpy(dtype=float) for name in ("mean", "var", "count"))
    few = table.index[np.isfinite(mean).sum(1) < 3]
    if len(table) < 3 or len(few):
        raise ValueError(f"a response needs three values on each of three tasks; too few on {', '.join(few) or 'all'}")
    low, high = np.nanmin(mean, 1, keepdims=True), np.nanmax(mean, 1, keepdims=True)
    unit = np.where(high > low, high - low, 1.0)
    freedom = np.where(np.isfinite(variance), count - 1, 0)
    noise = moderated(variance / unit**2, freedom)
    families = scores.groupby("task")["family"].first()
    units = pd.MultiIndex.from_arrays([families.index, families], names=["task", "family"])
    x = table["mean"].columns.to_numpy(dtype=float)
    return units, x, (mean - low) / unit, np.where(count > 0, noise / count, np.nan)


def moderated(variance, freedom):
    """[n, J] variances of single scores: a value's own, drawn to its task's, which is drawn to that of all tasks.

    variance [n, J] with freedom [n, J] degrees of freedom, 0 where unknown. At either level true variances are scaled
    inverse chi-squared, with the degrees of freedom that explain the spread of the logarithms (Smyth 2004, limma).
    Raises ValueError where no value has two seeds.
    """
    if not (freedom > 0).any():
        raise ValueError("noise needs two seeds at some value of some task")
    variance = np.where(freedom > 0, np.maximum(variance, LEAST_NOISE**2), 0.0)
    of_task = freedom.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        task = (freedom * variance).sum(1) / of_task
    known = of_task > 0
    logs = np.log(task[known]) - _log_bias(of_task[known])
    prior = _prior_freedom(logs, of_task[known])
    typical = np.exp(logs.mean() + _log_bias(prior))
    task = (prior * typical + np.where(known, of_task * task, 0.0)) / (prior + of_task)
    ran = freedom > 0
    logs = (np.log(np.where(ran, variance, 1.0)) - np.log(task)[:, None])[ran] - _log_bias(freedom[ran])
    prior = _prior_freedom(logs, freedom[ran])
    return (prior * task[:, None] + freedom * variance) / (prior + freedom)


def _log_bias(freedom):
    """Mean of ln(chi-squared / freedom)."""
    return special.digamma(freedom / 2) - np.log(freedom / 2)


def _prior_freedom(logs, freedom, least=1.0, most=1000.0):
    """Degrees of freedom f with trigamma(f / 2) = variance of the logarithms minus what their own freedom makes."""
    excess = np.var(logs, ddof=1) - special.polygamma(1, freedom / 2).mean() if len(logs) > 1 else 0.0
    excess = np.clip(excess, special.polygamma(1, most / 2), special.polygamma(1, least / 2))
    return optimize.brentq(lambda f: special.polygamma(1, f / 2) - excess, 0.9 * least, 1.1 * most)


def bumps(shape, x, at, widths):
    """[M, W, C, J] the shape at x [J] for optima `at` [M], ln widths [W] and the C levels of its raised side."""
    b, below, above = SHAPES[shape]
    z = (x - at[:, None, None, None]) / np.exp(widths)[:, None, None]
    floor = np.where(z < 0, below[:, None], above[:, None])
    return floor + (1 - floor) * b(z)


def marginal(basis, means, variance):
    """[n, ...] ln likelihood of means [n, J] with independent errors of `variance`, for basis [..., J]; NaN not run.

    Integrated over a ~ flat, h ~ N(e, d^2 s^2) cut at 0 and s^2 ~ f / chi-squared of f degrees of freedom, by which all
    variances of the task are multiplied. With p = 1 / variance, sums over the r + 1 values run, weighted by p, b and y
    minus their means so weighted, K = sum b^2 + 1 / d^2, B = sum b y + e / d^2 and Q = sum y^2 + e^2 / d^2 - B^2 / K:

        prod p^(1/2) (sum p)^(-1/2) / (d K^(1/2)) Gamma((f + r) / 2) / Gamma(f / 2) (f pi)^(-r / 2)
        (1 + Q / f)^(-(f + r) / 2) T_(f + r)(B / K^(1/2) ((f + r) / (f + Q))^(1/2)) / T_f(e / d)

    with T Student's distribution, of f + r degrees of freedom by Wallace's approximation (1959; within 1 %, and fast).
    """
    ran = np.isfinite(means)
    p = np.where(ran, 1 / variance, 0.0)
    total = p.sum(1)
    y = np.where(ran, means, 0.0)
    y = y - ((p * y).sum(1) / total)[:, None]
    (e, d), f, r = HEIGHT, FREEDOM, ran.sum(1) - 1
    flat = basis.reshape(-1, basis.shape[-1])
    by = flat @ (p * y).T + e / d**2
    k = (flat**2) @ p.T - (flat @ p.T) ** 2 / total + d**-2
    q = (p * y**2).sum(1) + (e / d) ** 2 - by**2 / k
    t_square = by**2 / k / (f + q)  # over f + r
    z = np.sign(by) * (8 * (f + r) + 1) / (8 * (f + r) + 3) * np.sqrt((f + r) * np.log1p(t_square))
    log = special.log_ndtr(z) - np.log(k) / 2 - (f + r) / 2 * np.log1p(q / f)
    log += (np.log(p, where=ran, out=np.zeros_like(p)).sum(1) - np.log(total) - r * np.log(f * np.pi)) / 2
    log += special.gammaln((f + r) / 2) - special.gammaln(f / 2) - np.log(d * stats.t.cdf(e / d, f))
    return log.T.reshape(len(means), *basis.shape[:-1])


# All tasks ----------------------------------------------------------------------------------


def _shares(at, mean, log_sd):
    """[..., G] probabilities of the cells around the points `at` [G] under N(mean, exp(log_sd)^2), the outer cells
    without end, and their derivatives by the mean and by log_sd."""
    edges = np.concatenate([[-1e6], (at[1:] + at[:-1]) / 2, [1e6]])
    z = (edges - np.asarray(mean)[..., None]) / np.exp(log_sd)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    below, by_mean, by_log = special.ndtr(z), -density / np.exp(log_sd), -z * density
    return [value[..., 1:] - value[..., :-1] for value in (below, by_mean, by_log)]


class Maximum:
    """The maximum of a sum over tasks of log-likelihoods, and what its neighbourhood says.

    log_likelihood  theta [k] -> ([n], derivatives [n, k]); bounds: k pairs
    """

    def __init__(self, log_likelihood, start, bounds):
        self.log_likelihood, self.bounds = log_likelihood, np.array(bounds, dtype=float)
        self.theta, self.top = self._climb(np.eye(len(start)), np.array(start, dtype=float))

    def _climb(self, mix, start, fixed=None):
        """(phi, height) of the maximum over theta = mix phi, one coordinate of phi fixed."""
        free = np.arange(len(start)) != fixed
        phi = np.clip(start, *self.bounds.T) if fixed is None else start.copy()

        def down(some):
            phi[free] = some
            value, gradient = self.log_likelihood(mix @ phi)
            return -value.sum(), -(gradient.sum(0) @ mix)[free]

        found = optimize.minimize(
            down, phi[free], jac=True, method="L-BFGS-B", bounds=self.bounds[free], options={"ftol": 1e-8}
        )
        phi[free] = found.x
        return phi, -found.fun

    def profile(self, mix, coordinate, at):
        """[len(at)] log-likelihood at values of a coordinate of mix^-1 theta, the others maximised.

        Not followed farther than FAR below the top: it falls on from there by a steep line.
        """
        best = np.linalg.solve(mix, self.theta)
        heights = np.empty(len(at))
        middle = int(np.abs(at - best[coordinate]).argmin())
        for walk in (range(middle, len(at)), range(middle - 1, -1, -1)):
            phi, height = best.copy(), self.top
            for index in walk:
                if height < self.top - FAR:
                    height -= FAR
                else:
                    phi[coordinate] = at[index]
                    phi, height = self._climb(mix, phi, coordinate)
                heights[index] = height
        return heights

    @cached_property
    def covariance(self):
        """Inverse of minus the second derivatives at theta; 0 for what stands at a bound."""
        size, step = len(self.theta), 1e-3
        moves = step * np.eye(size)
        ends = [[self.log_likelihood(self.theta + sign * move)[1].sum(0) for move in moves] for sign in (-1, 1)]
        curvature = (np.array(ends[0]) - ends[1]) / (2 * step)
        low, high = self.bounds.T
        free = (self.theta > low + step) & (self.theta < high - step)
        values, vectors = np.linalg.eigh(((curvature + curvature.T) / 2)[np.ix_(free, free)])
        found = np.zeros((size, size))
        found[np.ix_(free, free)] = vectors / np.maximum(values, 0.1) @ vectors.T
        return found

    @cached_property
    def influence(self):
        """[n, k] by how much each task moves theta (one Newton step)."""
        return self.log_likelihood(self.theta)[1] @ self.covariance

    @cached_property
    def predictive(self):
        """[n] log-likelihood of each task at the theta of the others (one Newton step)."""
        without = np.clip(self.theta - self.influence, *self.bounds.T)
        return np.array([self.log_likelihood(theta)[0][task] for task, theta in enumerate(without)])


class _Estimates:
    """Estimates that are coordinates of mix^-1 theta, with intervals from their profiles.

    estimates  {name: (mix, coordinate, values its profile is taken at)}; units  the tasks and families of `maximum`
    """

    def _direction(self, of):
        mix, coordinate, _ = self.estimates[of]
        return np.linalg.inv(mix)[coordinate]

    @cached_property
    def _profiles(self):
        return {}

    def profile(self, of):
        """(values, log-likelihood at them, all else maximised) of an estimate; of its ln, where it is positive."""
        if of not in self.estimates:
            raise ValueError(f"no estimate {of!r}; there are {', '.join(self.estimates)}")
        if of not in self._profiles:
            self._profiles[of] = self.estimates[of][-1], self.maximum.profile(*self.estimates[of])
        return self._profiles[of]

    def influence(self, of):
        """(variance by the curvature of the likelihood, Series by task and family of how far each moves it)."""
        direction = self._direction(of)
        moved = pd.Series(self.maximum.influence @ direction, self.units)
        return direction @ self.maximum.covariance @ direction, moved

    def estimate(self, of, by="task", level=LEVEL):
        """`Estimate` of one of `estimates`; by: "task" or "family", the units of the interval."""
        profile = self.profile(of)
        variance, moved = self.influence(of)
        value = self._direction(of) @ self.maximum.theta
        positive = self.estimates[of][-1] is SPREADS
        cut = _cut([variance], moved.to_frame(), by, level, WIDER[of])
        ends = np.array([value, *_ends(*profile, value, self.maximum.top, cut)])
        return Estimate(*(np.exp(ends) if positive else ends))


@dataclass(frozen=True)
class Fit(_Estimates):
    """The model fitted to the scores of one number.

    - `shape`: of SHAPES
    - `units`: [n] index of tasks and their families
    - `lack`: lambda, ranges
    - `at`: [M] grid of optima, log10
    - `likelihood`: [n, M, W] of each task at optimum and width, the largest 1
    - `maximum`: `Maximum` over theta = (mu, ln tau, nu, ln s)
    """

    shape: str
    units: pd.MultiIndex
    lack: float
    at: np.ndarray
    likelihood: np.ndarray
    maximum: Maximum

    estimates = {
        "spread": (np.eye(4), 1, SPREADS),
        "difficulty": (np.eye(4) + np.eye(4, k=1) * [[0], [1], [0], [0]], 1, SPREADS),  # ln tau = ln difficulty + nu
    }

    @property
    def spread(self):
        """`Estimate` of tau, the SD of the optimum over tasks, decades."""
        return self.estimate("spread")

    @property
    def difficulty(self):
        """`Estimate` of tau / w, w = exp(nu): how hard it is to choose one value for all tasks."""
        return self.estimate("difficulty")

    @property
    def width(self):
        """w = exp(nu), decades."""
        return float(np.exp(self.maximum.theta[2]))

    @property
    def predictive(self):
        """Leave-one-task-out predictive log-likelihood, summed over tasks."""
        return float(self.maximum.predictive.sum())

    @cached_property
    def alone(self):
        """[n, M] likelihood of each task's optimum under the fitted widths."""
        return self.likelihood @ _shares(WIDTHS, *self.maximum.theta[2:])[0]

    @cached_property
    def optimum(self):
        """Frame, a task a row, log10: median and range of its posterior under N(mu, tau^2), theta as uncertain as its
        covariance says (median, low, high), and under a flat prior (flat_median, flat_low, flat_high).

        Infinite beyond the grid; both hold TAILS of the posterior. The flat prior's is an interval: it covers the truth
        in 95 to 97 % of tasks (93 or 94 where a third of the optima lies beyond the values run). The other is none: it
        holds it in 94 to 96 % where no optimum lies there, down to 88 where a tenth does, and to 73 where a third does.
        """
        values, vectors = np.linalg.eigh(self.maximum.covariance)
        moves = vectors * np.sqrt(len(values) * np.maximum(values, 0))  # points whose covariance is that of theta
        shared = 0.0
        for theta in np.clip(self.maximum.theta + np.concatenate([moves.T, -moves.T]), *self.maximum.bounds.T):
            weight = self.likelihood @ _shares(WIDTHS, *theta[2:])[0] * _shares(self.at, *theta[:2])[0]
            shared = shared + weight / weight.sum(1, keepdims=True)
        rows = {}
        for prefix, weight in (("", shared), ("flat_", self.alone)):
            quantiles = _quantiles(self.at, weight, [0.5, (1 - TAILS) / 2, (1 + TAILS) / 2])
            rows |= zip((prefix + "median", prefix + "low", prefix + "high"), quantiles)
        return pd.DataFrame(rows, self.units).reset_index()


def fit(scores, *shapes):
    """The `Fit` of scores: a frame with task, family, x = log10 of the number, seed, score, a run a row.

    Shapes are of SHAPES ("bump", "plateau", "raised below", "raised above"), all if none is given; of several the one
    of the highest leave-one-task-out predictive likelihood. Scores may be in any unit, another on each task.

    Raises ValueError for a shape that is none, a column that lacks, a score that is not finite, fewer than three values
    on each of three tasks, and where no value has two seeds.
    """
    unknown = set(shapes) - set(SHAPES)
    if unknown:
        raise ValueError(f"no shape {', '.join(sorted(unknown))}; there are {', '.join(SHAPES)}")
    data = cells(scores)
    return max((_fit(shape, *data) for shape in shapes or SHAPES), key=lambda found: found.predictive)


def _fit(shape, units, x, mean, variance):
    at = np.arange(x[0] - BEYOND, x[-1] + BEYOND + STEP / 2, STEP)
    basis = bumps(shape, x, at, WIDTHS)
    ends = [(at[0] - 7, at[-1] + 7), SPREADS[[0, -1]], WIDTHS[[0, -1]], np.log([0.05, 1.5])]
    start, tried, index = [x.mean(), np.log(0.5), 0.0, np.log(0.3)], {}, len(LACKS) // 2
    while index not in tried:  # uphill over lambda
        for near in {max(index - 1, 0), index, min(index + 1, len(LACKS) - 1)} - set(tried):
            log = marginal(basis, mean, variance + LACKS[near] ** 2)
            most = log.max((1, 2, 3))
            likelihood = np.exp(log - most[:, None, None, None]).mean(-1)  # over levels
            maximum = Maximum(_hierarchy(at, likelihood, most), start, ends)
            start = maximum.theta
            tried[near] = Fit(shape, units, LACKS[near], at, likelihood, maximum)
        index = max(tried, key=lambda near: tried[near].maximum.top)
    return tried[index]


def _hierarchy(at, likelihood, most):
    """theta -> ln of sum over m, w of likelihood [n, M, W] times N(m; mu, tau^2) N(ln w; nu, s^2), and derivatives."""

    def log_likelihood(theta):
        p, q = _shares(at, *theta[:2]), _shares(WIDTHS, *theta[2:])
        over_w, over_m = likelihood @ q[0], p[0] @ likelihood
        value = np.maximum(over_w @ p[0], 1e-300)
        slopes = np.stack([over_w @ p[1], over_w @ p[2], over_m @ q[1], over_m @ q[2]], -1)
        return np.log(value) + most, slopes / value[:, None]

    return log_likelihood


# Intervals, two fits ------------------------------------------------------------------------


def ratio(first, second, of="spread", by="task", level=LEVEL):
    """`Estimate` of the ratio of two fits' "spread" or "difficulty", first / second; by: "task" or "family".

    Profile likelihood of the two fits together. Tasks that both have are paired: see `_cut`.
    """
    fine = np.linspace(SPREADS[0], SPREADS[-1], 401)
    curves = [_curve(own, of)(fine) - own.maximum.top for own in (first, second)]
    lags = fine - fine[len(fine) // 2]
    moved = np.pad(curves[0], len(fine) // 2, constant_values=-np.inf)
    heights = np.array([(moved[lag : lag + len(fine)] + curves[1]).max() for lag in range(len(fine))])
    value = np.log(first.estimate(of).value / second.estimate(of).value)
    (variance, one), (other_variance, other) = first.influence(of), second.influence(of)
    cut = _cut([variance, other_variance], pd.concat([one, -other], axis=1).fillna(0.0), by, level, WIDER["ratio"])
    return Estimate(*np.exp([value, *_ends(lags, heights, value, 0.0, cut)]))


def _curve(own, of):
    """The profile of a fit's estimate as a function of its ln, through its points and the top between two of them."""
    (at, heights), top = own.profile(of), np.log(own.estimate(of).value)
    if not np.isclose(at, top).any():
        place = at.searchsorted(top)
        at, heights = np.insert(at, place, top), np.insert(heights, place, own.maximum.top)
    return interpolate.PchipInterpolator(at, heights)


@dataclass(frozen=True)
class Line(_Estimates):
    """optimum = intercept + slope log10 sigma + N(0, scatter^2), decades; the intercept is that at sigma = 1.

    units    [n] index of tasks and their families
    sigma    [n] log10 sigma
    maximum  `Maximum` over (optimum at the mean of sigma, slope, ln scatter)
    """

    units: pd.MultiIndex
    sigma: np.ndarray
    maximum: Maximum

    @cached_property
    def estimates(self):
        error = max(np.sqrt(self.maximum.covariance[1, 1]), 0.05)
        around = self.maximum.theta[1] + error * np.linspace(-6, 6, 13)
        return {"slope": (np.eye(3), 1, around), "scatter": (np.eye(3), 2, SPREADS)}

    @property
    def slope(self):
        """`Estimate`, decades of the optimum per decade of sigma."""
        return self.estimate("slope")

    @property
    def intercept(self):
        """`Estimate`, decades, without an interval: it depends on the shape, and those tried cover too seldom."""
        return Estimate(self.maximum.theta[0] - self.maximum.theta[1] * self.sigma.mean(), np.nan, np.nan)

    @property
    def scatter(self):
        """`Estimate` of the SD of optima about the line, decades."""
        return self.estimate("scatter")


def slope(raw, normalised, log_sigma):
    """`Line` of log10(best raw value / best normalised value) on log_sigma; of log10(best raw value), normalised None.

    log_sigma  Series by task: log10 of the standard deviation of the raw advantages
    The optima are not estimated first: each task's likelihood of both is integrated along every difference,

        L_i(d) = sum_m L_raw,i(m + d) L_normalised,i(m) N(m; mu, tau^2),   d ~ N(intercept + slope x, scatter^2)

    with mu and tau those of the normalised fit. Raises ValueError for fewer than four tasks that have all of it.
    """
    known = raw.units.get_level_values("task").isin(log_sigma.index[np.isfinite(log_sigma)])
    rows = np.flatnonzero(known if normalised is None else known & raw.units.isin(normalised.units))
    if len(rows) < 4:
        raise ValueError(f"a slope needs four tasks with both fits and a sigma; there are {len(rows)}")
    units, likelihood, at = raw.units[rows], raw.alone[rows], raw.at
    if normalised is not None:
        other = normalised.alone * _shares(normalised.at, *normalised.maximum.theta[:2])[0]
        other = other[normalised.units.get_indexer(units), ::-1]
        likelihood = np.array([np.convolve(*pair) for pair in zip(likelihood, other)])
        at = raw.at[0] - normalised.at[-1] + STEP * np.arange(likelihood.shape[1])
    x = log_sigma[units.get_level_values("task")].to_numpy(dtype=float)
    from_mean = x - x.mean()
    likelihood = likelihood / likelihood.max(1, keepdims=True)

    def log_likelihood(theta):
        p, by_mean, by_log = _shares(at, theta[0] + theta[1] * from_mean, theta[2])
        value = np.maximum((likelihood * p).sum(1), 1e-300)
        first = (likelihood * by_mean).sum(1)
        return np.log(value), np.stack([first, first * from_mean, (likelihood * by_log).sum(1)], -1) / value[:, None]

    start = [(likelihood @ at / likelihood.sum(1)).mean(), 0.5, np.log(0.3)]
    return Line(units, x, Maximum(log_likelihood, start, [at[[0, -1]], (-10, 10), SPREADS[[0, -1]]]))


def _cut(variances, influences, by, level, wider):
    """How far twice a profile log-likelihood falls at the ends of the interval.

    variances   [parts] of the estimate by the curvature of each fit's likelihood, as if fits were independent
    influences  frame by (task, family), a column for each fit: by how much each task moves the estimate

    wider       of WIDER, for the variance by tasks

    By tasks: Student's quantile squared, times what the correlation of two fits' influences, minus its standard error,
    takes from the variance of their sum. By families: times the variance of a jackknife over families in units of the
    model's, where that is larger, with the degrees of freedom of as many families of one size.
    """
    total, n = np.sum(variances), len(influences)
    root = np.sqrt(variances)
    correlation = np.eye(len(variances))
    if len(variances) > 1:
        between = np.nan_to_num(influences.corr().to_numpy()[0, 1])
        between = np.tanh(min(0.0, np.arctanh(np.clip(between, -1 + 1e-12, 1 - 1e-12)) + 1 / np.sqrt(n - 3)))
        correlation += between * (1 - correlation)
    variance, freedom = root @ correlation @ root, n - 1
    if by == "task":
        variance *= wider
    elif by == "family":
        grouped = influences.sum(axis=1).groupby(level="family")
        if grouped.ngroups < 3:
            raise ValueError(f"an interval by families needs three of them; there are {grouped.ngroups}")
        share = grouped.size() / n
        freedom = 1 / (share**2).sum() - 1
        moved = (grouped.sum() / (1 - share)) ** 2
        variance = max(variance, (1 - 1 / grouped.ngroups) * moved.sum())
    else:
        raise ValueError(f"units of an interval are task or family, not {by!r}")
    # An estimate at the end of its range has no curvature: its profile stands as it is.
    return stats.t.ppf((1 + level) / 2, freedom) ** 2 * (variance / total if total > 0 else 1.0)


def _ends(at, heights, value, top, cut):
    """(low, high) where twice the fall of a profile below its top is `cut`; infinite where it does not fall as far."""
    root = np.sqrt(2 * np.maximum(top - heights, 0.0))
    ends = []
    for side in (-1, 1):
        out = np.flatnonzero(side * (at - value) > 0)[::side]
        fallen = np.maximum.accumulate(np.append(0.0, root[out]))
        ends.append(np.interp(np.sqrt(cut), fallen, np.append(value, at[out]), right=side * np.inf))
    return ends


def _quantiles(at, weight, shares):
    """[len(shares)][n] quantiles of the weights [n, M] of cells around the points `at`; infinite in the outer cells."""
    total = np.cumsum(weight, axis=1) / weight.sum(1, keepdims=True)
    found = np.array([[np.interp(share, own, at + STEP / 2) for own in total] for share in shares])
    return np.where(found <= at[0] + STEP / 2, -np.inf, np.where(found >= at[-1] - STEP / 2, np.inf, found))
