"""The policies that are kept of runs (execution.policies): a safetensors file each, with the normaliser it acts by.

policies/RUN_ID.last.safetensors is the policy after the last update, policies/RUN_ID.best.safetensors the one that
acted in the iteration at whose end the mean return of the last 100 episodes was highest.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from study.config import Config, Task
from study.launch import disk
from study.launch.store import policy_name
from study.policy import Categorical, Categoricals, Family, Gaussian, Policy, StateGaussian, with_std
from study.rollout import Actor, actor

FAMILIES = {
    "gaussian": Gaussian,
    "state_gaussian": StateGaussian,
    "categorical": Categorical,
    "categoricals": Categoricals,
}


class Acting(NamedTuple):
    """What a fleet acts by: one row per run."""

    theta: Tensor  # [R, P]
    mean: np.ndarray  # [R, D] of the observations
    scale: np.ndarray  # [R, D]
    iteration: np.ndarray  # [R] updates that it has behind it

    @classmethod
    def of(cls, trainer) -> "Acting":
        iteration = np.full(len(trainer.configs), trainer.iteration)
        return cls(trainer.theta.detach(), trainer.moments.mean, trainer.moments.scale(), iteration)

    def where(self, rows: np.ndarray, other: "Acting") -> "Acting":
        """The other's in these rows [R] bool."""
        theta = torch.where(torch.as_tensor(rows, device=self.theta.device)[:, None], other.theta, self.theta)
        mean, scale = (np.where(rows[:, None], b, a) for a, b in ((self.mean, other.mean), (self.scale, other.scale)))
        return Acting(theta, mean, scale, np.where(rows, other.iteration, self.iteration))


class Keeper:
    """Follows a fleet in training, and has what is to be kept of it at its end."""

    def __init__(self, trainer):
        self.kind = trainer.config.execution.policies
        if self.kind is not None:
            import safetensors  # noqa: F401  a worker without it says so before it has trained
        self.acting = self.best = Acting.of(trainer) if self.kind == "best" else None
        self.highest = np.full(len(trainer.configs), np.nan)
        self.since = trainer.iteration  # the first iteration that was looked at

    def see(self, trainer) -> None:
        """After every iteration."""
        if self.kind != "best":
            return
        returns = trainer.latest("return_last100")
        better = trainer.alive & np.isfinite(returns) & ~(returns <= self.highest)
        if better.any():
            self.highest = np.where(better, returns, self.highest)
            self.best = self.best.where(better, self.acting)
        self.acting = Acting.of(trainer)

    def state(self) -> dict:
        """For the checkpoint."""
        if self.kind != "best":
            return {}
        arrays = {"mean": self.best.mean, "scale": self.best.scale, "iteration": self.best.iteration}
        arrays = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        return arrays | {"theta": self.best.theta, "highest": torch.from_numpy(self.highest), "since": self.since}

    def go_on_from(self, trainer, state: dict) -> None:
        """As it was at the checkpoint that the trainer goes on from; of one without it, from there on."""
        if self.kind != "best":
            return
        self.acting, self.since = Acting.of(trainer), state.get("since", trainer.iteration)
        self.best = self.acting
        if state:
            arrays = (state[name].numpy() for name in ("mean", "scale", "iteration"))
            self.best, self.highest = Acting(state["theta"].to(trainer.theta), *arrays), state["highest"].numpy()

    def files(self, trainer) -> dict[str, bytes]:
        """{name: content} of the fleet's files. A diverged run has no last policy: it was frozen where it broke."""
        if self.kind is None:
            return {}
        made, last = {}, Acting.of(trainer)
        for row, config in enumerate(trainer.configs):
            known = self.kind == "best" and not np.isnan(self.highest[row])
            if not known and not trainer.alive[row]:
                continue
            acting = self.best if known else last  # where no episode ended, the last one is the best known
            metadata = {
                "kind": self.kind,
                "iteration": int(acting.iteration[row]),
                "env_steps": int(acting.iteration[row]) * config.horizon,
                "return": float(self.highest[row] if known else trainer.latest("return_last100")[row]),
                "since": self.since,
                "environment": trainer.copies.origin,
            }
            held = acting.theta[row].cpu(), acting.mean[row], acting.scale[row]
            made[policy_name(config.run_id, self.kind)] = content(config, trainer.fleet.policy, *held, metadata)
        return made


