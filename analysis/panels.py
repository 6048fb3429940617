"""The numbers behind each figure: study in, frame out; and the list of all panels.

A panel is refused, with the missing runs named, where runs it needs are missing; it does not
apply where the study has no such arms.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from . import answers, figures, price, statistics
from .arms import (
    NotApplicable,
    default_arm,
    grid,
    headline,
    implied_squares,
    learned,
    log_median_kl,
    need,
    normalised_scores,
    per_task,
    percentile_scores,
    phase_returns,
    plain,
    scale,
    sweep,
    swept_algorithms,
)
from .data import KNOBS, PHASES, StudyError
from .published import PPO_TABLE_1, PPO_TASKS

MODIFICATIONS = (
    "kl_measured", "kl_reverse", "kl_stop", "lr_adaptive", "simple_policy_optimization", "fixpo", "projection", "vmpo",
)  # fmt: skip
ESTIMATES = {"cross-fitted": "implied_beta_crossfit", "full batch": "implied_beta"}
AGGREGATES = ("mean", "median", "iqm", "optimality_gap")
TABLE_1_ARMS = [*PPO_TABLE_1, *(f"trpo max_kl={delta:g}" for delta in (0.003, 0.01, 0.03))]
REFERENCE_DELTA = 0.01  # nats; delta of implied_beta for arms without a constraint of their own
TOLERANCE = 1.5  # PPO's adaptive rule leaves beta alone within target / 1.5 .. 1.5 target
POINTS_DRAWN = 2000


@dataclass(frozen=True)
class Panel:
    """One figure of the report.

    numbers     (study, runs) -> frame; `runs` are those of the main condition without the
                tasks whose runs are missing. Raises NotApplicable.
    figure      frame -> Figure
    algorithms  whose runs must be complete, None for all that the study has
    per_task    True where a task with missing runs can be left out without touching the others
    """

    name: str
    title: str
    numbers: Callable
    figure: Callable
    caption: str
    algorithms: tuple | None = None
    per_task: bool = True


# Frames ---------------------------------------------------------------------------------


def learning_curves(study, runs):
    returns = study.over_training("return_mean")
    # A part of training in which no episode ended shows the last known return.
    returns = pd.DataFrame(returns).ffill(axis=1).to_numpy()
    rows = []
    for _, group in headline(runs).groupby(["task", "arm"]):
        average, low, high = statistics.mean_interval(returns[group.index])
        rows.append(curve(study, group, mean=average, low=low, high=high))
    return pd.concat(rows, ignore_index=True)


def curve(study, group, **columns):
    """The frame of one arm on one task over training: columns beside whose they are."""
    first = group.iloc[0]
    whose = {name: first[name] for name in ("task", "arm", "algorithm", "setting")}
    return pd.DataFrame(whose | {"env_steps": bin_steps(study, first.name)} | columns | {"runs": len(group)})


def bin_steps(study, run, parts=None):
    """Environment steps at the end of each part of a run's training."""
    parts = parts or study.bins
    return study.steps[run] * np.arange(1, parts + 1) / parts


def beta_profile(study, runs):
    return profile_of(runs, "kl_fixed")


def profile(study, runs):
    """The profiles of the numbers of other methods, where no figure over several tasks has them."""
    others = [name for name in KNOBS if name != "kl_fixed" and plain(runs, name)["setting"].nunique() > 1]
    if not others:
        raise NotApplicable("needs a method other than fixed β with at least 2 values of its number")
    if set(others) <= set(swept_algorithms(runs, least=3)):
        raise NotApplicable("its numbers are in the figure of all methods")
    return pd.concat([profile_of(runs, name).assign(of=name) for name in others], ignore_index=True)


def profile_of(runs, swept_algorithm):
    swept = sweep(runs, swept_algorithm)
    rows = []
    for task, here in runs[runs["task"].isin(swept["task"])].groupby("task"):
        for beta, group in plain(here, swept_algorithm).groupby("setting"):
            average, low, high = statistics.mean_interval(group["score"].to_numpy())
            rows.append((task, "sweep", swept_algorithm, group["arm"].iloc[0], beta, average, low, high, len(group)))
        for algorithm in ("trpo", "kl_adaptive", "clip"):
            if algorithm == swept_algorithm:
                continue
            group = default_arm(here, algorithm)
            if len(group):
                average, low, high = statistics.mean_interval(group["score"].to_numpy())
                rows.append((task, "band", algorithm, group["arm"].iloc[0], np.nan, average, low, high, len(group)))
        scores = grid(here, swept_algorithm)
        best, low, high = statistics.best_setting(scores.values[0], scores.settings)
        rows.append((task, "best", swept_algorithm, "", best, np.nan, low, high, scores.seeds))
    return pd.DataFrame(rows, columns=["task", "kind", "algorithm", "arm", "setting", "mean", "low", "high", "runs"])


def achieved_kl(study, runs):
    need(plain(runs, "kl_fixed"), "kl_fixed")
    # Mean of the logarithm: one wild update does not hide the others.
    kl = study.curves["kl_after"].to_numpy(dtype=float)
    chosen = pd.concat([plain(runs, "kl_fixed"), default_arm(runs, "trpo")])
    if not (kl[study.curves["run"].isin(chosen.index)] > 0).any():
        raise NotApplicable("no policy moved: the KL of every update is 0")
    log_kl = study.over_training(np.log(np.where(kl > 0, kl, np.nan)))
    rows = []
    for _, group in chosen.groupby(["task", "arm"]):
        kl = np.exp(log_kl[group.index])
        middle, low, high = all_finite_quantiles(kl, [0.5, 0.1, 0.9])
        rows.append(curve(study, group, median=middle, low=low, high=high))
    return pd.concat(rows, ignore_index=True)


