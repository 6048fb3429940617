"""The model of responses against other ways to compute it: integrals, a sampler, a mixed model, simulated truth."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import optimize, special, stats

from analysis import response

GRID = np.log10([0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100])
BUMPS = {
    "bump": lambda z: np.exp(-(z**2) / 2),
    "plateau": lambda z: np.exp(-(z**4) / 2),
    "raised below": lambda z: np.where(z < 0, 0.5 + 0.5 * np.exp(-(z**2) / 2), np.exp(-(z**2) / 2)),
    "raised above": lambda z: np.where(z > 0, 0.5 + 0.5 * np.exp(-(z**2) / 2), np.exp(-(z**2) / 2)),
}


def made(optima, seed=0, width=1.2, noise=0.04, lack=0.03, x=GRID, seeds=2, shape="bump", families=5, height=1.0):
    """Scores of tasks with these optima; a height and a level of each task's own."""
    generator = np.random.default_rng(seed)
    n = len(optima)
    width = width * np.exp(0.2 * generator.standard_normal((n, 1)))
    mean = height * BUMPS[shape]((x - np.reshape(optima, (-1, 1))) / width) + lack * generator.standard_normal(
        (n, len(x))
    )
    values = mean[..., None] + noise * generator.standard_normal((n, len(x), seeds))
    values = generator.normal(0, 100, (n, 1, 1)) + generator.uniform(1, 50, (n, 1, 1)) * values
    task, place, number = (index.ravel() for index in np.indices(values.shape))
    names = {"task": [f"t{t:02d}" for t in task], "family": [f"f{t % families}" for t in task]}
    return pd.DataFrame(names | {"x": x[place], "seed": number, "score": values.ravel()})


def normal(n, spread, mean=0.0):
    """n values with exactly this mean and SD (divisor n)."""
    return mean + spread * stats.zscore(stats.norm.ppf((np.arange(n) + 0.5) / n))


OPTIMA = np.random.default_rng(3).permutation(normal(24, 0.5))


@pytest.fixture(scope="module")
def fitted():
    return response.fit(made(OPTIMA), "bump")


@pytest.fixture(scope="module")
def again():
    """Of the same optima, other noise."""
    return response.fit(made(OPTIMA, seed=1), "bump")


# One task ---------------------------------------------------------------------------------


def test_marginal_likelihood_is_the_integral_over_level_height_and_scale():
    x = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    y, variance = np.array([0.1, 0.5, 1.0, np.nan, 0.0]), np.array([0.04, 0.02, 0.03, 0.02, 0.05])
    ran = np.flatnonzero(np.isfinite(y))
    (e, d), f = response.HEIGHT, response.FREEDOM
    log_s = np.linspace(-2.5, 5.0, 301)[:, None, None]
    s = np.exp(log_s)
    h = np.exp(np.linspace(-9, 6, 1201))[:, None]
    for optimum, width in ((0.1, 0.7), (2.5, 0.9), (-0.4, 3.0)):
        b = np.exp(-(((x - optimum) / width) ** 2) / 2)
        # s^2 ~ f / chi-squared: density of ln s; the cut of h at 0 is common to all s.
        joint = stats.chi2.logpdf(f / s**2, f) + np.log(2 * f / s**2)
        joint = joint + stats.norm.logpdf(h, e, d * s) + np.log(h) - stats.t.logcdf(e / d, f)
        # Over a in closed form by the slow way: the density of differences from the first value.
        covariance = np.diag(variance[ran][1:]) + variance[ran][0]
        off = (y[ran] - y[ran][0])[1:] - h[..., None] * (b[ran] - b[ran][0])[1:]
        square = np.einsum("...i,ij,...j", off, np.linalg.inv(covariance), off)
        size = len(ran) - 1
        joint = joint - square / (2 * s**2) - size * log_s
        joint = joint - (np.linalg.slogdet(covariance)[1] + size * np.log(2 * np.pi)) / 2
        brute = special.logsumexp(joint) + np.log((log_s[1] - log_s[0]) * np.log(h[1] / h[0])).item()
        assert response.marginal(b[None], y[None], variance[None])[0, 0] == pytest.approx(brute, abs=0.01)


