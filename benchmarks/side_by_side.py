"""`make benchmark`: time per environment step beside the libraries a user would pick instead, and where it goes.

Writes results/benchmark/: contenders.csv, classic.csv, widths.csv, phases.csv, other.csv, summary.csv, machine.txt,
benchmark.png and table.md. 17 minutes on an otherwise idle machine of two cores, 5 of them for `make study` in a
fresh clone; a machine with other work gives other ratios. To stay short there are 4 rounds, not 5, and
families.csv (every page with an inner loop, HalfCheetah, 3 minutes) is measured only by `--parts families`.
`--parts widths,phases` measures these again and leaves the rest as it was.

PPO's protocol everywhere (horizon 2048, 10 epochs, minibatch 64, networks 64-64, diagnostics on), one core each.
Contenders of a task are kept running side by side and take turns, round by round. They start together, on any core.
JAX's libraries have a script of their own, benchmarks/beside_jax.py; `--jax PYTHON` runs it at the end.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TASKS = ("halfcheetah", "hopper", "inverteddoublependulum", "invertedpendulum", "reacher", "swimmer", "walker2d")
CLASSIC = ("cartpole", "pendulum", "acrobot", "taxi")
FAMILIES = {  # one arm of each page with an inner loop or a step of its own
    "unpenalised": [],
    "kl_fixed": ["algorithm.beta=3"],
    "kl_adaptive": [],
    "clip": [],
    "kl_stop": [],
    "kl_bisect": [],
    "natural_gradient": [],
    "trpo": [],
}
HORIZON, EPOCHS, MINIBATCH, HIDDEN = 2048, 10, 64, (64, 64)
WIDTH = 20  # runs of a fleet, of what is compared with others
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128)
OURS, OUR_TRPO = "ours, kl_fixed", "ours, trpo"
PPO, TRPO, PHYSICS = "stable-baselines3 PPO", "sb3-contrib TRPO", "EnvPool physics alone"


# Contenders: made and warmed up by the constructor; round() goes on training and returns environment steps done.


class Ours:
    def __init__(self, task: str, algorithm: str, width: int = WIDTH, changes: tuple[str, ...] = ()):
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf

        from study.config import parse
        from study.fleet import Trainer
        from study.process import fit

        fit()
        with initialize_config_dir(str(ROOT / "conf"), version_base=None):
            words = [f"task={task}", f"algorithm={algorithm}", *FAMILIES[algorithm], *changes]
            config = OmegaConf.to_container(compose("config", words), resolve=True)
        self.trainer = Trainer([parse(config | {"seed": seed}) for seed in range(width)])
        self.trainer._open_chapter()
        self.round()

    def round(self) -> int:
        self.trainer._iterate()
        return len(self.trainer.configs) * HORIZON


class Peer:
    """stable-baselines3's PPO or sb3-contrib's TRPO with one environment, as their users run them."""

    def __init__(self, task: str, algorithm: str):
        import gymnasium
        import stable_baselines3
        import torch
        from sb3_contrib import TRPO

        shared = {"n_steps": HORIZON, "batch_size": MINIBATCH, "device": "cpu", "seed": 0}
        shared["policy_kwargs"] = {"net_arch": list(HIDDEN), "activation_fn": torch.nn.Tanh}
        try:
            environment = gymnasium.make(_id(task))
        except gymnasium.error.DeprecatedEnv:  # gymnasium has a later version only, of Taxi
            environment = gymnasium.make(_id(task).split("-v")[0])
        if algorithm == "ppo":
            self.model = stable_baselines3.PPO("MlpPolicy", environment, n_epochs=EPOCHS, **shared)
        else:
            self.model = TRPO("MlpPolicy", environment, n_critic_updates=EPOCHS, cg_max_steps=10, **shared)
        self.round()

    def round(self) -> int:
        self.model.learn(HORIZON, reset_num_timesteps=False)
        return HORIZON


class Physics:
    """EnvPool alone, under the standard normal actions of a fresh policy, ended episodes reset."""

    def __init__(self, task: str):
        from study.config import Task
        from study.task import Copies

        self.copies = Copies(
            Task(name=task, id=_id(task), backend="auto", total_steps=1, kwargs={}), list(range(WIDTH))
        )
        self.copies.reset()
        actions = np.random.default_rng(0).standard_normal((HORIZON, WIDTH, self.copies.family.size))
        space = self.copies._copies.action_space
        self.actions = actions.clip(space.low, space.high).astype(space.dtype)
        self.step = self.copies._copies.step
        self.round()

    def round(self) -> int:
        for action in self.actions:
            self.step(action)
        return HORIZON * WIDTH


CONTENDERS = {
    OURS: lambda task: Ours(task, "kl_fixed"),
    OUR_TRPO: lambda task: Ours(task, "trpo"),
    PPO: lambda task: Peer(task, "ppo"),
    TRPO: lambda task: Peer(task, "trpo"),
    PHYSICS: Physics,
}


def _id(task: str) -> str:
    import yaml

    return yaml.safe_load((ROOT / f"conf/task/{task}.yaml").read_text())["id"]


def _copies(task: str, number: int):
    from study.config import Task
    from study.task import Copies

    return Copies(Task(name=task, id=_id(task), backend="auto", total_steps=1, kwargs={}), list(range(number)))


# A contender in a process of its own, on one core


class Server:
    def __init__(self, words: list[str], core: int = 0, script: str = __file__, python: str = sys.executable):
        self.process = subprocess.Popen(
            [python, script, "--serve", str(core), *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip

    def ready(self) -> "Server":
        self._answer()
        return self

    def start(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> float:
        """Microseconds per environment step of the round started."""
        return float(self._answer())

    def round(self) -> float:
        self.start()
        return self.finish()

    def close(self) -> float:
        """Ends it; returns its peak memory in MB."""
        self.process.stdin.close()
        memory = float(self._answer())
        self.process.wait()
        return memory

    def _answer(self) -> str:
        for line in self.process.stdout:
            if line.startswith("> "):
                return line[2:]
        raise SystemExit(f"{self.process.args}: ended with {self.process.wait()}")


def serve(core: str, kind: str, *words: str) -> None:
    import torch

    torch.set_num_threads(1)
    if kind == "ours":
        contender = Ours(words[0], words[1], int(words[2]))
    else:
        contender = CONTENDERS[kind](*words)
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {int(core)})
    print("> ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        steps = contender.round()
        print(f"> {1e6 * (time.perf_counter() - began) / steps}", flush=True)
    print(f"> {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}", flush=True)


# What is measured


def in_turns(words: dict[str, list[str]], rounds: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """name, round and us_per_step of contenders started by these words; and the peak memory of each, MB."""
    servers = {name: Server(each) for name, each in words.items()}
    for server in servers.values():
        server.ready()
    rows = [(name, turn, server.round()) for turn in range(rounds) for name, server in servers.items()]
    times = pd.DataFrame(rows, columns=["name", "round", "us_per_step"])
    print(times.groupby("name", sort=False)["us_per_step"].median().round(1).to_dict(), flush=True)
    return times, {name: server.close() for name, server in servers.items()}


def contenders(tasks: list[str], names: list[str], rounds: int) -> pd.DataFrame:
    parts = []
    for task in tasks:
        print(task, end=": ")
        times, _ = in_turns({name: [name, task] for name in names}, rounds)
        parts.append(times.rename(columns={"name": "contender"}).assign(task=task))
    return pd.concat(parts)[["task", "contender", "round", "us_per_step"]]


def families(rounds: int) -> pd.DataFrame:
    rows = []
    for name in FAMILIES:
        server = Server(["ours", "halfcheetah", name, str(WIDTH)]).ready()
        rows += [{"family": name, "round": turn, "us_per_step": server.round()} for turn in range(rounds)]
        server.close()
        print(rows[-1])
    return pd.DataFrame(rows)


def widths(rounds: int) -> pd.DataFrame:
    words = {width: ["ours", "halfcheetah", "kl_fixed", str(width)] for width in WIDTHS}
    times, memory = in_turns(words, rounds)
    return times.rename(columns={"name": "runs"}).assign(peak_mb=times["name"].map(memory))


def two_cores(rounds: int) -> list[float]:
    """Throughput of two fleets on two cores over that of one fleet on one, round by round."""
    if len(os.sched_getaffinity(0)) < 2:
        return [float("nan")]
    servers = [Server(["ours", "halfcheetah", "kl_fixed", str(WIDTH)], core).ready() for core in (0, 1)]
    ratios = []
    for _ in range(rounds):
        alone = servers[0].round()
        for server in servers:
            server.start()
        together = [server.finish() for server in servers]
        ratios.append(sum(alone / each for each in together))
    for server in servers:
        server.close()
    return ratios


def _cold(folder: str) -> dict[str, str]:
    """The environment of a command that finds nothing compiled before."""
    return os.environ | {
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "TORCH_EXTENSIONS_DIR": f"{folder}/extensions",
    }


def start_up(rounds: int) -> dict[str, float]:
    """Seconds of a whole command that trains two runs for one iteration (0.3 s of it).

    Cold and warm are the caches of compiled code; the operating system's file cache is warm in both.
    """
    words = ["task=halfcheetah", "algorithm=kl_fixed", "algorithm.beta=3", "seed=0,1", "total_steps=2048"]
    words += ["execution.workers=1"]
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for which in ("start_cold", *(f"start_warm_{turn}" for turn in range(rounds))):
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "study", "-m", *words, f"name={which}", f"execution.results={folder}"],
                check=True, cwd=ROOT, stdout=subprocess.DEVNULL, env=_cold(folder),
            )  # fmt: skip
            seconds[which] = time.perf_counter() - began
            print(f"{which}: {seconds[which]:.1f} s", flush=True)
    return seconds


def study() -> dict[str, float]:
    """Minutes of `make study` in a fresh clone of what is committed, nothing compiled before; pip may have its cache.

    Whether the contrast is to be seen, its report says: what it prints is passed on.
    """
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", str(ROOT), f"{folder}/clone"], check=True)
        make = ["make", "study", f"PYTHON={os.path.realpath(sys.executable)}"]
        outside = {key: x for key, x in _cold(folder).items() if key != "PYTHONPATH"}
        subprocess.run(make, check=True, cwd=f"{folder}/clone", env=outside)
        return {"study_minutes": (time.perf_counter() - began) / 60}


def phases(algorithm: str, rounds: int) -> list[dict]:
    """Microseconds per environment step of what an iteration consists of."""
    import torch

    import study.fleet
    import study.task

    torch.set_num_threads(1)
    spent = defaultdict(float)

    def timed(owner, name: str, title: str) -> None:
        function = getattr(owner, name)

        def measured(*arguments, **keywords):
            began = time.perf_counter()
            made = function(*arguments, **keywords)
            spent[title] += time.perf_counter() - began
            return made

        setattr(owner, name, measured)

    contender = Ours("halfcheetah", algorithm)
    timed(study.task._EnvPool, "step", "physics")
    timed(study.fleet, "collect", "collect")
    timed(study.fleet, "implied_beta", "diagnostics")
    timed(study.fleet.value, "fit", "value fit")
    timed(study.fleet, "gae", "advantages")
    timed(study.fleet.Trainer, "_update", "policy update")
    timed(study.fleet.Trainer, "_record", "records")
    timed(study.fleet.Trainer, "_iterate", "all")
    steps = sum(contender.round() for _ in range(rounds))
    times = {title: 1e6 * seconds / steps for title, seconds in spent.items()}
    times["policy in the rollout"] = times.pop("collect") - times["physics"]
    whole = times.pop("all")
    times["all else"] = whole - sum(times.values())
    return [
        {"algorithm": algorithm, "phase": title, "us_per_step": t, "share": t / whole} for title, t in times.items()
    ]


def gemm_rate(runs: int = WIDTH) -> float:
    """FLOPs per microsecond of the update's own largest products, the best of many."""
    import torch

    torch.set_num_threads(1)
    x, w = torch.randn(runs, MINIBATCH, HIDDEN[0]), torch.randn(runs, HIDDEN[0], HIDDEN[1])
    times = []
    for _ in range(2000):
        began = time.perf_counter()
        torch.bmm(x, w)
        times.append(time.perf_counter() - began)
    return 2 * runs * MINIBATCH * HIDDEN[0] * HIDDEN[1] / (1e6 * np.quantile(times, 0.1))


