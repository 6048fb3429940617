"""How tasks, algorithms and their numbers are called in figures, tables and sentences."""

import re
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

ALGORITHMS = {
    "kl_fixed": "fixed β",
    "kl_adaptive": "adaptive β",
    "trpo": "TRPO",
    "clip": "clipping",
    "unpenalised": "no penalty",
    "natural_gradient": "natural gradient",
    "kl_dual": "dual ascent on β",
    "kl_scheduled": "scheduled β",
    "kl_bisect": "bisected β",
    "kl_replay": "replayed β",
    "kl_per_sample": "penalty per sample",
    "kl_stop": "stop at target KL",
    "kl_theory": "β of the theory",
    "kl_measured": "measured β",
    "kl_reverse": "KL(new‖old), fixed β",
    "fixpo": "FixPO",
    "projection": "projection per state",
    "vmpo": "V-MPO",
    "lr_adaptive": "adaptive learning rate",
    "simple_policy_optimization": "quadratic ratio penalty",
}
DISPLAY_ORDER = {name: place for place, name in enumerate(("kl_fixed", "trpo", "kl_adaptive", "clip"))}
SYMBOLS = {"beta": "β", "kl_target": "target KL", "max_kl": "δ", "clip_epsilon": "ε"}


def symbol(knob):
    """ "β" of beta; of the number that an algorithm of one's own was swept over its name."""
    return SYMBOLS.get(knob, knob)


TASKS = {
    "halfcheetah": "HalfCheetah",
    "hopper": "Hopper",
    "inverteddoublependulum": "InvDoublePend",
    "invertedpendulum": "InvPendulum",
    "reacher": "Reacher",
    "swimmer": "Swimmer",
    "walker2d": "Walker2d",
    "ant": "Ant",
    "humanoid": "Humanoid",
    "cartpole": "CartPole",
    "acrobot": "Acrobot",
    "lunarlander": "LunarLander",
    "pendulum": "Pendulum",
    "lunarlandercontinuous": "LunarLanderCont",
    "taxi": "Taxi",
    "cliffwalking": "CliffWalking",
    "frozenlake": "FrozenLake8x8",
    "cartpole_balance": "CartpoleBalance",
    "reacher_easy": "ReacherEasy",
    "pointmass": "PointMassEasy",
    "finger_spin": "FingerSpin",
    "ball_in_cup": "BallInCupCatch",
    "cheetah_run": "CheetahRun",
    "walker_stand": "WalkerStand",
    "walker_walk": "WalkerWalk",
    "walker_run": "WalkerRun",
    "pendulum_swingup": "PendulumSwingup",
    "lqr": "LQR 2-1",
    "catch": "Catch",
    "hopper_stand": "HopperStand",
    "pusher": "Pusher",
    "fetch_reach": "FetchReach",
    "metaworld_reach": "MetaWorldReach",
}


def algorithm_name(algorithm):
    return ALGORITHMS.get(algorithm, algorithm)


def task_name(task):
    return TASKS.get(task, str(task))


ADVANTAGES = {"none": "raw advantages", "centre": "centred advantages"}


def arm_names(arms):
    """{arm: what a legend calls it}: "kl_fixed beta=3" is "β=3", "trpo max_kl=0.01" is "TRPO, δ=0.01".

    arms  {arm: (algorithm, {setting: value} of it as far as the arm's name has them, {setting: value} of the protocol's
          settings that differ from the defaults)}. What goes on from one of them is called by that one's name.
    """

    def called(arm):
        if arm not in arms:
            return algorithm_name(arm)
        algorithm, own, changes = arms[arm]
        name, numbers = algorithm_name(algorithm), [_setting(key, value) for key, value in own.items()]
        if algorithm == "custom" and "module" in own:
            name, numbers = own["module"].split(".")[-1], [_setting(key, own[key]) for key in own if key != "module"]
        if algorithm == "kl_replay" and "source" in own:  # the arm that it replays is named, not the file
            name += f" of {called(own.get('source_arm'))}"
            numbers = ["geometric mean"] if own.get("mean") == "geometric" else []
        for key, value in changes.items():
            fork = key == "fork" and value
            begun = fork and f"begun after {spaced(value['at'])} steps of {called(value['arm'])}"
            numbers.append(begun or _change(key, value))
        return ", ".join(numbers if algorithm == "kl_fixed" and "beta" in own else [name, *numbers])

    return {arm: called(arm) for arm in arms}