def test_sums_over_the_grid_are_the_integral_over_optimum_and_width(fitted):
    scores = made(OPTIMA)
    units, x, mean, variance = response.cells(scores)
    theta = fitted.maximum.theta
    m = np.arange(-6, 6, 0.02)
    w = theta[2] + np.exp(theta[3]) * np.linspace(-6, 6, 61)
    log = response.marginal(response.bumps("bump", x, m, w), mean, variance + fitted.lack**2)[..., 0]
    prior = stats.norm.logpdf(m, theta[0], np.exp(theta[1]))[:, None] + stats.norm.logpdf(w, theta[2], np.exp(theta[3]))
    brute = special.logsumexp(log + prior, axis=(1, 2)) + np.log(0.02 * (w[1] - w[0]))
    np.testing.assert_allclose(fitted.maximum.log_likelihood(theta)[0], brute, atol=0.05)
    assert abs((fitted.maximum.log_likelihood(theta)[0] - brute).sum()) < 0.1


def test_a_raised_side_is_the_mean_over_its_levels():
    x, at = np.array([-1.0, 0.0, 1.0]), np.array([0.0])
    basis = response.bumps("raised below", x, at, np.array([0.0]))
    expected = [[level + (1 - level) * np.exp(-0.5), 1, np.exp(-0.5)] for level in response.SIDE]
    np.testing.assert_allclose(basis[0, 0], expected)
    mirrored = response.bumps("raised above", x, at, np.array([0.0]))
    np.testing.assert_allclose(basis[..., ::-1], mirrored)


def test_every_shape_is_half_as_wide_as_its_width_at_61_percent():
    for shape in response.SHAPES:
        falling = -1.0 if shape == "raised above" else 1.0
        value = response.bumps(shape, 0.3 + falling * np.array([0.0, 2.0]), np.array([0.3]), np.log([2.0]))
        np.testing.assert_allclose(value, np.broadcast_to([1, np.exp(-0.5)], value.shape))


def test_noise_is_drawn_to_the_others_as_far_as_they_agree():
    generator = np.random.default_rng(0)
    freedom = np.ones((40, 8))
    same = 0.01 * generator.chisquare(1, (40, 8))
    np.testing.assert_allclose(response.moderated(same, freedom), 0.01, rtol=0.2)
    # True variances scaled inverse chi-squared with 4 degrees of freedom: the posterior mean of 1 / variance.
    true = 0.01 * 4 / generator.chisquare(4, (400, 8))
    own = true * generator.chisquare(1, true.shape)
    best = (4 * 0.01 + own) / 5
    ratio = response.moderated(own, np.ones(own.shape)) / best
    assert 0.7 < np.median(ratio) < 1.5
    error = np.log(response.moderated(own, np.ones(own.shape)) / true)
    assert np.std(error) < 0.6 * np.std(np.log(own / true))


def test_the_noise_of_a_mean_is_that_of_its_seeds_over_their_number():
    scores = made(OPTIMA, noise=0.3, seeds=16)
    cells = scores.groupby(["task", "x"])["score"]
    unit = cells.mean().unstack().pipe(lambda means: means.max(axis=1) - means.min(axis=1))
    expected = cells.var().unstack().mean(axis=1) / 16 / unit**2
    _, _, _, variance = response.cells(scores)
    np.testing.assert_allclose(variance.mean(1), expected, rtol=0.2)  # drawn to the other tasks a little


def test_more_seeds_of_a_value_say_more_of_its_noise():
    variance, freedom = np.full((3, 4), 0.01), np.ones((3, 4))
    variance[0, 0], freedom[0, 0] = 0.09, 200
    assert response.moderated(variance, freedom)[0, 0] > 0.06
    variance[0, 0], freedom[0, 0] = np.nan, 0  # its task's
    found = response.moderated(variance, freedom)
    assert found[0, 0] == pytest.approx(found[0, 1], rel=0.05)


# All tasks --------------------------------------------------------------------------------


