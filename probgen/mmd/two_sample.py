"""Two-sample tests: are two samples draws from one law?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from probgen.core import check_count, source_of
from probgen.mmd.aggregation import by_smallest_p_value, by_soft_maximum
from probgen.mmd.algebra import Kernel
from probgen.mmd.bandwidths import all_equal, bandwidths_between_quantiles, default_gaussian
from probgen.mmd.blocks import block_shares, signed_statistics
from probgen.mmd.kernels import Gaussian, Laplace
from probgen.mmd.null_laws import gamma_test, spectral_test
from probgen.mmd.pairwise import quadratic_forms
from probgen.mmd.pooled import Pooled
from probgen.mmd.result import TestResult, drawn_result
from probgen.mmd.samples import Points, Sample, as_points
from probgen.mmd.scaling import Scale, scaled

Method = Literal["permutation", "aggregated", "fuse", "block", "gamma", "spectral"]

_WAYS = {
    "permutation": "permutations",
    "aggregated": "permutations, the smallest p-value of several kernels",
    "fuse": "permutations, several kernels fused",
    "block": "signs of blocks of chains",
    "gamma": "a Gamma law in the place of its null law",
    "spectral": "its null law in the limit",
}


def mmd_test(
    x: Sample,
    y: Sample,
    *,
    kernels: Kernel | Sequence[Kernel] | None = None,
    method: Method | None = None,
    weights_x: Tensor | None = None,
    weights_y: Tensor | None = None,
    permutations: int = 1000,
    scale: Scale = "auto",
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> TestResult:
    r"""Test whether two samples come from one law, by permutations of unbiased MMD².

    The p-value is (k + 1) / (B + 1), where k of the B permuted statistics reach the observed one (ties,
    to rounding, count), so that P(p ≤ α) ≤ α where the laws agree, for any sizes and any number of
    permutations. All permutations are taken in one pass over the distances, under all kernels; memory is
    O((n + m) B). The points of each sample should be independent, but for "block".

    Distances are between columns in units of their own, or else wide columns would hide what narrow ones have
    to say: ``scale="pooled"`` divides each by its standard deviation in the pooled sample, which does not
    depend on which point came from where, so that levels hold. That is so by default, but for images (events
    of three dimensions or more), whose numbers have one unit, and where ``kernels`` are given, whose widths
    are in the units of the samples: with these say ``scale="pooled"`` where widths are in deviations.

    With one kernel (``"permutation"``) the statistic is MMD². Laws that differ at one scale only are seen
    best under a kernel of this scale, which must not be chosen by a look at the samples' difference: give
    several kernels. ``"aggregated"`` takes the smallest of their p-values, and ``"fuse"`` a soft maximum of
    their standardised MMD², as the statistic of one permutation test: the level is exact, and no share of
    the data is spent on the choice. "aggregated" also tells which kernels see a difference. With
    ``kernels=Energy()`` this is the test of the energy distance.

    The draws of Markov chains are not exchangeable, and a permutation test takes them for far more than
    they are worth. ``"block"`` cuts each chain in blocks of ten autocorrelation times (20 chains or more are
    left whole), pairs the blocks of x with those of y or with groups of its independent points, and draws
    the signs of the paired differences in place of permutations. Where x and y are equally many whole
    chains of one kind, p is exact; else it is nearly so, the better the more draws there are. It also takes
    weights, such as importance weights, of which no permutation test is valid: give independent weighted
    points as chains of one draw, ``x[:, None]``. Several kernels are aggregated.

    ``"gamma"`` and ``"spectral"`` are fast approximations for large samples, with one kernel: they take the
    null law of MMD² for a Gamma law with its mean and variance, or draw from its limit with eigenvalues of
    at most 1,000 of the points. Their p-values hold in the limit only; where it matters, permute.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), n and m at least 2, events flattened: tensors,
            arrays, frames or mappings by site, or :class:`Chains`; with "block" also tensors of shape
            (chains, draws, \*event), y then the same or (m, \*event).
        kernels: chosen without a look at which point came from where; one or, for "aggregated", "fuse" and
            "block", several. By default the mean of Gaussians over :func:`bandwidth_grid`, or else five
            Gaussian and five Laplace kernels from the smallest to the largest distances, which depend on
            the pooled sample alone.
        method: "permutation", "aggregated", "fuse" or "block"; "gamma" or "spectral" to approximate. By
            default "block" for Chains and "permutation" else.
        weights_x, weights_y: of the points, with "block" only: not negative, shapes (chains, draws) or (m,).
        permutations: B, the number of permutations, of vectors of signs or of draws from the limit.
        scale: what columns are divided by: "pooled", a tensor of positive numbers, shape event, None for
            nothing, or "auto", as said above.
        generator, seed: of these, one at most, on the device of the samples; else torch's global generator.

    Returns:
        the result, with p = 1 where all points are equal; with "aggregated" the statistic is −log of the
        smallest p-value, and ``kernel_p_values`` are those of the kernels, adjusted for their number (in a
        single step).

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, fewer than one
            permutation, another method or scale, no kernel or more than the method takes, a kernel that
            returns NaN or infinite values, weights that the method does not take, and for too few draws to
            make 8 blocks.

    Source: Gretton et al. (2012); Phipson and Smyth (2010) for the p-value; Westfall and Young (1993) and
    Schrab, Kim, Albert, Laurent, Guedj and Gretton (2023) for aggregated tests, here with one set of
    permutations in place of two; Biggs, Schrab and Gretton (2023) for the fused statistic;
    Canay, Romano and Shaikh (2017) for signs of blocks.

    >>> rng = torch.Generator().manual_seed(1)
    >>> x = torch.randn(50, generator=rng)
    >>> mmd_test(x, x + 2, permutations=99, generator=rng).p_value
    0.01
    >>> bumps = [0.1, 1.0, 10.0]
    >>> found = mmd_test(
    ...     x, x + 1, kernels=[Gaussian(width) for width in bumps], method="aggregated", generator=rng
    ... )
    >>> found.rejects(0.01)
    True
    >>> narrow = torch.tensor([1000.0, 0.001])  # the samples differ in the narrow column only
    >>> both = torch.randn(2, 100, 2, generator=rng) * narrow + torch.tensor([[[0.0, 0.0]], [[0.0, 0.001]]])
    >>> mmd_test(*both, permutations=99, generator=rng).p_value
    0.01
    """
    permutations = check_count("permutations", permutations)
    samples = as_points(lead=2 if method == "block" else 1, x=x, y=y)
    method = _method(method, samples)
    _check_method(method, weights_x, weights_y)
    x, y = samples.tensors["x"], samples.tensors["y"]
    generator = source_of(generator, seed, x.device)
    if samples.chains == {"y"}:  # the test is the same one either way
        x, y, weights_x, weights_y = y, x, weights_y, weights_x
    if method == "block":
        shares = block_shares(x, y, weights_x, weights_y, generator)
        x, y = x.flatten(0, 1), y.flatten(0, 1) if y.dim() == x.dim() else y
    else:
        shares = None
    (x, y), choice = scaled(scale, own_units=kernels is not None, x=x, y=y)
    found = _tested(x, y, kernels, method, shares, permutations, generator)
    what = f"that samples of {len(x)} and {len(y)} points come from one law, by MMD² and {_WAYS[method]}"
    return found._replace(scale=choice, tested=what)


def _method(method: Method | None, samples: Points) -> Method:
    """Return the method that is asked for, or the one for samples as these are."""
    if not samples.chains:
        return "permutation" if method is None else method
    if method not in (None, "block"):
        raise ValueError(
            f"method should be 'block', or left out, for Chains, whose draws depend on one another, but is "
            f"{method!r}; or give draws that are far apart as points: chains['x'][:, ::50].flatten(0, 1)"
        )
    return "block"


def _tested(
    x: Tensor,
    y: Tensor,
    kernels: Kernel | Sequence[Kernel] | None,
    method: Method,
    shares: Tensor | None,
    permutations: int,
    generator: torch.Generator | None,
) -> TestResult:
    """Return the result of a test of samples as they are; ``shares`` are those of draws in blocks."""
    chosen = _chosen(kernels, method, x, y)
    pooled = Pooled(chosen, x, y)
    n, m = pooled.n, pooled.m
    for name, size in (("x", n), ("y", m)):
        if size < 2:
            raise ValueError(f"{name} should hold at least 2 points but has {size}")
    if method in ("gamma", "spectral") and all_equal(x, y):
        return TestResult(0.0, 1.0, x.new_zeros(0))
    if method == "gamma":
        return gamma_test(pooled)
    if method == "spectral":
        return spectral_test(pooled, permutations, generator)
    if shares is not None:
        statistics = signed_statistics(pooled, shares, permutations, generator)
        arrangements = 2 ** (shares.shape[1] - 1)
    else:
        in_x = pooled.indicators()[:, :1]
        permuted = _permuted_indicators(n, permutations, generator, in_x)
        statistics = _unbiased(pooled, torch.cat([in_x, permuted], 1))
        arrangements = math.comb(n + m, n) // (2 if n == m else 1)  # halves can be exchanged
    largest = torch.maximum(pooled.diagonal().abs().amax(1), pooled.shifts.abs())
    rounding = 4 * pooled.size * torch.finfo(torch.float64).eps * largest
    if method == "fuse":
        return by_soft_maximum(statistics, rounding, arrangements=arrangements)
    if method == "permutation" or len(chosen) == 1:
        return drawn_result(statistics[0], float(rounding[0]), arrangements=arrangements)
    return by_smallest_p_value(statistics, rounding, arrangements=arrangements)


def default_kernels(x: Tensor, y: Tensor) -> list[Kernel]:
    """Return Gaussian and Laplace kernels of five bandwidths each, found from the pooled sample.

    Where all points are equal, any bandwidth will do.
    """
    grid = (1.0,) if all_equal(x, y) else bandwidths_between_quantiles(x, y)
    return [kind(width) for kind in (Gaussian, Laplace) for width in grid]


def _check_method(method: Method, weights_x: Tensor | None, weights_y: Tensor | None) -> None:
    known = get_args(Method)
    if method not in known:
        raise ValueError(f"method should be one of {', '.join(known)} but got {method!r}")
    for name, weights in (("weights_x", weights_x), ("weights_y", weights_y)):
        if weights is not None and method != "block":
            raise ValueError(
                f"{name} should be left out with method {method!r}: weighted points cannot be permuted, "
                "but method 'block' takes them"
            )


def _chosen(
    kernels: Kernel | Sequence[Kernel] | None, method: Method, x: Tensor, y: Tensor
) -> Sequence[Kernel]:
    """Return the kernels of a test, once their number is looked at."""
    if kernels is None:
        several = method in ("aggregated", "fuse")
        return default_kernels(x, y) if several else [default_gaussian(x, y)]
    chosen = kernels if isinstance(kernels, Sequence) else [kernels]
    if not chosen:
        raise ValueError("kernels should hold at least one kernel but is empty")
    if method in ("permutation", "gamma", "spectral") and len(chosen) > 1:
        raise ValueError(
            f"kernels should be one kernel with method {method!r} but are {len(chosen)}; "
            "'aggregated', 'fuse' and 'block' take several"
        )
    return chosen


def _unbiased(pooled: Pooled, in_x: Tensor) -> Tensor:
    """Return the unbiased MMD² where the points with 1 in a column are x: shape (kernels, columns)."""
    n, m = pooled.n, pooled.m
    within_x, row_sums = quadratic_forms(pooled.block, in_x)
    x_to_all = row_sums @ in_x
    within_y = row_sums.sum(1, keepdim=True) - 2 * x_to_all + within_x
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * (x_to_all - within_x) / (n * m)


def _permuted_indicators(
    n: int, permutations: int, generator: torch.Generator | None, points: Tensor
) -> Tensor:
    """Return a float64 matrix (len(points), permutations): in each column n random rows are 1, the rest 0."""
    rows = [
        torch.randperm(len(points), generator=generator, device=points.device)[:n]
        for _ in range(permutations)
    ]
    indicators = points.new_zeros(len(points), permutations)
    return indicators.scatter_(0, torch.stack(rows, 1), 1.0)
