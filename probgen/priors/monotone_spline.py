"""A smooth increasing function through given points, straight beyond them, and its inverse in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

_SWEEPS = 40
"""After thirty the slopes stand still, to the last digit, whatever the points."""


class MonotoneSpline:
    r"""y = S(z), the rational quadratic spline of Delbourgo and Gregory with two continuous derivatives.

    Between neighbouring knots, with h the step in z, Δ the mean slope, a and b the slopes at the ends and
    θ = (z − z_i) / h, S = y_i + h Δ (Δ θ² + a θ (1 − θ)) / (Δ + (a + b − 2Δ) θ (1 − θ)). It increases where
    the slopes are positive, and its inverse is a root of a quadratic. Beyond the knots it is a straight line.

    Args:
        z: knots, (n), increasing.
        y: values, (\*batch, n), increasing.
        slopes: at the knots, (\*batch, n), as :func:`through` finds them.

    See Delbourgo and Gregory (1983), C² rational quadratic spline interpolation to monotonic data.
    """

    def __init__(self, z: Tensor, y: Tensor, slopes: Tensor) -> None:
        self.z, self.y, self.slopes = z, y, slopes
        h, rise = z.diff().expand_as(y[..., 1:]), y.diff()
        ends = (z[:-1].expand_as(rise), z[1:].expand_as(rise), y[..., :-1], y[..., 1:])
        parts = (*ends, h, rise, rise / h, slopes[..., :-1], slopes[..., 1:])
        self._stretches = torch.stack(parts, -1)

    def expand(self, batch_shape: torch.Size) -> MonotoneSpline:
        """Return the same function for a larger batch."""
        wide = (*batch_shape, len(self.z))
        return MonotoneSpline(self.z, self.y.expand(wide), self.slopes.expand(wide))

    def value(self, z: Tensor) -> Tensor:
        r"""Return S at z, (\*sample, \*batch)."""
        start, end, low, high, h, rise, mean, a, b = self._stretch(z, self.z)
        # θ and 1 − θ, each to all its digits, and S from the nearer knot: sums of what is positive
        theta, rest = ((z - start) / h).clamp(0, 1), ((end - z) / h).clamp(0, 1)
        between = theta * rest
        below = mean * (theta**2 + rest**2) + (a + b) * between
        upward = low + rise * (mean * theta**2 + a * between) / below
        downward = high - rise * (mean * rest**2 + b * between) / below
        return torch.where(theta < 0.5, upward, downward) + _beyond(z, start, end, a, b)

    def log_slope(self, z: Tensor) -> Tensor:
        r"""Return log S' at z, (\*sample, \*batch)."""
        start, end, _, _, h, _, mean, a, b = self._stretch(z, self.z)
        theta, rest = ((z - start) / h).clamp(0, 1), ((end - z) / h).clamp(0, 1)
        between = theta * rest
        above = b * theta**2 + 2 * mean * between + a * rest**2
        return above.log() - 2 * (theta**2 + rest**2 + (a + b) / mean * between).log()

    def inverse(self, y: Tensor) -> Tensor:
        r"""Return the z with S(z) = y, (\*sample, \*batch)."""
        start, end, low, high, h, rise, mean, a, b = self._stretch(y, self.y)
        # Of the rise the share s lies below y and t above; r = θ / (1 − θ) solves Δ t r² + p r − Δ s = 0.
        s, t = ((y - low) / rise).clamp(0, 1), ((high - y) / rise).clamp(0, 1)
        p = a * t - b * s
        large = p.abs() + (p**2 + 4 * mean**2 * s * t).sqrt()
        small = 2 * mean * torch.where(p >= 0, s, t)
        less, more = small / (small + large), large / (small + large)
        theta, rest = torch.where(p >= 0, less, more), torch.where(p >= 0, more, less)
        inside = torch.where(theta < 0.5, start + theta * h, end - rest * h)
        return inside + _beyond(y, low, high, 1 / a, 1 / b)

    def _stretch(self, x: Tensor, knots: Tensor) -> tuple[Tensor, ...]:
        """Return of the stretch that x lies in: its ends in z and y, both lengths, and its three slopes."""
        place = (x.unsqueeze(-1) >= knots[..., 1:-1].to(x.dtype)).sum(-1)
        table = self._stretches.to(x.dtype)
        if table.dim() == 2:
            return table[place].unbind(-1)
        index = place[..., None, None].expand(*place.shape, 1, table.shape[-1])
        return table.expand(*place.shape, *table.shape[-2:]).gather(-2, index).squeeze(-2).unbind(-1)


def _beyond(x: Tensor, start: Tensor, end: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Return what a straight line adds before the start, by its slope, and after the end; else 0."""
    after = torch.where(x > end, (x - end) * last, 0.0)
    return torch.where(x < start, (x - start) * first, after)


def through(z: Tensor, y: Tensor) -> MonotoneSpline:
    r"""Return the spline through points z, (n), and y, (\*batch, n), both increasing, n at least 2.

    The slopes are those for which the second derivative is continuous, and 0 at both ends. Each is the
    positive root of a quadratic in which its neighbours stand, so that sweeps over all of them converge.
    """
    return MonotoneSpline(z, y, _slopes(z, y))


def _slopes(z: Tensor, y: Tensor) -> Tensor:
    h, rise = z.diff(), y.diff()
    mean, per_h = rise / h, (1 / h).expand_as(rise)
    zero = torch.zeros_like(y[..., :1])

    def beside(values: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is left and right of each knot, of values of stretches."""
        return torch.cat([zero, values], -1), torch.cat([values, zero], -1)

    left, right = beside(1 / rise)  # 1 / (h Δ)
    constant, both, total = sum(beside(mean / h), zero), sum(beside(per_h), zero), left + right
    slopes = torch.cat([mean[..., :1], (mean[..., 1:] * mean[..., :-1]).sqrt(), mean[..., -1:]], -1)
    even = torch.arange(len(z), device=z.device) % 2 == 0
    for _ in range(_SWEEPS):
        for mine in (even, ~even):  # the even knots given the odd ones, and the odd ones given the even ones
            before, after = beside(slopes[..., :-1])[0], beside(slopes[..., 1:])[1]
            linear = left * before + right * after - both
            large = linear.abs() + (linear**2 + 4 * total * constant).sqrt()
            root = torch.where(linear > 0, 2 * constant / large, large / (2 * total))
            slopes = torch.where(mine, root, slopes)
    return slopes