def test_derivatives_and_curvature_are_those_of_the_likelihood(fitted):
    f, theta = fitted.maximum.log_likelihood, fitted.maximum.theta + np.array([0.1, -0.2, 0.1, 0.1])
    for k, move in enumerate(1e-5 * np.eye(4)):
        numeric = (f(theta + move)[0] - f(theta - move)[0]) / 2e-5
        np.testing.assert_allclose(f(theta)[1][:, k], numeric, atol=1e-5)
    hessian = np.linalg.inv(fitted.maximum.covariance)
    move = np.array([0.02, 0.03, -0.02, 0.0])
    fall = fitted.maximum.top - f(fitted.maximum.theta + move)[0].sum()
    assert fall == pytest.approx(move @ hessian @ move / 2, rel=0.1)


def test_prediction_without_a_task_is_that_of_a_fit_without_it(fitted):
    for task in (0, 7):

        def down(theta, without=task):
            return -np.delete(fitted.maximum.log_likelihood(theta)[0], without).sum()

        without = optimize.minimize(down, fitted.maximum.theta, method="Nelder-Mead").x
        expected = fitted.maximum.log_likelihood(without)[0][task]
        assert fitted.maximum.predictive[task] == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("shape", response.SHAPES)
def test_the_truth_is_recovered_and_its_shape_chosen(shape):
    scores = made(np.random.default_rng(1).permutation(normal(40, 0.5)), shape=shape, noise=0.02, lack=0.01)
    found = response.fit(scores)
    assert found.shape == shape
    assert found.spread.value == pytest.approx(0.5, abs=0.04)
    assert found.width == pytest.approx(1.2, abs=0.12)
    assert found.difficulty.value == pytest.approx(found.spread.value / found.width)
    assert found.spread.low < 0.5 < found.spread.high
    # Without errors in the optima an interval is as wide as that of an SD of 40 normal values.
    low, high = 0.5 * np.sqrt(40 / stats.chi2.ppf([0.975, 0.025], 39))
    assert found.spread.low == pytest.approx(low, abs=0.04) and found.spread.high == pytest.approx(high, abs=0.06)


def test_optima_are_where_they_were_put_within_their_intervals(fitted):
    frame = fitted.optimum
    assert list(frame["task"]) == [f"t{t:02d}" for t in range(24)]
    for prefix in ("", "flat_"):
        assert np.abs(frame[prefix + "median"] - OPTIMA).median() < 0.05
        inside = (frame[prefix + "low"] < OPTIMA) & (OPTIMA < frame[prefix + "high"])
        assert inside.mean() > 0.85
    # A common distribution draws optima to its middle.
    assert frame["median"].std() < frame["flat_median"].std()


def test_an_affine_change_a_shift_and_the_order_of_rows_change_nothing(fitted):
    scores = made(OPTIMA)
    factor = scores["task"].map({task: 2.0 ** (number % 7) for number, task in enumerate(scores["task"].unique())})
    changed = scores.assign(score=3 * factor - 0.5 * factor * scores["score"] * -1).sample(frac=1, random_state=0)
    again = response.fit(changed, "bump")
    np.testing.assert_allclose(again.maximum.theta, fitted.maximum.theta, atol=1e-3)
    np.testing.assert_allclose(again.spread, fitted.spread, rtol=1e-3)
    shifted = response.fit(scores.assign(x=scores["x"] + 1.0), "bump")
    np.testing.assert_allclose(shifted.maximum.theta, fitted.maximum.theta + [1, 0, 0, 0], atol=1e-3)
    np.testing.assert_allclose(shifted.difficulty, fitted.difficulty, rtol=1e-3)


def test_grids_may_differ_by_task_and_have_holes(fitted):
    scores = made(OPTIMA)
    number = scores["task"].str[1:].astype(int)
    kept = ~((number < 8) & (scores["x"] > 1.6)) & ~((number == 9) & np.isclose(scores["x"], 0.0))
    found = response.fit(scores[kept & ~((number == 10) & (scores["x"] < -1.6) & (scores["seed"] == 1))], "bump")
    np.testing.assert_allclose(found.maximum.theta[:2], fitted.maximum.theta[:2], atol=0.1)


