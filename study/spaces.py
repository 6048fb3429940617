"""Observations of any countable shape as rows of numbers, by gymnasium's rules and in one order.

Entries of a Dict come in the order of their sorted names, of a Tuple in theirs; Discrete and MultiDiscrete
become one-hot; everything else is flattened row by row. What does not fit its space is refused, never cast.
"""

from collections.abc import Iterator, Mapping
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
    """One observation of a canonical space as [D] float64. Raises ValueError: what does not fit, and where."""
    parts = [_numbers(part, value, place) for part, value, place in _leaves(space, observation)]
    return np.concatenate(parts) if parts else np.zeros(0)


def fitted(space: Any, observation: Any, place: str = "an observation") -> np.ndarray:
    """The numbers of one observation in the shape of its Box, MultiDiscrete or MultiBinary; a single number may come in
    any shape. In the space's type where that has no fractions. Raises ValueError."""
    seen = np.asarray(observation)
    if seen.dtype.kind not in "biuf" or (seen.shape != space.shape and not seen.size == np.prod(space.shape) == 1):
        raise ValueError(f"{place} of shape {seen.shape} and type {seen.dtype}, its space says {space.shape}")
    if space.dtype.kind in "biu" and seen.dtype != space.dtype:
        with np.errstate(invalid="ignore"):
            whole = seen.astype(space.dtype)
        if (bad := whole != seen).any():
            raise ValueError(f"{place} holds {seen[bad].flat[0]}, its space says {space.dtype}")
        seen = whole
    return seen.reshape(space.shape)


def outside(space: Any, observation: Any) -> str | None:
    """The first number of an observation that is outside its Box by more than rounding; those inside need no word."""
    for part, value, place in _leaves(space, observation):
        if type(part).__name__ == "Box":
            seen = fitted(part, value, place)
            slack = 1e-3 * np.maximum(1, np.abs(seen))
            if (bad := (seen < part.low - slack) | (seen > part.high + slack)).any():
                number, low, high = (np.broadcast_to(x, part.shape)[bad].flat[0] for x in (seen, part.low, part.high))
                return f"{place} holds {number:g}, its Box says {low:g} to {high:g}"
    return None


def _leaves(space: Any, observation: Any, place: str = "an observation") -> Iterator[tuple[Any, Any, str]]:
    """The parts of a canonical space that are neither Dict nor Tuple, each with its value and where it is."""
    name = type(space).__name__
    if name == "Dict":
        names = observation.keys() if isinstance(observation, Mapping) else None
        if names is None or names != space.spaces.keys():
            given = f"is a {type(observation).__name__}" if names is None else f"has {_listed(names)}"
            raise ValueError(f"{place} {given}, its space says a dict of {_listed(space.spaces)}")
        for key, part in space.spaces.items():
            yield from _leaves(part, observation[key], f"{place}[{key!r}]")
    elif name == "Tuple":
        if not isinstance(observation, (tuple, list)) or len(observation) != len(space.spaces):
            given = f"of {len(observation)}" if hasattr(observation, "__len__") else ""
            raise ValueError(f"{place} is a {type(observation).__name__} {given}, its space says {len(space)} parts")
        for index, part in enumerate(space.spaces):
            yield from _leaves(part, observation[index], f"{place}[{index}]")
    else:
        yield space, observation, place


def _listed(names) -> str:
    return ", ".join(sorted(map(str, names))) or "nothing"


def _numbers(space: Any, observation: Any, place: str) -> np.ndarray:
    """[D] float64 of one observation in a space without parts."""
    name, seen = type(space).__name__, fitted(space, observation, place)
    if name == "Box":
        return seen.astype(space.dtype, copy=False).astype(np.float64).reshape(-1)
    if name == "MultiBinary":
        low, size = 0, 2
    else:
        low, size = space.start, space.n if name == "Discrete" else space.nvec
    index = seen.astype(np.int64) - low
    if (bad := (index < 0) | (index >= size)).any():
        raise ValueError(f"{place} holds {seen[bad].flat[0]}, outside {space}")
    if name == "MultiBinary":
        return seen.astype(np.float64).reshape(-1)
    return np.concatenate([_one_hot(one.reshape(1), int(n))[0] for one, n in zip(index.ravel(), np.ravel(size))])


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


def check(space: Any, batch: Any, runs: int) -> None:
    """Every one of a batch's observations, as flatten_one does. Raises ValueError."""

    def one(part: Any, run: int) -> Any:
        if isinstance(part, Mapping):
            return {key: one(value, run) for key, value in part.items()}
        return tuple(one(value, run) for value in part) if isinstance(part, tuple) else part[run]

    for run in range(runs):
        flatten_one(space, one(batch, run))


def _one_hot(index: np.ndarray, size: int) -> np.ndarray:
    if index.size and not 0 <= index.min() <= index.max() < size:
        raise ValueError(f"an observation lies outside its Discrete space of {size} values")
    return np.eye(size)[index] if size <= 64 else (np.arange(size) == index[:, None]).astype(np.float64)
