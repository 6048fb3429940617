"""Which of EnvPool's ids can be trained: each is made, reset and stepped ten times under random actions.

    python benchmarks/every_envpool_id.py [WORDS...]     only ids with one of the words in them

Ids are tried in child processes, so that a crash or a hang of C++ code is counted and ends nothing.
Exit code 1 if anything crashed.
"""

import queue
import subprocess
import sys
import threading
from collections import Counter

CHUNK, PATIENCE = 60, 120  # ids per child; seconds an id may take


def attempt(id: str) -> str:
    import numpy as np

    from study.config import Task
    from study.settings import ConfigError
    from study.task import Copies

    try:
        copies = Copies(Task(name=id, id=id, backend="envpool", total_steps=2048, kwargs={}), [0, 1])
        assert copies.reset().shape == (2, copies.observation_size)
        family = copies.family
        act = family.sampler(np.zeros((2, family.extra)))
        for noise in family.noise(np.random.default_rng(0), 20).reshape(10, 2, -1):
            step = copies.step(act(np.zeros((2, family.outputs)), noise))
            assert step.next_observation.shape == (2, copies.observation_size)
        copies.close()
    except ConfigError as error:
        return f"refused: {error}"
    except Exception as error:
        return "crashed: " + " ".join(f"{type(error).__name__}: {error}".split())
    return "trained"


def child(ids: list[str]) -> None:
    for id in ids:
        print(f"{id}\t{attempt(id)}", flush=True)


def _forward(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def tried(ids: list[str]):
    """(id, outcome) of each; the id at which a child ends or stands still has crashed."""
    while ids:
        chunk = ids[:CHUNK]
        process = subprocess.Popen(
            [sys.executable, __file__, "--child", *chunk], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        lines: queue.Queue = queue.Queue()
        threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True).start()
        done = 0
        while done < len(chunk):
            try:
                line = lines.get(timeout=PATIENCE)
            except queue.Empty:
                line = None
            if line is None:
                yield chunk[done], "crashed: the process ended or stood still"
                done += 1
                break
            if "\t" in line:
                yield tuple(line.rstrip("\n").split("\t", 1))
                done += 1
        process.kill()
        process.wait()
        ids = ids[done:]


def main(words: list[str]) -> int:
    import envpool

    counts: Counter = Counter()
    ids = [id for id in envpool.list_all_envs() if not words or any(word in id for word in words)]
    for id, outcome in tried(ids):
        counts[outcome.split(":")[0]] += 1
        if outcome != "trained":
            print(id, outcome, sep="  ", flush=True)
    print(f"{len(ids)} ids: " + ", ".join(f"{counts[word]} {word}" for word in ("trained", "refused", "crashed")))
    return int(counts["crashed"] > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
    else:
        sys.exit(main(sys.argv[1:]))
