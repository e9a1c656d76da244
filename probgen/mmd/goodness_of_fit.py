"""Goodness of fit to a density that is known up to its constant, by the kernel Stein discrepancy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from probgen.core import Density, check_count, source_of
from probgen.mmd.aggregation import by_smallest_p_value
from probgen.mmd.algebra import Kernel
from probgen.mmd.bandwidths import bandwidth_grid
from probgen.mmd.blocks import blocks_of_chains, membership, random_signs, signed_forms
from probgen.mmd.kernels import InverseMultiquadric
from probgen.mmd.pairwise import quadratic_forms
from probgen.mmd.result import TestResult, drawn_result
from probgen.mmd.samples import Chained, Sample, as_points, sites_of
from probgen.mmd.scaling import Scale
from probgen.mmd.stein import SteinKernel, Target, in_units, points_and_scores, smooth


def ksd_test(
    x: Sample,
    target: Target,
    *,
    kernels: Kernel | Sequence[Kernel] | None = None,
    method: Literal["independent", "block"] | None = None,
    bootstraps: int = 1000,
    scale: Scale = "auto",
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> TestResult:
    r"""Test whether draws come from a density, known up to its constant, by KSD² and a wild bootstrap.

    The statistic T = Σ_{i≠j} k_p(x_i, x_j) / n(n − 1) is held against Σ_{i≠j} s_i s_j k_p(x_i, x_j) / n(n−1)
    with random signs s_i = ±1. The p-value is (k + 1) / (B + 1), where k of B such sums reach T. With several
    kernels the smallest of their p-values is the statistic of one test, held against the same signs. The
    level is that of many draws (in repeats with n = 50 it held).

    The draws of a Markov chain depend on one another, and signs of their own would find a difference where
    there is none. With ``"block"`` one sign is drawn for each chain, or, if there are fewer than 20, for each
    stretch of ten autocorrelation times.

    What the discrepancy does not see, such as a mode without any draw, the test does not see either
    (:func:`ksd2`).

    Args:
        x: draws of shape (n, \*event) on the constrained scale, a tensor, an array, a frame, or a mapping by
            site; with "block" (chains, draws, \*event); or :class:`Chains`.
        target: a :class:`Density`, or its score ∇ log p, a function from points (n, d) to (n, d).
        kernels: of the distance, one or several, with a derivative by ‖x − y‖² at equal points; by default
            inverse multiquadrics of each width of :func:`bandwidth_grid` of x.
        method: "independent" or "block"; by default "block" for Chains.
        bootstraps: B.
        scale: as for :func:`ksd2`: by default, and where no kernel is given, columns are divided by their
            standard deviations in the draws, and the density is that of what is divided.
        generator, seed: one at most, of the signs, on the device of the draws.

    Returns:
        the result; with several kernels the statistic is −log of the smallest p-value, and
        ``kernel_p_values`` are those of the kernels, adjusted for their number.

    Raises:
        TypeError, ValueError: as :func:`ksd2`, for another method, fewer than one bootstrap or no kernel, and
            for chains that are too few and too short.

    Source: Chwialkowski, Strathmann and Gretton (2016); Liu, Lee and Jordan (2016); Schrab, Guedj and Gretton
    (2022) for several kernels.

    >>> rng = torch.Generator().manual_seed(0)
    >>> x = torch.randn(200, 2, generator=rng)
    >>> ksd_test(x, lambda x: -x, generator=rng).p_value > 0.05
    True
    >>> ksd_test(1.5 * x, lambda x: -x, generator=rng).p_value < 0.01
    True
    """
    if method not in (None, "independent", "block"):
        raise ValueError(f"method should be 'independent' or 'block' but got {method!r}")
    if isinstance(x, Chained):
        if method == "independent":
            raise ValueError("method should be 'block', or left out, for Chains but is 'independent'")
        method = "block"
    if isinstance(target, Density):
        draws: Any = sites_of(x, target.names)
    else:
        draws = as_points(lead=2 if method == "block" else 1, x=x).tensors["x"]
    bootstraps = check_count("bootstraps", bootstraps)
    chains, length = 0, 1
    if method == "block":
        (chains, length), draws = _flattened(draws)
    # Of the target only the score ∇ log p is needed, at the points.
    points, scores = points_and_scores(draws, target)
    generator = source_of(generator, seed, points.device)
    points, scores, choice = in_units(points, scores, scale, own_units=kernels is not None)
    n = len(points)
    if n < 4:
        raise ValueError(f"x should hold at least 4 points but has {n}")
    if kernels is None:
        kernels = [InverseMultiquadric(width) for width in bandwidth_grid(points, points)]
    chosen = kernels if isinstance(kernels, Sequence) else [kernels]
    if not chosen:
        raise ValueError("kernels should hold at least one kernel but is empty")
    stein = [SteinKernel(points, scores, smooth(kernel, points)) for kernel in chosen]

    def block(rows: slice, columns: slice) -> Tensor:
        return torch.stack([kernel.block(rows, columns) for kernel in stein])

    # Random signs on whole units: on points where these are independent, on stretches of chains else.
    if chains:
        units = blocks_of_chains("x", points.unflatten(0, (chains, length)))
        shares = membership(units, points)
        count, forms = shares.shape[1], signed_forms(block, shares, bootstraps, generator)
    else:
        count, (forms, _) = n, quadratic_forms(block, random_signs(n, bootstraps, points, generator))
    statistics = forms / (n * (n - 1))
    # Sums that agree but for rounding are ties, and a few units have few arrangements of signs.
    largest = torch.stack([kernel.diagonal().abs().amax() for kernel in stein])
    rounding = 8 * n * torch.finfo(torch.float64).eps * largest
    arrangements = 2.0 ** (count - 1) if count < 1000 else float("inf")
    if len(chosen) > 1:
        found = by_smallest_p_value(statistics, rounding, arrangements=arrangements)
    else:
        found = drawn_result(statistics[0], float(rounding[0]), arrangements=arrangements)
    way = "signs of blocks of chains" if chains else "random signs"
    return found._replace(scale=choice, tested=f"that {n} draws come from the density, by KSD² and {way}")


def _flattened(x: Any) -> tuple[tuple[int, int], Any]:
    """Return (chains, draws), and the draws of all chains after one another."""
    sites = x if isinstance(x, Mapping) else {"x": x}
    for name, site in sites.items():
        if site.dim() < 2:
            raise ValueError(
                f"draws of {name!r} should have shape (chains, draws, *event) with method 'block' "
                f"but have shape {tuple(site.shape)}"
            )
    chains, length = next(iter(sites.values())).shape[:2]
    flat = {name: site.flatten(0, 1) for name, site in sites.items()}
    return (chains, length), (flat if isinstance(x, Mapping) else flat["x"])
