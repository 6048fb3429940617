"""The first screen of a report: what was run and left out, the question, one figure, and at most five findings.

A study with TRPO and several fixed betas on several tasks puts penalty against constraint: its findings are answers of
`question`. Any other one is a user's own sweep, and opens with what that sweep shows, read off the reports' frames.
"""

import json
from dataclasses import dataclass

import numpy as np

from .. import question
from ..arms import knobs, plain
from ..names import (
    DISPLAY_ORDER,
    algorithm_name,
    arm_name,
    counted,
    digits,
    spaced,
    span,
    steps_name,
    symbol,
    task_name,
)
from ..panel import PANELS
from ..table import pairs

MOST = 5  # findings
NAMED = 3  # tasks or arms that a sentence or title names one by one
SHORT = 0.5  # of the usual budget: below it a study says that it is short
FIGURES = (  # the first one drawn opens the report
    "one_value", "unit", "step", "two_tasks", "fork", "beta_profile", "task_by_task", "learning_curves",
)  # fmt: skip
LEAST = {"unit": 6, "step": 6, "task_by_task": 3}  # tasks that a figure needs to open a report
ENOUGH = 6  # tasks, for an interval over tasks to say anything
QUESTIONS = {  # how many answers of each lead
    "one_value": 3, "unit": 1, "within_run": 1, "spread": 2, "constraint": 1, "step": 2, "regret": 1, "fork": 1,
    "clipping": 1, "mechanism": 1,
}  # fmt: skip
ON_ITS_TASKS = ("one_value",)  # questions about the tasks that were run, whose intervals are not over tasks


@dataclass(frozen=True)
class Finding:
    """One sentence with its verdict, and the figure or table where it can be checked ("" where none is drawn)."""

    text: str
    anchor: str = ""
    verdict: str = ""

    @property
    def kind(self):
        return "figure" if self.anchor in PANELS else "table"


def figure(frames):
    """The one that opens the report, "" without any; some only where their question has enough tasks."""
    few = {name for name, least in LEAST.items() if name in frames and frames[name]["task"].nunique() < least}
    return next((name for name in FIGURES if name in frames and name not in few), "")


# What was run ---------------------------------------------------------------------------


def both_sides(study):
    """Whether the study puts a penalty against a constraint: TRPO and several betas on several tasks."""
    runs = study.main
    betas = plain(runs, "kl_fixed")
    return "trpo" in set(runs["algorithm"]) and betas["setting"].nunique() > 1 and betas["task"].nunique() > 1


def swept(study):
    """{family: knob} of the main condition whose knob takes several values on some task."""
    runs = study.main
    several = runs.groupby(["family", "task"])["setting"].nunique().groupby("family").max()
    return {name: knob for name, knob in knobs(runs).items() if several[name] > 1}


def title(study):
    runs = study.runs
    algorithms = sorted(set(runs["algorithm"]), key=lambda name: (DISPLAY_ORDER.get(name, 99), name))
    names = [algorithm_name(name) for name in algorithms if name != "custom"] + _modules(runs)
    tasks = [task_name(task) for task in study.tasks]
    where = _joined(tasks) if len(tasks) <= NAMED else f"{len(tasks)} tasks"
    seeds = counted(span(runs.groupby(["condition", "task", "arm"])["seed"].nunique()), "seed")
    if both_sides(study):
        return f"Penalty or constraint: {_named(names)} on {where}"
    numbers = swept(study)
    if len(names) == len(numbers) == 1:
        return f"{_knob(study, *numbers.popitem())} on {where}: {study.main['setting'].nunique()} values, {seeds}"
    return f"{_capital(_named(names))} on {where}: {seeds}"


def _knob(study, family, knob):
    """ "β of a KL penalty", "δ of TRPO"."""
    return f"{symbol(knob)} of {'a KL penalty' if family == 'kl_fixed' else study.arm_names[family]}"


def _modules(runs):
    """Names of the algorithms of one's own."""
    configs = [json.loads(config) for config in runs.loc[runs["algorithm"] == "custom", "config"].unique()]
    return sorted({config["algorithm"].get("module", "custom").split(".")[-1] for config in configs})


def _named(names):
    return _joined(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} others"


def _joined(words):
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _capital(text):
    return text[:1].upper() + text[1:]


