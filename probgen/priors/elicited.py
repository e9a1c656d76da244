"""Priors from what someone knows: quantiles, a table of a density, draws."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import AffineTransform, ComposeTransform, Transform

from probgen.core.density.bijectors import bijector_of
from probgen.core.density.mapped import is_mapped
from probgen.priors.monotone_spline import MonotoneSpline, through
from probgen.sampling.exact.inverse_cdf import InverseCDF
from probgen.sampling.exact.laws_from_quantiles import ByInversion
from probgen.sampling.exact.tails.closed_tails import normal_log_tails, normal_quantile
from probgen.sampling.exact.verification import bounds

_HALF_LOG_2_PI = math.log(2 * math.pi) / 2
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def from_quantiles(
    quantiles: Mapping[float, Tensor | float],
    *,
    support: Constraint = constraints.real,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Elicited:
    r"""Return a smooth law with given quantiles, as an expert names them.

    x = g(S(z)) with z standard normal: S is a smooth increasing spline through the normal scores Φ⁻¹(u) of
    the levels (:class:`MonotoneSpline`), straight beyond the first and the last, and g maps the real line to
    the support: exp to the positive numbers, the logistic function to an interval. So the tails are those of
    a normal, a log-normal or a logit-normal law. Two quantiles give just such a law, and quantiles of one
    give it back, however many. The density is positive all over the support and has a derivative.

    Args:
        quantiles: from levels u in (0, 1), at least two, to values inside the support that increase; tensors
            of one shape give a batch of laws, with gradients to them.
        support: ``real``, ``positive``, ``greater_than(a)``, ``interval(a, b)``, ...
        dtype, device: of the draws; torch's defaults, or those of the values, where not given.

    Raises:
        TypeError: for what is no mapping from numbers.
        ValueError: for fewer than two levels, levels outside (0, 1), and values that do not increase with
            them or lie outside the support.

    See Garthwaite, Kadane and O'Hagan (2005), Statistical methods for eliciting probability distributions.

    >>> effect = from_quantiles({0.05: -1, 0.5: 0.6, 0.95: 3})
    >>> effect.icdf(torch.tensor([0.05, 0.5, 0.95])), effect.cdf(torch.tensor(0.0))
    (tensor([-1.0000,  0.6000,  3.0000]), tensor(0.2913))
    """
    if not isinstance(quantiles, Mapping) or not all(isinstance(u, float | int | Tensor) for u in quantiles):
        raise TypeError(
            f"quantiles should map levels to values, as {{0.05: 1.0, 0.95: 4.0}}, but are {quantiles}"
        )
    pairs = tuple(sorted(quantiles.items()))
    tensors = [value for value in quantiles.values() if isinstance(value, Tensor)]
    if dtype is None:
        batched = [value.dtype for value in tensors if value.dim() and value.is_floating_point()]
        dtype = batched[0] if batched else torch.get_default_dtype()
    if device is None:
        device = tensors[0].device if tensors else torch.get_default_device()
    made = _elicited if tensors else _elicited_once
    return made(pairs, support, dtype, torch.device(device))


def _elicited(
    quantiles: tuple[tuple[float, Tensor | float], ...],
    support: Constraint,
    dtype: torch.dtype,
    device: torch.device,
) -> Elicited:
    levels = [u for u, _ in quantiles]
    if len(levels) < 2:
        raise ValueError(f"quantiles should name at least two levels, each with its value, but got {levels}")
    if not all(0 < u < 1 for u in levels):
        raise ValueError(f"the levels of quantiles should be inside (0, 1) but are {levels}")
    values = [torch.as_tensor(value, dtype=torch.float64, device=device) for _, value in quantiles]
    x = torch.stack(torch.broadcast_tensors(*values), -1)
    low, high = (end.to(device).unsqueeze(-1) for end in bounds(support))
    rises, inside = x.diff() > 0, (x > low) & (x < high)
    if not is_mapped(x):
        falls, outside = (~part.reshape(-1, part.shape[-1]).all(0) for part in (rises, inside))
        if falls.any():
            (u, value), (v, after) = (
                quantiles[int(falls.nonzero()[0])],
                quantiles[int(falls.nonzero()[0]) + 1],
            )
            raise ValueError(
                f"values should increase with their levels but {value} at {u} is followed by {after} at {v}"
            )
        if outside.any():
            u, value = quantiles[int(outside.nonzero()[0])]
            raise ValueError(f"values should lie inside the support {support} but at {u} is {value}")
    z = torch.special.ndtri(torch.tensor(levels, dtype=torch.float64, device=device))
    return Elicited(through(z, _rising(support).inv(x)), support=support, dtype=dtype)


_elicited_once = functools.lru_cache(maxsize=256)(_elicited)
"""The law of quantiles given as numbers is found once: a model may ask for it at each of its runs."""


class Elicited(ByInversion, TorchDistribution):
    r"""The law of g(S(Z)), Z standard normal: what :func:`from_quantiles` returns.

    It has log_prob, cdf, sf, icdf, isf, rsample, mean and variance, each tail to its own relative precision.

    Args:
        spline: S, from normal scores to the real line, in float64.
        support: an interval, whose map from the real line is g.
        dtype: of the draws.
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(
        self,
        spline: MonotoneSpline,
        *,
        support: Constraint = constraints.real,
        dtype: torch.dtype = torch.float32,
        validate_args: bool | None = None,
    ) -> None:
        self.spline, self._support, self.dtype = spline, support, dtype
        self._to_support = _rising(support)
        super().__init__(spline.y.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Constraint:
        return self._support

    def __repr__(self) -> str:
        u = torch.special.ndtr(self.spline.z).tolist()
        x = self._to_support(self.spline.y).unbind(-1)
        named = ", ".join(
            f"{a:.4g}: {b:.4g}" if not b.dim() else f"{a:.4g}: ..." for a, b in zip(u, x, strict=True)
        )
        return f"from_quantiles({{{named}}})"

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Elicited:
        new = self._get_checked_instance(Elicited, _instance)
        new.__dict__.update(self.__dict__)
        new.spline = self.spline.expand(torch.Size(batch_shape))
        super(Elicited, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    best_by_scores = True
    """In a model chains walk on z, on which the law is normal."""

    def at_normal_scores(self, z: Tensor) -> Tensor:
        """Return x = g(S(z)), in the dtype of z."""
        return self._to_support(self.spline.value(z))

    def normal_scores(self, value: Tensor) -> Tensor:
        """Return the z with x = g(S(z)), in the dtype of x."""
        return self.spline.inverse(self._to_support.inv(value))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in the dtype of x, with gradients to x and to the quantiles."""
        if self._validate_args:
            self._validate_sample(value)
        inside = self._support.check(value) if self._support is not constraints.real else None
        y = value if inside is None else self._to_support.inv(value)
        z = self.spline.inverse(y)
        log_prob = -(z**2) / 2 - _HALF_LOG_2_PI - self.spline.log_slope(z)
        if inside is None:
            return log_prob
        return torch.where(inside, log_prob - self._to_support.log_abs_det_jacobian(y, value), -torch.inf)

    @property
    def mean(self) -> Tensor:
        return self._moments()[0].to(self.dtype)

    @property
    def variance(self) -> Tensor:
        return self._moments()[1].to(self.dtype)

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Integrate over z by panels that end at the knots."""
        like = self.spline.z
        ends = torch.cat([torch.arange(-38.0, 39.0).to(like), like]).sort().values
        width = ends.diff()[:, None]
        z = ends[:-1, None] + width * torch.as_tensor((_NODES + 1) / 2).to(like)
        mass = (
            width * torch.as_tensor(_WEIGHTS / 2).to(like) * (-(z**2) / 2 - _HALF_LOG_2_PI).exp()
        ).flatten()
        z = z.flatten().reshape(-1, *[1] * len(self.batch_shape)).expand(-1, *self.batch_shape)
        mass = mass.reshape(-1, *[1] * len(self.batch_shape))
        x = self._to_support(self.spline.value(z))
        mean = (mass * x).sum(0)
        return mean, (mass * (x - mean) ** 2).sum(0)

    def _log_tails(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self._ends()
        inside = (x > low) & (x < high)
        middle = self._to_support(self.spline.y[..., 0])
        z = self.spline.inverse(self._to_support.inv(torch.where(inside, x, middle)))
        return normal_log_tails(torch.where(inside, z, torch.where(x <= low, -torch.inf, torch.inf)))

    def _quantile(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        return self._to_support(self.spline.value(normal_quantile(log_lower, log_upper)))

    def _ends(self) -> tuple[Tensor, Tensor]:
        low, high = bounds(self._support)
        return low.to(self.spline.z.device), high.to(self.spline.z.device)

    def _middle_and_spread(self) -> tuple[Tensor, Tensor]:
        quartiles = torch.tensor([-0.6745, 0.0, 0.6745]).to(self.spline.z)
        quartiles = quartiles.reshape(-1, *[1] * len(self.batch_shape)).expand(-1, *self.batch_shape)
        low, middle, high = self._to_support(self.spline.value(quartiles))
        return middle, (high - low) / 2

    @property
    def _dtype(self) -> torch.dtype:
        return self.dtype


def _rising(support: Constraint) -> Transform:
    """Return an increasing map from the real line to an interval."""
    to_support = bijector_of(support)
    if not isinstance(support, constraints.less_than):
        return to_support
    return ComposeTransform([AffineTransform(0.0, -1.0), to_support])


def from_table(
    x: Sequence[float] | np.ndarray | Tensor,
    density: Sequence[float] | np.ndarray | Tensor,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> InverseCDF:
    """Return the law whose density goes through a table, straight from point to point, and is 0 outside.

    Args:
        x: where the density is known, (n), increasing.
        density: its values, (n), not negative, up to a constant.
        dtype, device: of the draws; torch's defaults where not given.

    Raises:
        ValueError: for another shape, x that do not increase, and values that are negative, not finite or
            all 0.

    >>> triangle = from_table([0, 1, 2], [0, 5, 0])
    >>> triangle.log_prob(torch.tensor(1.0)).exp(), triangle.icdf(torch.tensor([0.125, 0.5]))
    (tensor(1.), tensor([0.5000, 1.0000]))
    """
    knots, heights = (torch.as_tensor(values, dtype=torch.float64, device=device) for values in (x, density))
    if knots.dim() != 1 or knots.shape != heights.shape or len(knots) < 2:
        raise ValueError(
            f"x and density should be two rows of as many numbers, two at least, but have shapes "
            f"{tuple(knots.shape)} and {tuple(heights.shape)}"
        )
    if not (knots.isfinite().all() and (knots.diff() > 0).all()):
        raise ValueError("x should increase from each point to the next, and be finite, but does not")
    if not ((heights >= 0) & heights.isfinite()).all():
        raise ValueError(f"density should be finite and not negative but holds {float(heights.min())}")
    heights = heights / heights.max().clamp(min=torch.finfo(heights.dtype).tiny)
    steps = knots.diff()
    areas = steps * (heights[1:] + heights[:-1]) / 2
    if not areas.sum() > 0:
        raise ValueError("density should be above 0 somewhere but is 0 at all points")
    heights, areas = heights / areas.sum(), areas / areas.sum()
    level = torch.cat([areas.new_zeros(1), areas.cumsum(0)])
    level = level / level[-1]
    inner, slope = len(steps) - 1, heights.diff() / steps

    def icdf(u: Tensor) -> Tensor:
        place = (torch.searchsorted(level, u.detach().to(level.dtype).contiguous(), right=True) - 1).clamp(
            0, inner
        )
        rest = (u - level[place]).clamp(min=0)
        root = (heights[place] ** 2 + 2 * slope[place] * rest).clamp(min=0).sqrt()
        below = heights[place] + root
        move = 2 * rest / torch.where(below > 0, below, 1.0)
        return knots[place] + torch.minimum(move, steps[place])

    def log_prob(value: Tensor) -> Tensor:
        at = value.detach().to(knots.dtype).contiguous()
        place = (torch.searchsorted(knots, at, right=True) - 1).clamp(0, inner)
        height = heights[place] + slope[place] * (value - knots[place])
        inside = (value >= knots[0]) & (value <= knots[-1])
        return torch.where(inside, height.clamp(min=0).log(), -torch.inf).to(value.dtype)

    return InverseCDF(
        icdf=icdf,
        log_prob=log_prob,
        support=constraints.interval(float(knots[0]), float(knots[-1])),
        points=knots[1:-1][heights[1:-1] == 0],  # where the density starts and stops
        dtype=torch.get_default_dtype() if dtype is None else dtype,
        device=device,
    )


def from_draws(
    draws: Sequence[float] | np.ndarray | Tensor,
    *,
    support: Constraint = constraints.real,
    bandwidth: float | None = None,
) -> TorchDistribution:
    r"""Return a smooth law with the mean and the covariance of draws, say those of an earlier posterior.

    Each draw is a normal law, shrunk towards the mean by √(1 − h²), whose covariance is h² times that of the
    draws. With a support other than the real line this holds for the draws on the unconstrained scale, to
    which they are mapped first. ``log_prob`` costs a term for each draw: some hundreds of draws will do.

    Args:
        draws: independent, (n) or (n, d).
        support: of each number.
        bandwidth: h in (0, 1]; by default Silverman's (4 / (d + 2) n)^(1 / (d + 4)), which suits one bump
            and is too wide for several.

    Raises:
        ValueError: for draws that are not finite, outside the support or do not differ in d directions.

    See West (1993), Approximating posterior distributions by mixtures; Silverman (1986), § 4.3.
    """
    x = torch.as_tensor(draws)
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    if x.dim() not in (1, 2) or len(x) < 2:
        raise ValueError(f"draws should have shape (n) or (n, d), n at least 2, but have {tuple(x.shape)}")
    to_support = bijector_of(support)
    low, high = (end.to(x.device) for end in bounds(support))
    inside = (x > low) & (x < high)
    if not inside.all():
        raise ValueError(
            f"draws should be finite and inside the support {support}, not at its ends, but hold "
            f"{float(x[~inside][0])}"
        )
    y = to_support.inv(x)
    n, d = len(y), 1 if y.dim() == 1 else y.shape[1]
    h = (4 / ((d + 2) * n)) ** (1 / (d + 4)) if bandwidth is None else bandwidth
    if not 0 < h <= 1:
        raise ValueError(f"bandwidth should be in (0, 1], a share of the draws' own spread, but is {h}")
    mean = y.mean(0)
    centres = mean + math.sqrt(1 - h**2) * (y - mean)
    law: Any
    if y.dim() == 1:
        spread = y.std(correction=0)
        if not spread > 0:
            raise ValueError(f"draws should differ but all are {float(x[0])}")
        law = dist.Normal(centres, h * spread)
    else:
        factor, info = torch.linalg.cholesky_ex(y.T.cov(correction=0).reshape(d, d))
        if info:
            raise ValueError(
                f"draws should differ in all {d} directions but lie on a plane, or are all alike"
            )
        law = dist.MultivariateNormal(centres, scale_tril=h * factor)
    mixed = dist.MixtureSameFamily(
        dist.Categorical(torch.ones_like(centres[:, 0] if d > 1 or y.dim() > 1 else centres)), law
    )
    if support is constraints.real:
        return mixed
    return dist.TransformedDistribution(mixed, [to_support])
