"""A two-sample test whose kernel is learned, on a part of the data that the test then does not see."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from probgen.core import check_count, source_of, taking_arrays
from probgen.mmd.algebra import PairKernel
from probgen.mmd.bandwidths import bandwidths_between_quantiles
from probgen.mmd.feature_kernels import Deep
from probgen.mmd.kernels import Gaussian
from probgen.mmd.pairwise import check_finite, squared_distances
from probgen.mmd.result import TestResult
from probgen.mmd.scaling import Scale, scaled
from probgen.mmd.two_sample import mmd_test

_SHALLOW = 0.1  # the share of the kernel that is the plain Gaussian
_BATCH, _MANY = 256, 1000  # points of either sample for a step, and for the choice of a bandwidth
_RIDGE = 1e-8  # of the variance that the power divides by


@taking_arrays("x", "y")
def deep_kernel_test(
    x: Tensor,
    y: Tensor,
    *,
    network: torch.nn.Module | None = None,
    share: float = 0.5,
    steps: int = 100,
    learning_rate: float = 1e-3,
    permutations: int = 1000,
    scale: Scale = "auto",
    generator: torch.Generator | None = None,
    seed: int | None = None,
) -> TestResult:
    r"""Test whether two samples of independent points come from one law, under a kernel that is learned.

    A share of each sample, drawn at random, is for learning, and the rest for a permutation test under the
    kernel that was found. As the two parts are independent, P(p ≤ α) ≤ α where the laws agree, however
    badly the kernel was learned. It pays where no distance between raw points tells the laws apart, as with
    images; where one does, ``mmd_test(x, y, method="fuse")`` has all the data and more power.

    The kernel is k(x, y) = ((1 − ε) κ(φ(x), φ(y)) + ε) κ_0(x, y), with Gaussians κ and κ_0 and ε = 0.1. The
    network φ and, out of five, the bandwidth of κ_0 maximise MMD² / σ, the ratio that decides the power of
    the test, where σ² / n is the variance of MMD² where the laws differ.

    Args:
        x, y: samples of shape (n, \*event) and (m, \*event), with at least 4 points in either part.
        network: φ, from points of shape (n, \*event) to features of shape (n, \*features), which has not
            seen these samples; a copy of it is trained. By default two hidden layers on flat events.
        share: of each sample for learning.
        steps: of Adam, each on at most 256 points of either sample; many steps on few points overfit, which
            costs power.
        learning_rate: of Adam.
        permutations: as for :func:`mmd_test`.
        scale: as for :func:`mmd_test`, by the pooled sample of both parts; by default where no network is
            given, as one that is given takes the points as they are.
        generator, seed: one at most, of the split, the default network, the batches and the permutations, on
            the device of the samples.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, a share outside
            (0, 1), fewer than one step or permutation, and where training ends in NaN.

    Source: Liu, Xu, Lu, Zhang, Gretton and Sutherland (2020).

    >>> rng = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(2, 80, 2, generator=rng)
    >>> deep_kernel_test(x, 2 * y, steps=30, permutations=99, generator=rng).p_value
    0.01
    """
    check_finite(x=x, y=y)
    generator = source_of(generator, seed, x.device)
    dtype = torch.promote_types(x.dtype, torch.float32)  # of digits enough to learn
    (x, y), choice = scaled(scale, own_units=network is not None, x=x, y=y)
    if network is None:
        centre = torch.cat([x, y]).double().mean(0)
        x, y = ((z - centre).to(dtype) for z in (x, y))
    if not 0 < share < 1:
        raise ValueError(f"share should be between 0 and 1 but got {share}")
    steps = check_count("steps", steps)
    permutations = check_count("permutations", permutations)
    (u, held_x), (v, held_y) = (_split(name, z, share, generator) for name, z in (("x", x), ("y", y)))
    shallow = _best_gaussian(u, v)
    learner = _default_network(torch.cat([u, v]), generator) if network is None else copy.deepcopy(network)
    kernel = Deep(learner, Gaussian(1.0)) * (1 - _SHALLOW) * shallow + _SHALLOW * shallow
    _maximise_power(kernel, learner, u, v, steps=steps, learning_rate=learning_rate, generator=generator)
    found = mmd_test(
        held_x, held_y, kernels=kernel, permutations=permutations, scale=None, generator=generator
    )
    return found._replace(scale=choice)


def _split(
    name: str, points: Tensor, share: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    count = round(share * len(points))
    if min(count, len(points) - count) < 4:
        raise ValueError(
            f"{name} should have at least 4 points in either part but has {count} and {len(points) - count}"
        )
    order = torch.randperm(len(points), generator=generator, device=points.device)
    return points[order[:count]], points[order[count:]]


def _best_gaussian(x: Tensor, y: Tensor) -> Gaussian:
    """Return the one with the most power of the Gaussians over the range of distances."""
    size = min(len(x), len(y), _MANY)
    kernels = [Gaussian(width) for width in bandwidths_between_quantiles(x, y)]
    with torch.no_grad():
        powers = torch.stack([_power(kernel, x[:size], y[:size]) for kernel in kernels])
    return kernels[int(powers.argmax())]


class _Flat(torch.nn.Module):
    """Points (n, *event) as rows, also where an event is one number."""

    def forward(self, points: Tensor) -> Tensor:
        return points.reshape(len(points), -1)


def _default_network(points: Tensor, generator: torch.Generator | None) -> torch.nn.Module:
    """Return two hidden layers on flat, standardised points, with weights that the generator decides."""
    flat = points.reshape(len(points), -1)
    d, width = flat.shape[1], max(32, min(128, 2 * flat.shape[1]))
    seed = int(torch.randint(2**31, (), generator=generator, device=points.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second, last = (torch.nn.Linear(*sizes) for sizes in ((d, width), (width, width), (width, 16)))
    layers = (_Flat(), first, torch.nn.Softplus(), second, torch.nn.Softplus(), last)
    network = torch.nn.Sequential(*layers).to(points)
    spread = flat.std(0)
    with torch.no_grad():
        first.weight.div_(torch.where(spread > 0, spread, 1))
        first.bias.sub_(first.weight @ flat.mean(0))
    return network


def _maximise_power(
    kernel: PairKernel,
    learner: torch.nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    learning_rate: float,
    generator: torch.Generator | None,
) -> None:
    """Train the network of a kernel so that MMD² / σ grows on batches of two samples."""
    learner.train()
    optimizer = torch.optim.Adam(learner.parameters(), lr=learning_rate)
    size = min(len(x), len(y), _BATCH)
    for _ in range(steps):
        batch = [z[torch.randperm(len(z), generator=generator, device=z.device)[:size]] for z in (x, y)]
        loss = -_power(kernel, *batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learner.eval()
    if not all(torch.isfinite(parameter).all() for parameter in learner.parameters()):
        raise ValueError("network should stay finite as it learns but holds NaN or infinite parameters")


def _power(kernel: PairKernel, x: Tensor, y: Tensor) -> Tensor:
    """Return MMD² / σ for samples of one size n, where σ² = n Var MMD² as n grows."""
    n = len(x)
    (features,) = kernel.features((torch.cat([x, y]),), x.dtype)
    values = kernel.values(features, features, squared_distances)
    h = values[:n, :n] + values[n:, n:] - values[:n, n:] - values[n:, :n]
    h = h - torch.diag(h.diagonal())
    of_points = h.sum(1) / (n - 1)
    return of_points.mean() / (4 * of_points.var() + _RIDGE).sqrt()