def update_flops(task: str, algorithm: str) -> float:
    """Of the matrix products that the algorithm cannot do without, per environment step.

    A pass over a sample costs 2 FLOPs per weight forwards and 4 backwards, less the first layer's gradient in
    its input. TRPO: gradient, ten products of 8 per weight (the tangent forwards, its transpose), a line search.
    """
    copies = _copies(task, 1)
    copies.close()

    def weights(outputs):
        sizes = (copies.observation_size, *HIDDEN, outputs)
        return sum(a * b for a, b in zip(sizes, sizes[1:])), sizes[0] * sizes[1]

    def fit(outputs):
        every, first = weights(outputs)
        return EPOCHS * (6 * every - 2 * first)

    every, first = weights(copies.family.size)
    policy = fit(copies.family.size) if algorithm == "kl_fixed" else 6 * every - 2 * first + 10 * 8 * every + 2 * every
    return fit(1) + policy


# What is made of it


def spread(of: Callable, rounds: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """of(numbers of rounds) for all rounds, and its 95 % bootstrap interval over rounds."""
    drawn = [of(rng.integers(rounds, size=rounds)) for _ in range(2000)]
    return of(np.arange(rounds)), *np.quantile(drawn, (0.025, 0.975))


def level(times: pd.DataFrame, rounds: np.ndarray) -> float:
    """Mean over tasks of the medians over rounds; indexed by task, one column per round."""
    return np.median(times.to_numpy()[:, rounds], axis=1).mean()


def _times(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).pivot_table("us_per_step", ["contender", "task"], "round")


def summarise(folder: Path) -> pd.DataFrame:
    """A row per measure, of the parts that were measured."""
    from analysis import names

    other = pd.read_csv(folder / "other.csv", index_col="what")["value"]
    rng, rows = np.random.default_rng(0), []

    def row(measure, value, most=None, least=None, low=np.nan, high=np.nan):
        target, met = (f"<= {most}", value <= most) if least is None else (f">= {least}", value >= least)
        rows.append((measure, value, low, high, target, met))

    def spread_row(measure, of, count, **target):
        value, low, high = spread(of, count, rng)
        row(measure, value, low=low, high=high, **target)

    def ratio_row(measure, over, under, **target):
        spread_row(measure, lambda rounds: level(over, rounds) / level(under, rounds), over.shape[1], **target)

    times = _times(folder / "contenders.csv")
    tasks = times.loc[OURS].index
    for name, peer, target in ((OURS, PPO, 14), (OUR_TRPO, TRPO, 5)):
        ratio_row(f"{peer} / {name}", times.loc[peer], times.loc[name], least=target)
    for name in (OURS, OUR_TRPO):
        update = pd.Series({task: update_flops(task, name.split()[-1]) for task in tasks}) / other["gemm_flops_per_us"]
        ratio_row(f"{name} / floor", times.loc[name], times.loc[PHYSICS].add(update, axis=0), most=1.15)
    for name in (OURS, OUR_TRPO):
        learning = times.loc[name] - times.loc[PHYSICS]
        spread_row(f"{name}, all but physics, us per step", partial(level, learning), learning.shape[1], most=20)
    if (folder / "classic.csv").exists():
        times = _times(folder / "classic.csv")
        for task in [task for task in CLASSIC[:3] if task in times.loc[OURS].index]:
            ours = times.loc[OURS].loc[[task]]
            spread_row(
                f"{names.TASKS[task]}, physics included, us per step", partial(level, ours), ours.shape[1], most=16
            )
        for task in [task for task in CLASSIC if task in times.loc[OURS].index and task != "pendulum"]:
            ratio_row(
                f"{names.TASKS[task]}: {PPO} / {OURS}",
                times.loc[PPO].loc[[task]],
                times.loc[OURS].loc[[task]],
                least=25 if task == "taxi" else 30,
            )
    if len(both := other.filter(like="two_cores")):
        row("two cores / one core", both.median(), least=1.9, low=both.min(), high=both.max())
    phase = pd.read_csv(folder / "phases.csv")
    for algorithm, share in phase.query("phase == 'diagnostics'").set_index("algorithm")["share"].items():
        row(f"diagnostics, share of {algorithm}'s time", share, most=0.1)
    width = pd.read_csv(folder / "widths.csv")
    each = width.pivot_table("us_per_step", "runs", "round")
    median = each.median(axis=1)
    row("widest rise of time per run as the fleet grows", (median / median.cummin()).max(), most=1.1)
    if max(WIDTHS) in each.index:

        def rise(rounds):
            median = np.median(each.to_numpy()[:, rounds], axis=1)
            return median[-1] / median.min()

        spread_row(f"time per run, fleet of {max(WIDTHS)} / best width", rise, each.shape[1], most=1.05)
    memory = width.set_index("runs")["peak_mb"].groupby("runs").first()
    if 32 in memory.index:
        row("peak memory of a fleet of 32, per run, MB", memory[32] / 32, most=50)
    for which, most in (("cold", 30), ("warm", 5)):
        if len(seconds := other.filter(like=f"start_{which}")):
            ends = (seconds.min(), seconds.max()) if len(seconds) > 1 else (np.nan, np.nan)
            row(f"start-up, {which} compile cache, s", seconds.median(), most=most, low=ends[0], high=ends[1])
    if "study_minutes" in other:
        row("`make study`, from clone to report, minutes", other["study_minutes"], most=5)
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "target", "met"])


