r"""Kernels that are functions of the distance of two points.

One convention holds throughout: a *bandwidth* σ is a length in the units of the data, and ‖x − y‖ always
appears as ‖x − y‖ / σ. For the Gaussian it is the standard deviation, never a variance (the lists of
bandwidths in the code of Li, Swersky and Zemel (2015) are variances: take their square roots). Where a kernel
takes several bandwidths it is the mean over them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from probgen.mmd.algebra import Radial, check_positive

_LARGEST, _IN_FLOAT32 = 1e100, 1e15  # bandwidths whose squares neither overflow nor vanish


class OfBandwidths(Radial):
    """The mean over bandwidths of a function of the distance over the bandwidth."""

    def __init__(self, bandwidth: float | Sequence[float]) -> None:
        several = bandwidth if isinstance(bandwidth, Sequence) else (bandwidth,)
        try:
            self.bandwidth = tuple(float(width) for width in several)
        except (TypeError, ValueError):
            raise TypeError(
                f"bandwidth should be a number or a sequence of numbers but got {bandwidth!r}"
            ) from None
        if not self.bandwidth:
            raise ValueError("bandwidth should hold at least one value but is empty")
        for width in self.bandwidth:
            if not 1 / _LARGEST <= width <= _LARGEST:
                raise ValueError(
                    f"bandwidth should be between 1e-100 and 1e100 but got {width}: write the data in other "
                    "units"
                )
        self._extreme = [width for width in self.bandwidth if not 1 / _IN_FLOAT32 <= width <= _IN_FLOAT32]

    @abstractmethod
    def _value(self, squared_distance: Tensor, width: float) -> Tensor: ...

    @abstractmethod
    def _value_and_slope(self, squared_distance: Tensor, width: float) -> tuple[Tensor, Tensor]: ...

    def _widths(self, like: Tensor) -> tuple[float, ...]:
        """Return the bandwidths, once their squares are known to have digits in a dtype."""
        if self._extreme and like.dtype != torch.float64:
            raise ValueError(
                f"bandwidth should be between 1e-15 and 1e15 for points of {like.dtype} but is "
                f"{self._extreme[0]}: write the data in other units, or take float64"
            )
        return self.bandwidth

    def __call__(self, squared_distance: Tensor) -> Tensor:
        value = torch.zeros_like(squared_distance)
        for width in self._widths(squared_distance):
            value += self._value(squared_distance, width)
        return value.div_(len(self.bandwidth))

    def value_and_slope(self, squared_distance: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = torch.zeros_like(squared_distance), torch.zeros_like(squared_distance)
        for width in self._widths(squared_distance):
            more, more_slope = self._value_and_slope(squared_distance, width)
            value += more
            slope += more_slope
        return value.div_(len(self.bandwidth)), slope.div_(len(self.bandwidth))

    def frequencies(self, count: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
        r"""Draw ω with E cos ωᵀ(x − y) = k(x, y), shape (count, d), for points of dtype and d as ``like``.

        They are Gaussian given a precision τ; each bandwidth has an equal share of them, but for one.
        """
        widths = like.new_tensor(self._widths(like)).repeat(-(-count // len(self.bandwidth)))[:count]
        normal = torch.empty(count, like.shape[1], dtype=like.dtype, device=like.device)
        precisions = self._precisions(torch.ones_like(widths), generator)
        return normal.normal_(generator=generator) * (precisions.sqrt() / widths)[:, None]

    @abstractmethod
    def _precisions(self, ones: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw τ with E exp(−τ ‖x − y‖² / 2σ²) = k(x, y), in the place of ones."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.bandwidth)})"


class Gaussian(OfBandwidths):
    r"""The Gaussian kernel, or the mean of several: k(x, y) = mean over σ of exp(−‖x − y‖² / 2σ²).

    Args:
        bandwidth: σ, a standard deviation (not a variance), in the units of the data; several make a mixture
            with equal weights.

    Raises:
        TypeError: if a bandwidth is not a number.
        ValueError: if there is no bandwidth, or one outside [1e-100, 1e100]; for points of another dtype than
            float64, once the kernel is called, outside [1e-15, 1e15].

    >>> Gaussian([1.0, 2.0])(torch.tensor([0.0, 8.0]))
    tensor([1.0000, 0.1931])
    """

    def _value(self, squared_distance: Tensor, width: float) -> Tensor:
        return _decay(squared_distance, 0.5 / width**2)

    def _value_and_slope(self, squared_distance: Tensor, width: float) -> tuple[Tensor, Tensor]:
        value = self._value(squared_distance, width)
        return value, value * (-0.5 / width**2)

    def _precisions(self, ones: Tensor, generator: torch.Generator | None) -> Tensor:
        return ones

    def value_and_slope(self, squared_distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums of the base class with fewer passes over the tile."""
        value, slope = torch.zeros_like(squared_distance), torch.zeros_like(squared_distance)
        for width in self._widths(squared_distance):
            more = self._value(squared_distance, width)
            value += more
            slope.add_(more, alpha=-0.5 / width**2)
        return value.div_(len(self.bandwidth)), slope.div_(len(self.bandwidth))


