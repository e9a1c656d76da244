"""Distances between samples in features of them: of means and covariances, and of a cubic kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import Estimate, taking_arrays
from probgen.mmd import Polynomial, mmd2
from probgen.mmd.pairwise import check_finite

Features = Callable[[Tensor], Tensor]
r"""Maps data of shape (n, \*event) to features of shape (n, d)."""


class FrechetDistance(NamedTuple):
    """The squared Fréchet distance of two samples, and the same without the part of its bias in 1/n."""

    value: float
    extrapolated: float


@taking_arrays("x", "y")
def frechet_distance(x: Tensor, y: Tensor, *, features: Features | None = None) -> FrechetDistance:
    r"""Return the squared Fréchet distance of normal laws with the means and covariances of two samples.

    ‖μ − ν‖² + tr(Σ + T − 2 (Σ^½ T Σ^½)^½), in float64. With Σ = AᵀA and T = BᵀB the second term is
    min_Q ‖A − QB‖² over rotations Q, which the singular vectors of ABᵀ give: exact, and never negative by
    rounding, as differences of traces are.

    It is biased upwards, the more the fewer draws there are, so that only values from as many compare. For
    normal laws that agree, with eigenvalues λ of Σ, the expectation is, to O(1/n²) and O(1/m²),

        (1/n + 1/m) (Σ_i λ_i + ½ Σ_ij (1 + δ_ij) λ_i λ_j / (λ_i + λ_j)),

    for d features of variance 1 (1/n + 1/m)(d² + 5d)/4. ``extrapolated`` is 2 F(n, m) − F(n/2, m/2), the
    latter the mean over both halves of the samples, the even and the odd rows: the part in 1/n cancels. About
    0 where the laws agree; negative values are chance, and are returned as they are.

    Args:
        x, y: samples of independent rows, shape (n, \*event) and (m, \*event); events are flattened.
        features: what is compared, such as :func:`classifier_features`; the numbers themselves where not
            given. With them this is the Fréchet inception distance, but for the net.

    Raises:
        TypeError, ValueError: for samples that are not finite or not alike, and where half a sample has no
            more points than there are features, so that covariances have no full rank.

    Source: Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter (2017); Bhatia, Jain and Lim (2019) for the
    rotation; Chong and Forsyth (2020) for the bias and its extrapolation.

    >>> x = torch.tensor([-1.0, 1.0]).repeat(4)
    >>> round(frechet_distance(x, 2 * x + 3).value, 4)  # 3² and (1 − 2)² · 8/7
    10.1429
    """
    x, y = _features(features, x=x, y=y)
    d = x.shape[1]
    for name, sample in (("x", x), ("y", y)):
        if len(sample) < 2 * (d + 1):
            raise ValueError(
                f"{name} should hold at least {2 * (d + 1)} points, for {d} features, but has {len(sample)}: "
                "take fewer features"
            )
    value = _frechet(x, y)
    halves = (_frechet(x[::2], y[::2]) + _frechet(x[1::2], y[1::2])) / 2
    return FrechetDistance(float(value), float(2 * value - halves))


@taking_arrays("x", "y")
def kernel_distance(x: Tensor, y: Tensor, *, features: Features | None = None) -> Estimate:
    r"""Estimate MMD² under the kernel (xᵀy / d + 1)³ of d features, without bias, with its standard error.

    It sees the first three moments of the features, those in common with the Fréchet distance and the third,
    and unlike that one is right on average from few draws. 0 where these agree; negative values are chance.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), n and m at least 4; events are flattened.
        features: as for :func:`frechet_distance`. With them this is the kernel inception distance, but for
            the net.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike.

    Source: Bińkowski, Sutherland, Arbel and Gretton (2018). The error is that of :func:`probgen.mmd.mmd2`.

    >>> x = torch.arange(8.0)
    >>> kernel_distance(x, x + 20).value > 0
    True
    """
    x, y = _features(features, x=x, y=y)
    return mmd2(x, y, Polynomial(3, scale=1 / x.shape[1]), scale=None)


def _features(features: Features | None, **samples: Tensor) -> tuple[Tensor, ...]:
    """Return the features of samples as float64 matrices."""
    check_finite(**samples)
    found = {name: (x if features is None else features(x)).detach() for name, x in samples.items()}
    for name, sample in samples.items():
        if not isinstance(found[name], Tensor) or len(found[name]) != len(sample):
            raise ValueError(f"features should return a row for each of the {len(sample)} points of {name}")
    if features is not None:
        check_finite(**{f"features of {name}": x for name, x in found.items()})
    return tuple(x.reshape(len(x), -1).double() for x in found.values())


def _frechet(x: Tensor, y: Tensor) -> Tensor:
    """Return ‖μ − ν‖² + min_Q ‖A − QB‖², AᵀA and BᵀB the covariances of x and y."""
    a, b = (torch.linalg.qr((z - z.mean(0)) / (len(z) - 1) ** 0.5, mode="r").R for z in (x, y))
    left, _, right = torch.linalg.svd(a @ b.T)
    return (x.mean(0) - y.mean(0)).square().sum() + (a - left @ right @ b).square().sum()
