"""Which of two samples is closer to a third?"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.mmd.algebra import Kernel
from probgen.mmd.bandwidths import default_gaussian
from probgen.mmd.blocks import blocks_of_chains
from probgen.mmd.pairwise import check_finite, symmetric_product
from probgen.mmd.pooled import Pooled
from probgen.mmd.samples import Sample, as_points
from probgen.mmd.scaling import Scale, scaled


class RelativeResult(NamedTuple):
    """MMD²(x, reference) − MMD²(y, reference), its standard error, and the p-value of "x is no farther".

    ``scale`` says what the columns were divided by, as in :class:`TestResult`.
    """

    difference: float
    stderr: float
    p_value: float
    scale: str | None = None

    def __str__(self) -> str:
        """Say in a sentence what was tested and what came of it, at the level 0.05.

        >>> print(RelativeResult(0.02, 0.01, 0.023))
        Tested that x is no farther from the reference than y: MMD² differs by 0.02 ± 0.01, p = 0.023,
        rejected at the level 0.05.
        """
        return (
            f"Tested that x is no farther from the reference than y: MMD² differs by {self.difference:.3g} ± "
            f"{self.stderr:.2g}, p = {self.p_value:.3g}, {'' if self.p_value <= 0.05 else 'not '}rejected at "
            f"the level 0.05."
        )


def relative_mmd_test(
    x: Sample, y: Sample, reference: Sample, *, kernel: Kernel | None = None, scale: Scale = "auto"
) -> RelativeResult:
    r"""Test whether y is closer to a reference than x is, by MMD: of two models, which draws more like data?

    The null hypothesis is MMD²(P_x, R) ≤ MMD²(P_y, R): a small p-value says that x is farther. The samples
    are independent of one another, and so are the points of each. The difference of the unbiased estimates
    shares the reference, whose part is therefore in its variance: with h_x = 2 (mean k(x, x') − mean k(x, r))
    for each point of x, h_y its like and h_r = 2 (mean k(y, r) − mean k(x, r)), the variance is
    Var h_x / n + Var h_y / m + Var h_r / l. The p-value is that of the normal law, for some dozens of points
    or more; the plug-in variance errs on the large side, so that p does where all three laws are one.

    Args:
        x, y, reference: samples of shape (n, \*event), (m, \*event) and (l, \*event), of at least 4 points:
            tensors, arrays, frames or mappings by site; or :class:`Chains`, cut in blocks as by
            :func:`mmd_test`, whose draws count as independent of those of other blocks alone.
        kernel: chosen without a look at the samples' differences. By default the mean of Gaussians over
            :func:`bandwidth_grid` of all three pooled.
        scale: as for :func:`mmd_test`; by default columns are divided by their standard deviations in all
            three samples together, where no kernel is given.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, for a kernel that
            returns NaN or infinite values, and where the difference does not vary at all.

    Source: Bounliphone, Belilovsky, Blaschko, Antonoglou and Gretton (2016).

    >>> rng = torch.Generator().manual_seed(0)
    >>> x, y, data = torch.randn(3, 100, 2, generator=rng)
    >>> relative_mmd_test(x + 1, y, data).p_value < 0.001
    True
    """
    samples = as_points(x=x, y=y, reference=reference)
    units = {name: _units(name, part, name in samples.chains) for name, part in samples.tensors.items()}
    flat = {n: part.flatten(0, 1) if n in samples.chains else part for n, part in samples.tensors.items()}
    check_finite(**flat)
    for name, sample in flat.items():
        if len(sample) < 4:
            raise ValueError(f"{name} should hold at least 4 points but has {len(sample)}")
    (x, y, reference), choice = scaled(scale, own_units=kernel is not None, **flat)
    both = torch.cat([x, y])
    pooled = Pooled([default_gaussian(both, reference) if kernel is None else kernel], both, reference)
    sizes = [len(x), len(y), len(reference)]
    of = torch.arange(3, device=x.device).repeat_interleave(torch.tensor(sizes, device=x.device))
    (sums,) = symmetric_product(pooled.block, torch.nn.functional.one_hot(of).double())
    of_x, of_y, of_r = sums.split(sizes)
    n, m, size = sizes
    within_x, within_y = (
        _within(pooled, start, part, unit)
        for start, part, unit in ((0, of_x[:, 0], units["x"]), (n, of_y[:, 1], units["y"]))
    )
    h_x, h_y = 2 * (within_x - of_x[:, 2] / size), 2 * (within_y - of_y[:, 2] / size)
    h_r = 2 * (of_r[:, 1] / m - of_r[:, 0] / n)
    difference = within_x.mean() - within_y.mean() + h_r.mean()
    variance = sum(
        (_of_mean(h, unit) for h, unit in zip((h_x, h_y, h_r), units.values(), strict=True)),
        h_x.new_zeros(()),
    )
    if not torch.isfinite(difference + variance):
        raise ValueError("kernel should return finite values but returned NaN or infinite ones")
    if variance == 0:
        raise ValueError("kernel should tell some of the points apart but does not vary over the samples")
    stderr = math.sqrt(variance)
    p_value = NormalDist().cdf(-float(difference) / stderr)
    return RelativeResult(float(difference), stderr, p_value, choice)


def _units(name: str, sample: Tensor, chains: bool) -> Tensor | None:
    """Return the number of the block of each draw of chains; None where points are independent."""
    return blocks_of_chains(name, sample) if chains else None


def _within(pooled: Pooled, start: int, sums: Tensor, units: Tensor | None) -> Tensor:
    """Return the mean of k(x_i, x_j) over j independent of i: of other blocks, or all but i itself."""
    n = len(sums)
    if units is None:
        return sums / (n - 1)
    blocks = torch.nn.functional.one_hot(units).double()

    def of_sample(rows: slice, columns: slice) -> Tensor:
        shifted = (slice(part.start + start, part.stop + start) for part in (rows, columns))
        return pooled.block(*shifted)

    (inside,) = symmetric_product(of_sample, blocks)
    own = inside.gather(1, units[:, None])[:, 0]
    return (sums - own) / (n - blocks.sum(0)[units])


def _of_mean(h: Tensor, units: Tensor | None) -> Tensor:
    """Return the variance of the mean of h over independent points, or over blocks that are."""
    if units is None:
        return h.var() / len(h)
    count = int(units.max()) + 1
    sums = h.new_zeros(count).scatter_add_(0, units, h - h.mean())
    return sums.square().sum() * count / (count - 1) / len(h) ** 2
