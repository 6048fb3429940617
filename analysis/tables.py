"""The tables of the report: numbers for the CSV, text for LaTeX, Markdown and the page."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import answers, panels, power, price, published, statistics
from .arms import NotApplicable, default_arm, grid, headline, learned, log_median_kl, need, per_task, plain, scale
from .data import KNOBS, PHASES
from .figures import arm_styles
from .names import SYMBOLS, arm_name, percent, span, task_name

WILD_KL = 10  # times the median KL of the run
WILD_RATIO = 100  # pi_new / pi_old of some action of the batch
HELD = 1.5  # times delta or more, or delta / 1.5 or less, is a step that was not held: PPO's rule has this tolerance
HINDSIGHT = "each task’s best β"
SOURCES = ("kl_fixed", "kl_adaptive", "kl_dual", "kl_scheduled", "kl_replay", "kl_bisect")
WINDOW = 0.10  # share of the gain that a setting may lose and still be in a task's window


@dataclass(frozen=True)
class Table:
    """numbers: (study, runs) -> frame for the CSV; text: that frame -> frame of strings."""

    name: str
    title: str
    numbers: Callable
    text: Callable
    caption: str
    algorithms: tuple | None = None
    per_task: bool = True


def interval_text(value, low, high, digits=2):
    """ "0.71 [0.65, 0.77]", without the interval where there is none."""
    if not np.isfinite(value):
        return "–"
    if not np.isfinite(low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def table_1_text(frame):
    columns = sorted(set(frame["task"]) - {"average", "published"})
    columns += [name for name in ("average", "published") if name in set(frame["task"])]
    rows = []
    for arm, group in by_arm(frame):
        cells = group.set_index("task")
        row = {"arm": arm_name(arm)}
        for column in columns:
            if column not in cells.index:
                row[task_name(column)] = "–"
                continue
            cell = cells.loc[column]
            row[task_name(column)] = (
                f"{cell['mean']:.2f}"
                if column == "published"
                else interval_text(cell["mean"], cell["low"], cell["high"])
            )
        row["runs"] = str(int(group.loc[~group["task"].isin(["average", "published"]), "runs"].sum()))
        rows.append(row)
    return pd.DataFrame(rows)


def by_arm(frame):
    """(arm, rows) in the order of the figures' legends."""
    groups = dict(list(frame.groupby("arm")))
    return [(arm, groups[arm]) for arm in arm_styles(frame)]


def returns(study, runs):
    rows = []
    for (task, arm), cell in headline(runs).groupby(["task", "arm"]):
        values = cell["score"].to_numpy()
        average, low, high = statistics.mean_interval(values)
        first = cell.iloc[0]
        rows.append(
            {
                "task": task,
                "arm": arm,
                "algorithm": first["algorithm"],
                "setting": first["setting"],
                "mean": average,
                "low": low,
                "high": high,
                "median": np.median(values),
                "p10": np.quantile(values, 0.1),
                "p90": np.quantile(values, 0.9),
                "auc_mean": cell["auc_score"].mean(),
                "diverged": int((cell["status"] == "diverged").sum()),
                "untrained": first["untrained"],
                "seeds": len(cell),
            }
        )
    return pd.DataFrame(rows)


def returns_text(frame):
    tasks = sorted(frame["task"].unique())
    rows = []
    for arm, group in by_arm(frame):
        cells = group.set_index("task")
        row = {"arm": arm_name(arm)}
        for task in tasks:
            if task in cells.index:
                cell = cells.loc[task]
                digits = 0 if abs(cell["mean"]) >= 100 else 1
                row[task_name(task)] = interval_text(cell["mean"], cell["low"], cell["high"], digits)
            else:
                row[task_name(task)] = "–"
        row["seeds"] = span(group["seeds"])
        rows.append(row)
    return pd.DataFrame(rows)


