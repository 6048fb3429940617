"""Forks: one point of a source run, from which training goes on under other numbers.

Runs of different beta differ in all that went before. To ask what a beta does at one point of training, the source's
runs are kept as they are after some number of steps (execution.snapshots), and every fork begins there: with the
source's policy, value net, optimizer states and observation statistics, in new environments. Forks of one point meet
the same environments and draws, whatever their numbers.
"""

import io
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from study import disk
from study.config import Config, ConfigError
from study.sgd import Adam


def snapshot(folder: Path, config: Config, at: int) -> Path:
    """The file of a source run as it is after `at` environment steps."""
    return folder / "snapshots" / f"{config if isinstance(config, str) else config.run_id}-{at}.pt"


def keep(trainer, folder: Path) -> None:
    """Writes a file for every run of the fleet that a fork could begin from now, if execution.snapshots asks for it."""
    horizon = trainer.config.horizon
    for at in trainer.config.execution.snapshots:
        if -(-at // horizon) != trainer.iteration:
            continue
        critic_adam = tree_flatten(trainer.critic_adam)[0]
        for part in trainer.parts:
            adam = adam_of(part.state)
            for row in range(part.rows.start, part.rows.stop):
                if not trainer.alive[row]:
                    continue
                own = [] if adam is None else [leaf[row - part.rows.start] for leaf in adam]
                held = {
                    "theta": trainer.theta[row],
                    "critic_theta": trainer.critic_theta[row],
                    "critic_adam": [leaf[row] for leaf in critic_adam],
                    "adam": own,
                    "statistics": [
                        {name: torch.as_tensor(array[row]) for name, array in moments.items()}
                        for moments in trainer._statistics()
                    ],
                }
                content = io.BytesIO()
                torch.save(tree_map(lambda leaf: leaf.detach().cpu().clone(), held), content)
                disk.write_signed(snapshot(folder, trainer.configs[row], at), content.getvalue())


def begin(trainer) -> None:
    """Puts every run of a new fleet of forks at its source's point. Raises ConfigError where there is none."""
    held = [_read(source(config)) for config in trainer.configs]
    like, device = trainer.theta, trainer.fleet.device

    def stack(name: str) -> list[Tensor]:
        return [torch.stack(leaves).to(device, like.dtype) for leaves in zip(*(run[name] for run in held))]

    trainer.theta = torch.stack([run["theta"] for run in held]).to(device, like.dtype)
    trainer.critic_theta = torch.stack([run["critic_theta"] for run in held]).to(device, like.dtype)
    trainer.critic_adam = tree_unflatten(stack("critic_adam"), tree_flatten(trainer.critic_adam)[1])
    for part in trainer.parts:
        part.state = part.page.start(part.fleet, trainer.theta[part.rows])
        if all(run["adam"] for run in held) and (fresh := adam_of(part.state)) is not None:
            adam = Adam(*(leaf[part.rows] for leaf in stack("adam")))
            part.state = adam if part.state is fresh else part.state._replace(adam=adam)
    for number, moments in enumerate((trainer.moments, trainer.reward_scale.moments)):
        for name in vars(moments):
            setattr(moments, name, torch.stack([run["statistics"][number][name] for run in held]).numpy())


def source(config: Config) -> Path:
    """The snapshot that a fork begins from. Raises ConfigError: no such study, arm, seed or point."""
    fork, folder = config.fork, Path(config.fork.source)
    given = f"fork.source={folder}"
    try:
        runs = pd.read_parquet(folder / "runs.parquet", columns=["run_id", "task", "arm", "seed"])
    except FileNotFoundError:
        raise ConfigError(f"{given}: no runs.parquet there; train the source study first") from None
    of_task = runs[(runs["task"] == config.task_label) & (runs["seed"] == config.seed)]
    found = of_task[of_task["arm"] == fork.arm]
    if len(found) != 1:
        arms = ", ".join(sorted(runs["arm"].unique()))
        raise ConfigError(
            f"{given}: {len(found)} runs of fork.arm={fork.arm!r}, task {config.task_label}, seed {config.seed} "
            f"instead of one; the arms there are {arms}"
        )
    path = snapshot(folder, found["run_id"].item(), fork.at)
    if not path.exists():
        raise ConfigError(
            f"fork.at={fork.at}: {path} is missing (the run diverged earlier, or was trained without "
            f"execution.snapshots=[{fork.at}])"
        )
    return path


def check(configs: list[Config]) -> None:
    """Raises ConfigError, before anything is trained, if a fork has no point to begin from, or not one of its own."""
    for config in configs:
        if config.fork is None:
            continue
        begun = _read(source(config))
        inputs = begun["statistics"][0]["mean"].numel()
        first = inputs * config.hidden[0] if config.hidden else inputs
        layers = [inputs, *config.hidden, 1]
        expected = sum((a + 1) * b for a, b in zip(layers, layers[1:]))
        if begun["critic_theta"].numel() != expected or begun["theta"].numel() < first:
            raise ConfigError(f"hidden={list(config.hidden)}: the run that fork.source kept has other layers")


def adam_of(state) -> Adam | None:
    """The optimizer's state within an algorithm's, if it has one."""
    return state if isinstance(state, Adam) else getattr(state, "adam", None)


def _read(path: Path) -> dict:
    try:
        return torch.load(disk.read_signed(path), weights_only=True)
    except disk.Damaged as damage:
        raise ConfigError(f"{path}: {damage}; train the source study again") from None
