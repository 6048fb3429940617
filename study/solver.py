"""Conjugate gradients, the backtracking line search and the mask that holds runs, for a fleet at once.

Nothing here stops for one run on account of another: where a run is done, a mask holds it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


def where(mask: Tensor, new, old):
    """new where mask [R] holds, else old; for a tensor [R, ...] or a tree of them."""
    return tree_map(lambda new, old: torch.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old), new, old)


def conjugate_gradient(operator: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """x [R, P] with operator(x) = b approximately, and |b - operator(x)| / |b| [R] by the recursion.

    Starts at 0, so every iterate satisfies x^T A x = x^T b. Differs from the textbook in one thing: a
    run whose residual is 0 stays where it is instead of dividing 0 by 0.
    """
    x, r, p = torch.zeros_like(b), b, b
    rr = _dot(r, r)
    norm = rr.sqrt()
    for _ in range(iterations):
        z = operator(p)
        alpha = torch.where(rr > 0, rr / _dot(p, z), 0)
        x = x + alpha.unsqueeze(-1) * p
        r = r - alpha.unsqueeze(-1) * z
        rr, before = _dot(r, r), rr
        p = r + torch.where(before > 0, rr / before, 0).unsqueeze(-1) * p
    return x, torch.where(norm > 0, rr.sqrt() / norm, 0)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(-1)


def acceptable(surrogate_gain: Tensor, kl_old_new: Tensor, max_kl: Tensor) -> Tensor:
    """[R] bool. TRPO's two tests. A NaN compares false, so a broken step is rejected."""
    return (surrogate_gain > 0) & (kl_old_new <= max_kl)


class Search(NamedTuple):
    theta: Tensor  # [R, P], the old parameters where nothing was acceptable
    accepted: Tensor  # [R] bool
    backtracks: Tensor  # [R] times the step was shortened; all of them where it was rejected
    kl_attempted: Tensor  # [R] nats, of the full step


def backtracking_line_search(
    change: Callable[[Tensor], tuple[Tensor, Tensor]],
    theta: Tensor,
    step: Tensor,
    max_kl: Tensor,
    backtracks: int,
    factor: float,
) -> Search:
    """The first acceptable theta + factor^k step, k = 0 ... backtracks (Schulman et al. 2015, app. C).

    change(theta) gives the surrogate's gain and KL(old || new), [R] each. Each length is tested on its
    own merits: nothing compounds from one k to the next.
    """
    best = theta
    accepted = torch.zeros(len(theta), dtype=torch.bool, device=theta.device)
    shortened = torch.zeros(len(theta), dtype=theta.dtype, device=theta.device)
    kl_attempted = None
    for k in range(backtracks + 1):
        candidate = theta + factor**k * step
        gain, kl = change(candidate)
        kl_attempted = kl if k == 0 else kl_attempted
        accept = ~accepted & acceptable(gain, kl, max_kl)
        best = torch.where(accept.unsqueeze(-1), candidate, best)
        accepted = accepted | accept
        if accepted.all():  # saves time only: accepted runs would not move any more
            break
        if k < backtracks:
            shortened = shortened + ~accepted
    return Search(best, accepted, shortened, kl_attempted)