def beside_others(study, runs):
    """TRPO, clipping and beta = 1, and what others published for the same setting and budget."""
    rows = []
    for (algorithm, setting), sources in published.RETURNS.items():
        chosen = plain(runs, algorithm)
        chosen = chosen[np.isclose(chosen["setting"], setting)]
        for task, cell in chosen.groupby("task"):
            theirs = [(source, seeds, *values[task]) for source, (seeds, values) in sources.items() if task in values]
            # Whole rollouts of the budget are run, so up to one rollout less.
            if not theirs or not np.isclose(cell["total_steps"].iloc[0], published.RETURNS_STEPS, rtol=0.01):
                continue
            mean = cell["score"].mean()
            means = [entry[2] for entry in theirs]
            place = "below" if mean < min(means) else "above" if mean > max(means) else "inside"
            ours = ("this study", len(cell), mean, cell["score"].std() if len(cell) > 1 else np.nan)
            rows += [(algorithm, cell["arm"].iloc[0], task, *entry, place) for entry in (ours, *theirs)]
    if not rows:
        raise NotApplicable(
            "needs trpo max_kl=0.01, clip clip_epsilon=0.2 or kl_fixed beta=1 with one million steps on a task of PPO’s"
        )
    return pd.DataFrame(rows, columns=["algorithm", "arm", "task", "source", "seeds", "mean", "sd", "place"])


def beside_others_text(frame):
    def value(cell):
        digits = 0 if abs(cell.mean) >= 100 else 1
        spread = f" ± {cell.sd:.{digits}f}" if np.isfinite(cell.sd) else ""
        return f"{cell.mean:.{digits}f}{spread} ({cell.seeds})"

    rows = []
    for (arm, task), group in frame.groupby(["arm", "task"], sort=False):
        row = {"arm": arm_name(arm), "task": task_name(task), "place": group["place"].iloc[0]}
        rows.append(row | {cell.source: value(cell) for cell in group.itertuples(index=False)})
    order = ["arm", "task", "this study", "place", *sorted({*frame["source"]} - {"this study"})]
    return pd.DataFrame(rows)[order].fillna("–")


def updates(study):
    """What the updates of each run are like: name -> Series by the rows of study.runs."""
    run, kl, ratio, progress = (study.curves[name] for name in ("run", "kl_after", "max_ratio", "progress"))
    median = kl.groupby(run).median().reindex(study.runs.index)
    # What is not known is neither wild nor tame.
    wild = (kl > WILD_KL * median.to_numpy()[run]).where(kl.notna())
    wild_ratio = (ratio > WILD_RATIO).where(ratio.notna())

    def share(updates):
        return updates.astype(float).groupby(run).mean()

    return {
        "log10_median_kl": log_median_kl(study),
        "wild_kl": share(wild),
        "wild_kl_first_fifth": share(wild[progress <= 1 / PHASES]),
        "wild_kl_last_fifth": share(wild[progress > 1 - 1 / PHASES]),
        "wild_ratio": share(wild_ratio),
    }


def steps(study, runs):
    """Means of `updates` over the runs and tasks of each arm, with their intervals."""
    chosen = headline(runs)
    tasks = sorted(chosen["task"].unique())
    quantities = updates(study)
    rows = []
    for arm, group in chosen.groupby("arm"):
        first = group.iloc[0]
        for name, values in quantities.items():
            runs_of = group.assign(value=values.reindex(group.index)).dropna(subset=["value"])
            if set(runs_of["task"]) != set(tasks):
                continue
            value, low, high = statistics.stratified_mean(per_task(runs_of, tasks, "value"))
            rows.append((arm, first["algorithm"], first["setting"], name, value, low, high, len(runs_of)))
    if not rows:
        raise NotApplicable("needs kl_after in the curves of arms that were run on the same tasks")
    return pd.DataFrame(rows, columns=["arm", "algorithm", "setting", "quantity", "mean", "low", "high", "runs"])


