"""Time and peak memory of the report of 10,000 runs x 488 iterations.

    python benchmarks/analysis_at_scale.py [runs]

Makes a synthetic study in a temporary directory, builds its report in a fresh process, and prints
seconds and peak resident memory.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import numpy as np
import synthetic

TASKS = ("halfcheetah", "hopper", "inverteddoublependulum", "invertedpendulum", "reacher", "swimmer", "walker2d")
ITERATIONS = 488


def main(runs=10_000):
    betas = [float(f"{beta:.2g}") for beta in np.geomspace(0.001, 1000, 25)]
    arms = [synthetic.TRPO, synthetic.ADAPTIVE, synthetic.CLIP, synthetic.UNPENALISED]
    arms += [*synthetic.fixed(betas), *synthetic.fixed(betas, advantage_normalization="none")]
    seeds = -(-runs // (len(TASKS) * len(arms)))
    tasks = [synthetic.Task(name, best_beta=(10.0 ** (i / 2 - 1),) * 2) for i, name in enumerate(TASKS)]
    with tempfile.TemporaryDirectory() as directory:
        study = synthetic.study(tasks, arms, seeds=seeds, iterations=ITERATIONS)
        path = synthetic.write(Path(directory) / "large", *study)
        size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
        print(f"{len(study[0])} runs, {len(study[1])} rows, {size:.0f} MB", flush=True)
        del study
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "analysis", str(path)], check=True)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{seconds:.0f} s, {peak:.2f} GB at most")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
