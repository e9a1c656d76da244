"""What a kernel k(x, y) is to the engine, and sums, products and multiples of kernels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import TypeAlias

import torch
from torch import Tensor

from probgen.mmd.pairwise import centred_matrices, squared_distances

Features: TypeAlias = tuple[Tensor, ...]
"""What a kernel needs to know of n points: matrices of n rows."""
Distances: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""A function of two matrices, (n, d) and (m, d), that returns squared distances, (n, m)."""


class PairKernel(ABC):
    """A symmetric, positive definite function of two points, given their features.

    Kernels are added and multiplied by the signs + and *, and scaled by positive numbers.
    """

    matrices = 1  # the number of matrices that are its features
    shifts_cancel = False  # whether features may be centred, as MMD² does not change with their origin

    @abstractmethod
    def features(self, samples: Sequence[Tensor], dtype: torch.dtype) -> list[Features]:
        r"""Return what the kernel needs to know of samples of shape (n, \*event): matrices of n rows."""

    @abstractmethod
    def values(self, x: Features, y: Features, distances: Distances) -> Tensor:
        """Return k(x_i, y_j), shape (n, m)."""

    @abstractmethod
    def paired(self, x: Features, y: Features) -> Tensor:
        """Return k(x_i, y_i), shape (n,)."""

    def diagonal(self, x: Features) -> Tensor:
        """Return k(x_i, x_i), shape (n,)."""
        return self.paired(x, x)

    def __add__(self, other: PairKernel) -> PairKernel:
        if isinstance(self, Radial) and isinstance(other, Radial):
            return _RadialSum(self, other)
        return _Sum(self, other) if isinstance(other, PairKernel) else NotImplemented

    def __mul__(self, other: PairKernel | float) -> PairKernel:
        if isinstance(other, Real):
            check_positive("the factor of a kernel", other)
            other = _Constant(float(other))
        if isinstance(self, Radial) and isinstance(other, Radial):
            return _RadialProduct(self, other)
        return _Product(self, other) if isinstance(other, PairKernel) else NotImplemented

    __rmul__ = __mul__

    def typical(self, features: Features) -> Tensor:
        """Return a value about which those of the kernel lie, such as its mean over some pairs."""
        few = tuple(matrix[:64] for matrix in features), tuple(matrix[-64:] for matrix in features)
        return self.values(*few, squared_distances).mean()


