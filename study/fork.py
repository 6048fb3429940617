"""Forks: one point of a source run, from which training goes on under other numbers.

Runs of different beta differ in their whole history. To ask what a beta does at one point of training, the source's
runs are kept as they are after some number of steps (execution.snapshots), and every fork begins there: with the
source's policy, value net, optimizer states and observation statistics, in new environments. Forks of one point meet
the same environments and draws, whatever their numbers.
"""

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from study.sgd import Adam


def point(trainer, row: int) -> dict:
    """Where a run of the fleet is now: all that a fork begins with."""
    part = next(part for part in trainer.parts if part.rows.start <= row < part.rows.stop)
    adam = adam_of(part.state)
    held = {
        "theta": trainer.theta[row],
        "critic_theta": trainer.critic_theta[row],
        "critic_adam": [leaf[row] for leaf in tree_flatten(trainer.critic_adam)[0]],
        "adam": [] if adam is None else [leaf[row - part.rows.start] for leaf in adam],
        "statistics": [
            {name: torch.as_tensor(array[row]) for name, array in moments.items()} for moments in trainer._statistics()
        ],
    }
    return tree_map(lambda leaf: leaf.detach().cpu().clone(), held)


def begin(trainer, points: list[dict] | None) -> None:
    """Puts every run of a new fleet of forks at its source's point, one for each run; ValueError without them."""
    if points is None or len(points) != len(trainer.configs):
        raise ValueError(f"a fleet of {len(trainer.configs)} forks needs as many points, got {len(points or ())}")
    like, device = trainer.theta, trainer.fleet.device

    def stack(name: str) -> list[Tensor]:
        return [torch.stack(leaves).to(device, like.dtype) for leaves in zip(*(run[name] for run in points))]

    trainer.theta = torch.stack([run["theta"] for run in points]).to(device, like.dtype)
    trainer.critic_theta = torch.stack([run["critic_theta"] for run in points]).to(device, like.dtype)
    trainer.critic_adam = tree_unflatten(stack("critic_adam"), tree_flatten(trainer.critic_adam)[1])
    for part in trainer.parts:
        part.state = part.page.start(part.fleet, trainer.theta[part.rows])
        if all(run["adam"] for run in points) and (fresh := adam_of(part.state)) is not None:
            adam = Adam(*(leaf[part.rows] for leaf in stack("adam")))
            part.state = adam if part.state is fresh else part.state._replace(adam=adam)
    for number, moments in enumerate((trainer.moments, trainer.reward_scale.moments)):
        for name in vars(moments):
            setattr(moments, name, torch.stack([run["statistics"][number][name] for run in points]).numpy())


def adam_of(state) -> Adam | None:
    """The optimizer's state within an algorithm's, if it has one."""
    return state if isinstance(state, Adam) else getattr(state, "adam", None)