def test_flat_responses_tell_next_to_nothing(fitted):
    flat = made(np.zeros(3), seed=5, height=0.0, lack=0.0)
    flat = flat.assign(task="flat " + flat["task"])
    found = response.fit(pd.concat([made(OPTIMA), flat]), "bump")
    np.testing.assert_allclose(np.log(found.spread), np.log(fitted.spread), atol=0.05)
    rows = found.optimum[found.optimum["task"].str.startswith("flat")]
    assert (rows["flat_high"] - rows["flat_low"] > 2).all()


def test_optima_that_all_lie_far_beyond_the_values_run_leave_the_spread_open():
    x = GRID[4:]
    scores = made(normal(10, 0.3, -1.5), x=x, width=1.0, noise=0.1)
    found = response.fit(scores, "bump")
    assert found.spread.low < 0.03 and found.spread.high > 1.5
    falling = scores.assign(score=-scores["x"] + np.random.default_rng(0).normal(0, 0.1, len(scores)))
    estimate = response.fit(falling, "bump").spread
    assert estimate.low == 0 and estimate.high == np.inf


# Other implementations --------------------------------------------------------------------


def test_a_sampler_of_the_whole_model_agrees():
    scores = made(np.random.default_rng(2).permutation(normal(14, 0.45)), seed=4)
    found = response.fit(scores, "bump")
    _, x, y, variance = response.cells(scores)
    tau, optima = sampled(x, y, variance + found.lack**2, np.random.default_rng(0))
    low, high = np.quantile(tau, [0.025, 0.975])
    # A posterior under a flat prior on ln tau against a profile: both are tau within about 40 %.
    np.testing.assert_allclose(np.log([np.median(tau), low, high]), np.log(found.spread), atol=0.12)
    np.testing.assert_allclose(found.optimum["median"], np.median(optima, axis=0), atol=0.03)
    low, high = np.quantile(optima, [(1 - response.TAILS) / 2, (1 + response.TAILS) / 2], axis=0)
    np.testing.assert_allclose(found.optimum["high"] - found.optimum["low"], high - low, rtol=0.25)


def sampled(x, y, variance, generator, chains=24, draws=2500, burn=500):
    """(tau, m), each [., n]: Gibbs with Metropolis steps for optima and widths, nothing integrated out.

    Flat priors on mu, ln tau, nu and ln s; those of heights and scales as the model's.
    """
    (n, values), (e, d), f = y.shape, response.HEIGHT, response.FREEDOM
    m, log_w = generator.normal(0, 0.5, (chains, n)), generator.normal(0.2, 0.2, (chains, n))
    h, scale = np.ones((chains, n)), np.ones((chains, n))
    mu, nu, tau, s = np.zeros(chains), np.zeros(chains), np.full(chains, 0.5), np.full(chains, 0.3)
    a, kept = np.zeros((chains, n)), []

    def bump(m, log_w):
        return np.exp(-(((x - m[..., None]) / np.exp(log_w)[..., None]) ** 2) / 2)

    def square(b):
        return ((y - a[..., None] - h[..., None] * b) ** 2 / variance).sum(-1)

    for number in range(draws):
        b, p = bump(m, log_w), 1 / (variance * scale[..., None])
        a = generator.normal((p * (y - h[..., None] * b)).sum(-1) / p.sum(-1), p.sum(-1) ** -0.5)
        precision = (p * b**2).sum(-1) + 1 / (d**2 * scale)
        mean = ((p * b * (y - a[..., None])).sum(-1) + e / (d**2 * scale)) / precision
        # A normal value above 0, by its distribution function from above.
        above = generator.random(mean.shape) * special.ndtr(mean * precision**0.5)
        h = mean - special.ndtri(above) * precision**-0.5
        scale = (f + square(b) + ((h - e) / d) ** 2) / generator.chisquare(f + values + 1, h.shape)
        for size in (0.05, 0.3):
            to_m, to_w = (
                m + size * generator.standard_normal(m.shape),
                log_w + size * generator.standard_normal(m.shape),
            )
            gain = (square(bump(m, log_w)) - square(bump(to_m, to_w))) / (2 * scale)
            gain -= (((to_m.T - mu) / tau) ** 2 - ((m.T - mu) / tau) ** 2).T / 2
            gain -= (((to_w.T - nu) / s) ** 2 - ((log_w.T - nu) / s) ** 2).T / 2
            taken = np.log(generator.random(m.shape)) < gain
            m, log_w = np.where(taken, to_m, m), np.where(taken, to_w, log_w)
        mu, nu = generator.normal(m.mean(1), tau / np.sqrt(n)), generator.normal(log_w.mean(1), s / np.sqrt(n))
        # Flat on ln tau: tau^2 = sum of squares / chi-squared of n degrees of freedom.
        tau = np.sqrt(((m.T - mu) ** 2).sum(0) / generator.chisquare(n, chains))
        s = np.maximum(np.sqrt(((log_w.T - nu) ** 2).sum(0) / generator.chisquare(n, chains)), 0.05)
        if number >= burn:
            kept.append((tau, m))
    return np.concatenate([tau for tau, _ in kept]), np.concatenate([m for _, m in kept])