class Radial(PairKernel):
    """A kernel that is a function of the squared distance alone, which it maps element by element."""

    @abstractmethod
    def __call__(self, squared_distance: Tensor) -> Tensor:
        """Return the kernel at squared distances, in their shape and dtype."""

    @abstractmethod
    def value_and_slope(self, squared_distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the kernel and its derivative with respect to the squared distance.

        A slope that is infinite at equal points is 0 there.
        """

    def features(self, samples: Sequence[Tensor], dtype: torch.dtype) -> list[Features]:
        """Return the points themselves, less the mean of all."""
        return [(matrix,) for matrix in centred_matrices(*samples, dtype=dtype)]

    def values(self, x: Features, y: Features, distances: Distances) -> Tensor:
        return self(distances(x[0], y[0]))

    def paired(self, x: Features, y: Features) -> Tensor:
        return self((x[0] - y[0]).square().sum(1))

    def typical(self, features: Features) -> Tensor:
        """Return the kernel at the mean squared distance of all pairs."""
        return self(2 * features[0].square().sum() / len(features[0]))


class OfDistance(Radial):
    """A plain callable on squared distances as a kernel."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def __call__(self, squared_distance: Tensor) -> Tensor:
        values = self.function(squared_distance)
        if values.shape != squared_distance.shape:
            raise ValueError(
                "kernel should map squared distances element by element but made shape "
                f"{tuple(values.shape)} of {tuple(squared_distance.shape)}"
            )
        return values

    def value_and_slope(self, squared_distance: Tensor) -> tuple[Tensor, Tensor]:
        differentiated = torch.is_grad_enabled() and squared_distance.requires_grad
        with torch.enable_grad():
            leaf = squared_distance if differentiated else squared_distance.detach().requires_grad_()
            values = self(leaf)
            (slope,) = torch.autograd.grad(values.sum(), leaf, create_graph=differentiated)
        return (values if differentiated else values.detach()), slope


Kernel: TypeAlias = PairKernel | Callable[[Tensor], Tensor]
"""A kernel: one of these classes, or any callable that maps squared distances element by element."""


def as_pair_kernel(kernel: Kernel) -> PairKernel:
    """Return a kernel as one of these classes."""
    if isinstance(kernel, PairKernel):
        return kernel
    if not callable(kernel):
        raise TypeError(f"kernel should be a kernel or a callable on squared distances but got {kernel!r}")
    return OfDistance(kernel)


def rows_of(features: Features, rows: slice) -> Features:
    """Return the features of some of the points."""
    return tuple(matrix[rows] for matrix in features)


def check_positive(name: str, value: float) -> None:
    """Raise unless a number is positive and finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"{name} should be positive and finite but got {value}")


class _Constant(Radial):
    def __init__(self, value: float) -> None:
        self.value = float(value)

    def __call__(self, squared_distance: Tensor) -> Tensor:
        return torch.full_like(squared_distance, self.value)

    def value_and_slope(self, squared_distance: Tensor) -> tuple[Tensor, Tensor]:
        return self(squared_distance), torch.zeros_like(squared_distance)

    def __repr__(self) -> str:
        return str(self.value)


class _Two(PairKernel):
    """Two kernels side by side, each with its own features."""

    def __init__(self, first: PairKernel, second: PairKernel) -> None:
        self.first, self.second = first, second
        self.matrices = first.matrices + second.matrices

    def features(self, samples: Sequence[Tensor], dtype: torch.dtype) -> list[Features]:
        both = zip(self.first.features(samples, dtype), self.second.features(samples, dtype), strict=True)
        return [first + second for first, second in both]

    def _each(self, x: Features, y: Features, distances: Distances) -> Iterator[Tensor]:
        split = self.first.matrices
        yield self.first.values(x[:split], y[:split], distances)
        yield self.second.values(x[split:], y[split:], distances)

    def _each_paired(self, x: Features, y: Features) -> Iterator[Tensor]:
        split = self.first.matrices
        yield self.first.paired(x[:split], y[:split])
        yield self.second.paired(x[split:], y[split:])


class _Sum(_Two):
    def values(self, x: Features, y: Features, distances: Distances) -> Tensor:
        first, second = self._each(x, y, distances)
        return first + second

    def paired(self, x: Features, y: Features) -> Tensor:
        first, second = self._each_paired(x, y)
        return first + second

    def __repr__(self) -> str:
        return f"({self.first!r} + {self.second!r})"


class _Product(_Two):
    def values(self, x: Features, y: Features, distances: Distances) -> Tensor:
        first, second = self._each(x, y, distances)
        return first * second

    def paired(self, x: Features, y: Features) -> Tensor:
        first, second = self._each_paired(x, y)
        return first * second

    def __repr__(self) -> str:
        return f"{self.first!r} * {self.second!r}"


class _RadialTwo(Radial):
    """Two functions of the distance: their sum and their product are such functions too."""

    def __init__(self, first: Radial, second: Radial) -> None:
        self.first, self.second = first, second


class _RadialSum(_RadialTwo):
    def __call__(self, squared_distance: Tensor) -> Tensor:
        return self.first(squared_distance) + self.second(squared_distance)

    def value_and_slope(self, squared_distance: Tensor) -> tuple[Tensor, Tensor]:
        (f, df), (g, dg) = (part.value_and_slope(squared_distance) for part in (self.first, self.second))
        return f + g, df + dg

    __repr__ = _Sum.__repr__


class _RadialProduct(_RadialTwo):
    def __call__(self, squared_distance: Tensor) -> Tensor:
        return self.first(squared_distance) * self.second(squared_distance)

    def value_and_slope(self, squared_distance: Tensor) -> tuple[Tensor, Tensor]:
        (f, df), (g, dg) = (part.value_and_slope(squared_distance) for part in (self.first, self.second))
        return f * g, df * g + f * dg

    __repr__ = _Product.__repr__