class RationalQuadratic(OfBandwidths):
    r"""The rational quadratic kernel k(x, y) = (1 + ‖x − y‖² / 2ασ²)^−α, a mix of Gaussians.

    Args:
        bandwidth: σ, or several for their mean, as in :class:`Gaussian`, with its errors.
        power: α > 0; the smaller, the heavier the tail, and the larger, the nearer to the Gaussian.

    Source: Rasmussen and Williams (2006), section 4.2; Bińkowski, Sutherland, Arbel and Gretton (2018).

    >>> RationalQuadratic(1.0)(torch.tensor([0.0, 2.0]))
    tensor([1.0000, 0.5000])
    """

    def __init__(self, bandwidth: float | Sequence[float], *, power: float = 1.0) -> None:
        super().__init__(bandwidth)
        check_positive("power", power)
        self.power = float(power)

    def _factor(self) -> float:
        return 0.5 / self.power

    def _value(self, squared_distance: Tensor, width: float) -> Tensor:
        return (1 + squared_distance * (self._factor() / width**2)) ** -self.power

    def _value_and_slope(self, squared_distance: Tensor, width: float) -> tuple[Tensor, Tensor]:
        factor = self._factor() / width**2
        base = 1 + squared_distance * factor
        value = base**-self.power
        return value, value / base * (-self.power * factor)

    def _precisions(self, ones: Tensor, generator: torch.Generator | None) -> Tensor:
        return 2 * self._factor() * torch._standard_gamma(self.power * ones, generator=generator)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.bandwidth)}, power={self.power})"


class InverseMultiquadric(RationalQuadratic):
    r"""The inverse multiquadric kernel k(x, y) = (1 + ‖x − y‖² / σ²)^−β, 1 at equal points.

    With it the kernel Stein discrepancy detects draws that run away, for 0 < β < 1.

    Args:
        bandwidth: σ, or several for their mean, as in :class:`Gaussian`, with its errors.
        power: β > 0.

    Source: Gorham and Mackey (2017).

    >>> InverseMultiquadric(1.0)(torch.tensor([0.0, 3.0]))
    tensor([1.0000, 0.5000])
    """

    def __init__(self, bandwidth: float | Sequence[float], *, power: float = 0.5) -> None:
        super().__init__(bandwidth, power=power)

    def _factor(self) -> float:
        return 1.0