def all_finite_quantiles(values, quantiles):
    """Quantiles over the first axis, NaN left out; NaN where nothing is left."""
    result = np.full((len(quantiles), values.shape[1]), np.nan)
    known = np.isfinite(values).any(axis=0)
    if known.any():
        result[:, known] = np.nanquantile(values[:, known], quantiles, axis=0)
    return result


def implied_beta(study, runs):
    chosen = need(default_arm(runs, "trpo"), "trpo")
    parts = min(study.bins, 10)  # few: the cross-fitted estimate is noisy within one update
    rows = []
    for task, group in chosen.groupby("task"):
        for estimate, column in ESTIMATES.items():
            for units in ("as the algorithm saw it", "raw advantages"):
                squares = implied_squares(study, group, parts, column, raw=units == "raw advantages")
                average, low, high = statistics.mean_interval(squares)
                rows.append(
                    pd.DataFrame(
                        {
                            "kind": "curve",
                            "task": task,
                            "estimate": estimate,
                            "units": units,
                            "progress": np.arange(1, parts + 1) / parts,
                            "mean": positive_root(average),
                            "low": positive_root(low),
                            "high": positive_root(high),
                            "runs": len(group),
                        }
                    )
                )
    betas = sorted(plain(runs, "kl_fixed")["setting"].unique())
    rows.append(pd.DataFrame({"kind": "grid", "mean": betas}))
    frame = pd.concat(rows, ignore_index=True)
    if frame.loc[frame["kind"] == "curve", "mean"].notna().sum() == 0:
        raise NotApplicable("needs implied_beta in the curves of trpo")
    return frame


def table_1(study, runs):
    shown = runs[runs["arm"].isin(TABLE_1_ARMS)]
    wide = pd.concat([shown, headline(runs)])
    wide = wide[~wide.index.duplicated()]
    if shown["arm"].nunique() < 3 or wide["arm"].nunique() <= 18:
        shown = wide
    tasks = sorted(shown["task"].unique())
    scored = normalised_scores(shown).dropna(subset=["normalised"])
    tasks = [task for task in tasks if (scored["task"] == task).any()]
    if not tasks:
        raise NotApplicable("needs a task on which some arm improved on the untrained policy")
    rows = []
    for arm, group in scored.groupby("arm"):
        first = group.iloc[0]
        head = (arm, first["algorithm"], first["setting"])
        for task, cell in group.groupby("task"):
            average, low, high = statistics.mean_interval(cell["normalised"].to_numpy())
            rows.append((*head, task, average, low, high, len(cell)))
        if set(group["task"]) == set(tasks):
            average, low, high = statistics.stratified_mean(per_task(group, tasks))
            rows.append((*head, "average", average, low, high, len(group)))
        if arm in PPO_TABLE_1 and PPO_TASKS.issuperset(tasks):
            rows.append((*head, "published", PPO_TABLE_1[arm], np.nan, np.nan, 21))
    return pd.DataFrame(rows, columns=["arm", "algorithm", "setting", "task", "mean", "low", "high", "runs"])


def transfer(study, runs):
    algorithms = swept_algorithms(runs)
    if not algorithms:
        raise NotApplicable("needs a number swept over at least 2 values on at least 2 tasks")
    rows = []
    for algorithm in algorithms:
        scores = learned(grid(runs, algorithm, runs))
        if len(scores.tasks) < 2:
            continue
        means = statistics.seed_means(scores.normalised)
        # One seed cannot be split: selected and evaluated on the same run.
        select, evaluate = statistics.split_means(scores.normalised) if scores.seeds > 1 else (means[None], means[None])
        drawn = statistics.resampled_means(scores.normalised)
        loss = statistics.transfer(select, evaluate).mean(0)
        low, high = statistics.interval(statistics.transfer(drawn, drawn))
        single = statistics.regret(select, evaluate).mean(0)
        single_low, single_high = statistics.interval(statistics.regret(drawn, drawn))
        for i, tuned_on in enumerate(scores.tasks):
            setting = scores.settings[means[i].argmax()]
            for j, run_on in enumerate(scores.tasks):
                rows.append((algorithm, tuned_on, setting, run_on, loss[i, j], low[i, j], high[i, j], scores.seeds))
        setting = scores.settings[means.mean(0).argmax()]
        for j, run_on in enumerate(scores.tasks):
            rows.append(
                (algorithm, "all tasks", setting, run_on, single[j], single_low[j], single_high[j], scores.seeds)
            )
    if not rows:
        raise NotApplicable("needs 2 tasks on which some arm improved on the untrained policy")
    return pd.DataFrame(rows, columns=["algorithm", "tuned_on", "setting", "run_on", "loss", "low", "high", "seeds"])


def sensitivity(study, runs):
    algorithms = swept_algorithms(runs)
    if not algorithms:
        raise NotApplicable("needs a number swept over at least 2 values on at least 2 tasks")
    scored = percentile_scores(runs)
    rows = []
    for algorithm in algorithms:
        scores = grid(scored, algorithm, column="normalised")
        means = statistics.seed_means(scores.values)
        low, high = statistics.interval(statistics.sensitivity(statistics.resampled_means(scores.values)))
        rows.append(
            {
                "algorithm": algorithm,
                "number": KNOBS[algorithm][0],
                "phi": statistics.sensitivity(means),
                "low": low,
                "high": high,
                "phi_split": statistics.split_sensitivity(scores.values) if scores.seeds > 1 else np.nan,
                "best_single": scores.settings[means.mean(0).argmax()],
                "score_of_best_single": means.mean(0).max(),
                "score_tuned_per_task": means.max(1).mean(),
                "numbers_to_tune": statistics.effective_dimensionality(
                    pd.DataFrame(
                        means, columns=pd.MultiIndex.from_arrays([scores.settings], names=[KNOBS[algorithm][0]])
                    )
                ),
                "values": len(scores.settings),
                "decades": np.log10(scores.settings[-1] / scores.settings[0]),
                "tasks": len(scores.tasks),
                "seeds": scores.seeds,
            }
        )
    return pd.DataFrame(rows)