def test_a_mixed_model_agrees_where_responses_are_parabolas():
    n, x, curvature = 40, np.linspace(-1.5, 1.5, 7), 0.1
    generator = np.random.default_rng(0)
    optima = generator.permutation(normal(n, 0.3))
    mean = 1 - curvature * (x - optima[:, None]) ** 2
    values = mean[..., None] + 0.02 * generator.standard_normal((n, 7, 2))
    task, place, seed = (index.ravel() for index in np.indices(values.shape))
    frame = pd.DataFrame({"task": task, "family": task, "x": x[place], "seed": seed, "score": values.ravel()})
    model = smf.mixedlm("score ~ x + I(x**2)", frame, groups="task", re_formula="~x").fit(reml=False)
    slope = model.cov_re.loc["x", "x"]
    expected = np.sqrt(slope) / (2 * -model.params["I(x ** 2)"])
    found = response.fit(frame, "bump")
    assert found.spread.value == pytest.approx(expected, rel=0.05)
    # m = -(slope of x) / (2 slope of x^2): the mean optimum.
    assert found.maximum.theta[0] == pytest.approx(model.params["x"] / (2 * -model.params["I(x ** 2)"]), abs=0.03)


# Two fits ---------------------------------------------------------------------------------


def test_the_ratio_of_two_fits_is_that_of_their_truths_and_its_inverse(fitted):
    wide = response.fit(made(np.random.default_rng(8).permutation(normal(24, 0.9)), seed=9), "bump")
    found, back = response.ratio(wide, fitted), response.ratio(fitted, wide)
    assert found.value == pytest.approx(1.8, rel=0.1)
    assert found.low < 1.8 < found.high
    np.testing.assert_allclose(found, 1 / np.array([back.value, back.high, back.low]), rtol=0.02)
    # Two independent SDs of 24 values: an F interval.
    expected = found.value * np.sqrt(stats.f.ppf([0.025, 0.975], 23, 23))
    np.testing.assert_allclose(found[1:], expected, rtol=0.12)


def test_what_two_fits_have_in_common_is_paired(fitted, again):
    same = response.ratio(fitted, fitted, of="difficulty")
    np.testing.assert_allclose(same, 1, atol=1e-4)
    apart = response.fit(made(np.random.default_rng(11).permutation(OPTIMA), seed=1), "bump")
    paired, unpaired = response.ratio(again, fitted), response.ratio(apart, fitted)
    assert paired.high / paired.low < 0.7 * unpaired.high / unpaired.low


def test_an_interval_of_nearly_the_same_optima_is_that_of_their_difference(fitted, again):
    """By the delta method: the profiles' top lies between two of their points, and little of them is cut."""
    (one, moved), (two, others) = again.influence("spread"), fitted.influence("spread")
    both = pd.concat([moved, -others], axis=1)
    cut = response._cut([one, two], both, "task", 0.95, response.WIDER["ratio"])
    assert both.corr().to_numpy()[0, 1] < -0.9
    found = response.ratio(again, fitted)
    assert np.log(found.high / found.low) / 2 == pytest.approx(np.sqrt(cut * (one + two)), rel=0.3)


