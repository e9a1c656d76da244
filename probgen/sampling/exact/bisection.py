"""Root finding for monotone functions, exact to the last bit of float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_FAR = 2.0**64


def first_reaching(
    increasing: Callable[[Tensor], Tensor], level: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    r"""Return the smallest float64 x in (low, high] with increasing(x) ≥ level.

    For a CDF this is the generalised inverse F⁻(u) = inf{x : F(x) ≥ u}, at jumps and on flat stretches too.
    The bits of a positive float64 number, read as an integer, keep its order: the search halves these
    integers, so that 63 evaluations end at two neighbouring numbers whatever the scale, and bounds may be
    infinite. ``high`` comes back where nothing below it reaches the level, NaN where the function is NaN.

    Args:
        increasing: elementwise and non-decreasing; maps float64 to any floating-point type.
        level: float64, of any shape.
        low, high: float64, broadcast with ``level``; the function is not evaluated at ``low``.
    """
    level, low, high = torch.broadcast_tensors(level, low, high)
    low, high = _finite_where_possible(increasing, level, low, high)
    zero = torch.zeros_like(level)
    crossing = (low < 0) & (high > 0)
    at_zero = increasing(torch.where(crossing, zero, before(high))) >= level
    negative = (high <= 0) | (crossing & at_zero)
    nearest = torch.where(negative, torch.minimum(high, zero).neg(), torch.maximum(low, zero))
    size, limit = _bits(nearest), _bits(torch.where(negative, low.neg(), high))
    sign = torch.where(negative, -1.0, 1.0).to(level.dtype)
    for power in range(62, -1, -1):
        trial = size + (limit - 1 - size).clamp(max=1 << power)
        outward = (increasing(trial.view(torch.float64) * sign) < level) ^ negative
        size = torch.where(outward, trial, size)
    first = torch.where(negative, size, size + 1).view(torch.float64) * sign + 0.0
    return torch.where(increasing(first).isnan(), torch.nan, first)


def _finite_where_possible(
    increasing: Callable[[Tensor], Tensor], level: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace infinite bounds by far finite ones that still bracket, so that overflow is seldom met."""
    start = torch.where(low.isfinite(), low, 0.0)
    far = torch.where(high.isinf(), start + (1 + start.abs()) * _FAR, before(high))
    new_high = torch.where(high.isinf() & (increasing(far) >= level), far, high)
    start = torch.where(high.isfinite(), high, 0.0)
    far = torch.where(low.isinf(), start - (1 + start.abs()) * _FAR, before(new_high))
    new_low = torch.where(low.isinf() & (increasing(far) < level), far, low)
    return new_low, new_high


def before(x: Tensor) -> Tensor:
    """Return the float64 numbers next below."""
    return torch.nextafter(x, torch.full_like(x, -torch.inf))


def _bits(positive: Tensor) -> Tensor:
    return (positive + 0.0).contiguous().view(torch.int64)