def steps_text(frame):
    def share(cell):
        return f"{100 * cell['mean']:.1f} % [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"

    def nats(cell):
        return "{:.2g} [{:.2g}, {:.2g}]".format(*10 ** cell[["mean", "low", "high"]].astype(float))

    titles = {
        "log10_median_kl": ("median KL, nats", nats),
        "wild_kl": (f"KL above {WILD_KL} medians", share),
        "wild_kl_first_fifth": ("first fifth", share),
        "wild_kl_last_fifth": ("last fifth", share),
        "wild_ratio": (f"a ratio above {WILD_RATIO}", share),
    }
    rows = []
    for arm, group in by_arm(frame):
        cells = group.set_index("quantity")
        row = {title: text(cells.loc[name]) if name in cells.index else "–" for name, (title, text) in titles.items()}
        rows.append({"arm": arm_name(arm)} | row | {"runs": str(group["runs"].min())})
    return pd.DataFrame(rows)


def best_settings(study, runs):
    """Best setting, its interval and the window of settings within WINDOW of the best, per task and number."""
    rows = []
    for algorithm in KNOBS:
        if plain(runs, algorithm)["setting"].nunique() < 2:
            continue
        scores = learned(grid(runs, algorithm, runs, common=False))
        means = statistics.seed_means(scores.normalised)
        for e, task in enumerate(scores.tasks):
            run = np.isfinite(means[e])
            settings = scores.settings[run]
            best, low, high = statistics.best_setting(scores.values[e, run], settings)
            inside = settings[statistics.window(means[e, run], 0.0, WINDOW)]
            rows.append(
                (
                    algorithm,
                    KNOBS[algorithm][0],
                    task,
                    best,
                    low,
                    high,
                    inside.min(),
                    inside.max(),
                    len(inside),
                    scores.seeds,
                )
            )
        if len(scores.tasks) > 1:
            # NaN, a setting not run on the task, compares false.
            together = statistics.window(
                np.where(np.isfinite(means), means, -np.inf), np.zeros(len(means)), WINDOW
            ).all(0)
            inside = scores.settings[together]
            ends = (inside.min(), inside.max()) if len(inside) else (np.nan, np.nan)
            rows.append(
                (algorithm, KNOBS[algorithm][0], "all tasks", np.nan, np.nan, np.nan, *ends, len(inside), scores.seeds)
            )
    if not rows:
        raise NotApplicable("needs a number swept over at least 2 values")
    columns = [
        "algorithm",
        "number",
        "task",
        "best",
        "low",
        "high",
        "window_low",
        "window_high",
        "window_size",
        "seeds",
    ]
    return pd.DataFrame(rows, columns=columns)


def best_settings_text(frame):
    def ends(low, high):
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    return pd.DataFrame(
        {
            "number": [SYMBOLS[name] for name in frame["number"]],
            "task": [task_name(name) for name in frame["task"]],
            "best": [f"{value:g}" if np.isfinite(value) else "–" for value in frame["best"]],
            "95 % CI": [ends(*pair) if np.isfinite(pair[0]) else "–" for pair in zip(frame["low"], frame["high"])],
            "within 10 %": [
                ends(*pair) if size else "none"
                for *pair, size in zip(frame["window_low"], frame["window_high"], frame["window_size"])
            ],
            "seeds": [str(value) for value in frame["seeds"]],
        }
    )


def single_setting_regret(study, runs):
    frame = panels.transfer(study, runs)
    return frame[frame["tuned_on"] == "all tasks"].drop(columns="tuned_on").rename(columns={"run_on": "task"})


def single_setting_regret_text(frame):
    rows = []
    for (algorithm, setting), group in frame.groupby(["algorithm", "setting"], sort=False):
        row = {"best single": f"{SYMBOLS[KNOBS[algorithm][0]]} = {setting:g}"}
        for cell in group.itertuples():
            row[task_name(cell.task)] = f"{100 * cell.loss:.0f} [{100 * cell.low:.0f}, {100 * cell.high:.0f}]"
        rows.append(row | {"seeds": str(group["seeds"].min())})
    return pd.DataFrame(rows)


