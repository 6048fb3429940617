"""A penalty coefficient that changes between updates: what the algorithms that change beta have in common."""

from typing import NamedTuple

import torch
from torch import Tensor

from study.sgd import Adam

# beta stays within 2^-40 ... 2^40 (1e-12 ... 1e12): far beyond any use, and its square still fits float32
LIMIT = 40.0


class State(NamedTuple):
    adam: Adam
    log2_beta: Tensor  # [R]; a logarithm neither under- nor overflows


def start(fleet, theta: Tensor) -> State:
    return State(Adam.start(theta), fleet.settings.beta.log2())


def moved(log2_beta: Tensor, by: Tensor) -> Tensor:
    """log2 beta after a move, [R], within the limits. A NaN moves nothing."""
    return (log2_beta + torch.where(by.isnan(), 0, by)).clamp(-LIMIT, LIMIT)