def lead(study):
    """The question, and how much was run to answer it."""
    numbers = swept(study)
    if both_sides(study):
        asked = "Does one coefficient β of a KL penalty serve all tasks and all of training, or is a constraint better?"
    elif numbers:
        which = _joined([_knob(study, *number) for number in numbers.items()])
        asked = f"Which {which} is best, and what does another value cost?"
    else:
        asked = f"What {'do these arms' if study.runs['arm'].nunique() > 1 else 'does this arm'} learn?"
    runs = study.runs
    arms = runs.groupby(["condition", "arm"]).ngroups
    return (
        f"{asked} {counted(len(runs), 'run')}: {counted(arms, 'arm')} on {counted(len(study.tasks), 'task')}, "
        f"{steps_name(runs)} environment steps per run."
    )


def notes(study):
    """What a reader has to know before any number: which runs are left out and why, which protocol leads."""
    lines = [short_budget(study), *study.left_out, other_conditions(study)]
    lines += study.warnings
    lines.append(not_learned(study))
    if len(study.missing):
        lines.append(
            f"{counted(len(study.missing), 'run')} of the grid {'is' if len(study.missing) == 1 else 'are'} missing; "
            "the figures that need them say how to make them."
        )
    diverged = int((study.runs["status"] == "diverged").sum())
    if diverged:
        lines.append(f"{counted(diverged, 'run')} diverged and count, with the return of the untrained policy.")
    return [line for line in lines if line]


def not_learned(study):
    """One line on the tasks that no arm learned, None without any; one seed by itself does not tell."""
    runs = study.runs[study.runs["fork"].isna()]
    several = runs[runs.groupby(["condition", "task", "arm"])["seed"].transform("nunique") > 1]
    learned = runs["task"].isin(runs.loc[runs["learned"], "task"])
    tasks = sorted(set(several["task"]) - set(runs.loc[learned, "task"]))
    if not tasks:
        return None
    names = _joined([task_name(task) for task in tasks]) if len(tasks) <= 6 else f"{len(tasks)} tasks"
    count = counted(int(runs["task"].isin(tasks).sum()), "run")
    return (
        f"No arm learned {names} (above the untrained policy in every seed): questions and normalised scores leave the "
        f"{count} there out."
    )


def other_conditions(study):
    """One line on the runs that figures of one protocol leave out, None where all have one."""
    counts = study.runs["condition"].value_counts()
    others = counts.drop(study.main_condition)
    if others.empty:
        return None
    parts = [f"{count} with {name or 'the default protocol'}" for name, count in others.head(NAMED).items()]
    if len(others) > NAMED:
        parts.append(f"{others[NAMED:].sum()} in {len(others) - NAMED} other conditions")
    return (
        f"Where a figure does not say otherwise it shows the {counted(counts[study.main_condition], 'run')} with "
        f"{study.main_condition or 'the default protocol'}; it leaves out {_joined(parts)}."
    )


def short_budget(study):
    """One line where most runs are much shorter than their task's file says, from the stored configuration; or None.

    A task of the user's own has no usual budget, and forks are short on purpose.
    """
    short = []
    for config, steps in zip(study.runs["config"], study.runs["total_steps"]):
        try:
            config = json.loads(config)
            task = config["task"]
            usual = 0 if config.get("fork") or task["name"] == task["id"] else task["total_steps"]
        except (TypeError, ValueError, KeyError):
            continue
        if steps < SHORT * usual:
            short.append((int(steps), int(usual)))
    if 2 * len(short) < len(study.runs) or not short:
        return None
    steps, usual = min(short, key=lambda pair: pair[0] / pair[1])
    line = f"Trained for {spaced(steps)} of the task’s usual {spaced(usual)} steps"
    if "trpo" in set(study.runs["algorithm"]):
        return f"{line}: TRPO’s small steps lose most by that, so its rank here says little about a full run."
    return f"{line}: ranks may change in a full run."


# What the runs show ---------------------------------------------------------------------


def findings(study, frames, answered):
    """At most five findings.

    frames    {name: numbers} of the figures and tables that were drawn
    answered  of `question.report`
    """
    found = leading(answered, frames)
    if both_sides(study) and not any(finding.anchor == "constraint" for finding in found):
        found = [*found[:3], *_pair(frames, "kl_fixed", "trpo"), *found[3:]]
    return [*found, *(own_sweep(frames) if len(found) < 2 else [])][:MOST]


