"""The files that forks begin from: points of a source run, kept after some number of steps (execution.snapshots)."""

import io
from pathlib import Path

import torch

from study import fork
from study.config import Config
from study.launch import disk
from study.settings import ConfigError


def snapshot(folder: Path, run_id: str, at: int) -> Path:
    """The file of a source run as it is after `at` environment steps."""
    return folder / "snapshots" / f"{run_id}-{at}.pt"


def keep(trainer, folder: Path) -> None:
    """Writes a file for every run of the fleet that a fork could begin from now, if execution.snapshots asks for it."""
    for at in trainer.config.execution.snapshots:
        if -(-at // trainer.config.horizon) != trainer.iteration:
            continue
        for row, config in enumerate(trainer.configs):
            if trainer.alive[row]:
                content = io.BytesIO()
                torch.save(fork.point(trainer, row), content)
                disk.write_signed(snapshot(folder, config.run_id, at), content.getvalue())


def points(configs: list[Config]) -> list[dict] | None:
    """Where each of these forks begins; None for runs that are no forks. Raises ConfigError."""
    return None if configs[0].fork is None else [_read(source(config)) for config in configs]


def source(config: Config) -> Path:
    """The snapshot that a fork begins from. Raises ConfigError: no such study, arm, seed or point."""
    begin, folder = config.fork, Path(config.fork.source)
    given = f"fork.source={folder}"
    try:
        runs = disk.read_table(folder / "runs.parquet", ["run_id", "task", "arm", "seed"])
    except disk.Damaged as damage:
        raise ConfigError(f"{given}: runs.parquet {damage}") from None
    except FileNotFoundError:
        raise ConfigError(f"{given}: no runs.parquet there; train the source study first") from None
    of_task = runs[(runs["task"] == config.task_label) & (runs["seed"] == config.seed)]
    found = of_task[of_task["arm"] == begin.arm]
    if len(found) != 1:
        arms = ", ".join(sorted(runs["arm"].unique()))
        raise ConfigError(
            f"{given}: {len(found)} runs of fork.arm={begin.arm!r}, task {config.task_label}, seed {config.seed} "
            f"instead of one; the arms there are {arms}"
        )
    path = snapshot(folder, found["run_id"].item(), begin.at)
    if not path.exists():
        raise ConfigError(
            f"fork.at={begin.at}: {path} is missing (the run diverged earlier, or was trained without "
            f"execution.snapshots=[{begin.at}])"
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


def _read(path: Path) -> dict:
    try:
        return torch.load(disk.read_signed(path), weights_only=True)
    except disk.Damaged as damage:
        raise ConfigError(f"{path}: {damage}; train the source study again") from None
