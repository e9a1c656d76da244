"""Where two samples differ: the witness function of MMD."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probgen.mmd.algebra import Features, Kernel, PairKernel, as_pair_kernel, rows_of
from probgen.mmd.bandwidths import default_gaussian
from probgen.mmd.pairwise import accurate_squared_distances, check_finite, check_near, row_spans
from probgen.mmd.processes import summed, turns
from probgen.mmd.scaling import Scale, scaled, units_of


class Extremes(NamedTuple):
    """The points where one sample is denser than the other, most so first, and the witness there."""

    more_x: Tensor
    more_y: Tensor
    values_x: Tensor
    values_y: Tensor


@torch.no_grad()
def witness(
    x: Tensor,
    y: Tensor,
    kernel: Kernel | None = None,
    *,
    at: Tensor | None = None,
    scale: Scale = "auto",
) -> Tensor:
    r"""Return the witness function f(z) = mean k(x_i, z) − mean k(y_j, z): how much denser x is around z.

    The mean of f over x less that over y is MMD². Where f is positive, x has more mass at the scale of the
    kernel, and where it is negative, y. Memory is O(n + m) for the points of one tile.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), n and m at least 2.
        kernel: as for :func:`mmd2`, by default the mean of Gaussians over :func:`bandwidth_grid`.
        at: where, shape (k, \*event); by default at the points of x and then of y, each of which is left out
            of the mean over its own sample, so that it does not speak for itself.
        scale: as for :func:`mmd_test`, by the pooled sample of x and y.

    Returns:
        float64 values, shape (k,) or (n + m,).

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, and for a kernel that
            returns NaN or infinite values.

    Source: Gretton et al. (2012), section 2.3; Lloyd and Ghahramani (2015).

    >>> from probgen.mmd import Gaussian
    >>> x, y = torch.tensor([0.0, 0.0, 5.0]), torch.tensor([0.0, 5.0, 5.0])
    >>> f = witness(x, y, Gaussian(1.0), at=torch.tensor([0.0, 2.5, 5.0]))
    >>> [round(value, 3) for value in f.tolist()]
    [0.333, 0.0, -0.333]
    """
    samples = {"x": x, "y": y} if at is None else {"x": x, "y": y, "at": at}
    check_finite(**samples)
    for name, sample in (("x", x), ("y", y)):
        if len(sample) < 2:
            raise ValueError(f"{name} should hold at least 2 points but has {len(sample)}")
    units, _ = units_of(scale, own_units=kernel is not None, x=x, y=y)
    (x, y), _ = scaled(units, x=x, y=y)
    samples = {"x": x, "y": y} if at is None else {"x": x, "y": y, "at": scaled(units, at=at)[0][0]}
    pair_kernel = as_pair_kernel(default_gaussian(x, y) if kernel is None else kernel)
    features = pair_kernel.features(tuple(samples.values()), torch.float64)
    for name, matrices in zip(samples, features, strict=True):
        check_near(matrices, f"the features of {name}")
    of_x, of_y = features[:2]
    n, m = len(x), len(y)
    # At the samples' own points each is left out of the mean over its own sample, as in the unbiased MMD².
    if at is None:
        points = tuple(torch.cat(both) for both in zip(of_x, of_y, strict=True))
        own = pair_kernel.diagonal(points)
        from_x, from_y = (_sums(pair_kernel, points, of_sample) for of_sample in (of_x, of_y))
        from_x[:n] -= own[:n]
        from_y[n:] -= own[n:]
        others_x, others_y = (torch.full_like(from_x, size) for size in (n, m))
        others_x[:n] -= 1
        others_y[n:] -= 1
        found = from_x / others_x - from_y / others_y
    else:
        found = _sums(pair_kernel, features[2], of_x) / n - _sums(pair_kernel, features[2], of_y) / m
    if not torch.isfinite(found).all():
        raise ValueError("kernel should return finite values but returned NaN or infinite ones")
    return found


def most_different(
    x: Tensor, y: Tensor, kernel: Kernel | None = None, *, number: int = 10, scale: Scale = "auto"
) -> Extremes:
    r"""Return the points of the two samples where the witness is largest, and those where it is smallest.

    Args:
        x, y, kernel, scale: as for :func:`witness`.
        number: how many points of either kind.

    Returns:
        ``more_x`` and ``more_y``, shape (number, \*event), and the witness there.

    Raises:
        TypeError, ValueError: as :func:`witness` does, and for a number outside 1, …, n + m.

    >>> from probgen.mmd import Gaussian
    >>> x, y = torch.tensor([0.0, 0.1, 5.0]), torch.tensor([0.0, 5.0, 5.1])
    >>> found = most_different(x, y, Gaussian(1.0), number=1)
    >>> found.more_x, found.more_y
    (tensor([0.]), tensor([5.]))
    """
    check_finite(x=x, y=y)
    if not 1 <= number <= len(x) + len(y):
        raise ValueError(f"number should be between 1 and the {len(x) + len(y)} points but got {number}")
    values = witness(x, y, kernel, scale=scale)
    points = torch.cat([x, y])
    most, least = (values.topk(number, largest=largest) for largest in (True, False))
    return Extremes(points[most.indices], points[least.indices], most.values, least.values)


def _sums(kernel: PairKernel, points: Features, sample: Features) -> Tensor:
    """Return Σ_j k(z_i, x_j) for each point z_i."""
    result = points[0].new_zeros(len(points[0]))
    for rows in turns(row_spans(len(result), len(sample[0]), result.device)):
        result[rows] = kernel.values(rows_of(points, rows), sample, accurate_squared_distances).sum(1)
    return summed(result)