def table(summary: pd.DataFrame) -> str:
    lines = ["| measure | measured | target | |", "|---|---|---|---|"]
    for row in summary.itertuples():
        spread = "" if np.isnan(row.low) else f" [{row.low:.2f}, {row.high:.2f}]"
        lines.append(
            f"| {row.measure} | {row.value:.3g}{spread} | {row.target} | {'met' if row.met else '**missed**'} |"
        )
    return "\n".join(lines) + "\n"


def draw(folder: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    from analysis import names

    sns.set_theme(style="whitegrid", palette="colorblind")
    colors = sns.color_palette("colorblind")
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(14, 4.6), layout="constrained", gridspec_kw={"width_ratios": (5, 2.2, 3)}
    )
    times = pd.read_csv(folder / "contenders.csv")
    tasks = times["task"].unique()
    sns.barplot(
        times, x="task", y="us_per_step", hue="contender", estimator="median", errorbar=("pi", 100),
        hue_order=[PPO, TRPO, OURS, OUR_TRPO, PHYSICS], ax=left,
    )  # fmt: skip
    left.set(yscale="log", xlabel="", ylabel="microseconds per environment step", ylim=(10, None))
    left.set(yticks=(10, 20, 50, 100, 200, 500), yticklabels=(10, 20, 50, 100, 200, 500))
    left.yaxis.set_minor_formatter(plt.NullFormatter())
    left.set_xticks(range(len(tasks)), [names.TASKS[task] for task in tasks], rotation=30, ha="right")
    left.legend(title=None, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    width = pd.read_csv(folder / "widths.csv")
    sns.lineplot(width, x="runs", y="us_per_step", estimator="median", errorbar=("pi", 100), marker="o", ax=middle)
    middle.set_xscale("log", base=2)
    middle.set(ylim=(0, None), xlabel="runs in a fleet", ylabel="microseconds per run and step")
    middle.set(title="HalfCheetah, kl_fixed", xticks=WIDTHS, xticklabels=WIDTHS)
    phase = pd.read_csv(folder / "phases.csv").pivot(index="algorithm", columns="phase", values="us_per_step")
    order = ["physics", "policy in the rollout", "policy update", "value fit", "diagnostics", "all else"]
    phase["all else"] += phase[phase.columns.difference(order)].sum(axis=1)
    phase[order].plot.bar(stacked=True, ax=right, color=colors, rot=0)
    right.set(xlabel="", ylabel="microseconds per environment step", title=f"Phases, HalfCheetah, {WIDTH} runs")
    right.legend(title=None, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    figure.savefig(folder / "benchmark.png", dpi=130)


def machine() -> str:
    import torch

    from study.launch.store import commit

    model = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), "unknown")
    cores = len(os.sched_getaffinity(0))
    return (
        f"{time.strftime('%Y-%m-%d')}, {model}, {cores} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, commit {commit()}\n"
    )


