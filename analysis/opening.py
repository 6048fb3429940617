"""The first screen of a report: what was run, the question, one figure, and at most five sentences with their numbers.

It speaks of the arms that the study has. A study with TRPO and several fixed betas on several tasks puts penalty
against constraint; any other one is a user's own sweep, and opens with what that sweep shows.
"""

import json
import re
from dataclasses import dataclass

import numpy as np

from . import answers, price, question, statistics
from .arms import NotApplicable, log_median_kl, plain
from .compare import compare_two
from .data import KNOBS
from .names import (
    ALGORITHMS,
    DISPLAY_ORDER,
    SYMBOLS,
    UNIT,
    algorithm_name,
    arm_name,
    percent,
    span,
    steps_name,
    task_name,
    three_digits,
    times,
)

MOST = 5  # sentences
ENOUGH = 6  # tasks, for an interval over tasks to say anything
NAMED = 3  # tasks or arms that a sentence or title names one by one
SHORT = 0.5  # of the usual budget: below it a study says that it is short
FIGURES = (
    "unit_steps",
    "windows",
    "forks",
    "beta_profile",
    "profile",
    "contests",
    "learning_curves",
)  # the first one drawn opens the report
TASKS = {"unit_steps": answers.ENOUGH["step"], "contests": answers.LEAST}  # that a figure needs to open it


@dataclass(frozen=True)
class Sentence:
    """One finding, and the figure or table where it can be checked ("" where none is drawn)."""

    text: str
    anchor: str = ""


def figure(frames):
    """The one that opens the report, "" without any; some only where their question has enough tasks."""
    few = {name for name, least in TASKS.items() if name in frames and frames[name]["task"].nunique() < least}
    return next((name for name in FIGURES if name in frames and name not in few), "")


# What was run ---------------------------------------------------------------------------


def contest(study):
    """Whether the study puts a penalty against a constraint: TRPO and several betas on several tasks."""
    runs = study.main
    betas = plain(runs, "kl_fixed")
    return "trpo" in set(runs["algorithm"]) and betas["setting"].nunique() > 1 and betas["task"].nunique() > 1


def swept(study):
    """Algorithms of the main condition whose number takes several values on some task."""
    runs = study.main
    return [
        name
        for name in KNOBS
        if (plain(runs, name).groupby("task")["setting"].nunique() > 1).any()
    ]  # fmt: skip


def title(study):
    runs = study.runs
    algorithms = sorted(set(runs["algorithm"]), key=lambda name: (DISPLAY_ORDER.get(name, 99), name))
    tasks = [task_name(task) for task in study.tasks]
    where = _joined(tasks) if len(tasks) <= NAMED else f"{len(tasks)} tasks"
    seeds = f"{span(runs.groupby(['condition', 'task', 'arm'])['seed'].nunique())} seeds".replace("1 seeds", "1 seed")
    if contest(study):
        return f"Penalty or constraint: {_named(algorithms)} on {where}"
    if len(algorithms) == 1 and algorithms[0] in swept(study):
        values = study.main["setting"].nunique()
        return f"{_number(algorithms[0])} on {where}: {values} values, {seeds}"
    return f"{_capital(_named(algorithms))} on {where}: {seeds}"


def _number(algorithm):
    """ "β of a KL penalty", "δ of TRPO"."""
    return f"{SYMBOLS[KNOBS[algorithm][0]]} of {'a KL penalty' if algorithm == 'kl_fixed' else ALGORITHMS[algorithm]}"


def _named(algorithms):
    names = [algorithm_name(name) for name in algorithms]
    return _joined(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} others"


def _joined(words):
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _capital(text):
    return text[:1].upper() + text[1:]


def lead(study):
    """The question, and how much was run to answer it."""
    numbers = swept(study)
    if contest(study):
        question = (
            "Does one coefficient β of a KL penalty serve all tasks and all of training, or is a constraint better?"
        )
    elif numbers:
        question = f"Which {_joined([_number(name) for name in numbers])} is best, and what does another value cost?"
    else:
        question = f"What {'do these arms' if study.runs['arm'].nunique() > 1 else 'does this arm'} learn?"
    runs = study.runs
    arms = runs.groupby(["condition", "arm"]).ngroups
    return (
        f"{question} {len(runs)} runs: {arms} {'arm' if arms == 1 else 'arms'} on {len(study.tasks)} "
        f"{'task' if len(study.tasks) == 1 else 'tasks'}, {steps_name(runs)} environment steps per run."
    )