def leading(answered, frames):
    """The first answers of each question, as its module says them, of those with enough tasks; judged ones first."""
    modules = {answers[0].question: (module, answers) for module, answers in answered}
    return [
        Finding(question.in_words(module, answer), name if name in frames else "", answer.verdict or answer.refused)
        for name, (module, answers) in ((name, modules[name]) for name in QUESTIONS if name in modules)
        for answer in sorted(answers, key=lambda answer: not (answer.verdict or answer.refused))[: QUESTIONS[name]]
        if (len(answer.tasks) >= ENOUGH or name in ON_ITS_TASKS) and np.isfinite([answer.low, answer.high]).all()
    ]


def pair_in_words(frames, algorithm, against, answered):
    """This study's number for two algorithms: of the question of the constraint, or of the table of pairs."""
    if {algorithm, against} == {"kl_fixed", "trpo"}:
        found = [finding for finding in leading(answered, frames) if finding.anchor == "constraint"]
        if found:
            return f"In this study: {found[0].text}"
    found = _pair(frames, algorithm, against)
    return f"In this study: {found[0].text}" if found else "This study has not both."


def _pair(frames, algorithm, against):
    if "pairs" not in frames:
        return []
    frame = frames["pairs"]
    rows = frame[(frame["algorithm"] == algorithm) & (frame["against"] == against)]
    return [Finding(pairs.sentence(row), "pairs") for _, row in rows.iterrows() if np.isfinite(row["value"])]


def own_sweep(frames):
    """What the sweep of a knob shows; without one, which arms do best."""
    found = []
    if "beta_profile" in frames:
        frame = frames["beta_profile"]
        for _, rows in frame.groupby("of", sort=False):
            found += best_values(rows, "beta_profile")
    return found or best_arms(frames)


def best_values(frame, anchor):
    """What the sweep of a knob shows, by task; where several values are not shown to be worse none is called best."""
    number = symbol(frame["knob"].iloc[0])
    best = frame[frame["kind"] == "best"]
    sweep = frame[(frame["kind"] == "sweep") & frame["task"].isin(best["task"])]
    if best["task"].nunique() > NAMED:
        best, tasks = best.sort_values("setting"), best["task"].nunique()
        first, last = best.iloc[0], best.iloc[-1]
        ties = int((sweep.groupby("task")["not_worse"].sum() > 1).sum())
        text = f"The {number} with the highest mean final return goes from {first['setting']:g} "
        text += f"({task_name(first['task'])}) to {last['setting']:g} ({task_name(last['task'])}) over {tasks} tasks"
        text += f"; on {ties} of them others are not shown to be worse." if ties else "."
        return [Finding(text, anchor)]
    found = [
        Finding(f"{_capital(_best_value(number, task, values))}.", anchor)
        for task, values in sweep.groupby("task", sort=False)
    ]
    bands = frame[frame["kind"] == "band"]
    if len(bands) and best["task"].nunique() == 1:
        others = _joined([f"{arm_name(row['arm'])} returns {_return(row)}" for _, row in bands.iterrows()])
        found.append(Finding(f"There {others} (final return).", anchor))
    return found


def _best_value(number, task, values):
    best, fastest = (values[values[column]] for column in ("not_worse", "not_slower"))
    if len(best) == 1:
        cell = best.iloc[0]
        part = f"{number} = {cell['setting']:g} is best, with a final return of {_return(cell)}"
        if len(values) > 1 and cell["setting"] in (values["setting"].min(), values["setting"].max()):
            end = "smallest" if cell["setting"] == values["setting"].min() else "largest"
            part += f"; it is the {end} value that was run, so the best may lie beyond it"
    else:
        ends = " to ".join(dict.fromkeys(digits(best["mean"].agg(end)) for end in ("min", "max")))
        part = f"{_values(number, best, values)} not shown to be worse in final return (mean {ends})"
    part = f"on {task_name(task)} {part}"
    if values["runs"].max() < 2:
        return f"{part}: one seed does not tell values apart"
    if fastest.index.equals(best.index):
        part += ", nor in speed" if len(fastest) > 1 else "; it is fastest too"
    elif len(fastest) == 1:
        part += f"; in speed {number} = {fastest['setting'].iloc[0]:g} is best"
    else:
        part += f"; in speed {_values(number, fastest, values)} not shown to be worse"
    return f"{part} (mean return over training)"


