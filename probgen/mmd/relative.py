"""Which of two samples is closer to a third?"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import taking_arrays
from probgen.mmd.algebra import Kernel
from probgen.mmd.bandwidths import default_gaussian
from probgen.mmd.pairwise import check_finite, symmetric_product
from probgen.mmd.pooled import Pooled
from probgen.mmd.scaling import Scale, scaled


class RelativeResult(NamedTuple):
    """MMD²(x, reference) − MMD²(y, reference), its standard error, and the p-value of "x is no farther".

    ``scale`` says what the columns were divided by, as in :class:`TestResult`.
    """

    difference: float
    stderr: float
    p_value: float
    scale: str | None = None


@taking_arrays("x", "y", "reference")
def relative_mmd_test(
    x: Tensor, y: Tensor, reference: Tensor, *, kernel: Kernel | None = None, scale: Scale = "auto"
) -> RelativeResult:
    r"""Test whether y is closer to a reference than x is, by MMD: of two models, which draws more like data?

    The null hypothesis is MMD²(P_x, R) ≤ MMD²(P_y, R): a small p-value says that x is farther. The samples
    are independent of one another, and so are the points of each. The difference of the unbiased estimates
    shares the reference, whose part is therefore in its variance: with h_x = 2 (mean k(x, x') − mean k(x, r))
    for each point of x, h_y its like and h_r = 2 (mean k(y, r) − mean k(x, r)), the variance is
    Var h_x / n + Var h_y / m + Var h_r / l. The p-value is that of the normal law, for some dozens of points
    or more; the plug-in variance errs on the large side, so that p does where all three laws are one.

    Args:
        x, y, reference: samples of shape (n, \*event), (m, \*event) and (l, \*event), of at least 4 points.
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
    check_finite(x=x, y=y, reference=reference)
    for name, sample in (("x", x), ("y", y), ("reference", reference)):
        if len(sample) < 4:
            raise ValueError(f"{name} should hold at least 4 points but has {len(sample)}")
    (x, y, reference), choice = scaled(scale, own_units=kernel is not None, x=x, y=y, reference=reference)
    both = torch.cat([x, y])
    pooled = Pooled([default_gaussian(both, reference) if kernel is None else kernel], both, reference)
    n, m, size = len(x), len(y), len(reference)
    of = torch.arange(3, device=x.device).repeat_interleave(torch.tensor([n, m, size], device=x.device))
    (sums,) = symmetric_product(pooled.block, torch.nn.functional.one_hot(of).double())
    to_x, to_y, to_r = sums.split([n, m, size])
    h_x = 2 * (to_x[:, 0] / (n - 1) - to_x[:, 2] / size)
    h_y = 2 * (to_y[:, 1] / (m - 1) - to_y[:, 2] / size)
    h_r = 2 * (to_r[:, 1] / m - to_r[:, 0] / n)
    difference = to_x[:, 0].mean() / (n - 1) - to_y[:, 1].mean() / (m - 1) + h_r.mean()
    variance = h_x.var() / n + h_y.var() / m + h_r.var() / size
    if not torch.isfinite(difference + variance):
        raise ValueError("kernel should return finite values but returned NaN or infinite ones")
    if variance == 0:
        raise ValueError("kernel should tell some of the points apart but does not vary over the samples")
    stderr = math.sqrt(variance)
    p_value = NormalDist().cdf(-float(difference) / stderr)
    return RelativeResult(float(difference), stderr, p_value, choice)