def content(
    config: Config, policy: Policy, theta: Tensor, mean: np.ndarray, scale: np.ndarray, metadata: dict[str, Any]
) -> bytes:
    """A policy's file: its layers by the names that torch.nn.Sequential gives them, log_std, and the normaliser."""
    from safetensors.torch import save

    *layers, extra = policy.split(theta)
    tensors = {f"network.{layer}.{what}": part for layer, what, part in _named(layers)}
    if policy.family.extra:
        tensors["log_std"] = extra
    tensors |= {"observation.mean": torch.from_numpy(mean), "observation.scale": torch.from_numpy(scale)}
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    family = next(name for name, kind in FAMILIES.items() if type(policy.family) is kind)
    metadata = metadata | {
        "run_id": config.run_id,
        "task": config.task_label,
        "arm": config.arm,
        "seed": config.seed,
        "distribution": family,
        "actions": list(getattr(policy.family, "sizes", [policy.family.size])),
        "hidden": list(policy.network.sizes[1:-1]),
        "config": config.model_dump(mode="json", exclude={"execution"}, serialize_as_any=True),
    }
    metadata["sha256"] = _digest(tensors, metadata)
    return save(tensors, {"study": json.dumps(metadata, sort_keys=True)})  # one key: the order of several is not fixed


def _named(layers: list[Tensor]) -> list[tuple[int, str, Tensor]]:
    """(place in the Sequential, weight or bias, tensor); an activation stands between two layers."""
    return [(2 * (place // 2), ("weight", "bias")[place % 2], part) for place, part in enumerate(layers)]


def _digest(tensors: dict[str, Tensor], metadata: dict[str, Any]) -> str:
    sha = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        sha.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        sha.update(tensors[name].numpy().tobytes())
    return sha.hexdigest()


@dataclass(frozen=True)
class Stored:
    """A kept policy: of one run, as it acted."""

    policy: Policy
    theta: Tensor  # [P]
    mean: np.ndarray  # [D] of the observations
    scale: np.ndarray  # [D]
    task: Task
    metadata: dict[str, Any]  # run_id, task, arm, seed, kind, iteration, env_steps, return, environment, config, ...

    def actor(self, copies: int) -> Actor:
        """Actions [copies, A] of raw observations [copies, D] and noise [copies, .]; noise 0 gives the mode."""
        mean, scale = (np.repeat(array[None], copies, 0) for array in (self.mean, self.scale))
        bound = self.metadata["config"].get("observation_clip", 5.0)
        return actor(self.policy, self.theta.repeat(copies, 1), mean, scale, math.inf if bound is None else bound)


def read(path: Path) -> Stored:
    """Raises disk.Damaged unless these are the bytes that were written; FileNotFoundError."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as held:
            metadata = json.loads((held.metadata() or {})["study"])
            tensors = {name: held.get_tensor(name) for name in held.keys()}
        written = metadata.pop("sha256")
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged bytes may raise anything; nothing in them is executed
        raise disk.Damaged(
            f"is no kept policy ({' '.join(f'{type(error).__name__}: {error}'.split())[:120]})"
        ) from None
    if _digest(tensors, metadata) != written:
        raise disk.Damaged("does not agree with its digest")
    family: Family = FAMILIES[metadata["distribution"]](
        tuple(metadata["actions"]) if metadata["distribution"] == "categoricals" else metadata["actions"][0]
    )
    mean, scale = (tensors[f"observation.{name}"].numpy() for name in ("mean", "scale"))
    policy = Policy.make(len(mean), family, tuple(metadata["hidden"]), metadata["config"].get("activation", "tanh"))
    count = 2 * (len(metadata["hidden"]) + 1)
    parts = [tensors[f"network.{2 * (i // 2)}.{('weight', 'bias')[i % 2]}"].reshape(-1) for i in range(count)]
    theta = torch.cat([*parts, tensors.get("log_std", parts[0][:0])])
    return Stored(policy, theta, mean, scale, Task(**metadata["config"]["task"]), metadata)


def size(config: Config, shape: Policy) -> int:
    """Bytes of the file of such a run, to a few; shape: any policy for its observations and actions."""
    family = with_std(shape.family, config.state_dependent_std)
    policy = Policy.make(shape.network.sizes[0], family, config.hidden, config.activation)
    mean = np.zeros(policy.network.sizes[0])
    metadata = {"kind": config.execution.policies, "iteration": config.iterations, "environment": "x" * 20}
    metadata |= {"env_steps": config.total_steps, "return": 1 / 3, "since": 0}
    return len(content(config, policy, torch.zeros(policy.parameters), mean, mean, metadata))
