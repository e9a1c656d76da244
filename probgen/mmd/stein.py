"""The kernel Stein discrepancy: how far a sample is from a law of which only the log-density is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from probgen.core import Density, Estimate
from probgen.mmd.algebra import Kernel, Radial, as_pair_kernel
from probgen.mmd.bandwidths import median_bandwidth
from probgen.mmd.estimators import Estimator, inner_weight
from probgen.mmd.kernels import InverseMultiquadric
from probgen.mmd.pairwise import accurate_squared_distances, centred, check_finite, symmetric_product
from probgen.mmd.pooled import checked_share
from probgen.mmd.scaling import Scale, units_of
from probgen.mmd.spread import standard_error, variance_within

Target: TypeAlias = Density | Callable[[Tensor], Tensor]
"""A density, or the score ∇ log p as a function of points of shape (n, d)."""


class SteinKernel:
    r"""The Stein kernel of a law p between the points of a sample, of which no draw from p is needed.

    With s = ∇ log p, k_p(x, y) = s(x)ᵀs(y) k + s(x)ᵀ∇_y k + s(y)ᵀ∇_x k + tr ∇_x ∇_yᵀ k, for which
    E k_p(X, y) = 0 for every y where X has the law p. For k = f(r²), r = ‖x − y‖, it is

    f s(x)ᵀs(y) + 2 f' (s(y) − s(x))ᵀ(x − y) − 2 d f' − 4 r² f''.

    Args:
        points, scores: x and s(x), shapes (n, d), in float64, the points centred.
        kernel: k.
    """

    def __init__(self, points: Tensor, scores: Tensor, kernel: Radial) -> None:
        self.points, self.scores, self.kernel = points, scores, kernel
        self._along = (points * scores).sum(1)

    def block(self, rows: slice, columns: slice) -> Tensor:
        """Return k_p between some of the points, shape (t, m)."""
        x, y, s, t = self.points[rows], self.points[columns], self.scores[rows], self.scores[columns]
        squared = accurate_squared_distances(x, y)
        value, slope, bend = _derivatives(self.kernel, squared)
        # (s(y) − s(x))ᵀ(x − y), from products of matrices
        turn = x @ t.T + s @ y.T - self._along[rows, None] - self._along[columns]
        inner = value * (s @ t.T)
        return inner.addcmul_(slope, turn - x.shape[1], value=2).addcmul_(squared, bend, value=-4)

    def diagonal(self) -> Tensor:
        """Return k_p of each point with itself, shape (n,)."""
        value, slope, _ = _derivatives(self.kernel, self.points.new_zeros(1))
        return value * self.scores.square().sum(1) - 2 * self.points.shape[1] * slope


def ksd2(
    x: Tensor | Mapping[str, Tensor],
    target: Target,
    kernel: Kernel | None = None,
    *,
    estimator: Estimator = "unbiased",
    weights: Tensor | None = None,
    scale: Scale = "auto",
) -> Estimate:
    r"""Estimate the squared kernel Stein discrepancy between a sample's law and a density, with its error.

    KSD² = E k_p(X, X'), X and X' independent draws from the sample's law and k_p the Stein kernel of the
    density p (:class:`SteinKernel`). It needs neither p's constant nor a draw from p, and is 0 where the laws
    agree. The unbiased estimator leaves out k_p(x_i, x_i) and may be negative; the biased one is never
    negative. With the inverse multiquadric kernel it is large also where draws run away.

    It looks at p where the draws are: **a mode that no draw has found is not missed**, nor does it see how
    much mass far modes have. For a density with a bounded support, points and score are those on the
    unconstrained scale. Memory is O(n), time O(n²).

    A score has the inverse of its column's units, so that narrow columns outweigh wide ones. By default
    columns are divided by their standard deviations u in the draws, and what is estimated is the discrepancy
    between the laws of z = x / u, whose score is u ∇ log p(u z): the density is scaled with the draws.

    Args:
        x: draws of shape (n, \*event), n at least 4, on the constrained scale, or a mapping of such by site.
        target: a :class:`Density`, or its score ∇ log p, a function from points (n, d) to (n, d).
        kernel: of the distance, with a derivative by ‖x − y‖² at equal points; by default the inverse
            multiquadric at the median bandwidth of x.
        estimator: "unbiased" or "biased".
        weights: of the draws, shape (n,), not negative; they need not sum to 1.
        scale: "pooled" for the standard deviations of the draws, a tensor of shape (d,), None for the units
            of the density, or "auto": None where a kernel is given, whose width is in these, else "pooled".
            Compare values of several samples under one kernel and scale.

    Raises:
        TypeError, ValueError: for draws that are too few, not finite or outside the support, a score that is
            not finite or has another shape, a kernel that is not smooth, and wrong weights.

    Source: Liu, Lee and Jordan (2016); Chwialkowski, Strathmann and Gretton (2016); Gorham and Mackey (2017)
    for the kernel; Wenliang and Kanagawa (2021) for what it does not see.

    >>> x = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(200.0) + 0.5) / 200)
    >>> found = ksd2(x, lambda x: 1 - x)  # the score of a normal law with mean 1
    >>> found.value > 5 * found.stderr
    True
    >>> abs(ksd2(x, lambda x: -x).value) < 0.02
    True
    """
    points, scores = points_and_scores(x, target)
    points, scores, _ = in_units(points, scores, scale, own_units=kernel is not None)
    n = len(points)
    if n < 4:
        raise ValueError(f"x should hold at least 4 points for a standard error but has {n}")
    kernel = InverseMultiquadric(median_bandwidth(points, points)) if kernel is None else kernel
    stein = SteinKernel(points, scores, smooth(kernel, points))
    share = checked_share("weights", weights, points)
    right = torch.stack([share, share.square()], 1)

    def values_and_squares(rows: slice, columns: slice) -> Tensor:
        values = stein.block(rows, columns)
        return torch.stack([values, values.square()])

    sums, squares = symmetric_product(values_and_squares, right)
    total = share.square().sum()
    different = (share * sums[:, 0]).sum() / (1 - total)
    same = (share.square() * stein.diagonal()).sum() / total
    inner = inner_weight(estimator, 1 / float(total))
    value = inner * different + (1 - inner) * same
    if not torch.isfinite(value):
        raise ValueError(f"kernel should return finite values but gave a KSD² of {float(value)}")
    variance = variance_within(sums, squares[:, 1], share)
    return Estimate(float(value), standard_error(variance, sums, squares))


def points_and_scores(x: Tensor | Mapping[str, Tensor], target: Target) -> tuple[Tensor, Tensor]:
    """Return points and scores in float64, shapes (n, d): those of a density on the unconstrained scale."""
    if isinstance(target, Density):
        positions = _positions(x, target)
        with torch.enable_grad():
            leaf = positions.to(target.dtype).detach().requires_grad_()
            log_prob = target.unconstrained_log_prob(leaf)
            if not log_prob.requires_grad:
                raise ValueError("target should have a log_prob with gradients but has none")
            (scores,) = torch.autograd.grad(log_prob.sum(), leaf)
    else:
        if not isinstance(x, Tensor):
            raise TypeError(f"x should be a tensor where target is a score but is {type(x).__name__}")
        check_finite(x=x)
        positions = x.reshape(len(x), -1)
        scores = target(positions).detach()
        if scores.shape != positions.shape:
            raise ValueError(
                f"target should return scores of the points' shape {tuple(positions.shape)} "
                f"but returned {tuple(scores.shape)}"
            )
    (points,) = centred(x=positions)
    finite = torch.isfinite(scores).all(1)
    if not finite.all():
        where = int((~finite).nonzero()[0])
        raise ValueError(f"the score should be finite but is {scores[where].tolist()} at point {where} of x")
    return points, scores.double()


def in_units(
    points: Tensor, scores: Tensor, scale: Scale, *, own_units: bool
) -> tuple[Tensor, Tensor, str | None]:
    """Return z = x / u and the score of its law, u ∇ log p(x), and the choice of u in a word."""
    units, choice = units_of(scale, own_units=own_units, x=points)
    return (points, scores, None) if units is None else (points / units, scores * units, choice)


def smooth(kernel: Kernel, points: Tensor) -> Radial:
    """Return a kernel that has a Stein kernel, or raise."""
    pair_kernel = as_pair_kernel(kernel)
    if not isinstance(pair_kernel, Radial):
        raise TypeError(f"kernel should be a function of the distance but got {kernel!r}")
    near = points.new_tensor([0.0, 1e-20]) * points.square().mean()
    _, slope = pair_kernel.value_and_slope(near)
    if not torch.isclose(slope[0], slope[1], rtol=1e-3):
        raise ValueError(
            f"kernel should have a derivative by the squared distance at equal points, as Gaussian has, "
            f"but {kernel!r} has none"
        )
    return pair_kernel


def _positions(x: Tensor | Mapping[str, Tensor], density: Density) -> Tensor:
    if density.batch_shape:
        raise ValueError(f"target should be one density but has batch_shape {tuple(density.batch_shape)}")
    if isinstance(x, Mapping):
        missing = [name for name in density.names if name not in x]
        if missing:
            raise ValueError(f"x should hold draws of every site but lacks {missing[0]!r}")
    given: Sequence[Tensor] = [x[name] for name in density.names] if isinstance(x, Mapping) else [x]
    for name, draws in zip(density.names, given, strict=True):
        event = density.shapes[name]
        if draws.dim() != 1 + len(event) or draws.shape[1:] != event:
            raise ValueError(
                f"draws of {name!r} should have shape (n, {', '.join(map(str, event))}) "
                f"but have {tuple(draws.shape)}"
            )
    positions = density.unconstrain(x)
    inside = torch.isfinite(positions).all(1)
    if not inside.all():
        raise ValueError(
            f"x should be finite and inside the support but point {int((~inside).nonzero()[0])} is not"
        )
    return positions


@torch.enable_grad()
def _derivatives(kernel: Radial, squared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return f, f' and f'' at squared distances."""
    leaf = squared.detach().requires_grad_()
    value, slope = kernel.value_and_slope(leaf)
    bend = torch.autograd.grad(slope.sum(), leaf)[0] if slope.requires_grad else torch.zeros_like(squared)
    return value.detach(), slope.detach(), bend