def number_profiles(study, runs):
    """Share of the gain by value of each method's number, per task and in the mean over tasks, and its median KL."""
    algorithms = swept_algorithms(runs, least=3)
    if not algorithms:
        raise NotApplicable("needs a number swept over at least 3 values on at least 2 tasks")
    log_kl = log_median_kl(study)
    rows = []
    for algorithm in algorithms:
        scores = learned(grid(runs, algorithm))
        if len(scores.tasks) < 2:
            continue
        chosen = plain(runs, algorithm)
        chosen = chosen[chosen["task"].isin(scores.tasks)].assign(log_kl=log_kl.reindex(chosen.index))
        for h, setting in enumerate(scores.settings):
            seeds = [task[np.isfinite(task)] for task in scores.normalised[:, h]]
            steps = chosen[chosen["setting"] == setting].groupby("task")["log_kl"].mean()
            for task, values in zip(scores.tasks, seeds):
                share = statistics.mean_interval(values)
                rows.append((algorithm, task, setting, *share, 10 ** steps[task], len(values)))
            share = statistics.stratified_mean(seeds)
            rows.append((algorithm, "all tasks", setting, *share, 10 ** steps.mean(), min(map(len, seeds))))
    if not rows:
        raise NotApplicable("needs 2 tasks on which some arm improved on the untrained policy")
    return pd.DataFrame(rows, columns=["algorithm", "task", "setting", "mean", "low", "high", "median_kl", "seeds"])


def decomposition(study, runs):
    chosen = need(default_arm(runs, "trpo"), "trpo")
    parts = min(study.bins, 10)
    delta = chosen["max_kl"].to_numpy()[:, None]
    variance = study.over_training(np.square(study.curves["sigma_advantage"].to_numpy(dtype=float)), parts)[
        chosen.index
    ]
    quantities = {("sigma", "full batch"): variance}
    for estimate, column in ESTIMATES.items():
        raw = implied_squares(study, chosen, parts, column, raw=True)
        quantities["implied", estimate] = raw
        # implied^2 = sigma^2 R^2 / (2 delta)
        quantities["share", estimate] = 2 * delta * raw / variance
    rows = []
    for (quantity, estimate), squares in quantities.items():
        for task in sorted(chosen["task"].unique()):
            group = squares[(chosen["task"] == task).to_numpy()]
            average, low, high = statistics.mean_interval(group)
            rows.append(
                pd.DataFrame(
                    {
                        "quantity": quantity,
                        "estimate": estimate,
                        "task": task,
                        "progress": np.arange(1, parts + 1) / parts,
                        "mean": positive_root(average),
                        "low": positive_root(low),
                        "high": positive_root(high),
                        "runs": len(group),
                    }
                )
            )
    frame = pd.concat(rows, ignore_index=True)
    if frame.loc[frame["quantity"] == "implied", "mean"].notna().sum() == 0:
        raise NotApplicable("needs implied_beta and sigma_advantage in the curves of trpo")
    return frame


