"""Where learning on a GPU pays: `python benchmarks/on_a_gpu.py`, five minutes on an otherwise idle machine.

Writes results/benchmark/gpu.csv: a round is one iteration (2048 steps of every run on HalfCheetah, PPO's protocol) of a
fleet whose learning is on one CPU core or on the GPU; environments and the acting policy are on one core in both.
All fleets are made at once, each on a core of its own, and then take turns.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import pandas as pd
from side_by_side import ROOT, Ours, Server

FLEETS = [  # algorithm, hidden, runs, devices
    ("kl_fixed", 64, 20, ("cpu", "cuda")),
    ("trpo", 64, 20, ("cpu", "cuda")),
    ("kl_fixed", 256, 20, ("cpu", "cuda")),
    ("kl_fixed", 64, 128, ("cpu", "cuda")),
    ("trpo", 64, 128, ("cpu", "cuda")),
    ("kl_fixed", 64, 512, ("cuda",)),
    ("trpo", 64, 512, ("cuda",)),
]


def serve(core: str, algorithm: str, runs: str, *changes: str) -> None:
    os.sched_setaffinity(0, {int(core)})
    import study.fleet

    acting = 0.0
    collect = study.fleet.collect

    def timed(*arguments):
        nonlocal acting
        began = time.perf_counter()
        made = collect(*arguments)
        acting += time.perf_counter() - began
        return made

    study.fleet.collect = timed
    contender = Ours("halfcheetah", algorithm, int(runs), changes)
    print("> ready", flush=True)
    for _ in sys.stdin:
        acting, began = 0.0, time.perf_counter()
        steps = contender.round()  # ends with its records on the CPU: nothing is left in the GPU's queue
        print(f"> {time.perf_counter() - began} {acting} {steps}", flush=True)


def main(rounds: int, largest: int, folder: Path) -> None:
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device is visible to torch here: nothing to compare the CPU with")
    folder.mkdir(parents=True, exist_ok=True)
    machine = f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {os.cpu_count()} cores"
    (folder / "gpu.txt").write_text(machine + "\n")
    print(machine)
    fleets = [
        {"algorithm": algorithm, "hidden": hidden, "runs": runs, "device": device}
        for algorithm, hidden, runs, devices in FLEETS
        for device in devices
        if runs <= largest
    ]
    began, servers = time.perf_counter(), []

    def told(what: str) -> None:
        print(f"{time.perf_counter() - began:5.0f} s  {what}", flush=True)

    def make(fleets: list[dict]) -> None:
        made = []
        for fleet in fleets:
            core = (len(servers) + len(made)) % os.cpu_count()
            words = [fleet["algorithm"], str(fleet["runs"]), f"execution.device={fleet['device']}"]
            made.append((fleet, Server([*words, f"hidden=[{fleet['hidden']},{fleet['hidden']}]"], core, __file__)))
        for fleet, server in made:
            server.ready()
            told(f"ready: {fleet}")
        servers.extend(made)

    make([fleet for fleet in fleets if fleet["runs"] == 20])  # these compile, for the others too
    make([fleet for fleet in fleets if fleet["runs"] != 20])
    rows = []
    for turn in range(rounds):
        for fleet, server in servers:
            server.start()
            seconds, acting, steps = map(float, server._answer().split())
            times = {"us_per_step": 1e6 * seconds / steps, "acting_us_per_step": 1e6 * acting / steps}
            rows.append(fleet | {"round": turn} | times)
            told(str(rows[-1]))
            pd.DataFrame(rows).to_csv(folder / "gpu.csv", index=False, float_format="%.3f")
    for _, server in servers:
        server.process.stdin.close()
        server.process.wait()
    table = pd.DataFrame(rows).groupby(["algorithm", "hidden", "runs", "device"])
    print(table[["us_per_step", "acting_us_per_step"]].median().round(1).to_string())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--rounds", type=int, default=5)
        parser.add_argument("--largest", type=int, default=512, help="leave out fleets of more runs than this")
        parser.add_argument("--results", type=Path, default=ROOT / "results" / "benchmark")
        arguments = parser.parse_args()
        main(arguments.rounds, arguments.largest, arguments.results)