def notes(study):
    """What a reader has to know before any number."""
    lines = [short_budget(study), *(note for note in study.notes if "episode" in note)]
    if contest(study):
        lines += _unlearned(study.runs)
    if len(study.missing):
        lines.append(f"{len(study.missing)} runs are missing; the figures that need them say how to make them.")
    diverged = int((study.runs["status"] == "diverged").sum())
    if diverged:
        lines.append(f"{diverged} runs diverged; they count, with the return of the untrained policy.")
    return [line for line in lines if line]


def _unlearned(runs):
    """Lines on the tasks that prices leave out."""
    learned, others = price.learned_tasks(runs)
    lines, more = [], sorted(set(learned) - set(price.priced_tasks(runs)))
    if others:
        names = _joined([task_name(task) for task in others])
        lines.append(f"No arm learned {names} (far above the untrained policy in every seed): left out of prices.")
    if more:
        names = _joined([task_name(task) for task in more])
        lines.append(f"Prices leave out {names} too, by the rule they were registered with (results/LOG.md).")
    return lines


def short_budget(study):
    """One line where runs are much shorter than their task's file says, from the stored configuration; or None.

    A task of the user's own has no usual budget, and forks are short on purpose.
    """
    short = {}
    for config, steps in zip(study.runs["config"], study.runs["total_steps"]):
        try:
            config = json.loads(config)
            task = config["task"]
            usual = 0 if config.get("fork") or task["name"] == task["id"] else task["total_steps"]
        except (TypeError, ValueError, KeyError):
            continue
        if steps < SHORT * usual:
            short[int(steps), int(usual)] = True
    if not short:
        return None
    steps, usual = min(short, key=lambda pair: pair[0] / pair[1])
    line = f"Trained for {_spaced(steps)} of the task’s usual {_spaced(usual)} steps"
    if "trpo" in set(study.runs["algorithm"]):
        return f"{line}: TRPO’s small steps lose most by that, so its rank here says little about a full run."
    return f"{line}: ranks may change in a full run."


def _spaced(number):
    """ "1 000", "2.1"; of large numbers two digits."""
    if number < 10:
        return f"{number:g}"
    return f"{int(float(f'{number:.2g}')) if isinstance(number, float) else number:,}".replace(",", " ")


# What the runs show ---------------------------------------------------------------------


def sentences(study, frames, answered):
    """At most five findings, in the order of the report.

    frames    {name: numbers} of the figures and tables that were drawn
    answered  of `question.report`
    """
    found = _contest(study, frames, answered) if contest(study) else _own(study, frames)
    return found[:MOST]


def _where(frames, *names):
    """The first of these that was drawn."""
    return next((name for name in names if name in frames), "")


def _contest(study, frames, answered):
    given = list(frames["four_answers"].itertuples()) if "four_answers" in frames else []
    units = [answer for answer in given if "unit of reward" in answer.label]
    given = [answer for answer in given if answer.tasks >= ENOUGH and answer not in units]
    steps = [answer for answer in units if answer.key == "step"]
    units = [answer for answer in units if answer not in steps]
    found = [_steps(study, steps, frames)]
    if units and units[0].tasks >= answers.ENOUGH_IN_UNITS:
        found += [_carried(study, units, frames), _carried_lead(units, frames)]
    else:
        found += [*_questions(answered, frames), _unit(study, frames)]
    found.append(_price(given, frames, "β"))
    found.append(_moves(given, frames) or _changes(given, frames))
    found.append(_lead_of_trpo(given, frames) or _compared(study, frames))
    found += [_takes_off(given, frames), *_each_task(frames)]
    found += [_predicts(given, frames), _price(given, frames, "δ")]
    return [sentence for sentence in found if sentence]