def test_copies_of_a_task_in_one_family_are_one_task_to_the_interval_by_families():
    scores = made(OPTIMA[:12])
    copies = pd.concat([scores.assign(task=scores["task"] + end, family=scores["task"]) for end in "abcd"])
    one, four = response.fit(scores, "bump"), response.fit(copies, "bump")
    alone, by_task, by_family = one.spread, four.spread, four.estimate("spread", "family")
    assert np.log(by_task.high / by_task.low) < 0.6 * np.log(alone.high / alone.low)
    assert np.log(by_family.high / by_family.low) > 0.8 * np.log(alone.high / alone.low)


def test_an_interval_by_families_is_a_jackknife_over_them():
    """Of a mean: by how much each value moves it, against the means without each family."""
    generator = np.random.default_rng(6)
    family = np.repeat(["a", "b", "c", "d"], [2, 3, 3, 8])
    values = generator.normal(size=16) + pd.Series(family).map(dict(zip("abcd", (3.0, -2.0, 0.0, 1.0)))).to_numpy()
    units = pd.MultiIndex.from_arrays([[f"t{number}" for number in range(16)], family], names=["task", "family"])
    moved = pd.DataFrame({"one": (values - values.mean()) / 16}, units)
    without = np.array([values[family != name].mean() for name in "abcd"])
    jackknife = 3 / 4 * ((without - values.mean()) ** 2).sum()
    variance = values.var() / 16
    assert jackknife > 2 * variance
    share = np.array([2, 3, 3, 8]) / 16
    cut = stats.t.ppf(0.975, 1 / (share**2).sum() - 1) ** 2 * jackknife / variance
    assert response._cut([variance], moved, "family", 0.95, 1.2) == pytest.approx(cut)


def test_the_line_through_sharp_optima_is_least_squares():
    generator = np.random.default_rng(0)
    log_sigma = pd.Series(generator.normal(0.4, 0.8, 24), [f"t{t:02d}" for t in range(24)])
    normalised = generator.permutation(normal(24, 0.2, -0.3))
    difference = 0.2 + 0.8 * log_sigma.to_numpy() + 0.2 * generator.standard_normal(24)
    x = np.arange(-3.5, 3.6, 0.5)
    kind = {"x": x, "noise": 0.003, "lack": 0.003}
    raw = response.fit(made(normalised + difference, seed=1, **kind), "bump")
    for other, optima in (
        (response.fit(made(normalised, seed=2, **kind), "bump"), difference),
        (None, normalised + difference),
    ):
        line = response.slope(raw, other, log_sigma)
        (slope, intercept), covariance = np.polyfit(log_sigma, optima, 1, cov=True)
        assert line.slope.value == pytest.approx(slope, abs=0.02)
        assert line.intercept.value == pytest.approx(intercept, abs=0.02)
        scatter = np.std(optima - intercept - slope * log_sigma)
        assert line.scatter.value == pytest.approx(scatter, abs=0.02)
        half = stats.t.ppf(0.975, 22) * np.sqrt(response.WIDER["slope"] * covariance[0, 0])
        assert line.slope.high - line.slope.low == pytest.approx(2 * half, rel=0.1)


# Refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.drop(columns="family"), "lack the columns family"),
        (lambda s: s.assign(score=s["score"].where(s["seed"] == 0)), "finite"),
        (lambda s: s[s["seed"] == 0], "two seeds"),
        (lambda s: s[(s["task"] != "t03") | (s["x"] > 1.1)], "t03"),
        (lambda s: s[s["task"] < "t02"], "three tasks"),
    ],
)
def test_scores_that_cannot_be_fitted_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        response.fit(change(made(OPTIMA[:5])), "bump")


def test_unknown_names_are_refused_with_those_that_are(fitted):
    with pytest.raises(ValueError, match="no shape hat; there are bump"):
        response.fit(made(OPTIMA[:5]), "hat")
    with pytest.raises(ValueError, match="no estimate 'sd'; there are spread"):
        fitted.estimate("sd")
    with pytest.raises(ValueError, match="task or family"):
        fitted.estimate("spread", by="seed")
    with pytest.raises(ValueError, match="four tasks"):
        response.slope(fitted, None, pd.Series({"t00": 1.0}))