def sensitivity_text(frame):
    return pd.DataFrame(
        {
            "number": [SYMBOLS[name] for name in frame["number"]],
            "Φ": [interval_text(*row) for row in zip(frame["phi"], frame["low"], frame["high"])],
            "Φ, split seeds": [f"{value:.2f}" if np.isfinite(value) else "–" for value in frame["phi_split"]],
            "best single": [f"{value:g}" for value in frame["best_single"]],
            "to tune per task": [f"{value} of 1" for value in frame["numbers_to_tune"]],
            "values (decades)": [f"{n} ({d:.1f})" for n, d in zip(frame["values"], frame["decades"])],
            "seeds": [str(value) for value in frame["seeds"]],
        }
    )


def aggregates(study, runs):
    frame = panels.comparison(study, runs)
    return frame[frame["kind"] != "profile"].drop(columns="threshold")


def aggregates_text(frame):
    names = {
        "iqm": "IQM",
        "mean": "mean",
        "median": "median",
        "optimality_gap": "optimality gap",
        "P(TRPO > arm)": "P(TRPO > arm)",
    }
    rows = []
    for arm, group in by_arm(frame):
        cells = group.set_index("kind")
        row = {"arm": arm_name(arm)}
        for kind, title in names.items():
            if kind in set(frame["kind"]):
                row[title] = interval_text(*cells.loc[kind, ["value", "low", "high"]]) if kind in cells.index else "–"
        rows.append(row | {"runs": str(int(group["runs"].iloc[0]))})
    return pd.DataFrame(rows)


def conditions(study, runs):
    """Arms under other conditions beside the same arms under the main one, in the mean over their common tasks."""
    reference = default_arm(runs, "trpo")
    wild = updates(study)["wild_kl"]
    rows = []
    for (condition, arm), cell in study.runs[study.runs["condition"] != study.main_condition].groupby(
        ["condition", "arm"]
    ):
        own = runs[runs["arm"] == arm]
        common = sorted(set(cell["task"]) & set(own["task"]))
        units = _units(runs, common)
        if not units:
            continue
        row = {"arm": arm, "algorithm": cell["algorithm"].iloc[0], "setting": cell["setting"].iloc[0]}
        row |= {"condition": condition, "tasks": len(units)}
        row |= {"mean": statistics.mean(_gained(cell, units)), "mean_without": statistics.mean(_gained(own, units))}
        pairs = {"difference": (cell, own), "trpo_less": (reference, cell)}
        for name, (x, y) in pairs.items():
            row |= _difference(name, x, y, units)
        for name, arm_runs in (("wild_kl", cell), ("wild_kl_without", own)):
            here = arm_runs[arm_runs["task"].isin(units)]
            row[name] = wild.reindex(here.index).groupby(here["task"]).mean().mean()
        row["seeds"] = _seeds(units, cell, own)
        rows.append(row)
    if not rows:
        raise NotApplicable("needs an arm that was run under another condition too")
    return pd.DataFrame(rows)


def sources(study, runs):
    """Every way to a beta beside TRPO and beside each task's best constant beta, over the tasks common to all three."""
    arms, trpo, hindsight = _sources(runs)
    delta = float(trpo["max_kl"].iloc[0])
    kl = study.curves["kl_after"]
    held = kl.between(delta / HELD, delta * HELD).where(kl.notna()).astype(float).groupby(study.curves["run"]).mean()
    rows = []
    for name, (arm, units) in arms.items():
        row = {"arm": name, "algorithm": arm["algorithm"].iloc[0], "setting": arm["setting"].iloc[0]}
        row |= {"tasks": len(units), "mean": statistics.mean(_gained(arm, units))}
        for against, other in (("trpo", trpo), ("hindsight", hindsight)):
            row |= _difference(f"less_{against}", arm, other, units)
        here = arm[arm["task"].isin(units)]
        row["held"] = held.reindex(here.index).groupby(here["task"]).mean().mean()
        row["seeds"] = _seeds(units, arm, trpo)
        rows.append(row)
    return pd.DataFrame(rows)