def _questions(answered, frames):
    """What decides: whether the best beta has the unit of the advantages, and what a value from other tasks costs."""
    found = []
    for page, own in answered:
        name = own[0].question
        wanted = {"unit": own[:1], "regret": own[:2]}.get(name, [])
        found += [
            Sentence(question.in_words(page, answer), _where(frames, name))
            for answer in wanted
            if len(answer.tasks) >= ENOUGH
        ]
    return found


def _unit(study, frames):
    """How far apart one beta's steps are on different tasks."""
    log_kl, parts = log_median_kl(study), []
    for condition, kind in ((study.main_condition, ""), (study.raw_condition, "raw ")):
        runs = plain(study.under(condition), "kl_fixed") if condition is not None else study.runs.iloc[:0]
        if kind and condition == study.main_condition or runs["task"].nunique() < 2:
            continue
        everywhere = runs.groupby("setting")["task"].nunique()
        betas = everywhere.index[everywhere == runs["task"].nunique()]
        if not len(betas):
            continue
        beta = betas[np.abs(np.log(betas / 3)).argmin()]
        chosen = runs[runs["setting"] == beta]
        by_task = log_kl.reindex(chosen.index).groupby(chosen["task"]).mean().dropna()
        if len(by_task) > 1:
            times = _spaced(round(10 ** (by_task.max() - by_task.min()), 1))
            parts.append((beta, f"{times}-fold with {chosen['advantages'].iloc[0]} advantages"))
    if not parts:
        return None
    texts = [text if beta == parts[0][0] else f"{text} (β = {beta:g})" for beta, text in parts]
    text = f"At β = {parts[0][0]:g} the median step (KL of an update) differs {_joined(texts)} between tasks."
    return Sentence(text, _where(frames, "achieved_kl", "hidden_adaptation"))


def _interval(effect, low, high, form=percent):
    return f"{form(effect)} [{form(low)}, {form(high)}]"


def _signed(value):
    return f"{value:+.2f}"


def _price(given, frames, symbol):
    own = [answer for answer in given if answer.key == "A" and answer.label.startswith(f"{symbol},")]
    if not own:
        return None
    parts = [
        f"{_interval(answer.effect, answer.low, answer.high)} of the gain with {_advantages(answer)}" for answer in own
    ]
    tasks = np.array([answer.tasks for answer in own])
    drawn = ("windows", "transfer", "beta_profile") if symbol == "β" else ("windows", "number_profiles", "transfer")
    return Sentence(
        f"The best single {symbol} for all tasks ({span(tasks)}) loses {_joined(parts)}.",
        _where(frames, *drawn),
    )


def _steps(study, steps, frames):
    """What the unit of reward makes of the step that one number sets."""
    if not steps or steps[0].tasks < answers.ENOUGH["step"]:
        return None
    scales = answers.steps_in_units(study)["reward_scale"]
    parts = [
        f"{times(step.effect)}-fold [{times(step.low)}, {times(step.high)}] at one {symbol}"
        for step in steps
        for symbol in re.findall(r"of one (\S+)", step.label)
    ]
    text = f"With rewards {_spaced(scales.max() / scales.min())} times larger the median step (KL of an update) becomes"
    return Sentence(f"{text} {_joined(parts)} ({steps[0].tasks} tasks).", _where(frames, "unit_steps"))


def _carried(study, units, frames):
    """What a number tuned in one unit of reward loses in another one."""
    labels = {label for _, runs, _ in answers.units_of_reward(study) for label in runs["task"]}
    factors = _joined([f"× {factor:g}" for factor in sorted({float(label.split(UNIT)[1]) for label in labels})])
    parts = [
        f"{answer.label.split()[0]} loses {_interval(answer.effect, answer.low, answer.high)}"
        for answer in units
        if answer.key == "A"
    ]
    text = f"Tuned with rewards in one unit ({factors}) and used in the other, {_joined(parts)} of the gain"
    return Sentence(f"{text} ({units[0].tasks} tasks).", _where(frames, "windows", "beta_profile"))


def _carried_lead(units, frames):
    own = next((answer for answer in units if answer.key == "C"), None)
    if own is None:
        return None
    text = f"TRPO minus a fixed β, both tuned in the other unit: {_interval(own.effect, own.low, own.high, _signed)}"
    return Sentence(f"{text} of the gain.", _where(frames, "four_answers"))


