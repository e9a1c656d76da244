r"""Laws of which both tails are known by quadrature: log F, log (1 − F), their inverses, their derivatives.

A family is a density exp(g(w)) on the line, with its mode at w = 0. The mass beyond w, away from the mode, is
I(w) exp(g(w)), with an integral I of a decreasing function that :class:`Family` supplies, and with it the
means of ∂g over the tail, which are the derivatives to parameters (Leibniz). Both tails so have their full
relative precision, however far out, and F⁻¹ is found by Halley's method on log F or log (1 − F), which are
concave for log-concave densities. Derivatives of quantiles are the implicit ones, ∂w = −∂F / f.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

_CLOSE = 1e-4
"""A last step of Halley's method from log F this far from its target leaves it exact."""

_NEAR = 0.05
"""A step from log F this far from its target is as good as the coarse rule."""


FINE, COARSE = 48, 16
"""Nodes of the quadrature: for results, and for the first steps towards them."""


_FAMILIES: dict[str, type[Family]] = {}
"""Families by name, as the two operators of torch that are defined here are told of them."""


class Tail(NamedTuple):
    """The tail beyond w, away from the mode.

    ``size`` is its mass divided by the density at w; ``scores`` are, for each parameter, the mean of ∂g over
    the tail less ∂g at the mode.
    """

    size: Tensor
    scores: tuple[Tensor, ...]


