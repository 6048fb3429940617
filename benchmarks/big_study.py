"""A study of 10,000 runs x 488 iterations: seconds and memory to compose, plan, load and look at it.

python benchmarks/big_study.py [--seeds 100] [--folder FOLDER]

The results are made up; the runs, their ids and every command are real. Nothing is trained: the study is
already finished when the sweep looks at it. benchmarks/analysis_at_scale.py times the report of as large a study.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TASKS = ("halfcheetah", "hopper", "swimmer", "walker2d")
BETAS = np.geomspace(0.01, 100, 21).round(4).tolist()
GRIDS = [
    ["algorithm=trpo"],
    ["algorithm=kl_adaptive"],
    ["algorithm=clip"],
    ["algorithm=unpenalised"],
    ["algorithm=kl_fixed", "algorithm.beta=" + ",".join(map(str, BETAS))],
]


def timed(title: str, *words: str) -> None:
    """Runs a command of the project; prints its wall time, its largest process, and its last words."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    cpu = usage.ru_utime + usage.ru_stime
    print(f"{title:<34} {seconds:6.1f} s wall  {cpu:6.1f} s cpu  {usage.ru_maxrss / 1e6:5.2f} GB")
    if status:
        print(output[-2000:])
        sys.exit(f"{title}: failed")
    print("    " + "\n    ".join(output.strip().splitlines()[-2:]))


def command(folder: Path, seeds: int, grid: list[str]) -> list[str]:
    axes = ["task=" + ",".join(TASKS), f"seed=range({seeds})", "name=big", f"execution.results={folder}"]
    return ["-m", "study", "-m", *axes, *grid]


def invent(folder: Path, seeds: int) -> None:
    """runs.parquet and curves.parquet as a sweep would have left them: returns approach a level that each arm has."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from study.config import parse
    from study.fleet import Result
    from study.launch.store import Store, row
    from study.record import CURVES, dtype

    rng = np.random.default_rng(0)
    runs, curves = [], []
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for task in TASKS:
            for algorithm, *axis in GRIDS:
                values = axis[0].split("=")[1].split(",") if axis else [None]
                for value in values:
                    words = [f"task={task}", algorithm, *([f"algorithm.beta={value}"] if value else []), "name=big"]
                    arm = parse(OmegaConf.to_container(compose("config", words), resolve=True))
                    level = rng.uniform(500, 2000)
                    for seed in range(seeds):
                        config = arm.with_seed(seed)
                        number = config.iterations
                        progress = np.arange(1, number + 1) / number
                        returns = level * (progress + 0.05 * rng.normal(size=number))
                        metrics = {name: np.full(number, 0.01) for name in CURVES}
                        metrics |= {
                            "run_id": config.run_id,
                            "iteration": np.arange(number),
                            "env_steps": np.arange(1, number + 1) * config.horizon,
                            "episodes": np.full(number, 5),
                            "return_mean": returns,
                            "return_last100": returns,
                            "kl_after": rng.lognormal(-4.6, 0.3, number),
                            "implied_beta": rng.lognormal(0, 0.3, number),
                            "implied_beta_crossfit": rng.normal(1, 0.5, number),
                            "sigma_advantage": rng.lognormal(0, 0.1, number),
                            "beta": np.full(number, getattr(config.algorithm, "beta", np.nan)),
                        }
                        frame = pd.DataFrame(metrics).astype({name: dtype(name) for name in CURVES})
                        final, mean = float(returns[-1]), float(returns.mean())
                        result = Result(config, "complete", final, mean, rng.uniform(50, 60), None)
                        runs.append(row(result))
                        curves.append(frame[list(CURVES)])
    store = Store(folder / "big")
    store.open()
    from study.launch import disk

    disk.write_table(store.folder / "runs.parquet", pd.DataFrame(runs))
    disk.write_table(store.folder / "curves.parquet", pd.concat(curves, ignore_index=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="big-study-"))
    try:
        fixed = command(folder, 6 * arguments.seeds // 5, GRIDS[-1])
        runs = len(TASKS) * len(BETAS) * (6 * arguments.seeds // 5)
        timed(f"compose and plan {runs} new runs", *fixed, "execution.dry_run=true")
        inventing = multiprocessing.get_context("spawn").Process(target=invent, args=(folder, arguments.seeds))
        inventing.start()  # a process of its own: its memory would be counted as that of our children
        inventing.join()
        runs = len(TASKS) * (len(BETAS) + 4) * arguments.seeds
        size = (folder / "big/curves.parquet").stat().st_size / 1e6
        print(f"{runs} finished runs invented, curves.parquet has {size:.0f} MB")
        timed("load: nothing is left to train", *command(folder, arguments.seeds, GRIDS[-1]), "execution.workers=1")
        timed("status", "-m", "study.status", str(folder / "big"))
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
