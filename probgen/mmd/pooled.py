"""The pooled sample of a comparison: two samples, the kernels that compare them, weights of points."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probgen.mmd.algebra import Kernel, Radial, as_pair_kernel, rows_of
from probgen.mmd.pairwise import accurate_squared_distances, check_finite, check_near


class Pooled:
    """Kernels between all points of two samples, in float64, tile by tile, less a constant for each kernel.

    MMD² does not change when a constant is subtracted from the kernel; sums of values near 0 lose no digits.

    Args:
        kernels: one or several; those of the distance share it.
        x, y: samples of shape (n, *event) and (m, *event).

    Raises:
        TypeError, ValueError: for samples or features of them that are not finite or not alike.
    """

    @torch.no_grad()
    def __init__(self, kernels: Sequence[Kernel], x: Tensor, y: Tensor) -> None:
        check_finite(x=x, y=y)
        self.kernels = [as_pair_kernel(kernel) for kernel in kernels]
        self.n, self.m = len(x), len(y)
        self.size = self.n + self.m
        self.all_radial = all(isinstance(kernel, Radial) for kernel in self.kernels)
        self.features = []
        for kernel in self.kernels[:1] if self.all_radial else self.kernels:
            of_x, of_y = kernel.features((x, y), torch.float64)
            features = tuple(torch.cat(pair) for pair in zip(of_x, of_y, strict=True))
            if kernel.shifts_cancel:
                features = tuple(matrix - matrix.mean(0) for matrix in features)
            check_near(features, "x and y" if isinstance(kernel, Radial) else "the features of x and y")
            self.features.append(features)
        if self.all_radial:
            self.features *= len(self.kernels)
        both = zip(self.kernels, self.features, strict=True)
        self.shifts = torch.stack([kernel.typical(features) for kernel, features in both])

    def block(self, rows: slice, columns: slice) -> Tensor:
        """Return the kernels between some of the points, shape (kernels, t, m)."""
        if self.all_radial:
            (points,) = self.features[0]
            distances = accurate_squared_distances(points[rows], points[columns])
            values = [kernel(distances) for kernel in self.kernels]  # type: ignore[operator]
        else:
            values = [
                kernel.values(rows_of(features, rows), rows_of(features, columns), accurate_squared_distances)
                for kernel, features in zip(self.kernels, self.features, strict=True)
            ]
        return torch.stack(values).sub_(self.shifts[:, None, None])

    @torch.no_grad()
    def diagonal(self) -> Tensor:
        """Return the kernels of each point with itself, shape (kernels, n + m)."""
        both = zip(self.kernels, self.features, strict=True)
        return torch.stack([kernel.diagonal(features) for kernel, features in both]) - self.shifts[:, None]

    def indicators(self) -> Tensor:
        """Return which points are of x and which of y, shape (n + m, 2)."""
        in_x = self.features[0][0].new_zeros(self.size)
        in_x[: self.n] = 1
        return torch.stack([in_x, 1 - in_x], 1)


def share(name: str, weights: Tensor | None, points: Tensor) -> Tensor | None:
    """Return weights in float64 that sum to 1."""
    if weights is None:
        return None
    if weights.shape != points.shape[:1]:
        raise ValueError(
            f"{name} should have shape ({len(points)},), one for each point, but has {tuple(weights.shape)}"
        )
    if weights.device != points.device:
        raise TypeError(f"{name} should be on the device of the points, {points.device}, but is on another")
    weights = weights.double()
    return weights / weights.sum()


def checked_share(name: str, weights: Tensor | None, points: Tensor) -> Tensor:
    """Return weights in float64 that sum to 1, equal ones where there are none, once they are looked at."""
    if weights is None:
        return points.new_full((len(points),), 1 / len(points), dtype=torch.float64)
    shares = share(name, weights, points)
    assert shares is not None
    if not weights.any():
        raise ValueError(f"{name} should not all be 0")
    if not torch.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"{name} should be finite and not negative")
    effective = 1 / float(shares.square().sum())
    if not effective >= 2:
        raise ValueError(
            f"{name} should spread over at least 2 points but are worth {effective:.3g}, (Σw)² / Σw²"
        )
    return shares.detach()