def _sources(runs):
    """({name: (runs, units)} of every way to a beta, TRPO's runs, those of each task's best constant beta)."""
    if not {"kl_bisect", "kl_replay"} & set(runs["algorithm"]):
        raise NotApplicable("needs a beta that is solved for in every update or replayed (kl_bisect, kl_replay)")
    trpo, fixed = need(default_arm(runs, "trpo"), "trpo"), need(plain(runs, "kl_fixed"), "kl_fixed")
    best = fixed.groupby(["task", "setting"])["score"].mean().groupby("task").idxmax()
    hindsight = fixed[pd.MultiIndex.from_frame(fixed[["task", "setting"]]).isin(best)]
    arms = {name: arm for name, arm in runs[runs["algorithm"].isin(SOURCES)].groupby("arm")}
    arms |= {HINDSIGHT: hindsight, trpo["arm"].iloc[0]: trpo}
    common = set(trpo["task"]) & set(fixed["task"])
    arms = {name: (arm, _units(runs, sorted(common & set(arm["task"])))) for name, arm in arms.items()}
    return {name: (arm, units) for name, (arm, units) in arms.items() if units}, trpo, hindsight


def sources_text(frame):
    rows = []
    for _, row in frame.sort_values("mean", ascending=False).iterrows():
        texts = {"beta": _source_name(row["arm"]), "tasks": str(row["tasks"])}
        texts |= {"score": f"{row['mean']:.2f}", "less TRPO": signed(row, "less_trpo")}
        texts |= {"less each task’s best β": signed(row, "less_hindsight"), "KL held": percent(row["held"])}
        rows.append(texts | {"seeds": str(row["seeds"])})
    return pd.DataFrame(rows)


def sources_but_one(study, runs):
    """What every way to a beta has less than TRPO in the mean over all tasks but one, for each one."""
    arms, trpo, _ = _sources(runs)
    rows = []
    for name, (arm, units) in arms.items():
        for left_out in units if arm is not trpo and len(units) > 1 else ():
            rest = {task: unit for task, unit in units.items() if task != left_out}
            row = {"arm": name, "without": left_out} | _difference("less_trpo", arm, trpo, rest)
            rows.append(row | {"seeds": _seeds(rest, arm, trpo)})
    if not rows:
        raise NotApplicable("needs two tasks that TRPO, a fixed beta and another source of beta share")
    return pd.DataFrame(rows)


def sources_but_one_text(frame):
    rows = []
    for arm, group in frame.groupby("arm", sort=False):
        cells = {f"without {task_name(row['without'])}": signed(row, "less_trpo") for _, row in group.iterrows()}
        rows.append({"beta": _source_name(arm), **cells, "seeds": str(group["seeds"].min())})
    return pd.DataFrame(rows).fillna("–")


def _source_name(arm):
    return arm if arm == HINDSIGHT else arm_name(arm)


def reward_units(study, runs):
    """Arms that were run with every factor of the rewards, per factor and over all; cells are tasks x factors."""
    chosen = panels.rescaled(study)
    factors = sorted(chosen["reward_scale"].unique())
    if len(factors) < 2:
        raise NotApplicable("needs runs with several values of reward_scale")
    by_task = _units(runs, sorted(chosen["task"].unique()))
    cells = {factor: {f"{task} x {factor:g}": unit for task, unit in by_task.items()} for factor in factors}
    cells[np.nan] = {name: unit for units in cells.values() for name, unit in units.items()}  # all of them
    chosen = chosen.assign(task=chosen["task"] + " x " + chosen["reward_scale"].map("{:g}".format))
    rows = []
    for advantages, here in chosen.groupby("advantages"):
        trpo = default_arm(here, "trpo")
        for name, arm in here.groupby("arm"):
            if not by_task or not set(cells[np.nan]) <= set(arm["task"]):
                continue
            for factor, units in cells.items():
                row = {"arm": name, "advantages": advantages, "reward_scale": factor, "tasks": len(by_task)}
                row |= {"mean": statistics.mean(_gained(arm, units))} | _difference("trpo_less", trpo, arm, units)
                rows.append(row | {"seeds": _seeds(units, arm)})
    if not rows:
        raise NotApplicable("needs an arm that was run with every value of reward_scale on the same tasks")
    return pd.DataFrame(rows)