def _advantages(answer):
    return re.search(r"(raw|normalised) advantages(, gradient within [\d.]+)?", answer.label)[0]


def _moves(given, frames):
    own = [answer for answer in given if answer.key == "B"]
    if not own:
        return None
    told = [answer for answer in own if np.isfinite(answer.effect)]
    parts = [
        f"{_interval(answer.effect, answer.low, answer.high, _signed)} decades with {_advantages(answer)}"
        for answer in told
    ]
    edges = [
        f"{answer.edges} of {answer.tasks} tasks with {_advantages(answer)}" for answer in own if answer not in told
    ]
    text = f"Within a run the best β moves by {' and '.join(parts)}." if parts else ""
    if edges:
        text += f" How far the best β moves within a run is not told on {' and '.join(edges)}: it is an end of the "
        text += "values that were run, at the first point or the last."
    return Sentence(text.strip(), _where(frames, "forks"))


def _changes(given, frames):
    """What a beta that changes within a run gains over the best constant one of the same task."""
    own = [answer for answer in given if answer.key == "change" and answer.tasks >= answers.ENOUGH["change"]]
    if not own:
        return None
    parts = [
        f"{_interval(answer.effect, answer.low, answer.high, _signed)} with {_advantages(answer)} ({answer.candidates})"
        for answer in own
    ]
    text = "PPO’s adaptive β minus the best constant one of the same task, in shares of the gain, each the best of its "
    text += f"candidates: {' and '.join(parts)}."
    return Sentence(text, _where(frames, "changing", "four_answers"))


def _lead_of_trpo(given, frames):
    own = [answer for answer in given if answer.key == "C" and answer.candidates]
    if not own:
        return None
    parts = [
        f"{_interval(answer.effect, answer.low, answer.high, _signed)} with {_advantages(answer)} ({answer.candidates}"
        f"{', not tuned' if answer.label.endswith(answers.ONE) else ''})"
        for answer in own
    ]
    text = "TRPO minus fixed β, in shares of the gain, each at the best single of its candidates for all tasks: "
    text += f"{_joined(parts)}."
    return Sentence(text, _where(frames, "four_answers", "comparison", "table_1"))


def _each_task(frames):
    """Tasks on which TRPO is shown to be above or below the best single β, where seeds are enough for one task."""
    if "contests" not in frames:
        return []
    found = []
    for kind, here in frames["contests"].groupby("advantages", sort=False):
        if here["seeds"].min() < answers.FEWEST or len(here) < answers.LEAST:
            continue
        shown = here[answers.shown(here)]
        above, below = (_some(shown.loc[side, "task"]) for side in (shown["lead"] > 0, shown["lead"] < 0))
        text = f"TRPO is shown to be above β = {here['beta'].iloc[0]:.3g} on {above} and below it on {below} of "
        text += f"{len(here)} tasks, with {kind} advantages"
        found.append(Sentence(f"{text}. Neither number is tuned to the task.", "contests"))
    return found


def _some(tasks):
    """ "3 (A, B and C)", "none"."""
    names = [task_name(task) for task in tasks]
    return f"{len(names)} ({_joined(names)})" if 0 < len(names) <= NAMED else str(len(names) or "none")


def _predicts(given, frames):
    own = next((answer for answer in given if answer.key == "mechanism"), None)
    if own is None:
        return None
    shown = {answers.SHOWN: "shown", answers.CONTRARY: "refuted"}.get(own.verdict, "undecided")
    return Sentence(
        f"That the β that TRPO implies in its first ten iterations predicts the best β better than a constant does is "
        f"{shown}: its extra error over the constant is {_interval(own.effect, own.low, own.high, _signed)} decades.",
        _where(frames, "diagonal", "implied_beta"),
    )  # fmt: skip


def _compared(study, frames):
    try:
        difference, low, high, tasks, names = compare_two(study.main, "trpo", "kl_fixed")
    except NotApplicable:
        return None
    return Sentence(
        f"{names[0]} (not tuned), minus {names[1]} (chosen in hindsight): "
        f"{_interval(difference, low, high, _signed)} of the gain, in the mean over {tasks} "
        f"{'task' if tasks == 1 else 'tasks'}.",
        _where(frames, "comparison", "table_1"),
    )


