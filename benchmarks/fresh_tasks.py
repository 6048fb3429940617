"""Tasks that this repository never trained, drawn by a seed from EnvPool's ids.

    python benchmarks/fresh_tasks.py survey     what each candidate costs and gives, into fresh_screen/candidates.csv
    python benchmarks/fresh_tasks.py draw       the candidates to screen, in the order drawn
    python benchmarks/fresh_tasks.py screen     which of the screened ones are kept, into fresh_screen/kept.csv
    python benchmarks/fresh_tasks.py judge      what fresh's seeds choose, as conf/experiment/fresh_judged.yaml

A candidate is one id for each problem that is unlike all trained ones: ids that differ in their version, their reward
(sparse or dense), their difficulty or a second name are one problem. Of such ids the dense, fixed, newest one is taken.
"""

import json
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd

RESULTS = Path(__file__).resolve().parent.parent / "results"
FOLDER = RESULTS / "fresh_screen"
SEED = 20261129
FAMILIES = (
    "box2d classic_control highway jumanji minigrid mujoco.dmc mujoco.gym mujoco.metaworld mujoco.myosuite "
    "mujoco.playground mujoco.robotics pgx toy_text"
).split()  # those that are made without a system package and observe numbers
UNSWEPT = {"BipedalWalker-v3", "MountainCarContinuous-v0", "CartpoleSwingup-v1"}  # kept for predictions
SAME = {"Play2048-v1"}  # the trained Game2048-v1 under another name
SURVEYED = {"minigrid": 36, "mujoco.metaworld": 22, "mujoco.myosuite": 36}  # of families with hundreds of ids
DEAREST, WIDEST = 160, 600  # microseconds of physics per step, on a busy core; inputs
SCREENED = 12  # of a family, at most
DEARER, WIDER = 260, 700  # of a second draw, because half of the first thirty screened were kept, too few
PLENTY = {"jumanji", "mujoco.metaworld"}  # families that have their quarter after the first draw
PATIENCE = 45  # seconds for one id
LEARNS = 4.0  # t of a run, by chance in one of a thousand
STUDIES_BEFORE = "fresh"  # studies whose names begin so are not "trained before"


def problem(family: str, id: str) -> str:
    """The id without what makes no other problem of it."""
    name = re.sub(r"-v\d+$", "", id.split("/")[-1]).lower()
    name = re.sub(r"dense|sparse|easy|hard|fixed|random|flatterrain|roughterrain|slippery|continuous", "", name)
    if family == "minigrid":
        name = re.sub(r"minigrid-|babyai-|\d+x\d+|[sn]\d+|r\d+|-?\d+", "", name)
    if family == "mujoco.robotics":
        name = re.sub(
            r"_continuous|_boolean|continuoustouchsensors|booleantouchsensors|touchsensors|diverse_.*", "", name
        )
    if family == "highway":
        name = re.sub(r"fast|action-?repeat|parked|large|oval", "", name)
    if family == "mujoco.myosuite":
        name = re.sub(r"^myo(fati|sarc|reaf)", "myo", name)
    return re.sub(r"[-_]", "", name)


def trained_before() -> set[str]:
    ids = set(UNSWEPT)
    for file in RESULTS.glob("*/runs.parquet"):
        if not file.parent.name.startswith(STUDIES_BEFORE):
            ids |= {json.loads(c)["task"]["id"] for c in pd.read_parquet(file, columns=["config"])["config"].unique()}
    return ids