class Family:
    """A family of densities exp(g(w; parameters)), g = 0 at the mode w = 0; parameters are float64."""

    edge = torch.inf
    """The line ends at ± edge."""

    def __init_subclass__(cls) -> None:
        _FAMILIES[cls.__name__] = cls

    def __init__(self, *parameters: Tensor) -> None:
        self.parameters = parameters

    def log_density(self, w: Tensor) -> Tensor:
        raise NotImplementedError

    def slope(self, w: Tensor) -> Tensor:
        """Return dg/dw."""
        raise NotImplementedError

    def tail(self, w: Tensor, nodes: int = FINE) -> Tail:
        """Return the tail to the left where w ≤ 0 and to the right where w > 0."""
        raise NotImplementedError

    def start(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        """Return about where the two tails have given masses."""
        raise NotImplementedError


class Whole(NamedTuple):
    """The mass of the whole line, in logs, and the means of ∂g over it, less ∂g at the mode."""

    log_mass: Tensor
    scores: tuple[Tensor, ...]


def whole(family: Family) -> Whole:
    mode = torch.zeros_like(family.parameters[0])
    tail = family.tail(torch.stack([mode, mode + torch.finfo(torch.float64).tiny]))
    mass = tail.size.sum(0)
    return Whole(mass.log(), tuple((score * tail.size).sum(0) / mass for score in tail.scores))


def log_tails(family: Family, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return log F(w) and log (1 − F(w)), each to its relative precision, with first derivatives."""
    with torch.no_grad():
        inside = torch.where(w.isfinite(), w, 0.0)
        near, slope, *scores = torch.ops.probgen.near_tail(
            type(family).__name__, list(family.parameters), inside
        )
    if w.requires_grad:
        near = near + slope * _zero(w)
    near = torch.where(w.isinf(), -torch.inf, near + _moved(family, scores))
    near = torch.where(w.isnan(), w, near)
    far = log1mexp(near)
    return torch.where(w <= 0, near, far), torch.where(w <= 0, far, near)


def quantile(family: Family, log_lower: Tensor, log_upper: Tensor) -> Tensor:
    """Return the w that has the given tails, whose sum is 1, with first derivatives; NaN where none is found.

    The mode is held fixed in derivatives to parameters.
    """
    differentiable = torch.is_grad_enabled() and any(
        t.requires_grad for t in (*family.parameters, log_lower, log_upper)
    )
    with torch.no_grad():
        w, *rest = torch.ops.probgen.two_tailed_quantile(
            type(family).__name__, list(family.parameters), log_lower, log_upper, differentiable
        )
    if not differentiable:
        return w
    lower, upper, *scores = rest
    for slope, log_tail in ((lower, log_lower), (upper, log_upper)):
        if log_tail.requires_grad:
            w = w + slope * _zero(log_tail)
    return w + _moved(family, scores)


def _near_tail(family: Family, all_of_it: Whole, w: Tensor) -> tuple[Tensor, ...]:
    """Return the log of the tail that w begins, and its derivatives to w and to the parameters."""
    size, scores = family.tail(w)
    slope = torch.where(w <= 0, 1.0, -1.0) / size
    changes = tuple(tail - mean for tail, mean in zip(scores, all_of_it.scores, strict=True))
    return family.log_density(w) + size.log() - all_of_it.log_mass, slope, *changes


def _inverse(
    family: Family, all_of_it: Whole, log_lower: Tensor, log_upper: Tensor, *, differentiable: bool
) -> tuple[Tensor, ...]:
    """Return quantiles, and where wanted their derivatives to the two log-tails and to the parameters."""
    w = family.start(log_lower, log_upper)
    may_ask = (
        w.device.type == "cpu"
    )  # elsewhere asking would wait, and three steps are enough but at the edge
    for nodes, steps in ((COARSE, 3), (FINE, 30 if may_ask else 3)):
        for _ in range(steps):
            w, far, found = _halley(family, all_of_it, w, log_lower, log_upper, nodes)
            if may_ask and (found.all() if nodes == FINE else (far < _NEAR).all()):
                break
    w = torch.where(found, w, torch.nan)
    if not differentiable:
        return (w,)
    _, slope, *changes = _near_tail(family, all_of_it, w)
    size = 1 / slope
    lower, upper = torch.where(w <= 0, size, 0.0), torch.where(w <= 0, 0.0, size)
    return w, lower, upper, *(-size * change for change in changes)


def _halley(
    family: Family, all_of_it: Whole, w: Tensor, log_lower: Tensor, log_upper: Tensor, nodes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the next w, the distance of the log-tail at w from its target, and whether the next is exact."""
    sign = torch.where(w <= 0, -1.0, 1.0).to(w.dtype)
    size = family.tail(w, nodes).size
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


def _in_blocks(function: Callable[..., tuple[Tensor, ...]], family: Family, *tensors: Tensor) -> list[Tensor]:
    """Apply a function elementwise to a family and tensors, a block that fits the cache at a time."""
    all_of_it = whole(family)
    given = (*family.parameters, all_of_it.log_mass, *all_of_it.scores)
    shape = torch.broadcast_shapes(*(t.shape for t in (*given, *tensors)))
    flat = [t.reshape(1) if t.numel() == 1 else t.expand(shape).reshape(-1) for t in (*given, *tensors)]
    size = 2**11 if tensors[0].device.type == "cpu" else 2**19
    count = len(family.parameters)
    results = []
    for part in _parts(flat, shape.numel(), size):
        some = Whole(part[count], tuple(part[count + 1 : 2 * count + 1]))
        results.append(function(type(family)(*part[:count]), some, *part[2 * count + 1 :]))
    return [
        torch.cat([x.expand(1) if x.dim() == 0 else x for x in xs]).reshape(shape)
        for xs in zip(*results, strict=True)
    ]


def _parts(flat: list[Tensor], length: int, size: int) -> Iterator[list[Tensor]]:
    for start in range(0, max(length, 1), size):
        yield [t if t.numel() == 1 else t[start : start + size] for t in flat]


@torch.library.custom_op(
    "probgen::near_tail", mutates_args=(), schema="(str family, Tensor[] parameters, Tensor w) -> Tensor[]"
)
def _near_tail_operator(family: str, parameters: list[Tensor], w: Tensor) -> list[Tensor]:
    return _in_blocks(_near_tail, _FAMILIES[family](*parameters), w)


@_near_tail_operator.register_fake
def _(family: str, parameters: list[Tensor], w: Tensor) -> list[Tensor]:
    return _alike(2 + len(parameters), *parameters, w)


@torch.library.custom_op(
    "probgen::two_tailed_quantile",
    mutates_args=(),
    schema="(str family, Tensor[] parameters, Tensor log_lower, Tensor log_upper, bool slopes) -> Tensor[]",
)
def _quantile_operator(
    family: str, parameters: list[Tensor], log_lower: Tensor, log_upper: Tensor, slopes: bool
) -> list[Tensor]:
    function = partial(_inverse, differentiable=slopes)
    return _in_blocks(function, _FAMILIES[family](*parameters), log_lower, log_upper)


@_quantile_operator.register_fake
def _(
    family: str, parameters: list[Tensor], log_lower: Tensor, log_upper: Tensor, slopes: bool
) -> list[Tensor]:
    count = 3 + len(parameters) if slopes else 1
    return _alike(count, *parameters, log_lower, log_upper)


def _alike(count: int, *tensors: Tensor) -> list[Tensor]:
    shape = torch.broadcast_shapes(*(t.shape for t in tensors))
    return [tensors[0].new_empty(shape) for _ in range(count)]


def log1mexp(x: Tensor) -> Tensor:
    """Return log(1 − exp(x)) at x ≤ 0."""
    small = x > -0.6931471805599453
    inner = torch.where(small, x, -1.0)
    return torch.where(small, (-inner.expm1()).log(), (-torch.where(small, -1.0, x).exp()).log1p())


def _moved(family: Family, changes: list[Tensor]) -> Tensor:
    """Return 0 with the derivatives given to the family's parameters."""
    pairs = zip(changes, family.parameters, strict=True)
    return torch.as_tensor(sum(change * _zero(p) for change, p in pairs if p.requires_grad))


def _zero(x: Tensor) -> Tensor:
    """Return 0 with the derivative 1 to x."""
    return torch.where(x.isfinite(), x - x.detach(), 0.0)