def _values(number, kept, all_values):
    """ "β from 0.1 to 10 is" where all values run between are among those kept, else "β = 0.1 and 10 are"."""
    settings = sorted(kept["setting"])
    between = all_values["setting"].between(settings[0], settings[-1]).sum()
    if len(settings) > 2 and between == len(settings):
        return f"{number} from {settings[0]:g} to {settings[-1]:g} is"
    return f"{number} = {_joined([f'{value:g}' for value in settings])} {'is' if len(settings) == 1 else 'are'}"


def _return(cell):
    interval = f" [{digits(cell['low'])}, {digits(cell['high'])}]" if np.isfinite(cell["low"]) else ""
    return f"{digits(cell['mean'])}{interval}"


def best_arms(frames):
    """Which arm has the highest mean return on each task, and which ones are not shown to be worse; of `returns`."""
    if "returns" not in frames:
        return []
    frame, parts = frames["returns"], []
    best = frame.loc[frame.groupby("task")["mean"].idxmax().dropna()]
    for row in best.itertuples():
        here = frame[frame["task"] == row.task]
        others = [arm_name(arm) for arm in here.loc[here["not_worse"], "arm"] if arm != row.arm]
        part = f"on {task_name(row.task)} {arm_name(row.arm)}"
        result = _return({"mean": row.mean, "low": row.low, "high": row.high})
        if others:
            which = _joined(others) if len(others) <= NAMED else f"{len(others)} of {len(here) - 1} others"
            verb = "is" if len(others) == 1 else "are"
            parts.append(f"{part} has the highest mean final return, {result}; {which} {verb} not shown to be worse")
        else:
            parts.append(f"{part} {'does best, with' if len(here) > 1 else 'has'} a final return of {result}")
    if len(parts) > NAMED:
        counts = best["arm"].map(arm_name).value_counts()
        text = _joined([f"{name} on {count}" for name, count in counts.head(NAMED).items()])
        parts = [f"the arm with the highest mean final return is, of {len(parts)} tasks, {text}"]
    anchor = "learning_curves" if "learning_curves" in frames else "returns"
    return [Finding(f"{'. '.join(_capital(part) for part in parts)}.", anchor)]


GLOSSARY = (
    ("arm", "an algorithm with its settings; the runs of an arm differ in the seed alone"),
    ("knob", "the number that a method is tuned by: β of a penalty, δ of TRPO, ε of clipping; of yours what was swept"),
    ("β", "coefficient of the KL penalty: the larger, the smaller the step of the policy"),
    ("δ", "the most that the policy may move in one update under TRPO’s constraint, in nats of KL"),
    ("KL", "Kullback-Leibler divergence of the new policy from the old one: how far an update moved it"),
    ("fixed β", "a penalty whose β stays the same for all of training"),
    ("adaptive β", "a penalty whose β is doubled or halved after each update to keep the KL near a target"),
    ("bisected β", "a penalty whose β is solved for at each update, so that the KL equals δ"),
    ("implied β", "the β with which a penalty would make the step that the constraint made"),
    ("raw, normalised advantages", "as estimated, in units of the reward; or scaled to unit variance in each batch"),
    ("final return", "mean return of a run’s last 100 episodes"),
    ("normalised score", "mean return over training on a task’s scale: untrained policy 0, reference score 1"),
    ("gain, best arm 1", "what the best arm of a task returns above the untrained policy; losses are shares of it"),
    ("decade", "a factor of ten; half a decade is a factor of 3.2"),
    ("learned", "some arm is clearly above the untrained policy in every one of two or more seeds"),
    ("authors’ value", "what the method’s paper recommends: δ = 0.01, target KL 0.01, ε = 0.2; it is not tuned"),
    ("condition", "settings of the protocol, the same for all arms that are compared"),
    ("fork", "runs of several β that go on from one point of the same run"),
    ("95 % interval", "Student’s over seeds unless said otherwise; with two seeds it is very wide"),
    ("not shown to be worse", "values that no other one beats by Welch’s test at 5 %; with few seeds, many"),
)