def candidates() -> pd.DataFrame:
    """family, id, rank (the order drawn within the family)."""
    import envpool
    from envpool.registration import registry

    family = {id: registry.specs[id][0].removeprefix("envpool.") for id in envpool.list_all_envs()}
    known = {problem(family.get(id, ""), id) for id in trained_before()}
    ids = pd.DataFrame(
        [(f, id, problem(f, id)) for id, f in family.items() if f in FAMILIES], columns=["family", "id", "problem"]
    )
    ids = ids[~ids["problem"].isin(known)]
    ids["dense"], ids["fixed"] = ids["id"].str.contains("Dense"), ids["id"].str.contains("Fixed")
    ids["version"], ids["length"] = ids["id"].str.extract(r"-v(\d+)$", expand=False).astype(float), ids["id"].str.len()
    order = ["family", "problem", "dense", "fixed", "version", "length", "id"]
    ids = ids.sort_values(order, ascending=[True, True, False, False, False, True, True]).drop_duplicates(order[:2])
    rng, drawn = np.random.default_rng(SEED), []
    for family, part in ids.groupby("family"):
        names = sorted(part["id"])
        rng.shuffle(names)
        drawn += [(family, id, rank) for rank, id in enumerate(names)]
    drawn = pd.DataFrame(drawn, columns=["family", "id", "rank"])
    return drawn[drawn["rank"] < drawn["family"].map(SURVEYED).fillna(99)].sort_values(["rank", "family"])


def measured(id: str) -> dict:
    """Eight copies under a hundred random actions."""
    from study.config import Task
    from study.task import Copies

    try:
        task = Task(name=id, id=id, backend="envpool", total_steps=2048, kwargs={})
        copies, rewards, took, ends = Copies(task, list(range(8))), [], [], 0
        copies.reset()
        family = copies.family
        act = family.sampler(np.zeros((8, family.extra)))
        for noise in family.noise(np.random.default_rng(0), 800).reshape(100, 8, -1):
            began = time.perf_counter()
            step = copies.step(act(np.zeros((8, family.outputs)), noise))
            took.append(time.perf_counter() - began)
            rewards.append(step.reward)
            ends += int((step.terminated | step.truncated).sum())
            if sum(took) > 3:
                break
        copies.close()
    except Exception as error:
        reason = re.sub(r"/\S*site-packages/", "", " ".join(str(error).split()))  # no machine's path in results
        return {"id": id, "refused": reason[:160]}
    quick = float(np.quantile(took, 0.1)) / 8 * 1e6
    rewards = np.array(rewards)
    return {
        "id": id,
        "inputs": copies.observation_size,
        "microseconds": round(quick, 1),
        "ends": ends,
        "rewarded": round(float((rewards != 0).mean()), 4),
    }