def _note(folder: Path, values: dict[str, float], prefix: str) -> None:
    """Puts values into other.csv in place of those there that begin so."""
    path = folder / "other.csv"
    kept = pd.read_csv(path, index_col="what")["value"].to_dict() if path.exists() else {}
    kept = {what: value for what, value in kept.items() if not what.startswith(prefix)}
    pd.Series(kept | values, name="value").rename_axis("what").to_csv(path)


def measure(part: str, folder: Path, tasks: list[str], rounds: int) -> None:
    if part == "contenders":
        contenders(tasks, list(CONTENDERS), rounds).to_csv(folder / "contenders.csv", index=False)
    elif part == "classic":
        contenders(list(CLASSIC), [OURS, PPO], rounds).to_csv(folder / "classic.csv", index=False)
    elif part == "widths":
        widths(rounds).to_csv(folder / "widths.csv", index=False)
    elif part == "families":
        families(rounds).to_csv(folder / "families.csv", index=False)
    elif part == "cores":
        _note(folder, {f"two_cores_{i}": x for i, x in enumerate(two_cores(rounds))}, "two_cores")
    elif part == "start":
        _note(folder, start_up(min(rounds, 3)), "start_")
    elif part == "study":
        _note(folder, study(), "study_")
    elif part == "phases":
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {0})
        pd.DataFrame(phases("kl_fixed", rounds) + phases("trpo", rounds)).to_csv(folder / "phases.csv", index=False)
        _note(folder, {"gemm_flops_per_us": gemm_rate()}, "gemm_")
        os.sched_setaffinity(0, cores)