def _takes_off(given, frames):
    """What a bound on the gradient takes off the price of one β."""
    own = [answer for answer in given if answer.key == "bound" and answer.tasks >= answers.ENOUGH["bound"]]
    if not own:
        return None
    parts = [f"{_interval(answer.effect, answer.low, answer.high)} ({answer.label})" for answer in own]
    text = f"A bound on the gradient takes this much of the gain off what the best single β loses: {_joined(parts)}."
    return Sentence(text, _where(frames, "gradient_bound", "four_answers"))


def _crosses(frame):
    """Tasks on which the β that gain most early lose late, corrected for how many were asked."""
    shown = frame[answers.shown(frame)]
    several = frame["advantages"].nunique() > 1
    parts = []
    for row in shown.itertuples():
        early, late = (
            _interval(*(getattr(row, f"lead_{point}{end}") for end in ("", "_low", "_high")), three_digits)
            for point in ("first", "last")
        )
        where = f"{task_name(row.task)}, {row.advantages} advantages," if several else task_name(row.task)
        parts.append(f"On {where} small β gain {early} more than large ones early and {late} late.")
    if parts:
        return Sentence(f"{' '.join(parts)} A β between may still serve both.", "crossing")
    asked = f"{len(frame)} cells" if several else f"{len(frame)} tasks" if len(frame) > 1 else "the task"
    return Sentence(f"That small β gain most early and large β late is not shown on {asked}.", "crossing")


# A user's own sweep ---------------------------------------------------------------------


def _own(study, frames):
    if "crossing" in frames:
        given = list(frames["four_answers"].itertuples()) if "four_answers" in frames else []
        return [sentence for sentence in (_moves(given, frames), _crosses(frames["crossing"])) if sentence]
    found = _each_task(frames)
    name = _where(frames, "beta_profile", "profile")
    if name:
        frame = frames[name]
        for algorithm, here in frame[frame["kind"] == "best"].groupby("algorithm", sort=False):
            rows = frame[frame["of"] == algorithm] if "of" in frame else frame
            found += _best_values(algorithm, here, rows, name)
    if not found and study.main.groupby("task")["arm"].nunique().max() > 0:
        found = _best_arms(study, frames)
    return found[:2] if len(found) > 2 else found


def _best_values(algorithm, best, frame, anchor):
    """What the sweep of a number shows, by task; where several values are not shown to be worse none is called best."""
    symbol = SYMBOLS[KNOBS[algorithm][0]]
    swept = frame[(frame["kind"] == "sweep") & frame["task"].isin(best["task"])]
    if best["task"].nunique() > NAMED:
        best, tasks = best.sort_values("setting"), best["task"].nunique()
        first, last = best.iloc[0], best.iloc[-1]
        ties = int((swept.groupby("task")["not_worse"].sum() > 1).sum())
        text = f"The {symbol} with the highest mean return goes from {first['setting']:g} ({task_name(first['task'])}) "
        text += f"to {last['setting']:g} ({task_name(last['task'])}) over {tasks} tasks"
        text += f"; on {ties} of them others are not shown to be worse." if ties else "."
        return [Sentence(text, anchor)]
    parts = []
    for task, values in swept.groupby("task", sort=False):
        best_values, fastest = (values[values[column]] for column in ("not_worse", "not_slower"))
        if len(best_values) == 1:
            cell = best_values.iloc[0]
            part = f"{symbol} = {cell['setting']:g} is best, with a return of {_return(cell)}"
            if len(values) > 1 and cell["setting"] in (values["setting"].min(), values["setting"].max()):
                end = "smallest" if cell["setting"] == values["setting"].min() else "largest"
                part += f"; it is the {end} value that was run, so the best may lie beyond it"
        else:
            ends = " to ".join(dict.fromkeys(_short(best_values["mean"].agg(end)) for end in ("min", "max")))
            part = f"{_values(symbol, best_values, values)} not shown to be worse in final return (mean {ends})"
        part = f"on {task_name(task)} {part}"
        if values["runs"].max() < 2:
            parts.append(f"{part}: one seed does not tell values apart")
            continue
        if fastest.index.equals(best_values.index):
            part += ", nor in speed" if len(fastest) > 1 else "; it is fastest too"
        elif len(fastest) == 1:
            part += f"; in speed {symbol} = {fastest['setting'].iloc[0]:g} is best"
        else:
            part += f"; in speed {_values(symbol, fastest, values)} not shown to be worse"
        parts.append(f"{part} (mean return over training)")
    found = [Sentence(f"{_capital('. '.join(_capital(part) for part in parts))}.", anchor)]
    bands = frame[frame["kind"] == "band"]
    if len(bands) and best["task"].nunique() == 1:
        others = _joined([f"{arm_name(row['arm'])} returns {_return(row)}" for _, row in bands.iterrows()])
        found.append(Sentence(f"There {others}.", anchor))
    return found


