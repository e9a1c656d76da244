r"""Laws of which both tails are known by quadrature: log F, log (1 − F), their inverses, their derivatives.

A family is a density exp(g(w)) on the line, with its mode at w = 0. The mass beyond w, away from the mode, is
I(w) exp(g(w)), with an integral I of a decreasing function that :class:`Family` supplies, and with it the
means of ∂g over the tail, which are the derivatives to parameters (Leibniz). Both tails so have their full
relative precision, however far out, and F⁻¹ is found by Halley's method on log F or log (1 − F), which are
concave for log-concave densities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

_CLOSE = 1e-4
"""A last step of Halley's method from log F this far from its target leaves it exact."""

_NEAR = 0.05
"""A step from log F this far from its target is as good as the coarse rule."""


FINE, COARSE = 48, 16
"""Nodes of the quadrature: for results, and for the first steps towards them."""


FAMILIES: dict[str, type[Family]] = {}
"""Families by name, as operators of torch are told of them."""


class Tail(NamedTuple):
    """The tail beyond w, away from the mode.

    ``size`` is its mass divided by the density at w; ``scores`` are, for each parameter, the mean of ∂g over
    the tail less ∂g at the mode.
    """

    size: Tensor
    scores: tuple[Tensor, ...]


class Family:
    """A family of densities exp(g(w; parameters)), g = 0 at the mode w = 0; parameters are float64.

    Where w is measured from a mode that parameters move, its place is held fixed in derivatives: w is a fixed
    coordinate, and 0 the mode for the values that the parameters have.
    """

    edge = torch.inf
    """The line ends at ± edge."""

    def __init_subclass__(cls) -> None:
        FAMILIES[cls.__name__] = cls

    def __init__(self, *parameters: Tensor) -> None:
        self.parameters = parameters

    def log_density(self, w: Tensor) -> Tensor:
        raise NotImplementedError

    def slope(self, w: Tensor) -> Tensor:
        """Return dg/dw."""
        raise NotImplementedError

    def tail(self, w: Tensor, nodes: int = FINE, *, scored: bool = True) -> Tail:
        """Return the tail to the left where w ≤ 0 and to the right where w > 0, its scores where wanted."""
        raise NotImplementedError

    def start(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        """Return about where the two tails have given masses."""
        raise NotImplementedError


class Whole(NamedTuple):
    """The mass of the whole line, in logs, and the means of ∂g over it, less ∂g at the mode."""

    log_mass: Tensor
    scores: tuple[Tensor, ...]


def whole(family: Family, *, scored: bool = True) -> Whole:
    mode = torch.zeros_like(family.parameters[0])
    tail = family.tail(torch.stack([mode, mode + torch.finfo(torch.float64).tiny]), scored=scored)
    mass = tail.size.sum(0)
    return Whole(mass.log(), tuple((score * tail.size).sum(0) / mass for score in tail.scores))


def near_tail(family: Family, all_of_it: Whole, w: Tensor) -> tuple[Tensor, ...]:
    """Return the log of the tail that w begins, and its derivatives to w and to the parameters."""
    size, scores = family.tail(w)
    slope = torch.where(w <= 0, 1.0, -1.0) / size
    changes = tuple(tail - mean for tail, mean in zip(scores, all_of_it.scores, strict=True))
    return family.log_density(w) + size.log() - all_of_it.log_mass, slope, *changes


def inverse(family: Family, all_of_it: Whole, log_lower: Tensor, log_upper: Tensor) -> tuple[Tensor, ...]:
    """Return quantiles, NaN where none is found."""
    w = family.start(log_lower, log_upper)
    may_ask = w.device.type == "cpu"  # elsewhere asking would wait; three steps do, but at the edge
    for nodes, steps in ((COARSE, 3), (FINE, 30 if may_ask else 3)):
        for _ in range(steps):
            w, far, found = _halley(family, all_of_it, w, log_lower, log_upper, nodes)
            if may_ask and (found.all() if nodes == FINE else (far < _NEAR).all()):
                break
    return (torch.where(found, w, torch.nan),)


def implicit_slopes(family: Family, all_of_it: Whole, w: Tensor) -> tuple[Tensor, ...]:
    """Return the derivatives of quantiles to the two log-tails and to the parameters."""
    _, slope, *changes = near_tail(family, all_of_it, w)
    size = 1 / slope
    lower, upper = torch.where(w <= 0, size, 0.0), torch.where(w <= 0, 0.0, size)
    return lower, upper, *(-size * change for change in changes)


def _halley(
    family: Family, all_of_it: Whole, w: Tensor, log_lower: Tensor, log_upper: Tensor, nodes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the next w, the distance of the log-tail at w from its target, and whether the next is exact."""
    sign = torch.where(w <= 0, -1.0, 1.0).to(w.dtype)
    size = family.tail(w, nodes, scored=False).size
    target = torch.where(w <= 0, log_lower, log_upper)
    excess = family.log_density(w) + size.log() - all_of_it.log_mass - target
    far = excess.abs()
    last = family.edge * (1 - 2.0**-51)
    rounding = 2.0**-50 * w.abs()
    found = (far < _CLOSE) | (far * size <= rounding) | ((w.abs() >= last) & (excess > 0))

    bend = 1 + sign * family.slope(w) * size
    new = w + sign * excess * size / (1 + bend * excess.clamp(-1, 1) / 2)
    beyond = (w + 7 * sign * family.edge).clamp(-8 * last, 8 * last) / 8
    return torch.where(new.abs() <= last, new, beyond), far, found


def in_blocks(
    function: Callable[..., tuple[Tensor, ...]], family: Family, all_of_it: Whole, *tensors: Tensor
) -> list[Tensor]:
    """Apply an elementwise function of a family and tensors, a block that fits the cache at a time."""
    count = len(family.parameters)
    given = (*family.parameters, all_of_it.log_mass, *all_of_it.scores, *tensors)
    shape = torch.broadcast_shapes(*(t.shape for t in given))
    flat = [t.reshape(1) if t.numel() == 1 else t.expand(shape).reshape(-1) for t in given]
    size = 2**11 if tensors[0].device.type == "cpu" else 2**19
    results = []
    for part in _parts(flat, shape.numel(), size):
        last = count + 1 + len(all_of_it.scores)
        some = Whole(part[count], tuple(part[count + 1 : last]))
        results.append(function(type(family)(*part[:count]), some, *part[last:]))
    return [
        torch.cat([x.expand(1) if x.dim() == 0 else x for x in xs]).reshape(shape)
        for xs in zip(*results, strict=True)
    ]


def _parts(flat: list[Tensor], length: int, size: int) -> Iterator[list[Tensor]]:
    for start in range(0, max(length, 1), size):
        yield [t if t.numel() == 1 else t[start : start + size] for t in flat]