def reward_units_text(frame):
    rows = []
    for (advantages, arm), group in frame.groupby(["advantages", "arm"]):
        row = {"arm": arm_name(arm) + (", raw advantages" if advantages == "raw" else "")}
        single, every = group.dropna(subset=["reward_scale"]), group[group["reward_scale"].isna()].iloc[0]
        for i, (factor, average) in enumerate(zip(single["reward_scale"], single["mean"])):
            row[f"{'rewards ' if i == 0 else ''}× {factor:g}"] = f"{average:.2f}"
        row |= {"mean": f"{every['mean']:.2f}", "TRPO less it": signed(every, "trpo_less")}
        rows.append(row | {"tasks": str(every["tasks"]), "seeds": str(every["seeds"])})
    return pd.DataFrame(rows)


def _units(runs, tasks):
    """{task: (floor, gain)} of the tasks on which something was learned."""
    return {task: unit for task, *unit in zip(tasks, *scale(runs, tasks)) if np.isfinite(unit[1])}


def _seeds(units, *arms):
    """The fewest that any of the arms has on a task."""
    return int(min(arm[arm["task"].isin(units)].groupby("task").size().min() for arm in arms))


def _difference(name, x, y, units):
    """Of two arms in the mean over tasks, with its interval; NaN where it is one arm or a task is missing."""
    value = low = high = np.nan
    if set(units) <= set(x["task"]) & set(y["task"]) and not x.index.equals(y.index):
        value, error, freedom = statistics.mean_over_tasks_test(_gained(x, units), _gained(y, units))
        half = statistics.half_width(error, freedom)
        low, high = value - half, value + half
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def signed(row, name):
    """ "+0.10 [-0.02, +0.23]", or a dash."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else "–"


def _gained(arm, units):
    """Scores of an arm by task, with the untrained policy at 0; units: {task: (floor, gain)}."""
    return [(arm.loc[arm["task"] == task, "score"].to_numpy() - floor) / gain for task, (floor, gain) in units.items()]


def conditions_text(frame):
    rows = []
    for _, row in frame.sort_values(["condition", "algorithm", "setting"]).iterrows():
        texts = {"arm": arm_name(f"{row['arm']} {row['condition']}"), "tasks": str(row["tasks"])}
        texts |= {"score": f"{row['mean']:.2f}", "without": f"{row['mean_without']:.2f}"}
        texts |= {"difference": signed(row, "difference"), "TRPO less it": signed(row, "trpo_less")}
        texts |= {
            "KL above 10 medians": f"{100 * row['wild_kl']:.1f} %",
            "same, without": f"{100 * row['wild_kl_without']:.1f} %",
        }
        rows.append(texts | {"seeds": str(row["seeds"])})
    return pd.DataFrame(rows)


def seeds_needed_text(frame):
    rows = []
    for claim, group in frame.groupby("claim", sort=False):
        cells = {
            f"{row.seeds} seeds": f"{percent(row.shown)} / {percent(row.contrary_shown)}" for row in group.itertuples()
        }
        rows.append({"claim": claim, **cells, "seeds at hand": str(group["seeds_at_hand"].iloc[0])})
    return pd.DataFrame(rows)


NEW_TASK = {"kl_fixed": 3.0, "trpo": 0.01, "kl_adaptive": 0.01, "clip": 0.2}  # the value whose loss is foretold


def new_task(study, runs):
    """Per number: the best value on a task like these, and what the usual value loses there.

    Student's 95 % interval for one new observation, over tasks; of the best value on the logarithm.
    """
    rows = []
    for advantages, here, _ in answers.conditions(study)[:2]:
        for algorithm, value in NEW_TASK.items():
            scores = answers.grid_of(here, study.runs, algorithm)
            if scores is None or not scores.settings[0] <= value <= scores.settings[-1]:
                continue
            at = price.points(scores.settings)
            smooth = price.response(statistics.seed_means(scores.normalised), scores.settings, at)
            loss = np.nanmax(smooth, axis=-1) - smooth[:, np.abs(at - np.log10(value)).argmin()]
            best = at[np.nan_to_num(smooth, nan=-np.inf).argmax(-1)]
            rows.append(
                (algorithm, advantages, value, len(scores.tasks))
                + tuple(10**end for end in statistics.prediction_interval(best))
                + statistics.prediction_interval(loss)
            )
    if not rows:
        raise NotApplicable("needs a number swept on three tasks that were learned")
    columns = ["algorithm", "advantages", "value", "tasks", "best", "best_low", "best_high", "loss", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def new_task_text(frame):
    return pd.DataFrame(
        {
            "number": f"{SYMBOLS[KNOBS[row.algorithm][0]]}, {row.advantages} advantages",
            "tasks": str(row.tasks),
            "its best value there": f"{row.best:.2g} [{row.best_low:.2g}, {row.best_high:.2g}]",
            "loss at": f"{row.value:g}",
            "share of the gain": interval_text(row.loss, row.low, row.high),
        }
        for row in frame.itertuples()
    )


TABLES = [
    Table(
        "new_task",
        "What to expect on a new task",
        new_task,
        new_task_text,
        "The best value of each number on one more task like these, and what the usual value loses there. The brackets "
        "hold one new task in 95 % of cases (Student, over tasks): they are wide because tasks differ.",
        (),
        per_task=False,
    ),
    Table(
        "table_1_by_task",
        "Scores by task with intervals",
        panels.table_1,
        table_1_text,
        "Untrained policy = 0, best single run = 1 per task; mean over seeds with 95 % interval; "
        "“published”: PPO "
        "paper, average over seven tasks, three seeds.",
        per_task=False,
    ),
    Table(
        "returns",
        "Final returns",
        returns,
        returns_text,
        "Mean return of the last 100 episodes, mean over seeds with 95 % interval; a diverged run counts "
        "as the "
        "untrained policy. The CSV adds medians, 10th and 90th percentile, the mean over training and divergences.",
    ),
    Table(
        "beside_others",
        "Beside other implementations",
        beside_others,
        beside_others_text,
        "Return after one million steps, mean ± standard deviation (seeds), of TRPO at δ = 0.01, clipping at ε = 0.2 "
        "and a fixed β = 1. A rough check, not a contest: versions of the tasks, batches, networks, optimisers and "
        "scores differ (ours is the last 100 training episodes, Tianshou reports the best test of training). Place: of "
        "our mean among theirs.",
        ("trpo", "clip", "kl_fixed"),
    ),
    Table(
        "steps",
        "Which updates run away",
        steps,
        steps_text,
        "The KL(old‖new) of a run’s median update (geometric mean over runs), the share of updates whose KL is more "
        f"than {WILD_KL} times that median, in all of training and in its first and last fifth, and the share after "
        f"which some action of the batch is more than {WILD_RATIO} times as likely as before. Means over tasks and "
        "runs with 95 % interval over runs.",
    ),
    Table(
        "best_settings",
        "Best value per task",
        best_settings,
        best_settings_text,
        "The value with the highest mean final return, the interval it takes when the seeds are resampled, and the "
        "values "
        "that lose less than 10 % of the gain; last row: those that do so on every task.",
        tuple(KNOBS),
    ),
    Table(
        "single_setting_regret",
        "What one value for all tasks gives up",
        single_setting_regret,
        single_setting_regret_text,
        "Per cent of the task’s gain lost by the best single value against the task’s own best, selected and "
        "evaluated on "
        "different halves of the seeds; in brackets the 95 % bootstrap interval with both selected anew in each "
        "resample (not "
        "free of maximisation bias, so it can lie above the estimate).",
        tuple(KNOBS),
        per_task=False,
    ),
    Table(
        "sensitivity_of_numbers",
        "Sensitivity of each method to its number",
        panels.sensitivity,
        sensitivity_text,
        "Φ and the numbers that need tuning per task to reach 95 % of the tuned score (Adkins et al. 2024).",
        tuple(KNOBS),
        per_task=False,
    ),
    Table(
        "aggregates",
        "Aggregates over tasks",
        aggregates,
        aggregates_text,
        "Scores as in Table 1; 95 % bootstrap intervals stratified by task.",
        per_task=False,
    ),
    Table(
        "sources",
        "Where beta comes from",
        sources,
        sources_text,
        "One inner loop, β from different sources: final return in the mean over tasks (untrained policy = 0, best "
        "arm = 1), its difference to TRPO and to a constant β chosen per task in hindsight, which flatters that one "
        "(95 % intervals by Welch’s t over seeds, stratified by task; too wide for a constant β, which shares runs "
        "with it); share of updates whose KL is within a factor of "
        f"{HELD:g} of TRPO’s δ.",
        SOURCES,
        per_task=False,
    ),
    Table(
        "sources_but_one",
        "Where beta comes from, without one task",
        sources_but_one,
        sources_but_one_text,
        "What each source of β has less than TRPO, as above, in the mean over all tasks but one: how far a single task "
        "decides it.",
        SOURCES,
        per_task=False,
    ),
    Table(
        "conditions",
        "The same arms under other conditions",
        conditions,
        conditions_text,
        "Final return in the mean over tasks (untrained policy = 0, best arm of the main condition = 1) under another "
        "condition and without it, their difference, and what TRPO has more without it (95 % intervals by Welch’s t "
        "over seeds, stratified by task); share of updates whose KL is more than "
        f"{WILD_KL} times the run’s median.",
        per_task=False,
    ),
    Table(
        "reward_units",
        "One β for all units of the reward",
        reward_units,
        reward_units_text,
        "Final return in the mean over tasks (untrained policy = 0, best arm of the main condition = 1) of arms that "
        "were run with every factor of the rewards; its mean over the factors, and what TRPO with the same advantages "
        "has more of that (95 % interval by Welch’s t over seeds, stratified by task and factor).",
        ("kl_fixed", "trpo"),
        per_task=False,
    ),
    Table(
        "seeds_needed",
        "How many seeds would settle it",
        power.chances,
        seeds_needed_text,
        "Were the means and covariances of these runs the true ones, and runs normal: the share of studies with so "
        "many seeds in which the rule shows the claim / shows its contrary, the rest being undecided "
        f"({power.STUDIES} imagined studies each, standard error at most {percent(0.5 / power.STUDIES**0.5)}). A plan, "
        "not evidence: the best of several means is too high, which flatters the claim. Fix the seeds beforehand; who "
        "adds seeds until a claim is shown will see it shown.",
        per_task=False,
    ),
]

# Writers --------------------------------------------------------------------------------

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}",
    "β": r"$\beta$", "δ": r"$\delta$", "ε": r"$\varepsilon$", "Φ": r"$\Phi$", ">": "$>$", "<": "$<$", "–": "--",
    "’": "'", "“": "``", "”": "''", "…": r"\ldots{}",
}  # fmt: skip


def latex(frame, caption, label):
    """A booktabs table."""

    def line(cells):
        return " & ".join("".join(LATEX.get(letter, letter) for letter in str(cell)) for cell in cells) + r" \\"

    rows = "\n".join(line(row) for row in frame.itertuples(index=False))
    caption = "".join(LATEX.get(letter, letter) for letter in caption)
    return (
        "\\begin{table}\n\\centering\n"
        f"\\caption{{{caption}}}\n\\label{{tab:{label}}}\n"
        f"\\begin{{tabular}}{{l{'r' * (len(frame.columns) - 1)}}}\n"
        f"\\toprule\n{line(frame.columns)}\n\\midrule\n{rows}\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def markdown(frame):
    def line(cells):
        return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"

    rule = "|" + "---|" + "---:|" * (len(frame.columns) - 1)
    return "\n".join([line(frame.columns), rule, *(line(row) for row in frame.itertuples(index=False))])
