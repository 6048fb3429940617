"""The claims under test, each with a rule fixed before the canonical data existed.

Every rule names its metric, its threshold and its test, and ends in one of three verdicts:
"supported" (shown at level ALPHA), "not supported" (the contrary shown at level ALPHA) and
"undecided" (neither). The tests are one-sided Welch tests on seeds, corrected where several
chances are taken; none selects a setting and then tests it on the same runs. A single run per
cell decides nothing.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import statistics
from .arms import (
    NotApplicable,
    default_arm,
    grid,
    implied_squares,
    learned,
    need,
    phase_returns,
    plain,
    scale,
    sweep,
)
from .data import KNOBS, PHASES
from .names import ALGORITHMS, SYMBOLS, algorithm_name, listed, percent

ALPHA = 0.05
# "Performs well" on a task: loses less than this share of what the task's best arm gains over
# the untrained policy, in final return (mean of the last 100 episodes).
MARGIN = 0.10
# The same for a mean over tasks, in which losses on single tasks are diluted. The whole spread
# over beta in PPO's Table 1 is 0.10, from its best fixed beta to clipping 0.10.
MEAN_MARGIN = 0.05
# The implied beta "changes" when it moves by this factor: PPO's adaptive rule's own step.
DRIFT = 2.0
# The spread between tasks that advantage normalisation has to remove, decades of beta.
HIDDEN_DECADES = 0.5
# Rivals of a fixed beta, each at its authors' setting.
FEEDBACK = ("trpo", "kl_adaptive", "clip")


@dataclass(frozen=True)
class Verdict:
    """One claim evaluated. `sentence` holds its numbers; `numbers` is the frame they come from."""

    name: str
    claim: str
    rule: str
    verdict: str
    sentence: str
    numbers: pd.DataFrame
    needs: tuple  # algorithms whose runs must be complete
    tested: bool = True  # False where the study has no such arms


HIDDEN = "Hidden adaptation"
SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"


def evaluate(study):
    """All verdicts for a study. A claim whose runs are absent or incomplete is undecided, and says why."""
    return [_evaluate(study, *entry) for entry in CLAIMS]


def _evaluate(study, name, claim, rule, needs, judge):
    conditions = [study.main_condition, *([study.raw_condition] if name == HIDDEN else [])]
    missing = study.missing[study.missing["condition"].isin(conditions) & study.missing["algorithm"].isin(needs)]
    if len(missing):
        sentence = f"{len(missing)} of the runs it needs are missing."
        return Verdict(name, claim, rule, UNDECIDED, sentence, pd.DataFrame(), needs)
    try:
        verdict, sentence, numbers = judge(study)
    except NotApplicable as reason:
        return Verdict(name, claim, rule, UNDECIDED, f"The study {reason}.", pd.DataFrame(), needs, tested=False)
    return Verdict(name, claim, rule, verdict, sentence, numbers, needs)


# Claim A --------------------------------------------------------------------------------


def settled(p_fails, p_suffices):
    """(none serves, one serves), each [...], of the p-values [..., H] of `statistics.single_setting_tests`."""
    # Any of the settings may be the sufficient one: Bonferroni.
    return (p_fails <= ALPHA).all(-1), p_suffices.min(-1) * p_suffices.shape[-1] <= ALPHA


def settings_of(runs, algorithm, column="score"):
    """(grid of all settings, [H] which of them were run on every task)."""
    chosen = sweep(runs, algorithm)
    if chosen["task"].nunique() < 2:
        raise NotApplicable(f"needs {algorithm} on at least 2 tasks")
    scores = learned(grid(chosen, algorithm, runs, column, common=False))
    everywhere = np.isfinite(scores.values).any(-1).all(0)
    if everywhere.sum() < 2:
        raise NotApplicable(f"needs at least 2 values of {KNOBS[algorithm][0]} that were run on every task")
    return scores, everywhere


def one_number_for_all_tasks(runs, algorithm, column="score"):
    """(verdict, sentence, numbers) on whether any single setting of an algorithm serves all tasks."""
    symbol = SYMBOLS[KNOBS[algorithm][0]]
    scores, everywhere = settings_of(runs, algorithm, column)
    p_fails, p_suffices = statistics.single_setting_tests(scores.values, MARGIN * scores.gain)
    means = statistics.seed_means(scores.normalised)
    losses = np.nanmax(means, axis=1, keepdims=True) - means
    numbers = pd.DataFrame(
        {
            "algorithm": algorithm,
            "setting": scores.settings,
            "on_every_task": everywhere,
            "worst_task": [scores.tasks[int(np.nanargmax(loss))] for loss in losses.T],
            "loss_on_worst_task": np.nanmax(losses, axis=0),
            "mean_loss": np.nanmean(losses, axis=0),
            "p_fails_somewhere": p_fails,
            # Any of the settings may be the sufficient one: Bonferroni.
            "p_suffices_everywhere": np.minimum(1, p_suffices * everywhere.sum()),
        }
    )
    # A value that was not run on every task is a rival where it was, but no candidate.
    candidates = numbers[everywhere]
    best = int(np.where(everywhere, np.nanmean(means, axis=0), -np.inf).argmax())
    drawn = statistics.resampled_means(scores.normalised)
    loss = np.nanmax(drawn, axis=2) - drawn[:, :, best]
    worst = int(np.nanargmax(losses[:, best]))
    low, high = statistics.interval(loss[:, worst])
    price = (
        f"The best single {symbol} on average, {scores.settings[best]:g}, gives up "
        f"{percent(losses[worst, best])} [{percent(low)}, {percent(high)}] of the gain on {scores.tasks[worst]}"
    )
    seeds = f"{scores.seeds} seeds, {len(scores.tasks)} tasks, {len(candidates)} values of {symbol} on all of them"
    fails = candidates["p_fails_somewhere"]
    none_serves, one_serves = settled(p_fails[everywhere], p_suffices[everywhere])
    if none_serves:
        return (
            SUPPORTED,
            f"{price}; every {symbol} of the grid loses more than {percent(MARGIN)} to another one on some "
            f"task (largest p = {fails.max():.2g}; {seeds}).",
            numbers,
        )
    if one_serves:
        enough = candidates.loc[candidates["p_suffices_everywhere"] <= ALPHA, "setting"]
        return (
            NOT_SUPPORTED,
            f"{price}; {symbol} = {listed(enough)} stays within {percent(MARGIN)} of the best on every task ({seeds}).",
            numbers,
        )
    return (
        UNDECIDED,
        f"{price}; {symbol} = {listed(candidates.loc[fails > ALPHA, 'setting'])} neither shown to fail somewhere nor "
        "to "
        f"serve everywhere ({seeds}).",
        numbers,
    )


def no_single_beta(study):
    return one_number_for_all_tasks(study.main, "kl_fixed")


# Claim B --------------------------------------------------------------------------------


def no_single_beta_in_one_problem(study):
    runs = study.main
    sweep(runs)
    by_task = phase_returns(study, runs)
    tasks = list(by_task)
    _, gains = scale(runs, tasks)
    rows = []
    for (task, (settings, values)), gain in zip(by_task.items(), gains):
        if not np.isfinite(gain) or len(settings) < 2:
            continue
        p_fails, p_suffices = statistics.single_setting_tests(values, np.full(PHASES, MARGIN * gain))
        means = statistics.seed_means(values)
        best_by_phase = settings[means.argmax(1)]
        losses = (means.max(1, keepdims=True) - means) / gain
        single = int(losses.max(0).argmin())
        none_serves, one_serves = settled(p_fails, p_suffices)
        rows.append(
            {
                "task": task,
                **{f"best_beta_phase_{i + 1}": beta for i, beta in enumerate(best_by_phase)},
                "best_single_beta": settings[single],
                "its_worst_loss": losses[:, single].max(),
                "p_every_beta_fails": p_fails.max(),
                "p_one_beta_suffices": min(1.0, float(p_suffices.min()) * len(settings)),
                "seeds": int(np.isfinite(values).sum(-1).min()),
                "verdict": SUPPORTED if none_serves else NOT_SUPPORTED if one_serves else UNDECIDED,
            }
        )
    if not rows:
        raise NotApplicable("has no task on which any arm improved on the untrained policy")
    numbers = pd.DataFrame(rows)
    return _majority(
        numbers, "the best β changes within training", "one constant β stays within reach of the best in every phase"
    )


def _majority(numbers, yes, no):
    """(verdict, sentence, numbers): what more than half of the tasks show."""
    shown = {
        verdict: numbers.loc[numbers["verdict"] == verdict, "task"].tolist() for verdict in (SUPPORTED, NOT_SUPPORTED)
    }
    total = len(numbers)
    verdict = UNDECIDED
    for candidate, tasks in shown.items():
        if 2 * len(tasks) > total:
            verdict = candidate
    sentence = (
        f"Shown that {yes} on {_some(shown[SUPPORTED], total)}; shown that {no} on "
        f"{_some(shown[NOT_SUPPORTED], total)} "
        f"({numbers['seeds'].min()} seeds)."
    )
    return verdict, sentence, numbers


def _some(tasks, total):
    return f"{len(tasks)} of {total} tasks" + (f" ({', '.join(tasks)})" if tasks else "")


def implied_beta_drifts(study, raw):
    chosen = need(default_arm(study.main, "trpo"), "trpo")
    squares = implied_squares(study, chosen, PHASES, raw=raw)
    rows = []
    for task, group in chosen.groupby("task"):
        first, last = squares[chosen.index.get_indexer(group.index)][:, [0, -1]].T
        known = np.isfinite(first) & np.isfinite(last)
        first, last = first[known], last[known]
        if len(first) == 0:
            continue
        # The implied beta is a root: a factor DRIFT in it is DRIFT^2 in the squares, which are
        # linear in the data and may be negative.
        rises, falls = _p_positive(last - DRIFT**2 * first), _p_positive(first - DRIFT**2 * last)
        stays = max(_p_positive(DRIFT**2 * first - last), _p_positive(DRIFT**2 * last - first))
        moves = min(1.0, 2 * min(rises, falls))
        rows.append(
            {
                "task": task,
                "first_fifth": statistics.signed_root(first.mean()),
                "last_fifth": statistics.signed_root(last.mean()),
                "p_moves": moves,
                "p_stays": stays,
                "seeds": len(first),
                "verdict": SUPPORTED if moves <= ALPHA else NOT_SUPPORTED if stays <= ALPHA else UNDECIDED,
            }
        )
    if not rows:
        raise NotApplicable("needs implied_beta_crossfit in the curves of trpo")
    numbers = pd.DataFrame(rows)
    verdict, sentence, numbers = _majority(numbers, f"it moves by more than {DRIFT:g}×", f"it stays within {DRIFT:g}×")
    # A negative mean square is less than nothing above the noise; the table keeps it.
    ends = numbers[["first_fifth", "last_fifth"]].map(lambda beta: f"{beta:.2g}" if beta > 0 else "below the noise")
    moves = "; ".join(f"{task} {first} → {last}" for task, first, last in zip(numbers["task"], *ends.to_numpy().T))
    return verdict, f"{sentence} First to last fifth: {moves}.", numbers


def _p_positive(values):
    """One-sided p of a positive mean; 1 for fewer than two values."""
    if len(values) < 2:
        return 1.0
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return float(statistics.p_greater(np.mean(values), error, len(values) - 1))


# Claim C --------------------------------------------------------------------------------


def beside_fixed(runs, rivals):
    """(names of the rivals that were run, betas, rivals' and betas' scores as shares of the gain: a list with one
    array per task, [R, 1, S] and [1, H, S], NaN where a seed was not run)."""
    sweep(runs)
    arms = {name: default_arm(runs, name) for name in rivals}
    arms = {name: arm for name, arm in arms.items() if len(arm)}
    if not arms:
        raise NotApplicable(f"needs one of {', '.join(rivals)}")
    common = set.intersection(*(set(arm["task"]) for arm in [*arms.values(), plain(runs, "kl_fixed")]))
    if not common:
        raise NotApplicable(f"needs kl_fixed and {', '.join(arms)} on the same tasks")
    here = runs[runs["task"].isin(common)]
    scores = learned(grid(sweep(here), "kl_fixed", here))
    if not len(scores.settings):
        raise NotApplicable("needs one β that was run on every task")
    theirs = []
    for task, gain in zip(scores.tasks, scores.gain):
        ours = [arm.loc[arm["task"] == task, "score"].to_numpy() / gain for arm in arms.values()]
        most = max(map(len, ours))
        theirs.append(np.stack([np.pad(run, (0, most - len(run)), constant_values=np.nan) for run in ours])[:, None])
    return list(arms), scores.settings, theirs, [each[None] for each in scores.values / scores.gain[:, None, None]]


def rivalry(rivals, fixed):
    """(differences, standard errors, degrees of freedom, p_beats, p_keeps_up), each [..., R, H], of what
    `beside_fixed` returns: rivals less fixed betas in the mean over tasks, by more and by less than MEAN_MARGIN."""
    difference, error, freedom = statistics.mean_over_tasks_test(rivals, fixed)
    p_beats = statistics.p_greater(difference - MEAN_MARGIN, error, freedom)
    p_keeps_up = statistics.p_greater(MEAN_MARGIN - difference, error, freedom)
    return difference, error, freedom, p_beats, p_keeps_up


def contest(p_beats, p_keeps_up):
    """(p_beats [..., R], p_enough [..., H]) of p-values [..., R, H].

    p_beats   that this rival beats every fixed beta by more than MEAN_MARGIN; Bonferroni over rivals.
    p_enough  that this beta is not beaten by that much by any rival; Bonferroni over betas.
    """
    rivals, betas = p_beats.shape[-2:]
    return np.minimum(1, p_beats.max(-1) * rivals), np.minimum(1, p_keeps_up.max(-2) * betas)


def compare_with_fixed(runs, rivals):
    """(numbers, p_beats by rival, p_enough by beta), see `contest`."""
    names, betas, theirs, fixed = beside_fixed(runs, rivals)
    difference, error, freedom, p_beats, p_keeps_up = rivalry(theirs, fixed)
    half = statistics.half_width(error, freedom)
    counts = [np.minimum(*np.broadcast_arrays(*(np.isfinite(s).sum(-1) for s in pair))) for pair in zip(theirs, fixed)]
    columns = {
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "p_beats": p_beats,
        "p_keeps_up": p_keeps_up,
        "tasks": np.full(difference.shape, len(fixed)),
        "seeds": np.min(counts, axis=0),
    }
    index = pd.MultiIndex.from_product([names, betas], names=["rival", "beta"])
    numbers = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index).reset_index()
    beats, enough = contest(p_beats, p_keeps_up)
    return numbers, pd.Series(beats, names), pd.Series(enough, betas)


def fixed_is_not_sufficient(study):
    numbers, p_beats, p_enough = compare_with_fixed(study.main, FEEDBACK)
    best = numbers.groupby("beta")["difference"].mean().idxmin()
    against = "; ".join(
        f"{ALGORITHMS[row.rival]} {row.difference:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
        for row in numbers[numbers["beta"] == best].itertuples()
    )
    sentence = (
        f"Against the best single β on average, {best:g}, in the mean over tasks (untrained = 0, best arm = 1): "
        f"{against} ({numbers['seeds'].min()} seeds, {numbers['tasks'].min()} tasks). "
    )
    if p_beats.min() <= ALPHA:
        winners = [ALGORITHMS[name] for name in p_beats.index[p_beats <= ALPHA]]
        return (
            SUPPORTED,
            f"{sentence}Every fixed β is beaten by more than {MEAN_MARGIN:g} by {listed(winners)} (p = "
            f"{p_beats.min():.2g}).",
            numbers,
        )
    if p_enough.min() <= ALPHA:
        return (
            NOT_SUPPORTED,
            f"{sentence}β = {listed(p_enough.index[p_enough <= ALPHA])} is not beaten by {MEAN_MARGIN:g} by any of "
            "them.",
            numbers,
        )
    return UNDECIDED, f"{sentence}Neither shown beaten nor shown sufficient.", numbers


def compare_two(runs, algorithm, reference):
    """(difference, low, high, number of tasks, names) of two algorithms in the mean over tasks.

    Each at its default; kl_fixed at the beta that is best on average, which flatters it.
    """
    arms = [_representative(runs, name) for name in (algorithm, reference)]
    tasks = sorted(set(arms[0]["task"]) & set(arms[1]["task"]))
    _, gains = scale(runs, tasks)
    learned_tasks = [(task, gain) for task, gain in zip(tasks, gains) if np.isfinite(gain)]
    if not learned_tasks:
        raise NotApplicable(f"needs {algorithm} and {reference} on a task where some arm improved")
    scores = [[arm.loc[arm["task"] == task, "score"].to_numpy() / gain for task, gain in learned_tasks] for arm in arms]
    difference, error, freedom = statistics.mean_over_tasks_test(*scores)
    half = statistics.half_width(error, freedom)
    names = [algorithm_name(arm["algorithm"].iloc[0]) for arm in arms]
    for i, arm in enumerate(arms):
        if arm["algorithm"].iloc[0] == "kl_fixed":
            names[i] = f"the best single β ({arm['setting'].iloc[0]:g})"
    return difference, difference - half, difference + half, len(learned_tasks), names


def _representative(runs, algorithm):
    chosen = need(default_arm(runs, algorithm), algorithm)
    if algorithm != "kl_fixed":
        return chosen
    scores = learned(grid(runs, "kl_fixed", runs))
    if not len(scores.settings):
        raise NotApplicable("needs one β that was run on every task")
    best = scores.settings[statistics.seed_means(scores.normalised).mean(0).argmax()]
    return plain(runs, "kl_fixed")[plain(runs, "kl_fixed")["setting"] == best]


def the_cause_is_beta(study):
    runs = study.main
    need(default_arm(runs, "kl_bisect"), "kl_bisect")
    numbers, p_beats, p_enough = compare_with_fixed(runs, ("kl_bisect",))
    bisect, trpo = default_arm(runs, "kl_bisect"), need(default_arm(runs, "trpo"), "trpo")
    tasks = sorted(set(bisect["task"]) & set(trpo["task"]))
    _, gains = scale(runs, tasks)
    scaled = [
        [
            arm.loc[arm["task"] == task, "score"].to_numpy() / gain
            for task, gain in zip(tasks, gains)
            if np.isfinite(gain)
        ]
        for arm in (trpo, bisect)
    ]
    difference, error, freedom = statistics.mean_over_tasks_test(*scaled)
    p_equal = float(statistics.p_greater(MEAN_MARGIN - difference, error, freedom))
    p_behind = float(statistics.p_greater(difference - MEAN_MARGIN, error, freedom))
    sentence = (
        f"A β solved at each update so that KL = δ beats every fixed β by more than {MEAN_MARGIN:g} with p = "
        f"{p_beats.min():.2g}; "
        f"TRPO is {difference:+.2f} ± {error:.2f} (s.e.) above it (p = {p_equal:.2g} for less than {MEAN_MARGIN:g})."
    )
    if p_beats.min() <= ALPHA and p_equal <= ALPHA:
        return SUPPORTED, sentence, numbers
    if p_behind <= ALPHA or p_enough.min() <= ALPHA:
        return NOT_SUPPORTED, sentence, numbers
    return UNDECIDED, sentence, numbers


# The hidden adaptation -------------------------------------------------------------------


def implied_spread(study, resamples=statistics.RESAMPLES):
    """(frame, samples): implied beta per task, normalised and raw, and [B] bootstrap samples of the
    difference in decades between the spreads (largest to smallest) over tasks, raw less normalised.

    `shown` in the frame is False for tasks that tell nothing of beta, as a solved one does, whose
    gradient is noise: more than ALPHA of the resamples do not stand above it. They are no part of the spreads.
    """
    chosen = need(default_arm(study.main, "trpo"), "trpo")
    tasks = sorted(chosen["task"].unique())
    if (chosen["advantages"] == "raw").any():
        raise NotApplicable("needs trpo with normalised advantages")
    rows, decades = [], []
    for raw in (False, True):
        squares = implied_squares(study, chosen, PHASES, raw=raw).mean(axis=1)
        per_task = [squares[(chosen["task"] == task).to_numpy()] for task in tasks]
        if not all(np.isfinite(values).all() and len(values) for values in per_task):
            raise NotApplicable("needs implied_beta_crossfit and sigma_advantage in the curves of trpo")
        drawn = np.stack([sample.mean(-1) for sample in statistics.resample(per_task, resamples)], axis=-1)
        decades.append(0.5 * np.log10(np.where(drawn > 0, drawn, np.nan)))
        for task, values in zip(tasks, per_task):
            rows.append((task, "raw" if raw else "normalised", statistics.signed_root(values.mean()), len(values)))
    decades = np.stack(decades)
    shown = (np.isnan(decades).mean(axis=1) <= ALPHA).all(axis=0)
    if shown.sum() < 2:
        raise NotApplicable("needs trpo on at least 2 tasks whose implied beta stands above the noise")
    frame = pd.DataFrame(rows, columns=["task", "advantages", "implied_beta", "seeds"])
    frame["shown"] = np.tile(shown, 2)
    spread = decades[..., shown].max(axis=-1) - decades[..., shown].min(axis=-1)
    return frame, spread[1] - spread[0]


def normalisation_is_hidden_adaptation(study):
    everything, samples = implied_spread(study)
    if np.isnan(samples).mean() > ALPHA:
        raise NotApplicable("needs tasks whose implied beta stands above the noise together")
    frame = everything[everything["shown"]]
    left_out = sorted(set(everything.loc[~everything["shown"], "task"]))
    low, high = statistics.interval(samples)
    few = frame["seeds"].min() < 2
    ranges = frame.groupby("advantages")["implied_beta"].agg(["min", "max"])
    sentence = (
        f"Over {frame['task'].nunique()} tasks the implied β spans {ranges.loc['normalised', 'min']:.2g} to "
        f"{ranges.loc['normalised', 'max']:.2g} with "
        f"normalised advantages and {ranges.loc['raw', 'min']:.2g} to {ranges.loc['raw', 'max']:.2g} in units of the "
        "raw ones: "
        f"{np.nanmedian(samples):.2f} decades more [{low:.2f}, {high:.2f}]."
    )
    if left_out:
        sentence += f" Left out, because it does not stand above the noise there: {listed(left_out)}."
    if study.raw_condition is None or study.raw_condition == study.main_condition:
        return UNDECIDED, f"{sentence} Without runs on raw advantages the consequence is not tested.", everything
    raw_runs = study.under(study.raw_condition)
    raw_verdict, raw_sentence, _ = one_number_for_all_tasks(raw_runs, "kl_fixed")
    price, drawn, betas = loss_of_single_beta(study.main)
    raw_price, raw_drawn, raw_betas = loss_of_single_beta(raw_runs)
    more_low, more_high = statistics.interval(raw_drawn - drawn)
    sentence += (
        f" The best single β loses {percent(price)} of the gain in the mean over tasks with normalised advantages "
        "and "
        f"{percent(raw_price)} with raw ones, {percent(raw_price - price)} more [{percent(more_low)}, "
        f"{percent(more_high)}]. Claim A on raw advantages is {raw_verdict}: {raw_sentence}"
    )
    # Among more betas the best one of a task stands out further by chance: a wider raw grid cannot support the claim.
    decades, raw_decades = (np.log10(values[-1] / values[0]) for values in (betas, raw_betas))
    wider = len(raw_betas) > len(betas) or raw_decades > decades + 1e-9
    if wider:
        sentence += (
            f" The grid is wider on raw advantages, {len(raw_betas)} values over {raw_decades:.1f} decades against "
            f"{len(betas)} over {decades:.1f}, which by itself adds to what a single β loses there."
        )
    if few:
        return UNDECIDED, sentence, everything
    if low > HIDDEN_DECADES and more_low > MEAN_MARGIN and raw_verdict == SUPPORTED and not wider:
        return SUPPORTED, sentence, everything
    if high < HIDDEN_DECADES or more_high < MEAN_MARGIN or raw_verdict == NOT_SUPPORTED:
        return NOT_SUPPORTED, sentence, everything
    return UNDECIDED, sentence, everything


def loss_of_single_beta(runs):
    """(value, [B] bootstrap samples, betas) of what the best single beta loses in the mean over tasks.

    A task's own best may be any beta run on it; the single one is among those run on every task, the returned ones.
    """
    fixed = learned(grid(sweep(runs), "kl_fixed", runs, common=False))
    scores = fixed.normalised
    everywhere = np.isfinite(scores).any(-1).all(0)
    if not everywhere.any():
        raise NotApplicable("needs one β that was run on every task")

    def loss(means):
        return np.nanmean(np.nanmax(means, axis=-1), axis=-1) - means[..., everywhere].mean(-2).max(-1)

    means, drawn = statistics.seed_means(scores), statistics.resampled_means(scores)
    return float(loss(means)), loss(drawn), fixed.settings[everywhere]


def _same_rule_for(algorithm):
    return lambda study: one_number_for_all_tasks(study.main, algorithm)


RULE_A = (
    "Metric: final return, lost against the best value of the grid on the same task, as a share of what the task's "
    "best arm gains over the untrained policy. Supported when every value that was run on all tasks is shown to lose "
    f"more than {percent(MARGIN)} on some task; not supported when one value is shown to lose less on all tasks. "
    f"One-sided Welch tests at level {ALPHA:g}, Bonferroni over tasks and rivals."
)

# name, claim, rule, algorithms whose runs it needs, judge
CLAIMS = [
    (
        "A",
        "No single β performs well across different problems.",
        RULE_A,
        ("kl_fixed",),
        no_single_beta,
    ),
    (
        "A, whole training",
        "The same, judged by the return over the whole of training.",
        "The rule of claim A with the mean return over training in place of the final return.",
        ("kl_fixed",),
        lambda study: one_number_for_all_tasks(study.main, "kl_fixed", "auc_score"),
    ),
    (
        "B",
        "Nor within one problem, whose characteristics change over the course of learning.",
        f"Metric: mean return in each of {PHASES} equal phases of training. On a task the claim is shown when every "
        f"constant β loses more than {percent(MARGIN)} of the task's whole gain to another one in some phase, and the "
        "contrary when one β is shown to lose less in all phases (tests as for A, phases in place of tasks). "
        "Supported, or not supported, when shown on more than half of the tasks.",
        ("kl_fixed",),
        no_single_beta_in_one_problem,
    ),
    (
        "B, mechanism",
        "The β that the constraint implies changes during training, in the units the algorithm sees.",
        "Metric: TRPO's cross-fitted implied β, first against last fifth of training. On a task the claim is shown "
        "when it "
        f"moves by more than {DRIFT:g}× (paired t-test over seeds on the squares, both directions), the contrary "
        "when it "
        "is shown to stay within. Decided by more than half of the tasks.",
        ("trpo",),
        lambda study: implied_beta_drifts(study, raw=False),
    ),
    (
        "B, mechanism, raw",
        "The same in units of the raw advantages.",
        "As above, with the implied β multiplied by the standard deviation of the raw advantages.",
        ("trpo",),
        lambda study: implied_beta_drifts(study, raw=True),
    ),
    (
        "C",
        "A fixed β optimised with SGD is not sufficient: additional modifications are required.",
        "Metric: final return, untrained policy = 0 and best arm = 1 per task, mean over tasks. Supported when TRPO, "
        "adaptive "
        f"β or clipping (each at its authors' setting) is shown to beat every fixed β by more than {MEAN_MARGIN:g}; "
        "not "
        "supported when one fixed β is shown not to be beaten by that much by any of them. One-sided Welch tests "
        "stratified "
        f"by task at level {ALPHA:g}, Bonferroni over the three.",
        ("kl_fixed", *FEEDBACK),
        fixed_is_not_sufficient,
    ),
    (
        HIDDEN,
        "Advantage normalisation is a hidden adaptation of β.",
        f"Supported when (1) the spread of TRPO's cross-fitted implied β between tasks (where it stands above the "
        f"noise in {percent(1 - ALPHA)} of resamples) is more than {HIDDEN_DECADES:g} "
        "decades wider in units of the raw advantages than in those of the normalised ones, (2) the best single β "
        "loses more "
        f"with raw advantages than with normalised ones, by more than {percent(MEAN_MARGIN)} of the gain in the mean "
        "over "
        "tasks (95 % bootstrap intervals for both; the raw grid no wider), and (3) claim A is supported with raw "
        "advantages. Not supported when "
        "the contrary of one of them is shown.",
        ("kl_fixed", "trpo"),
        normalisation_is_hidden_adaptation,
    ),
    (
        "Cause",
        "The constraint's advantage is its β, not its optimiser.",
        "Supported when a penalty whose β is solved at each update so that KL = δ beats every fixed β (rule C) and "
        "TRPO is shown "
        f"to be less than {MEAN_MARGIN:g} above it; not supported when TRPO is shown to be further above it or a "
        "fixed β to "
        "keep up with it.",
        ("kl_fixed", "trpo", "kl_bisect"),
        the_cause_is_beta,
    ),
    *(
        (
            f"A for {SYMBOLS[KNOBS[algorithm][0]]}",
            f"No single {SYMBOLS[KNOBS[algorithm][0]]} of {ALGORITHMS[algorithm]} performs well across problems.",
            "The rule of claim A, word for word: the question is asked of every method that has a number to choose.",
            (algorithm,),
            _same_rule_for(algorithm),
        )
        for algorithm in ("trpo", "kl_adaptive", "clip")
    ),
]