_shown = ContextVar("names of the arms of the study that is shown", default={})  # noqa: B039


@contextmanager
def naming(study):
    """Within it `arm_name` has the names of this study's arms: figures and tables are drawn from frames alone."""
    token = _shown.set(study.arm_names)
    try:
        yield
    finally:
        _shown.reset(token)


def arm_name(arm):
    """An arm's label for a legend, of the study that is shown (`naming`); of any other arm what the frame has."""
    return _shown.get().get(arm.strip(), algorithm_name(arm))


def _setting(key, value):
    return f"{symbol(key)}={spelled(value)}"


def _change(key, value):
    if key == "advantage_normalization" and value in ADVANTAGES:
        return ADVANTAGES[value]
    return f"rewards × {spelled(value)}" if key == "reward_scale" else _setting(key, value)


OTHERS = ("none", "true", "false", "nan", "inf")  # words of what is no text


def spelled(value):
    """A setting's value: "0.3", "256x256", "true", "none"; a text that could be another kind's is quoted."""
    if isinstance(value, str):
        return value if re.fullmatch(r"[A-Za-z_][^\s]*", value) and value.lower() not in OTHERS else repr(value)
    if isinstance(value, list):
        return "x".join(map(spelled, value))
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else repr(value)
    return str(value).lower()


def counted(count, word):
    """ "1 run", "3 runs", "2 to 5 seeds"."""
    return f"{count} {word if str(count) == '1' else f'{word}s'}"


def lacking(missing):
    """ "1 run is missing", "3 runs are missing"."""
    return f"{counted(len(missing), 'run')} {'is' if len(missing) == 1 else 'are'} missing"


def percent(share):
    return f"{100 * share:.0f} %"


def spaced(number):
    """ "1 000 000", which no line break takes apart."""
    return f"{int(number):,}".replace(",", "\N{NO-BREAK SPACE}")


def steps_name(runs):
    """ "1 000 000", or "40 960 to 1 000 000" where budgets differ."""
    steps = sorted(runs["total_steps"].unique())
    return " to ".join(dict.fromkeys(map(spaced, (steps[0], steps[-1]))))


def digits(value):
    """ "94.1", "0.0123", "2345": three digits, whole from a thousand on."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def span(counts):
    """ "3", or "3 to 5" where counts differ."""
    low, high = int(np.min(counts)), int(np.max(counts))
    return str(low) if low == high else f"{low} to {high}"


def interval_text(value, low, high, digits=2):
    """ "0.71 [0.65, 0.77]", without the interval where there is none."""
    if not np.isfinite(value):
        return "–"
    if not np.isfinite(low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def range_text(value, low, high, digits=2):
    """ "0.10 (0.06 to 0.11)", for a range that is no interval; without it where there is none."""
    if not np.isfinite(low):
        return interval_text(value, low, high, digits)
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def signed(row, name, form="{:+.2f}".format):
    """ "+0.10 [-0.02, +0.23]", or a dash."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return f"{form(value)} [{form(low)}, {form(high)}]" if np.isfinite(low) else "–"


def three_digits(value):
    """ "+101", "-3,830", "+0.85": a difference in units that differ by task."""
    return f"{float(f'{value:.3g}'):+,.0f}" if abs(value) >= 99.95 else f"{value:+.3g}"


def times(decades):
    """ "180", "46", "0.98": 10 to the power, to two digits; near 1 two decimals, so that 1.02 is not 1."""
    factor = 10**decades
    return f"{factor:.2f}" if 0.5 < factor < 2 else f"{float(f'{factor:.2g}'):g}"