PARTS = ("contenders", "classic", "widths", "cores", "start", "phases", "study")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results/benchmark")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--tasks", default=",".join(TASKS), help="of the part 'contenders'")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"what to measure: {', '.join(PARTS)}, families")
    parser.add_argument("--jax", metavar="PYTHON", help="that has what benchmarks/beside_jax.py needs: run it too")
    parser.add_argument("--draw", action="store_true", help="only the summary, table and figure of what is there")
    options = parser.parse_args()
    folder, began = options.results.absolute(), time.perf_counter()
    parts = [] if options.draw else options.parts.split(",")
    if unknown := set(parts) - {*PARTS, "families"}:
        raise SystemExit(f"--parts: no part is called {', '.join(sorted(unknown))}")
    folder.mkdir(parents=True, exist_ok=True)
    if parts:
        if os.getloadavg()[0] > 0.5:
            print(f"the machine is not idle (load {os.getloadavg()[0]:.1f}): the ratios will be off", file=sys.stderr)
        (folder / "machine.txt").write_text(machine())
    for part in parts:
        print(f"{(time.perf_counter() - began) / 60:.1f} min: {part}", flush=True)
        measure(part, folder, options.tasks.split(","), options.rounds)
    if options.jax:
        words = ["--ours", sys.executable, "--results", str(folder)]
        subprocess.run([options.jax, str(ROOT / "benchmarks/beside_jax.py"), *words], check=True)
    summary = summarise(folder)
    summary.to_csv(folder / "summary.csv", index=False)
    (folder / "table.md").write_text(table(summary))
    draw(folder)
    print((folder / "machine.txt").read_text() + table(summary))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
