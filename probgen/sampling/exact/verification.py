"""Checks of the functions that define a law on the line, each error with its place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from probgen.core.density.mapped import is_mapped

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)

TOLERANCE = 1e-6
"""How far a CDF or a quantile function may decrease by rounding: its parameters may be float32."""

ENDS = 1e-5
"""How far a CDF may begin from 0 and end from 1: its weights may be a softmax in float32."""


_FEWEST = 8
"""How many numbers of a dtype there should be between the median of a law and a quartile."""


def first(values: Tensor, where: Tensor) -> float:
    """Return the first of the values at which ``where`` holds."""
    values, where = torch.broadcast_tensors(values.detach(), where)
    return float(values[where][0])


def check_draws(u: Tensor, x: Tensor, support: Constraint, name: str) -> None:
    """Raise where a quantile x = F⁻(u) is NaN, infinite at u inside (0, 1), or outside the support."""
    u = u.expand(x.shape)
    if x.isnan().any():
        raise ValueError(f"{name} should be a number everywhere but is nan for u = {first(u, x.isnan())}")
    inside = (u > 0) & (u < 1)
    wrong = inside & x.isinf()
    if wrong.any():
        raise ValueError(
            f"the quantile should be finite but {name} gives {first(x, wrong)} at u = {first(u, wrong)}"
        )
    wrong = inside & ~support.check(x)
    if wrong.any():
        raise ValueError(
            f"{name} should stay in the support {support} but gives {first(x, wrong)} "
            f"at u = {first(u, wrong)}"
        )


def check_quantiles(u: Tensor, x: Tensor, support: Constraint, name: str) -> None:
    """Raise where quantiles along the first dimension are not numbers in the support that increase."""
    check_draws(u, x, support, name)
    fall = x[1:] - x[:-1] < -TOLERANCE * x[:-1].abs()
    if fall.any():
        raise ValueError(
            f"{name} should not decrease but falls from {first(x[:-1], fall)} to {first(x[1:], fall)} "
            f"near u = {first(u[1:], fall)}"
        )


def check_cdf(cdf: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Raise where the CDF, at x increasing along the first dimension, is NaN, leaves [0, 1] or decreases."""
    with torch.no_grad():
        level = cdf(x)
    x = x.expand(level.shape)
    wrong = ~((level >= -ENDS) & (level <= 1 + ENDS))
    if wrong.any():
        way_out = "; divide it by its whole rise" if level.isfinite().all() else ""
        raise ValueError(
            f"cdf should be in [0, 1] but is {first(level, wrong)} at x = {first(x, wrong)}{way_out}"
        )
    fall = level[1:] - level[:-1] < -TOLERANCE
    if fall.any():
        raise ValueError(
            f"cdf should not decrease but falls from {first(level[:-1], fall)} to {first(level[1:], fall)} "
            f"between x = {first(x[:-1], fall)} and {first(x[1:], fall)}"
        )


def check_spacing(
    middle: Tensor, spread: Tensor, dtype: torch.dtype, way_out: str = "give dtype=torch.float64"
) -> None:
    """Raise where the numbers of a dtype lie too far apart for a law with this middle and half-width.

    A normal law of which half lies within ``spread`` of the middle is then drawn as less than fifty numbers.
    """
    near = middle.detach().to(dtype).abs()
    step = (torch.nextafter(near, torch.full_like(near, torch.inf)) - near).to(torch.float64)
    coarse = (spread.detach() > 0) & (spread.detach() < _FEWEST * step)
    if not is_mapped(coarse) and coarse.any():
        raise ValueError(
            f"draws should be many different numbers but those of {dtype} near "
            f"x = {first(middle, coarse):.9g} are {first(step, coarse):.3g} apart, and half of the law lies "
            f"within {first(spread, coarse):.3g} of it; {way_out}"
        )


def check_quartiles(x: Tensor, support: Constraint, dtype: torch.dtype) -> None:
    """Raise where the quartiles of a law, along the first dimension, lie too near together for a dtype.

    Mass that lies beside an end, as at a pole, within distances of every order, is no such law.
    """
    low, middle, high = x.to(torch.float64)
    spread = (high - low) / 2
    for end in bounds(support):
        apart = [(quartile - end.to(x.device)).abs() for quartile in (low, high)]
        spread = torch.where(torch.maximum(*apart) > 100 * torch.minimum(*apart), 0.0, spread)
    check_spacing(middle, spread, dtype)


