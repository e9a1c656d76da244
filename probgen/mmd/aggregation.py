r"""One p-value from the statistics of several kernels under the same draws of the null hypothesis.

Both ways treat the statistic on the samples like those under the draws, so that the results are exchangeable
where those are, and the p-value is valid for any number of draws.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probgen.mmd.result import TestResult, check_statistics, drawn_result

_SHARPNESS = math.sqrt(8)  # that of the published test, where unbiased MMD² is divided by its root variance


def by_smallest_p_value(statistics: Tensor, rounding: Tensor, *, arrangements: float) -> TestResult:
    """Return the test whose statistic is −log of the smallest of the p-values of the kernels.

    The p-value of a kernel under a draw is the share of draws that reach it. Those of the kernels that are
    returned are adjusted in a single step: where all laws agree, P(any ≤ α) ≤ α.

    Args:
        statistics: shape (kernels, 1 + B), the first column of the samples as they are.
        rounding: the error of the statistics, shape (kernels,).
        arrangements: as in :func:`drawn_result`.

    Source: Westfall and Young (1993), section 2.3; Schrab, Kim, Albert, Laurent, Guedj and Gretton (2023).
    """
    check_statistics(statistics)
    ordered = statistics.sort(1).values
    below = torch.searchsorted(ordered, (statistics - rounding[:, None]).contiguous())
    draws = statistics.shape[1]
    reached = draws - below  # by itself too
    smallest = reached.amin(0)
    adjusted = (smallest <= reached[:, :1]).sum(1).double() / draws
    result = drawn_result(-(smallest.double() / draws).log(), arrangements=arrangements)
    return result._replace(kernel_p_values=tuple(adjusted.tolist()))


def by_soft_maximum(statistics: Tensor, rounding: Tensor, *, arrangements: float) -> TestResult:
    r"""Return the test whose statistic is log mean exp(√8 t) over the kernels.

    t is a kernel's statistic over its root mean square under all draws. Kernels whose statistic does not
    vary tell nothing and have t = 0.

    Arguments are those of :func:`by_smallest_p_value`. Source: Biggs, Schrab and Gretton (2023).
    """
    check_statistics(statistics)
    scale = statistics.square().mean(1).sqrt()
    varies = scale > rounding
    scale = torch.where(varies, scale, math.inf)
    scores = _SHARPNESS * statistics / scale[:, None]
    fused = scores.logsumexp(0) - math.log(len(statistics))
    error = _SHARPNESS * float((rounding / scale).max()) + 1e-14 * float(fused.abs().max())
    return drawn_result(fused, error, arrangements=arrangements)