def _forward(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def survey() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    drawn, found = candidates(), []
    left = drawn["id"].tolist()
    while left:
        command = [sys.executable, __file__, "--child", *left[:60]]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        lines: queue.Queue = queue.Queue()
        threading.Thread(target=_forward, args=(child.stdout, lines), daemon=True).start()
        for id in left[:60]:
            try:
                line = lines.get(timeout=PATIENCE)
            except queue.Empty:
                line = None
            found.append(json.loads(line) if line else {"id": id, "refused": "crashed or stood still"})
            if not line:
                break
        child.kill()
        left = left[len(found) - (len(drawn) - len(left)) :]
        print(f"{len(found)} of {len(drawn)}", flush=True)
    drawn.merge(pd.DataFrame(found)).to_csv(FOLDER / "candidates.csv", index=False)


def drawn() -> pd.DataFrame:
    """The candidates to screen, one of each family in turn: the cheap ones, then others of scarce families."""
    known = pd.read_csv(FOLDER / "candidates.csv")
    known = known[~known["id"].isin(SAME)].sort_values(["rank", "family"])
    met = known["rewarded"] > 0
    first = (known["microseconds"] <= DEAREST) & (known["inputs"] <= WIDEST)
    second = (
        (known["microseconds"] <= DEARER) & (known["inputs"] <= WIDER) & met & ~known["family"].isin(PLENTY) & ~first
    )
    first &= met | (known["family"] == "minigrid")  # there a hundred steps end no episode
    parts = [part[part.groupby("family").cumcount() < SCREENED] for part in (known[first], known[second])]
    return pd.concat(parts)


def gains(runs: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The runs with t: mean return of its last ten iterations less that of its first four, over the error of both."""

    def t(returns):
        first, last = returns.iloc[:4].dropna(), returns.iloc[-10:].dropna()
        error = np.sqrt(first.var() / max(len(first), 1) + last.var() / max(len(last), 1))
        gain = last.mean() - first.mean()
        return gain / error if error > 0 else np.inf * np.sign(gain) if gain else 0.0

    returns = curves.sort_values("iteration").groupby("run_id")["return_mean"].apply(t)
    return runs.set_index("run_id").assign(t=returns)


def screen(folder: Path = FOLDER) -> pd.DataFrame:
    """Kept are tasks on which either run gains with t > LEARNS, in the order drawn, no family more than a quarter."""
    import pyarrow.parquet as pq

    parts = {}
    for kind in ("runs", "curves"):
        files = [folder / f"{kind}.parquet", *(folder / ".work" / "parts").glob(f"*.{kind}.parquet")]
        parts[kind] = pd.concat([pq.read_table(file).to_pandas() for file in files if file.exists()])
    found = gains(parts["runs"], parts["curves"]).pivot_table(index="task", columns="algorithm", values="t")
    order = drawn()
    table = order.merge(found, left_on="id", right_index=True)
    learns = table[table[["trpo", "kl_fixed"]].max(1) > LEARNS]
    while True:
        most = len(learns) // 4
        capped = learns[learns.groupby("family").cumcount() < most]
        if len(capped) == len(learns):
            return table.assign(kept=table["id"].isin(learns["id"]))
        learns = capped


HEAD = """# @package _global_
# The values that the seeds of `fresh` choose, on each task and for it on all others, with {seeds}, which chose nothing.
# Written by `python benchmarks/fresh_tasks.py judge`.
name: fresh_judged
total_steps: 81920
hydra:
  sweeper:
    params:
      task: custom
      task.backend: envpool
      seed: {seeds}
    grids:
"""


def judge() -> str:
    """The experiment's YAML: a line for each value, with the tasks that run at it. ValueError if runs are missing."""
    from analysis import load, question

    data = load()
    if not data.runs["study"].eq("fresh").any():
        raise ValueError("results/fresh is not read before its README.md no longer says complete: false")
    frame = question.tuned(data, list(question.CANDIDATES), (question.FRESH,))
    wanted = [len(question.CANDIDATES[knob]) for knob in zip(frame["algorithm"], frame["advantages"])]
    lacking = frame.loc[frame["candidates"] < wanted, "command"]
    if len(lacking):
        raise ValueError(f"{len(lacking)} knobs and tasks lack runs that choose, the first: {lacking.iloc[0]}")
    if not data.runs.loc[data.runs["task"].isin(frame["task"]), "frozen"].all():
        raise ValueError("scores are not frozen: python -m analysis.scale results/fresh")
    ids = data.runs.drop_duplicates("task").set_index("task")["id"]
    lines = []
    for (algorithm, advantages, value), tasks in question.to_judge(frame).items():
        of = {"algorithm": algorithm, **question.CONDITIONS[advantages], "task.id": f'"{",".join(ids[tasks])}"'}
        of[f"algorithm.{question.KNOBS[algorithm][0]}"] = f"{value:g}"
        lines.append("      - {" + ", ".join(f"{key}: {word}" for key, word in of.items()) + "}\n")
    return HEAD.format(seeds=question.JUDGING_SEEDS) + "".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        for id in sys.argv[2:]:
            print(json.dumps(measured(id)), flush=True)
    elif sys.argv[1:] == ["survey"]:
        survey()
    elif sys.argv[1:] == ["screen"]:
        table = screen()
        table.drop(columns="refused").to_csv(FOLDER / "kept.csv", index=False)
        print(table[table["kept"]].to_string(index=False), "\n", len(table), "screened,", table["kept"].sum(), "kept")
    elif sys.argv[1:] == ["draw"]:
        print(drawn().to_string(index=False))
    elif sys.argv[1:] == ["judge"]:
        try:
            text = judge()
        except ValueError as error:
            sys.exit(str(error))
        (RESULTS.parent / "conf" / "experiment" / "fresh_judged.yaml").write_text(text)
    else:
        sys.exit(__doc__)
