"""Observations of any countable shape as rows of numbers, by gymnasium's rules and in one order.

Entries of a Dict come in the order of their sorted names, of a Tuple in theirs; Discrete and MultiDiscrete
become one-hot; everything else is flattened row by row.
"""

from typing import Any

import numpy as np

PIXELS = 8  # of an image's side, at least; MiniGrid's view of 7 x 7 coded cells is no image
MOST = 10_000  # one-hot inputs of one number


def canonical(space: Any) -> Any:
    """The space with the names of every Dict sorted. Raises ValueError, with the reason, for what has no flat form."""
    from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

    if isinstance(space, (Dict, dict)):
        return Dict([(name, canonical(space[name])) for name in sorted(space)])
    if isinstance(space, Tuple):
        return Tuple([canonical(part) for part in space])
    if isinstance(space, Box):
        sides = [side for side in space.shape if side >= PIXELS]
        if space.dtype == np.uint8 and len(space.shape) > 1 and len(sides) > 1 and (space.high == 255).all():
            raise ValueError(f"observations hold an image of shape {space.shape}; the networks here read numbers only")
    elif isinstance(space, (Discrete, MultiDiscrete)):
        if max(np.ravel(space.n if isinstance(space, Discrete) else space.nvec)) > MOST:
            raise ValueError(f"observations hold {space}; one-hot inputs of more than {MOST} values are not built")
    elif not isinstance(space, MultiBinary):
        raise ValueError(
            "observations must be made of Box, Discrete, MultiDiscrete, MultiBinary, Dict and Tuple, "
            f"got {type(space).__name__}"
        )
    return space


def flatten_one(space: Any, observation: Any) -> np.ndarray:
    """One observation of a canonical space as [D] float64."""
    from gymnasium.spaces import flatten

    return np.asarray(flatten(space, observation), np.float64)


def flatten(space: Any, batch: Any) -> np.ndarray:
    """Observations [R, ...], or dicts and tuples of such, of a canonical space as [R, D] float64."""
    name = type(space).__name__
    if name == "Dict":
        return np.concatenate([flatten(part, batch[key]) for key, part in space.items()], 1)
    if name == "Tuple":
        return np.concatenate([flatten(part, entry) for part, entry in zip(space, batch)], 1)
    batch = np.asarray(batch)
    if name == "Discrete":
        return _one_hot(batch.reshape(-1) - space.start, int(space.n))
    if name == "MultiDiscrete":
        columns = (batch - space.start).reshape(len(batch), -1).T
        return np.concatenate([_one_hot(column, int(n)) for column, n in zip(columns, space.nvec.ravel())], 1)
    return batch.reshape(len(batch), -1).astype(np.float64, copy=False)


def _one_hot(index: np.ndarray, size: int) -> np.ndarray:
    if index.size and not 0 <= index.min() <= index.max() < size:
        raise ValueError(f"an observation lies outside its Discrete space of {size} values")
    return np.eye(size)[index] if size <= 64 else (np.arange(size) == index[:, None]).astype(np.float64)