def kl_law(study, runs):
    chosen = need(plain(runs, "kl_fixed"), "kl_fixed")
    curves = study.curves
    rows = np.flatnonzero(np.isin(curves["run"].to_numpy(), chosen.index))
    run = curves["run"].to_numpy()[rows]
    kl, implied = (curves[column].to_numpy(dtype=float)[rows] for column in ("kl_after", "implied_beta"))
    beta = study.runs["setting"].to_numpy()[run]
    known = (kl > 0) & (implied > 0) & np.isfinite(kl * implied)
    if not known.any():
        raise NotApplicable("needs implied_beta in the curves of kl_fixed")
    points = pd.DataFrame(
        {
            "task": study.runs["task"].to_numpy()[run[known]],
            "beta": beta[known],
            "beta_over_implied": (beta / implied)[known],
            "kl_over_delta": kl[known] / REFERENCE_DELTA,
        }
    )
    shown = max(10, POINTS_DRAWN // points.groupby(["task", "beta"]).ngroups)
    sample = points.groupby(["task", "beta"]).sample(frac=1, random_state=0)
    sample = sample[sample.groupby(["task", "beta"]).cumcount() < shown].assign(kind="update", updates=1)
    # Medians in quarter decades of beta / implied beta.
    step = np.round(4 * np.log10(points["beta_over_implied"])) / 4
    grouped = points.groupby(["task", step.rename("step")])
    middle = grouped["kl_over_delta"].agg(["median", "size"]).reset_index()
    middle = middle[middle["size"] >= 5]
    medians = pd.DataFrame(
        {
            "task": middle["task"],
            "beta_over_implied": 10 ** middle["step"],
            "kl_over_delta": middle["median"],
            "kind": "median",
            "updates": middle["size"],
        }
    )
    slopes = []
    for task, group in medians.groupby("task"):
        # The law is for small steps: beta at or above the implied one.
        inside = group[group["beta_over_implied"] >= 1]
        if len(inside) >= 3:
            slope = np.polyfit(np.log(inside["beta_over_implied"]), np.log(inside["kl_over_delta"]), 1)[0]
            slopes.append({"task": task, "kind": "slope", "kl_over_delta": slope})
    return pd.concat([sample, medians, pd.DataFrame(slopes)], ignore_index=True)


def kl_budget(study, runs):
    chosen = headline(runs)
    curves = study.curves
    edges = np.linspace(-6, 4, 61)
    log_ratio = np.full(len(curves), np.nan)
    kl = curves["kl_after"].to_numpy(dtype=float)
    delta = study.runs["max_kl"].fillna(study.runs["kl_target"]).fillna(REFERENCE_DELTA).to_numpy()[curves["run"]]
    np.log10(kl / delta, out=log_ratio, where=kl > 0)
    if not np.isfinite(log_ratio[curves["run"].isin(chosen.index)]).any():
        raise NotApplicable("no policy moved: the KL of every update is 0")
    collapsed = collapses(study)
    code = curves["run"].to_numpy()
    # [run] upper percentile of the largest ratio, and entropy at the end.
    ratio = curves.groupby("run")["max_ratio"].quantile(0.99).reindex(study.runs.index).to_numpy()
    entropy = study.over_training("entropy", PHASES)
    rows = []
    for arm, group in chosen.groupby("arm"):
        first = group.iloc[0]
        head = {"arm": arm, "algorithm": first["algorithm"], "setting": first["setting"], "runs": len(group)}
        member = np.zeros(len(study.runs), dtype=bool)
        member[group.index] = True
        values = log_ratio[member[code]]
        values = values[np.isfinite(values)]
        count, _ = np.histogram(np.clip(values, edges[0], edges[-1] - 1e-9), edges)
        if len(values):
            rows.append(
                pd.DataFrame(
                    {**head, "kind": "histogram", "log10_kl_over_delta": edges[:-1], "value": count / len(values)}
                )
            )
        ends = pd.DataFrame(
            [
                ("collapsed", collapsed[group.index].mean()),
                ("diverged", (group["status"] == "diverged").mean()),
                ("max_ratio_p99", finite_median(ratio[group.index])),
                ("entropy_first_fifth", finite_median(entropy[group.index, 0])),
                ("entropy_last_fifth", finite_median(entropy[group.index, -1])),
                ("kl_above_twice_delta", np.mean(values > np.log10(2)) if len(values) else np.nan),
            ],
            columns=["kind", "value"],
        )
        rows.append(ends.dropna().assign(**head))
    return pd.concat(rows, ignore_index=True)


def collapses(study):
    """[run] bool: diverged, or ended below half of what the run had once gained over the untrained policy."""
    returns = pd.DataFrame(study.over_training("return_mean", min(study.bins, 20)))
    floor = study.runs["untrained"].to_numpy()
    gained = returns.max(axis=1).to_numpy() - floor
    kept = study.runs["score"].to_numpy() - floor
    _, gain = scale(study.runs, study.runs["task"].tolist())
    # A run that never gained a tenth of the best arm's gain has nothing to lose.
    return (study.runs["status"] == "diverged").to_numpy() | ((gained > 0.1 * gain) & (kept < 0.5 * gained))


def adaptive(study, runs):
    chosen = need(default_arm(runs, "kl_adaptive"), "kl_adaptive")
    parts = min(study.bins, 25)
    beta = study.curves["beta"].to_numpy(dtype=float)
    log_beta = study.over_training(np.log(np.where(beta > 0, beta, np.nan)), parts)
    rows = []
    for task, group in chosen.groupby("task"):
        inside = np.isin(study.curves["run"].to_numpy(), group.index)
        target = study.runs["kl_target"].to_numpy()[study.curves["run"].to_numpy()[inside]]
        ratio = study.curves["kl_after"].to_numpy(dtype=float)[inside] / target
        ratio = ratio[ratio > 0]
        if len(ratio):
            names = ["p5", "p25", "median", "p75", "p95"]
            rows.append(
                pd.DataFrame(
                    {
                        "kind": "ratio",
                        "task": task,
                        **dict(zip(names, np.quantile(ratio, [0.05, 0.25, 0.5, 0.75, 0.95]))),
                        "share_inside": np.mean((ratio >= 1 / TOLERANCE) & (ratio <= TOLERANCE)),
                        "runs": len(group),
                    },
                    index=[0],
                )
            )
        low, middle, high = all_finite_quantiles(np.exp(log_beta[group.index]), [0.1, 0.5, 0.9])
        rows.append(
            pd.DataFrame(
                {
                    "kind": "beta",
                    "task": task,
                    "progress": np.arange(1, parts + 1) / parts,
                    "p5": low,
                    "median": middle,
                    "p95": high,
                    "runs": len(group),
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def comparison(study, runs):
    chosen = headline(runs)
    tasks = sorted(chosen["task"].unique())
    scored = normalised_scores(chosen).dropna(subset=["normalised"])
    tasks = [task for task in tasks if (scored["task"] == task).any()]
    complete = [arm for arm, group in scored.groupby("arm") if set(group["task"]) == set(tasks)]
    if len(complete) < 2:
        raise NotApplicable("needs at least 2 arms on the same tasks")
    scores = {arm: per_task(scored[scored["arm"] == arm], tasks) for arm in complete}
    reference = default_arm(runs, "trpo")["arm"].unique()
    reference = reference[0] if len(reference) and reference[0] in scores else None
    thresholds = np.linspace(0, 1, 41)
    rows = []
    for arm, values in scores.items():
        first = scored[scored["arm"] == arm].iloc[0]
        head = {"arm": arm, "algorithm": first["algorithm"], "setting": first["setting"], "runs": sum(map(len, values))}
        share, low, high = statistics.bootstrap(lambda x: statistics.profile(x, thresholds), values, resamples=500)
        rows.append(
            pd.DataFrame({**head, "kind": "profile", "threshold": thresholds, "value": share, "low": low, "high": high})
        )
        for name in AGGREGATES:
            value, low, high = statistics.bootstrap(getattr(statistics, name), values)
            rows.append(pd.DataFrame({**head, "kind": name, "value": value, "low": low, "high": high}, index=[0]))
        if reference and arm != reference:
            value, low, high = statistics.bootstrap(statistics.probability_of_improvement, scores[reference], values)
            rows.append(
                pd.DataFrame({**head, "kind": "P(TRPO > arm)", "value": value, "low": low, "high": high}, index=[0])
            )
    return pd.concat(rows, ignore_index=True)


def best_by_phase(study, runs):
    sweep(runs)
    by_task = phase_returns(study, runs)
    _, gains = scale(runs, list(by_task))
    rows = []
    for (task, (settings, values)), gain in zip(by_task.items(), gains):
        if not np.isfinite(gain) or len(settings) < 2:
            continue
        means = statistics.seed_means(values)
        drawn = statistics.resampled_means(values)
        first, last = statistics.first_and_last_best(np.where(np.isfinite(drawn), drawn, -np.inf))
        tail = (1 - statistics.LEVEL) / 2
        low = np.quantile(first, tail, axis=0, method="inverted_cdf")
        high = np.quantile(last, 1 - tail, axis=0, method="inverted_cdf")
        for phase in range(len(means)):
            if not np.isfinite(means[phase]).any():
                continue
            best = int(np.nanargmax(means[phase]))
            for h, beta in enumerate(settings):
                rows.append(
                    {
                        "task": task,
                        "phase": phase + 1,
                        "beta": beta,
                        "return": means[phase, h],
                        "loss": (means[phase, best] - means[phase, h]) / gain,
                        "best_beta": settings[best],
                        "best_low": settings[int(low[phase])],
                        "best_high": settings[int(high[phase])],
                        "seeds": int(np.isfinite(values[phase, h]).sum()),
                    }
                )
    if not rows:
        raise NotApplicable("needs a task on which some arm improved on the untrained policy")
    return pd.DataFrame(rows)


def hidden_adaptation(study, runs):
    raw = study.raw_condition
    if raw is None or raw == study.main_condition:
        raise NotApplicable("needs runs with raw advantages (advantage_normalization=none) beside normalised ones")
    conditions = {"normalised": runs, "raw": study.under(raw)}
    rows = []
    trpo = default_arm(runs, "trpo")
    if len(trpo):
        for advantages in conditions:
            squares = implied_squares(study, trpo, PHASES, raw=advantages == "raw")
            for task in sorted(trpo["task"].unique()):
                group = squares[(trpo["task"] == task).to_numpy()]
                for phase, values in enumerate(group.T):
                    average, low, high = statistics.mean_interval(values)
                    rows.append(
                        ("implied", advantages, task, phase + 1, *map(positive_root, (average, low, high)), len(group))
                    )
    for advantages, here in conditions.items():
        for task, group in sweep(here).groupby("task"):
            (floor,), (gain,) = scale(here, [task])
            for beta, cell in group.groupby("setting"):
                values = (cell["score"].to_numpy() - floor) / gain
                rows.append(("profile", advantages, task, beta, *statistics.mean_interval(values), len(cell)))
    return pd.DataFrame(rows, columns=["kind", "advantages", "task", "x", "mean", "low", "high", "runs"])


def rescaled(study):
    """TRPO's and fixed betas' runs of the tasks whose rewards were multiplied, with `reward_scale`."""
    everything = study.runs
    factor = everything["condition"].str.extract(r"(?:^| )reward_scale=(\S+)")[0].astype(float)
    # Conditions that differ from each other in reward scale and advantage normalisation alone.
    rest = everything["condition"].str.replace(r"(?:^| )(reward_scale|advantage_normalization)=\S+", "", regex=True)
    chosen = everything.assign(reward_scale=factor.fillna(1.0))[rest.str.strip() == ""]
    chosen = chosen[chosen["algorithm"].isin(["trpo", "kl_fixed"]) & (chosen["family"] == chosen["algorithm"])]
    return chosen[chosen["task"].isin(chosen.loc[chosen["reward_scale"] != 1, "task"])]


def reward_scales(study, runs):
    arm = ["task", "algorithm", "setting", "advantages"]
    chosen = rescaled(study)
    chosen = chosen[chosen.groupby(arm)["reward_scale"].transform("nunique") > 1]
    if chosen.empty:
        raise NotApplicable("needs runs with several values of reward_scale")
    return _mean_returns(study, chosen, [*arm, "reward_scale"])


def beta_over_unit(study, runs):
    chosen = rescaled(study)
    chosen = chosen[chosen["advantages"] == "raw"]
    if chosen.loc[chosen["algorithm"] == "kl_fixed", "reward_scale"].nunique() <= 1:
        raise NotApplicable("needs fixed betas on raw advantages with several values of reward_scale")
    frame = _mean_returns(study, chosen, ["task", "algorithm", "setting", "reward_scale"])
    # E[ratio c A - beta KL] = c E[ratio A - (beta / c) KL]: what beta is in the task's own unit.
    penalised = frame["algorithm"] == "kl_fixed"
    return frame.assign(beta_over_unit=(frame["setting"] / frame["reward_scale"]).where(penalised))


def forks(study, runs):
    """Return gained under each beta from one point of the same runs (answers.fork_gains)."""
    keys = ["task", "advantages", "at", "setting"]
    rows = [
        (*key, *statistics.mean_interval(cell["gain"].to_numpy()), len(cell))
        for key, cell in answers.fork_gains(study).groupby(keys)
    ]
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "runs"])


def windows(study, runs):
    """Per task and number the values that keep 90 % of the smoothed best, and what the best single value loses."""
    rows = []
    for advantages, here, everything in answers.conditions(study):
        for algorithm in KNOBS:
            scores = answers.grid_of(here, everything, algorithm)
            if scores is None:
                continue
            single, found = price.windows(scores)
            for task, window in zip(scores.tasks, found):
                rows.append(
                    {"algorithm": algorithm, "advantages": advantages, "task": task, "single": single}
                    | asdict(window)
                    | {"smallest": scores.settings[0], "largest": scores.settings[-1]}
                )
    if not rows:
        raise NotApplicable("needs a number swept on three tasks that were learned")
    return pd.DataFrame(rows)


def diagonal(study, runs):
    frame = answers.diagonal(study)
    if frame["measured"].isna().all():
        raise NotApplicable("needs TRPO on raw advantages")
    return frame


def four_answers(study, runs):
    """One row per question: effect, interval, tasks, seeds, verdict."""
    found = answers.answers(study)
    if not found:
        raise NotApplicable("needs a number swept on three tasks that were learned, or forks of three")
    columns = ["key", "question", "label", "unit", "effect", "low", "high", "tasks", "seeds", "verdict", "rule"]
    return pd.DataFrame([[getattr(answer, name) for name in columns] for answer in found], columns=columns)


def modifications(study, runs):
    """Per algorithm what it gains over the best constant beta, the arms of both chosen on the other tasks.

    Beside the main condition, the same under a bound of the gradient. `kind` is "all", or "task" for a single effect.
    """

    def unbounded(condition):
        return condition.str.replace(r"(?:^| )max_grad_norm=\S+", "", regex=True).str.strip()

    if not runs["algorithm"].isin(MODIFICATIONS).any():
        raise NotApplicable(f"needs runs of one of {', '.join(MODIFICATIONS)}")
    everything = study.runs[study.runs["task"].isin(runs["task"])]
    everything = everything[unbounded(everything["condition"]) == unbounded(runs["condition"]).iloc[0]]
    tasks, _ = price.learned_tasks(everything)
    if len(tasks) < 3:
        raise NotApplicable("needs three tasks on which some arm learned")
    everything = everything[everything["task"].isin(tasks)]
    _, gain = scale(everything, tasks, "auc_score")
    share = (everything["auc_score"] - everything["untrained"]) / everything["task"].map(dict(zip(tasks, gain)))
    keys = ["algorithm", "condition", "arm"]
    means = everything.assign(share=share).groupby([*keys, "task"])["share"].mean().unstack("task")
    constant = ("kl_fixed", runs["condition"].iloc[0])
    if constant not in means.index.droplevel("arm"):
        raise NotApplicable("needs kl_fixed with at least 2 values of beta on three tasks")
    cells = everything.groupby([*keys, "task"]).groups
    usual = everything[everything["algorithm"] == "kl_fixed"].groupby("task")["wall_seconds"].median()
    time = np.log10(everything["wall_seconds"] / everything["task"].map(usual))
    kl, worst = log_median_kl(study), log_median_kl(study, "kl_max")
    rows = []
    for name, own in means.groupby(level=["algorithm", "condition"]):
        common = [task for task in tasks if own[task].notna().any() and means.loc[constant][task].notna().any()]
        own, reference = own[common].dropna(), means.loc[constant][common].dropna()
        if len(common) < 3 or own.empty or len(reference) < 2:
            continue
        ours, theirs = elsewhere(own.droplevel([0, 1])), elsewhere(reference)
        effect = np.array([own.loc[(*name, ours[t]), t] - reference.loc[theirs[t], t] for t in common])
        chosen = np.concatenate([cells[*name, ours[task], task] for task in common])
        mean, low, high = statistics.mean_interval(effect)
        error = effect.std(ddof=1) / np.sqrt(len(effect))
        head = {"algorithm": name[0], "condition": name[1], "values": len(own)}
        medians = [10 ** x.reindex(chosen).mean() for x in (kl, worst, time)]
        rows.append(
            head
            | {"kind": "all", "effect": mean, "low": low, "high": high, "tasks": len(common)}
            | dict(zip(("kl", "kl_max", "time"), medians))
            | {"p": min(1.0, 2 * float(statistics.p_greater(abs(mean), error, len(effect) - 1)))}
        )
        rows += [head | {"kind": "task", "task": task, "effect": x} for task, x in zip(common, effect)]
    if not rows:
        raise NotApplicable("needs kl_fixed with at least 2 values of beta on three tasks")
    frame = pd.DataFrame(rows)
    tested = (frame["kind"] == "all") & ~((frame["algorithm"] == constant[0]) & (frame["condition"] == constant[1]))
    frame.loc[tested, "holm"] = statistics.holm(frame.loc[tested, "p"])
    return frame


def elsewhere(means):
    """{task: the arm best in the mean over the other tasks} of mean scores, arms by tasks."""
    others = -means.sub(means.sum(axis=1), axis=0)
    return others.idxmax().to_dict()


def _mean_returns(study, runs, keys):
    """Per cell of `keys` the mean final return with its interval, and the median KL (geometric mean over runs)."""
    log_kl = log_median_kl(study)
    rows = [
        (*key, *statistics.mean_interval(cell["score"].to_numpy()), 10 ** log_kl.reindex(cell.index).mean(), len(cell))
        for key, cell in runs.groupby(keys)
    ]
    return pd.DataFrame(rows, columns=[*keys, "mean", "low", "high", "median_kl", "runs"])


def finite_median(values):
    values = values[np.isfinite(values)]
    return np.median(values) if len(values) else np.nan


def positive_root(squares):
    """Square root where positive, else NaN: a negative mean square shows no signal above the noise."""
    return np.sqrt(np.where(squares > 0, squares, np.nan))[()]


PANELS = [
    Panel(
        "four_answers",
        "The questions and their answers",
        four_answers,
        figures.four_answers,
        "Effect of each question, mean over tasks with its 95 % interval over tasks; the grey stretch is what its rule "
        "takes for nothing. Filled: the rule is met one way or the other; hollow: undecided.",
        (),
        per_task=False,
    ),
    Panel(
        "windows",
        "Which values serve which task",
        windows,
        figures.windows,
        "A bar holds the values that keep 90 % of the best score on a task, a dot is the best one with its 95 % "
        "interval. The dashed line is the best single value; at the right is what it loses of the gain.",
        (),
        per_task=False,
    ),
    Panel(
        "diagonal",
        "Does the constraint know the best β?",
        diagonal,
        figures.diagonal,
        "The β that TRPO’s constraint implied in its first ten iterations against the best β found by a sweep, raw "
        "advantages, a point per task with 95 % intervals. On the solid line the two agree; between the dotted ones "
        "they differ by less than a factor of three.",
        (),
        per_task=False,
    ),
    Panel(
        "beta_profile",
        "One beta for all tasks?",
        beta_profile,
        figures.beta_profile,
        "Final return of a fixed penalty coefficient against β, per task: mean over seeds with 95 % "
        "interval. A single β can be best on every task only where the bars at the bottom overlap. The bar is the "
        "interval that the best β (diamond) takes when the seeds are resampled; what a β costs where bars do not "
        "overlap is in the matrix of values tuned elsewhere. Horizontal bands: other algorithms at their authors’ "
        "settings.",
        ("kl_fixed", "trpo", "kl_adaptive", "clip"),
    ),
    Panel(
        "profile",
        "Return by value of the number",
        profile,
        figures.profile,
        "Final return against the number that was varied, per task: mean over seeds with 95 % interval. The bar at the "
        "bottom is the interval that the best value (diamond) takes when the seeds are resampled. Horizontal bands: "
        "other algorithms at their authors’ settings.",
    ),
    Panel(
        "table_1",
        "Scores by task, as in PPO’s Table 1",
        table_1,
        figures.table_1,
        "Scores per task (mean over seeds; the untrained policy at 0, the best single run at 1, the scaling of the PPO "
        "paper), their average and, on tasks of that paper, its published average over seven tasks and three seeds. "
        "Averages hide what single columns show.",
        per_task=False,
    ),
    Panel(
        "transfer",
        "What a number tuned elsewhere costs",
        transfer,
        figures.transfer,
        "Per cent of the task’s gain (best arm over untrained policy) that is lost on the column task with the value "
        "tuned on the row task; last row: the value tuned on all tasks. Values near or below zero mean no loss. Tuned "
        "on random halves of the seeds and evaluated on the other halves, so that chance is not mistaken for tuning.",
        tuple(KNOBS),
        per_task=False,
    ),
    Panel(
        "number_profiles",
        "One number for all tasks, method by method",
        number_profiles,
        figures.number_profiles,
        "Final return by value of each method’s number, as a share of what the task’s best arm gains over the "
        "untrained policy: tasks (thin), and their mean with 95 % interval (thick). The last panel sets the means "
        "against what all methods share, the median KL of an update (geometric mean over runs). Decades of different "
        "numbers are not alike: the KL of a step goes with δ, but with up to 1/β².",
        tuple(KNOBS),
        per_task=False,
    ),
    Panel(
        "sensitivity",
        "Which number has to be tuned",
        sensitivity,
        figures.sensitivity,
        "Sensitivity Φ (Adkins et al. 2024): mean score with the number tuned for each task, less that of the best "
        "single value. The larger Φ, the more is gained by tuning for each task; the dashed line is the published Φ of "
        "PPO’s four numbers together. Scores are scaled per task to the 5th and 95th percentile of all runs. Φ grows "
        "with the number of values and with noise, because a maximum is taken; the diamonds, selected and evaluated "
        "on different seeds, are free of that.",
        tuple(KNOBS),
        per_task=False,
    ),
    Panel(
        "implied_beta",
        "The beta that the constraint implied",
        implied_beta,
        figures.implied_beta,
        "The multiplier of TRPO’s constraint, √(gᵀF⁻¹g / 2δ), per task over training; left in the units "
        "of the advantages the algorithm saw, right in those of the raw advantages. Lines that lie apart, or move, "
        "would need different betas. Solid: "
        "cross-fitted between two half batches and averaged before the root, which removes the noise "
        "floor; gaps where no signal stands above the noise. Dashed lines: the grid of fixed β.",
        ("trpo",),
    ),
    Panel(
        "decomposition",
        "Why it moves",
        decomposition,
        figures.decomposition,
        "Implied β = σ · R / √(2δ): σ is the standard deviation of the raw advantages, R the share of it that the "
        "policy’s score explains. Normalising the advantages sets σ to 1; what moves then is R alone. Solid: "
        "cross-fitted; dotted: full batch, with its noise floor.",
        ("trpo",),
    ),
    Panel(
        "hidden_adaptation",
        "Is advantage normalisation the hidden adaptation?",
        hidden_adaptation,
        figures.hidden_adaptation,
        "The β that TRPO implied (cross-fitted) in the units of normalised and of raw advantages, and the final "
        "return of fixed "
        "betas trained on either. Where the curves of the tasks lie on top of each other one β can serve them all.",
        ("kl_fixed", "trpo"),
    ),
    Panel(
        "best_by_phase",
        "The best beta by phase of training",
        best_by_phase,
        figures.best_by_phase,
        "Return of runs with a constant β in each fifth of training: the β with the highest mean (line, 95 % bootstrap "
        "interval) and how near the others come (tint; none when half of the task’s gain is lost). Each run keeps "
        "its β from "
        "the start, so a phase also carries what the β did before it.",
        ("kl_fixed",),
    ),
    Panel(
        "achieved_kl",
        "What a fixed beta does to the step",
        achieved_kl,
        figures.achieved_kl,
        "KL(old‖new) that each update reached, measured on the full batch after the update: median "
        "over seeds, band from the 10th to the 90th percentile. A constraint fixes the step; a fixed "
        "β lets it follow the task and the phase.",
        ("kl_fixed", "trpo"),
    ),
    Panel(
        "kl_law",
        "Step size against beta",
        kl_law,
        figures.kl_law,
        "Each point is one update of a run with fixed β: the KL it reached against how far its β was from the "
        "implied one, both in "
        "units of the constraint. The quadratic model predicts KL = δ (implied β / β)², slope −2; a flatter course "
        "on the left means the step is limited by the optimiser rather than by the penalty. Slope in the title: "
        "least squares on "
        "the medians at β above the implied one.",
        ("kl_fixed",),
    ),
    Panel(
        "kl_budget",
        "KL budget and collapses",
        kl_budget,
        figures.kl_budget,
        "Left, the distribution of the KL of all updates; middle, the share of runs that diverged or lost more than "
        "half of what they had gained; right, the 99th percentile of the largest probability ratio of an update. "
        "Horizontal lines are the arms without a fixed β. The KL is relative to δ (TRPO), the target (adaptive β) or "
        "0.01 nats (others).",
    ),
    Panel(
        "adaptive",
        "How the adaptive rule behaves",
        adaptive,
        figures.adaptive,
        "Left: KL of the updates against the target (5th to 95th percentile, quartiles, median); the grey band is the "
        "rule’s tolerance, 1/1.5 to 1.5. Right: the β it chose, median over seeds with 10th to 90th percentile.",
        ("kl_adaptive",),
    ),
    Panel(
        "learning_curves",
        "Learning curves",
        learning_curves,
        figures.learning_curves,
        "Mean return of the episodes that ended in each part of training, with 95 % interval over seeds.",
    ),
    Panel(
        "comparison",
        "All arms together",
        comparison,
        figures.comparison,
        "Left: share of runs, over all tasks, whose normalised score exceeds τ. Right: probability that a run of "
        "TRPO scores higher "
        "than a run of the other arm on the same task, averaged over tasks. 95 % bootstrap intervals stratified by "
        "task.",
        per_task=False,
    ),
    Panel(
        "reward_scales",
        "Rewards multiplied by a number",
        reward_scales,
        figures.reward_scales,
        "Final return when every reward the algorithm sees is multiplied by a number. A step under a constraint does "
        "not see the number, nor does any on normalised advantages; what moves them is the value fit, whose Adam has "
        "a fixed rate. A penalty on raw advantages sees it twice: its β would have to be multiplied by it too.",
        ("kl_fixed", "trpo"),
    ),
    Panel(
        "forks",
        "One beta for all of training?",
        forks,
        figures.forks,
        "Return gained in the second half of 0.1 M steps that go on from one point of the same runs, against the beta "
        "they go on with: mean over seeds with 95 % interval, a line per point of training. If one beta served all of "
        "training, the lines of a task would peak at the same beta.",
        (),
        per_task=False,
    ),
    Panel(
        "beta_over_unit",
        "β in the task’s own unit",
        beta_over_unit,
        figures.beta_over_unit,
        "Raw advantages, rewards multiplied by c (colours): fixed β against β / c (points), and TRPO (dashed lines); "
        "final return, and the median KL of an update (geometric mean over runs). The penalty’s objective "
        "depends on β / c alone, so as far as it decides, points of all colours lie on one curve; the value fit sees "
        "the unit too, and moves the lines apart as well.",
        ("kl_fixed", "trpo"),
    ),
    Panel(
        "modifications",
        "What each modification buys",
        modifications,
        figures.modifications,
        "Left: area under the learning curve of each method less that of the best constant β, in shares of what the "
        "task’s best arm gains; each at the value of its own number that is best on the other tasks. Points are tasks, "
        "bars the mean with Student’s 95 % interval over tasks; filled where it excludes 0 after Holm’s correction. "
        "Middle: median KL of an update, mean over states (filled) and worst state (open); geometric means over runs. "
        "Right: time of a run relative to a fixed β’s.",
    ),
]


def figure(name, study, width=None, arms=None, tasks=None, style=None):
    """A figure of the report as a matplotlib Figure, `width` inches wide, of some arms and tasks (Study.only).

    `style` is a style of matplotlib (a file, a name or a dict), which goes over ours.

    As in the report, a task whose runs are missing is left out. Raises StudyError.
    """
    panel, study = named(name), study.only(arms, tasks)
    runs, missing = usable(study, panel)
    if runs.empty:
        raise StudyError(f"{name}: {len(missing)} runs are missing, the first: {missing['command'].iloc[0]}")
    try:
        return panel.figure(panel.numbers(study, runs), width, style)
    except NotApplicable as reason:
        raise StudyError(f"{name}: this study {reason}") from None


def named(name):
    """The panel of that name. Raises StudyError."""
    panels = {panel.name: panel for panel in PANELS}
    if name not in panels:
        raise StudyError(f"no figure {name!r}; there are {', '.join(panels)}")
    return panels[name]


def usable(study, item):
    """(runs, missing) of a panel or table: of the main condition, without the tasks whose runs are missing."""
    runs = study.main
    missing = study.missing[study.missing["condition"] == study.main_condition]
    if item.algorithms is not None:
        missing = missing[missing["algorithm"].isin(item.algorithms)]
    refused = missing["task"].unique()
    if len(refused):
        runs = runs[~runs["task"].isin(refused)] if item.per_task else runs.iloc[:0]
    return runs, missing