class Matern(OfBandwidths):
    r"""The Matérn kernel, with s = √(2ν) ‖x − y‖ / σ: exp(−s), (1 + s) exp(−s) or (1 + s + s²/3) exp(−s).

    Args:
        bandwidth: σ, or several for their mean, as in :class:`Gaussian`, with its errors.
        smoothness: ν, one of 0.5, 1.5 and 2.5.

    Source: Rasmussen and Williams (2006), section 4.2.

    >>> Matern(1.0, smoothness=1.5)(torch.tensor([0.0, 3.0]))
    tensor([1.0000, 0.1991])
    """

    def __init__(self, bandwidth: float | Sequence[float], *, smoothness: float) -> None:
        super().__init__(bandwidth)
        if smoothness not in (0.5, 1.5, 2.5):
            raise ValueError(f"smoothness should be 0.5, 1.5 or 2.5 but got {smoothness}")
        self.smoothness = float(smoothness)

    def _value(self, squared_distance: Tensor, width: float) -> Tensor:
        s = distance(squared_distance) * (math.sqrt(2 * self.smoothness) / width)
        if self.smoothness == 0.5:
            return _decay(s, 1.0)
        return (1 + s if self.smoothness == 1.5 else 1 + s + s.square() / 3) * _decay(s, 1.0)

    def _value_and_slope(self, squared_distance: Tensor, width: float) -> tuple[Tensor, Tensor]:
        scale = math.sqrt(2 * self.smoothness) / width
        s = distance(squared_distance) * scale
        decay = _decay(s, 1.0)
        if self.smoothness == 0.5:
            return decay, -0.5 * scale**2 * decay * _inverse(s)
        if self.smoothness == 1.5:
            return (1 + s) * decay, -0.5 * scale**2 * decay
        return (1 + s + s.square() / 3) * decay, -(scale**2) / 6 * (1 + s) * decay

    def _precisions(self, ones: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.smoothness / torch._standard_gamma(self.smoothness * ones, generator=generator)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.bandwidth)}, smoothness={self.smoothness})"


class Laplace(Matern):
    r"""The Laplace kernel k(x, y) = exp(−‖x − y‖ / σ), of the Euclidean distance: Matérn's with ν = ½.

    Its gradient at equal points is taken to be 0, one of its subgradients.

    Args:
        bandwidth: σ, or several for their mean, as in :class:`Gaussian`, with its errors.

    >>> Laplace(2.0)(torch.tensor([0.0, 4.0]))
    tensor([1.0000, 0.3679])
    """

    def __init__(self, bandwidth: float | Sequence[float]) -> None:
        super().__init__(bandwidth, smoothness=0.5)

    def __repr__(self) -> str:
        return f"Laplace({list(self.bandwidth)})"


class Energy(Radial):
    """The energy kernel k(x, y) = −‖x − y‖, with which MMD² is the energy distance.

    It is positive definite only conditionally: on weights that sum to 0, which is all that MMD² needs. Its
    gradient at equal points is taken to be 0, one of its subgradients.

    Source: Sejdinovic, Sriperumbudur, Gretton and Fukumizu (2013).

    >>> Energy()(torch.tensor([0.0, 4.0]))
    tensor([ 0., -2.])
    """

    def __call__(self, squared_distance: Tensor) -> Tensor:
        equal = squared_distance == 0
        return torch.where(equal, 0, -distance(squared_distance))

    def value_and_slope(self, squared_distance: Tensor) -> tuple[Tensor, Tensor]:
        root = distance(squared_distance)
        return -root, -0.5 * _inverse(root)

    def __repr__(self) -> str:
        return "Energy()"


def distance(squared_distance: Tensor) -> Tensor:
    """Return √d², with gradient 0 at d² = 0, where autograd's own would be infinite."""
    equal = squared_distance == 0
    return torch.where(equal, 1, squared_distance).sqrt().masked_fill(equal, 0)


def _decay(values: Tensor, rate: float) -> Tensor:
    """Return exp(−rate · values) by powers of 2: torch.exp is slow on a CPU, and slower where it is 0."""
    return (values * (-rate / math.log(2))).exp2_()


def _inverse(values: Tensor) -> Tensor:
    """Return 1 / values, 0 where they are 0."""
    return torch.where(values == 0, 0, 1 / values)
