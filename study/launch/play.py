"""python -m study.play results/NAME [COLUMN=VALUE ...] [--episodes N] [--video FILE]: evaluates kept policies.

Policies are kept by execution.policies=last or best. Each is evaluated without learning: by its most likely actions
(deterministic) and by actions drawn from it, as in training (stochastic).
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from study.console import console, hear_gymnasium, printer
from study.launch import disk
from study.launch.store import POLICIES, Store
from study.settings import ConfigError

COPIES = 16  # of the environment, at most
LONGEST = 100_000  # steps of an episode, at most
STREAM = 4  # after those of training (study.rollout.Stream): nothing here is drawn as training drew it
FASTEST = 50  # frames per second of a GIF; viewers slow faster ones down


class Interval(NamedTuple):
    """A mean over episodes with Student's 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, returns: np.ndarray) -> "Interval":
        from scipy.stats import t

        mean, count = float(returns.mean()), len(returns)
        half = float(t.ppf(0.975, count - 1) * returns.std(ddof=1) / count**0.5) if count > 1 else float("nan")
        return cls(mean, mean - half, mean + half)

    def __str__(self) -> str:
        return f"{self.mean:.4g}" + (f" [{self.low:.4g}, {self.high:.4g}]" if self.low == self.low else "")


def returns(stored, episodes: int, stochastic: bool, copies: int = COPIES) -> np.ndarray:
    """[episodes] undiscounted returns of the policy. How many episodes each copy of the environment makes is fixed
    beforehand, so that short ones are not favoured. Raises ConfigError: no environment of the policy's, or no end."""
    copies = min(copies, episodes)
    seeds = _generator(stored, 0).integers(2**31, size=copies)
    noise = _generator(stored, 1)
    quota = np.full(copies, episodes // copies) + (np.arange(copies) < episodes % copies)
    made: list[list[float]] = [[] for _ in range(copies)]
    open_return, age = np.zeros(copies), np.zeros(copies)
    environments = _environments(stored, stored.task, seeds.tolist())
    family, act = stored.policy.family, stored.actor(copies)
    try:
        observation = environments.reset()
        with environments.rollout():
            while any(len(ended) < wanted for ended, wanted in zip(made, quota)):
                drawn = family.noise(noise, copies)
                step = environments.step(act(observation, drawn if stochastic else np.zeros_like(drawn)))
                observation = step.observation
                open_return += step.reward
                age += 1
                for copy in np.flatnonzero(step.terminated | step.truncated):
                    made[copy].append(float(open_return[copy]))
                    open_return[copy] = age[copy] = 0
                if age.max() >= LONGEST:
                    raise ConfigError(
                        f"task.id={stored.task.id}: an episode did not end in {LONGEST:,} steps; "
                        "train with a time limit, task.max_episode_steps=N"
                    )
    finally:
        environments.close()
    return np.array([each for ended, wanted in zip(made, quota) for each in ended[:wanted]])


def film(stored, path: Path) -> tuple[float, int]:
    """Writes one deterministic episode; its return and its steps. Raises ConfigError where it cannot be shown."""
    task = stored.task.model_copy(
        update={"backend": "gymnasium", "kwargs": stored.task.kwargs | {"render_mode": "rgb_array"}}
    )
    seed = int(_generator(stored, 2).integers(2**31))
    try:
        environments = _environments(stored, task, [seed])
    except ConfigError as error:
        reason = str(error).replace(" task.kwargs.render_mode=rgb_array", "")
        drawn_by = os.environ.get("MUJOCO_GL")
        if drawn_by and re.search(r"'e?gl[A-Z]|OSMesa|OpenGL", reason):  # what PyOpenGL says where a library is missing
            reason += f"; MuJoCo draws by MUJOCO_GL={drawn_by} here, try another one of egl, osmesa, glfw"
        raise ConfigError(f"cannot be shown: {reason}") from None
    env, act = environments._copies.envs[0], stored.actor(1)
    rate = (env.metadata or {}).get("render_fps") or 30
    every = -(-rate // FASTEST) if path.suffix == ".gif" else 1
    still = stored.policy.family.noise(_generator(stored, 1), 1) * 0
    total, steps = 0.0, 0
    try:
        observation = environments.reset()
        with _writer(path, rate / every) as write, environments.rollout():
            write(_frame(env, task.id))
            while True:
                step = environments.step(act(observation, still))
                observation, total, steps = step.observation, total + float(step.reward[0]), steps + 1
                if step.terminated[0] or step.truncated[0] or steps >= LONGEST:
                    return total, steps  # what could be drawn now is the next episode
                if steps % every == 0:
                    write(_frame(env, task.id))
    finally:
        environments.close()


def _frame(env, id: str) -> np.ndarray:
    try:
        frame = env.render()
    except Exception as error:  # of a simulator without a display, say
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ConfigError(f"task.id={id}: cannot be shown: {reason}") from None
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        raise ConfigError(f"task.id={id}: cannot be shown: its render() gives no picture in render_mode=rgb_array")
    return frame


class _writer:
    """Frames into a file that is whole or not there."""

    def __init__(self, path: Path, rate: float):
        self.path, self.part = path, path.with_name(f".{path.stem}.part{path.suffix}")
        gif = path.suffix == ".gif"
        self.options = {"duration": 1000 / rate, "loop": 0} if gif else {"fps": rate, "macro_block_size": 2}

    def __enter__(self) -> Callable[[np.ndarray], None]:
        import imageio.v2 as imageio

        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.writer = imageio.get_writer(self.part, mode="I", **self.options)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"--video {self.path}: needs ffmpeg: pip install imageio-ffmpeg; or give a file.gif ({_line(error)})"
            ) from None
        return self.writer.append_data

    def __exit__(self, kind, *_) -> None:
        self.writer.close()
        if kind is None:
            self.part.replace(self.path)
        else:
            self.part.unlink(missing_ok=True)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


def _generator(stored, purpose: int) -> np.random.Generator:
    return np.random.default_rng([stored.metadata["seed"], STREAM, purpose])


def _environments(stored, task, seeds: list[int]):
    """Copies of the task, if they are what the policy was trained on. Raises ConfigError."""
    from study.policy import with_std
    from study.task import Copies

    made, policy = Copies(task, seeds), stored.policy
    family = with_std(made.family, stored.metadata["distribution"] == "state_gaussian")
    there = made.observation_size, type(family), family.outputs
    if there != (policy.network.sizes[0], type(policy.family), policy.family.outputs):
        made.close()
        raise ConfigError(
            f"task.id={task.id}: {made.observation_size} observed numbers and actions of {family.outputs}; the "
            f"policy has {policy.network.sizes[0]} and {policy.family.outputs}: another environment (it was "
            f"{stored.metadata['environment']}, it is {made.origin} now)"
        )
    return made


def found(folder: Path, words: list[str], kind: str | None) -> tuple[list[Path], int]:
    """The kept policies of the runs that the words COLUMN=VALUE name (all, without words), and how many of them have
    none. Raises ConfigError."""
    from study.launch.merge import _table
    from study.launch.remove import chosen

    runs = _table(folder, "runs")
    runs = runs[chosen(runs, words)] if words else runs
    store = Store(folder)
    kinds = (kind,) if kind else POLICIES
    files = [
        next((file for each in kinds if (file := store.policy(run_id, each)).is_file()), None)
        for run_id in runs.sort_values(["task", "algorithm", "arm", "seed"])["run_id"]
    ]
    there = [file for file in files if file is not None]
    if not there:
        raise ConfigError(
            f"{folder}: no {f'{kind} ' if kind else ''}policy of these {len(files)} runs is kept; train with "
            f"execution.policies={kind or 'last'} (python -m study.remove takes finished runs out)"
        )
    return there, len(files) - len(there)


def play(folder: Path, words: list[str], episodes: int, video: Path | None = None, kind: str | None = None) -> None:
    """Prints a row for each policy. Raises ConfigError."""
    from study import process
    from study.launch import policies
    from study.task import probe

    files, without = found(folder, words, kind)
    if video is not None and len(files) > 1:
        raise ConfigError(f"--video {video}: shows one run, {len(files)} are chosen: give arm=... seed=... too")
    if video is not None and sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("MUJOCO_GL", "egl")  # how MuJoCo draws without a display; read when it is imported
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pygame; else it says "error" of displays it looks for
    process.fit()
    hear_gymnasium()
    out, shared = printer(), {}
    for file in files:
        try:
            stored = policies.read(file)
        except disk.Damaged as damage:
            raise ConfigError(
                f"{file}: {damage}; take the run out (python -m study.remove) and train it again"
            ) from None
        task = stored.metadata["task"]
        if task not in shared:
            shared[task] = probe(stored.task).shares
        copies = 1 if shared[task] else COPIES
        made = [Interval.of(returns(stored, episodes, stochastic, copies)) for stochastic in (False, True)]
        metadata = stored.metadata
        since = f" of those from iteration {metadata['since']} on" if metadata["since"] else ""
        out.print(
            f"{task} {metadata['arm']} seed={metadata['seed']}: {metadata['kind']} policy{since}, "
            f"after {metadata['env_steps']:,} steps\n"
            f"  deterministic {made[0]}  stochastic {made[1]}  in training {metadata['return']:.4g}",
            highlight=False,
        )
    out.print(
        f"mean return of {episodes} episode{'' if episodes == 1 else 's'} with Student's 95 % interval; in training: "
        "mean of the last 100 episodes then, of which earlier policies made some",
        highlight=False,
    )
    if without:
        out.print(f"{without} of the runs chosen have no kept policy", highlight=False)
    if video is not None:
        total, steps = film(stored, video)
        out.print(f"video: {video} (one deterministic episode of {steps} steps, return {total:.4g})", highlight=False)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m study.play",
        description="Evaluates the policies that a study has kept (execution.policies=last or best), and shows one.",
    )
    parser.add_argument("study", type=Path, metavar="results/NAME", help="folder of the study")
    parser.add_argument("runs", nargs="*", metavar="COLUMN=VALUE", help="which runs, as arm=... seed=0 (default: all)")
    parser.add_argument("--episodes", type=int, default=20, help="of each policy and way to act (default: 20)")
    parser.add_argument("--policy", choices=POLICIES, help="which one was kept (default: last, else best)")
    parser.add_argument(
        "--video", type=Path, metavar="FILE", help="one episode as FILE.gif, or .mp4 with imageio-ffmpeg"
    )
    given = parser.parse_intermixed_args(arguments)
    try:
        if given.episodes < 1:
            raise ConfigError(f"--episodes {given.episodes}: at least 1")
        if given.video is not None and given.video.suffix not in (".gif", ".mp4"):
            raise ConfigError(f"--video {given.video}: must end in .gif or .mp4")
        play(given.study, given.runs, given.episodes, given.video, given.policy)
    except (ConfigError, disk.Unwritable, OSError) as error:  # an OSError: the video's folder
        console.print(f"[red]error:[/] {error}", highlight=False)
        sys.exit(2)
