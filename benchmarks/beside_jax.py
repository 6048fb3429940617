"""Whole runs of PPO on one core beside two libraries on JAX: 4 minutes on an otherwise idle machine.

They need a virtual environment of their own (no GPU is used; stable-baselines3 brings a torch, a CPU build will do):

    python3.11 -m venv jaxenv
    jaxenv/bin/pip install rejax==0.1.3 gymnax==0.0.9 jax==0.10.2 flax==0.12.8 sbx-rl==0.28.0 gymnasium==1.4.0 pandas
    jaxenv/bin/python benchmarks/beside_jax.py --ours .venv/bin/python

rejax 0.1.3 does not run with gymnax 1.0. Ours is a process of --ours. Writes results/benchmark/jax.csv and jax.md.

Same protocol: horizon 2048, 10 epochs, minibatch 64, tanh networks 64-64, step size 3e-4, one core, one environment per
run; contenders of a task take turns, round by round. All processes are pinned to one core, XLA has one thread. Start-up
(imports, compiling, a first round) is counted apart, with ours' compiled code at hand from earlier runs.

Departures. rejax: 20 runs under one vmap and jit, four iterations per call; no evaluations, no observation
normalisation, time limits count as ends, clipped value loss, advantages normalised per minibatch, Pendulum is its
version v0's. SBX: one run per process, gymnasium's environments stepped in Python, no observation normalisation,
gradients clipped, advantages normalised per minibatch. Ours: a fleet of 20 runs of `clip` with observation
normalisation and with the diagnostics of beta, which neither has; Pendulum is gymnasium's, stepped as arrays.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import pandas as pd
from side_by_side import EPOCHS, HIDDEN, HORIZON, MINIBATCH, ROOT, WIDTH, Server, level, spread

TASKS = {"cartpole": "CartPole-v1", "pendulum": "Pendulum-v1"}
ITERATIONS = 4  # of rejax in one call
OURS, REJAX, SBX = "ours, clip", "rejax PPO", "SBX PPO"


class Rejax:
    def __init__(self, task: str):
        import jax
        from rejax import PPO

        algorithm = PPO.create(
            env=TASKS[task], agent_kwargs={"hidden_layer_sizes": HIDDEN, "activation": "tanh"}, ent_coef=0.0,
            num_envs=1, num_steps=HORIZON, num_epochs=EPOCHS, num_minibatches=HORIZON // MINIBATCH,
            total_timesteps=ITERATIONS * HORIZON, eval_freq=ITERATIONS * HORIZON, skip_initial_evaluation=True,
        )  # fmt: skip
        algorithm = algorithm.replace(eval_callback=lambda *_: ())
        self.states = jax.jit(jax.vmap(algorithm.init_state))(jax.random.split(jax.random.PRNGKey(0), WIDTH))
        self.train = jax.jit(jax.vmap(lambda state: algorithm.train(train_state=state)[0]))
        self.ready = jax.block_until_ready
        self.round()

    def round(self) -> int:
        self.states = self.ready(self.train(self.states))
        return WIDTH * ITERATIONS * HORIZON


class Sbx:
    def __init__(self, task: str):
        import gymnasium
        import torch
        from sbx import PPO

        torch.set_num_threads(1)  # its buffers
        shared = {"n_steps": HORIZON, "batch_size": MINIBATCH, "n_epochs": EPOCHS, "seed": 0}
        shared["policy_kwargs"] = {"net_arch": list(HIDDEN)}
        self.model = PPO("MlpPolicy", gymnasium.make(TASKS[task]), **shared)
        self.round()

    def round(self) -> int:
        self.model.learn(HORIZON, reset_num_timesteps=False)
        return HORIZON


def serve(core: str, kind: str, task: str) -> None:
    os.sched_setaffinity(0, {int(core)})
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    contender = {REJAX: Rejax, SBX: Sbx}[kind](task)
    print("> ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        steps = contender.round()
        print(f"> {1e6 * (time.perf_counter() - began) / steps}", flush=True)
    print("> 0")


def measured(python: str, rounds: int) -> pd.DataFrame:
    rows = []
    for task in TASKS:
        servers, seconds = {}, {}
        for name in (OURS, REJAX, SBX):
            began = time.perf_counter()
            if name == OURS:
                script = str(ROOT / "benchmarks/side_by_side.py")
                server = Server(["ours", task, "clip", str(WIDTH)], script=script, python=python)
            else:
                server = Server([name, task], script=__file__)
            servers[name] = server.ready()
            seconds[name] = time.perf_counter() - began
        for turn in range(rounds):
            for name, server in servers.items():
                rows.append((task, name, turn, server.round(), seconds[name]))
        for server in servers.values():
            server.close()
    return pd.DataFrame(rows, columns=["task", "contender", "round", "us_per_step", "start_up_seconds"])


def table(rows: pd.DataFrame) -> str:
    import numpy as np

    rng = np.random.default_rng(0)
    times = rows.pivot_table("us_per_step", ["contender", "task"], "round")
    start = rows.groupby(["contender", "task"])["start_up_seconds"].first()
    lines = ["| task | | us per step | its time / ours | target | | start-up, s |", "|---|---|---|---|---|---|---|"]
    for task, name in ((task, name) for task in rows["task"].unique() for name in (OURS, REJAX, SBX)):
        ours, its = times.loc[[(OURS, task)]], times.loc[[(name, task)]]
        cells = [TASKS[task], name, f"{its.median(axis=1).item():.1f}", "", "", "", f"{start[name, task]:.0f}"]
        if name != OURS:
            value, low, high = spread(lambda r, a=its, b=ours: level(a, r) / level(b, r), its.shape[1], rng)
            cells[3:6] = f"{value:.2f} [{low:.2f}, {high:.2f}]", "> 1", "met" if value > 1 else "**missed**"
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default=str(ROOT / ".venv/bin/python"), metavar="PYTHON", help="the project's")
    parser.add_argument("--results", type=Path, default=ROOT / "results/benchmark")
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        print(f"the machine is not idle (load {os.getloadavg()[0]:.1f}): the ratios will be off", file=sys.stderr)
    os.sched_setaffinity(0, {0})  # the processes it starts have it too
    rows = measured(os.path.abspath(options.ours), options.rounds)
    options.results.mkdir(parents=True, exist_ok=True)
    rows.to_csv(options.results / "jax.csv", index=False)
    (options.results / "jax.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
