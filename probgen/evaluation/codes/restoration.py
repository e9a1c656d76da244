"""How near restored data are to what they were."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from probgen.core import tensor_of


def psnr(restored: Any, truth: Any, *, peak: float = 1.0) -> float:
    r"""Return the peak signal-to-noise ratio in decibels, 10 log₁₀(peak² / MSE), the more the better.

    The mean squared error is over all values of all data at once, not a mean of ratios. Where nothing is
    lost it is infinite.

    Args:
        restored, truth: arrays or tensors of one shape; what is restored is taken as it is, so cut values
            off at 0 and ``peak`` yourself if they are to be.
        peak: the range of the values, 1 for pixels in [0, 1] and 255 for bytes.

    Raises:
        ValueError: for other shapes, no values, values that are not finite, and a peak that is not positive.
        TypeError: for complex values.

    >>> import torch
    >>> round(psnr(torch.full((2, 3), 0.1), torch.zeros(2, 3)), 3)
    20.0
    """
    if not 0 < peak < math.inf:
        raise ValueError(f"peak should be positive and finite but is {peak}")
    mine, theirs = _values(restored, "restored"), _values(truth, "truth")
    if mine.shape != theirs.shape:
        raise ValueError(
            f"restored should have the shape of truth, {tuple(theirs.shape)}, but has {tuple(mine.shape)}"
        )
    apart = (mine - theirs).abs()
    largest = float(apart.max())
    if largest == 0:
        return math.inf
    # In units of the largest error, whose square has room whatever it is.
    relative = float((apart / largest).square().mean())
    return 20 * (math.log10(peak) - math.log10(largest)) - 10 * math.log10(relative)


def _values(values: Any, name: str) -> Tensor:
    found = tensor_of(values, name, dtype=torch.float64)
    if not isinstance(found, Tensor) or not found.numel():
        raise ValueError(f"{name} should hold numbers but is {type(values).__name__} without any")
    if found.is_complex():
        raise TypeError(f"{name} should hold real numbers but is {found.dtype}")
    found = found.detach().double()
    if not found.isfinite().all():
        raise ValueError(f"{name} should be finite but holds NaN or infinity")
    return found
