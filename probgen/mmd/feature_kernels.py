"""Kernels of inner products, and kernels on features: of a network, or counts of what a string holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.mmd.algebra import Distances, Features, Kernel, PairKernel, as_pair_kernel, check_positive


class Polynomial(PairKernel):
    r"""The polynomial kernel k(x, y) = (γ xᵀy + c)^p, which sees the moments up to order p and no others.

    It is not characteristic: MMD² is 0 also between different laws whose first p moments agree. The kernel
    inception distance is MMD² with p = 3, γ = 1/d and c = 1, d the number of features.

    Args:
        degree: p, at least 1.
        scale: γ > 0.
        constant: c ≥ 0.

    Raises:
        ValueError: for values outside these ranges.

    >>> from probgen.mmd import mmd2
    >>> x = torch.tensor([0.0, 1.0, 2.0, 3.0])
    >>> round(mmd2(x, 3 - x, Polynomial(1), estimator="biased").value, 6)  # the means agree
    0.0
    """

    def __init__(self, degree: int, *, scale: float = 1.0, constant: float = 1.0) -> None:
        if degree < 1 or degree != int(degree):
            raise ValueError(f"degree should be a whole number, at least 1, but got {degree}")
        check_positive("scale", scale)
        if not 0 <= constant < float("inf"):
            raise ValueError(f"constant should be finite and not negative but got {constant}")
        self.degree, self.scale, self.constant = int(degree), float(scale), float(constant)
        self.shifts_cancel = self.degree == 1

    def features(self, samples: Sequence[Tensor], dtype: torch.dtype) -> list[Features]:
        """Return the points themselves, in float64 whatever the dtype: they are not centred."""
        return [(sample.reshape(len(sample), -1).double(),) for sample in samples]

    def values(self, x: Features, y: Features, distances: Distances) -> Tensor:
        return (x[0] @ y[0].T * self.scale + self.constant) ** self.degree

    def paired(self, x: Features, y: Features) -> Tensor:
        return ((x[0] * y[0]).sum(1) * self.scale + self.constant) ** self.degree

    def __repr__(self) -> str:
        return f"Polynomial({self.degree}, scale={self.scale}, constant={self.constant})"


class Linear(Polynomial):
    r"""The linear kernel k(x, y) = xᵀy, with which MMD² is the squared distance of the means.

    >>> from probgen.mmd import mmd2
    >>> x = torch.tensor([0.0, 1.0, 2.0, 3.0])
    >>> round(mmd2(x, x + 2, Linear(), estimator="biased").value, 6)
    4.0
    """

    def __init__(self) -> None:
        super().__init__(1, constant=0.0)

    def __repr__(self) -> str:
        return "Linear()"


class Deep(PairKernel):
    r"""A kernel on features, k(x, y) = κ(φ(x), φ(y)): learned ones, or counts of what a sequence holds.

    Gradients flow to the network's parameters, through features that are computed once for all points. A
    test should use data that the network has not seen.

    Args:
        network: φ, from points of shape (n, \*event) to features of shape (n, \*features).
        kernel: κ, on the features.

    Source: Wilson, Hu, Salakhutdinov and Xing (2016); Liu, Xu, Lu, Zhang, Gretton and Sutherland (2020).

    >>> from probgen.mmd import Gaussian
    >>> Deep(torch.nn.Linear(5, 2), Gaussian(1.0))
    Deep(Linear, Gaussian([1.0]))
    """

    def __init__(self, network: Callable[[Tensor], Tensor], kernel: Kernel) -> None:
        self.network = network
        self.kernel = as_pair_kernel(kernel)
        self.matrices = self.kernel.matrices

    def features(self, samples: Sequence[Tensor], dtype: torch.dtype) -> list[Features]:
        """Return the features of the network's output, computed for all the samples at once, in its dtype."""
        points = torch.cat(list(samples))
        if isinstance(self.network, torch.nn.Module):
            points = points.to(next((p.dtype for p in self.network.parameters()), points.dtype))
        found = self.network(points)
        if found.dim() == 0 or len(found) != len(points):
            raise ValueError(
                f"network should return one row of features for each of the {len(points)} points "
                f"but returned shape {tuple(found.shape)}"
            )
        return self.kernel.features(found.split([len(sample) for sample in samples]), dtype)

    def values(self, x: Features, y: Features, distances: Distances) -> Tensor:
        return self.kernel.values(x, y, distances)

    def paired(self, x: Features, y: Features) -> Tensor:
        return self.kernel.paired(x, y)

    def __repr__(self) -> str:
        name = type(self.network).__name__ if isinstance(self.network, torch.nn.Module) else "..."
        return f"Deep({name}, {self.kernel!r})"


def substring_counts(*samples: Sequence[Sequence[object]], length: int = 3) -> tuple[Tensor, ...]:
    r"""Return how often each substring of a length occurs in strings: the features of the spectrum kernel.

    Any sequence of hashable items is a string. The linear kernel on these counts is the spectrum kernel; any
    other kernel serves too. A column stands for the same substring in all samples.

    Args:
        samples: of strings.
        length: of the substrings.

    Returns:
        for each sample a float64 tensor (n, substrings), over the substrings that occur anywhere.

    Raises:
        ValueError: for a length below 1, and where no string is that long.

    Source: Leslie, Eskin and Noble (2002).

    >>> substring_counts(["abab", "b"], ["ba"], length=2)
    (tensor([[2., 1.],
            [0., 0.]], dtype=torch.float64), tensor([[0., 1.]], dtype=torch.float64))
    """
    length = check_count("length", length)
    counts = [
        [Counter(tuple(text[i : i + length]) for i in range(len(text) - length + 1)) for text in sample]
        for sample in samples
    ]
    column: dict[tuple[object, ...], int] = {}
    for sample in counts:
        for found in sample:
            for substring in found:
                column.setdefault(substring, len(column))
    if not column:
        raise ValueError(f"samples should hold a string of at least {length} items but hold none")
    features = []
    for sample in counts:
        matrix = torch.zeros(len(sample), len(column), dtype=torch.float64)
        for row, found in enumerate(sample):
            for substring, count in found.items():
                matrix[row, column[substring]] = count
        features.append(matrix)
    return tuple(features)