def bounds(support: Constraint) -> tuple[Tensor, Tensor]:
    """Return the ends of the support, an interval, in float64."""
    intervals = (
        type(constraints.real), constraints.greater_than, constraints.greater_than_eq, constraints.less_than,
        constraints.interval, constraints.half_open_interval,
    )  # fmt: skip
    if not isinstance(support, intervals):
        raise ValueError(f"support should be an interval of the real line but got {support}")
    ends = getattr(support, "lower_bound", -torch.inf), getattr(support, "upper_bound", torch.inf)
    low, high = (torch.as_tensor(end, dtype=torch.float64).detach() for end in ends)
    learned = any(isinstance(end, Tensor) for end in ends)
    if is_mapped(low, high):
        pass  # there is no asking
    elif (not (low < high).all()) if learned else (not ends[0] < ends[1]):
        raise ValueError(f"support should go from a lower to a higher number but is {support}")
    low, high = torch.broadcast_tensors(low, high)
    return low, high


def somewhere(low: Tensor, high: Tensor) -> Tensor:
    """Return a value inside the bounds, of those that are no special place of a law."""
    one_sided = torch.where(low.isfinite(), low + 0.7, torch.where(high.isfinite(), high - 0.7, 0.7))
    return torch.where(low.isfinite() & high.isfinite(), low + 0.382 * (high - low), one_sided)


def spread(low: Tensor, high: Tensor) -> Tensor:
    """Return increasing points all over an interval, which may be infinite, along a new first dimension."""
    t = torch.linspace(-1, 1, 259, dtype=torch.float64, device=low.device)[1:-1]
    t = t.reshape(-1, *[1] * max(low.dim(), high.dim()))
    far = torch.sinh(20 * (t + 1))
    one_sided = torch.where(low.isfinite(), low + far, high - far.flip(0))
    bounded = low + (high - low) * (t + 1) / 2
    two_sided = torch.where(low.isinf() & high.isinf(), torch.sinh(20 * t), one_sided)
    return torch.where(low.isfinite() & high.isfinite(), bounded, two_sided)


def refined(x: Tensor) -> Tensor:
    """Put seven points between neighbours along the first dimension."""
    step = torch.linspace(0, 1, 9, dtype=x.dtype, device=x.device)[:-1].reshape(-1, *[1] * (x.dim() - 1))
    points = x[:-1, None] + (x[1:] - x[:-1])[:, None] * step
    return points.flatten(0, 1)


def u_error(cdf: Callable[[Tensor], Tensor], u: Tensor, x: Tensor) -> tuple[float, float]:
    """Return the largest max(F(x⁻) − u, u − F(x)) and the u at which it stands."""
    with torch.no_grad():
        before = cdf(torch.nextafter(x, torch.full_like(x, -torch.inf)))
        error = torch.maximum(before - u, u - cdf(x)).clamp(min=0).flatten()
    worst = error.argmax()
    return float(error[worst]), float(u.flatten()[worst])


def density_error(log_prob: Callable[[Tensor], Tensor], u: Tensor, x: Tensor) -> float:
    """Return the relative error of ∫ exp(log_prob) between quantiles: median over panels, worst batch row."""
    shape = (-1, *[1] * (x.dim() - 1))
    t = torch.as_tensor((_NODES + 1) / 2, device=x.device).reshape(shape)
    w = torch.as_tensor(_WEIGHTS / 2, device=x.device).reshape(shape)
    width = x[1:] - x[:-1]
    with torch.no_grad():
        density = log_prob(x[:-1, None] + width[:, None] * t).to(torch.float64).exp()
    mass = (density * w).sum(1) * width
    relative = (mass / (u[1:] - u[:-1]) - 1).abs()
    worst = float(relative.reshape(len(relative), -1).median(0).values.max())
    return math.inf if math.isnan(worst) else worst


def returned(name: str, value: Any) -> Tensor:
    """Return what a function of the user's returned, or say that it should be a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(
            f"{name} should return a tensor but returned {type(value).__name__}: write it by functions of "
            f"torch (torch.special has those of SciPy), which have gradients and run on any device"
        )
    return value