def _values(symbol, kept, all_values):
    """ "β from 0.1 to 10 is" where all values run between are among those kept, else "β = 0.1 and 10 are"."""
    settings = sorted(kept["setting"])
    between = all_values["setting"].between(settings[0], settings[-1]).sum()
    if len(settings) > 2 and between == len(settings):
        return f"{symbol} from {settings[0]:g} to {settings[-1]:g} is"
    return f"{symbol} = {_joined([f'{value:g}' for value in settings])} {'is' if len(settings) == 1 else 'are'}"


def _return(cell):
    interval = f" [{_short(cell['low'])}, {_short(cell['high'])}]" if np.isfinite(cell["low"]) else ""
    return f"{_short(cell['mean'])}{interval}"


def _short(value):
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _best_arms(study, frames):
    parts = []
    for task, here in study.main.groupby("task"):
        scores = here.pivot_table(index="arm", columns="seed", values="score")
        arm = scores.mean(axis=1).idxmax()
        average, low, high = statistics.mean_interval(here.loc[here["arm"] == arm, "score"].to_numpy())
        result = _return({"mean": average, "low": low, "high": high})
        kept = statistics.not_shown_worse(scores.to_numpy())
        others = [arm_name(other) for other in scores.index[kept] if other != arm]
        part = f"on {task_name(task)} {arm_name(arm)}"
        if others:
            which = _joined(others) if len(others) <= NAMED else f"{len(others)} of {len(scores) - 1} others"
            verb = "is" if len(others) == 1 else "are"
            parts.append(f"{part} has the highest mean return, {result}; {which} {verb} not shown to be worse")
        else:
            parts.append(f"{part} {'does best, with a return of' if len(scores) > 1 else 'returns'} {result}")
    if len(parts) > NAMED:
        best = study.main.groupby(["task", "arm"])["score"].mean().unstack().idxmax(axis=1).map(arm_name)
        counts = best.value_counts()
        text = _joined([f"{name} on {count}" for name, count in counts.head(NAMED).items()])
        parts = [f"the arm with the highest mean return is, of {len(parts)} tasks, {text}"]
    return [Sentence(f"{'. '.join(_capital(part) for part in parts)}.", _where(frames, "learning_curves", "returns"))]


GLOSSARY = (
    ("arm", "an algorithm with its numbers; its runs differ in the seed alone"),
    ("β", "coefficient of the KL penalty: the larger, the smaller the step of the policy"),
    ("δ", "the most that the policy may move in one update under TRPO’s constraint, in nats of KL"),
    ("KL", "Kullback-Leibler divergence of the new policy from the old one: how far an update moved it"),
    ("fixed β", "a penalty whose β stays the same for all of training"),
    ("adaptive β", "a penalty whose β is doubled or halved after each update to keep the KL near a target"),
    ("bisected β", "a penalty whose β is solved for at each update, so that the KL equals δ"),
    ("implied β", "the β with which a penalty would make the step that the constraint made"),
    ("raw, normalised advantages", "as estimated, in units of the reward; or scaled to unit variance in each batch"),
    ("gain", "what the best arm of a task returns above the untrained policy; losses are shares of it"),
    ("final return", "mean return of a run’s last 100 episodes"),
    ("condition", "settings of the protocol, the same for all arms that are compared"),
    ("fork", "runs of several β that go on from one point of the same run"),
    ("Student’s interval", "a 95 % interval of a mean that allows for few seeds"),
    ("none shown better", "values that no other one beats by Welch’s test at 5 %; with few seeds, many"),
)
