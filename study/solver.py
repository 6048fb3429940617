"""Conjugate gradients, the backtracking line search and bisection, for a fleet at once.

No run waits for another or is stopped by it: a mask holds the runs that are done.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


def where(mask: Tensor, new, old):
    """new where mask [R] holds, else old; for a tensor [R, ...] or a tree of them."""
    return tree_map(lambda new, old: torch.where(mask.reshape(-1, *[1] * (new.ndim - 1)), new, old), new, old)


def conjugate_gradient(operator: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """x [R, P] with operator(x) = b approximately, and |b - operator(x)| / |b| [R] by the recursion.

    Starts at 0, so every iterate satisfies x^T A x = x^T b. Differs from the textbook in one thing: a
    run whose residual has reached rounding stays where it is. Going on, it would divide 0 by 0, or in
    float32 square a residual until it underflows.

    An operator that has conjugate gradients of its own (fused.Fisher) is asked for these.
    """
    norm = _dot(b, b).sqrt()
    x, rr = getattr(operator, "conjugate_gradient", partial(_iterate, operator))(b, iterations)
    return x, torch.where(norm > 0, rr.sqrt() / norm, 0)


def _iterate(operator: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """x, and the residual's square."""
    x, r, p = torch.zeros_like(b), b, b
    rr = _dot(r, r)
    least = torch.finfo(b.dtype).eps ** 2 * rr
    for _ in range(iterations):
        z = operator(p)
        going = rr > least
        alpha = torch.where(going, rr / _dot(p, z), 0)
        x = x + alpha.unsqueeze(-1) * p
        r = r - alpha.unsqueeze(-1) * z
        rr, before = _dot(r, r), rr
        p = r + torch.where(going, rr / before, 0).unsqueeze(-1) * p
    return x, rr


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

    change(theta) gives the surrogate's gain and KL(old || new), [R] each. Each candidate is computed from
    theta alone, so that no error accumulates from one k to the next.
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


class Root(NamedTuple):
    x: Tensor  # [R]
    made: Any  # what the function made at x
    solved: Tensor  # [R] bool
    tries: Tensor  # [R]


def bisect(
    function: Callable[[Tensor], tuple[Tensor, Any]],
    x: Tensor,
    made: Any,
    tolerance: Tensor,
    tries: int,
    limit: float,
) -> Root:
    """x [R] where a positive, mostly falling function of x is 1 within the relative tolerance.

    function(x) gives its value [R] and what it made on the way, a tree of [R, ...]. From the x given the
    search goes upwards while the value is above 1, downwards while below, in steps of 1, 2, 4, ... within
    +-limit, until the root lies between two tries; then inwards. There the next try is where log value,
    linear in x, would be 0, but no nearer to an end of the bracket than a quarter of it.

    Far up the function may rise again (the inner loop is unstable): where going up raises the value, the
    search goes down instead. A run whose value is below 1 even at -limit ends there.
    Any other run without a solution keeps the try nearest to 1; made where no value is finite.
    """
    octaves = torch.ones_like(x)
    low, low_error, high, high_error = torch.full((4, len(x)), math.nan, dtype=x.dtype, device=x.device)
    before = best_error = torch.full_like(x, math.inf)
    best, used = (x, made), torch.zeros_like(x)
    turned = done = found = torch.zeros_like(x, dtype=torch.bool)
    for _ in range(tries):
        value, made = function(x)
        error = torch.where(value.isnan(), math.inf, value.log2())
        used = used + ~done

        # What to keep
        above = error > 0
        solved = (value - 1).abs() <= tolerance
        at_bottom = ~above & (x <= -limit)
        better = ~done & (solved | at_bottom | (error.abs() < best_error))
        best, best_error = where(better, ((x, made), error.abs()), (best, best_error))
        found = found | (~done & solved)

        # What is known of the root: above 1 at low, below 1 at high
        edge = torch.where(turned, x <= -limit, x >= limit)
        rose = above & high.isnan() & ((error > before + 0.1) | edge)  # 0.1: more than rounding
        done = done | solved | at_bottom | (turned & rose)
        if done.all():  # saves time only: finished runs keep what they have
            break
        high, high_error = where(above, (high, high_error), (x, error))
        rising = above & (~high.isnan() | ~(rose | turned))
        low, low_error = where(rising, (x, error), (low, low_error))
        turn = rose & ~turned
        low, low_error = (torch.where(turn, math.nan, known) for known in (low, low_error))
        turned = turned | turn

        # The next try
        octaves = torch.where(turn, 2, octaves)  # 1 would go back to where the last step came from
        outwards = x + torch.where(above & ~turned, octaves, -octaves)
        share = (low_error / (low_error - high_error)).nan_to_num(0.5).clamp(0.25, 0.75)
        bracketed = ~(low.isnan() | high.isnan())
        x = torch.where(bracketed, low + share * (high - low), outwards.clamp(-limit, limit))
        octaves = torch.where(bracketed, octaves, 2 * octaves)
        before = error
    return Root(*best, found, used)
