"""Units for the columns of samples, so that wide ones do not hide what narrow ones have to say."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from probgen.mmd.pairwise import check_finite

Scale: TypeAlias = Literal["auto", "pooled"] | Tensor | np.ndarray | None
"""What the columns of samples are divided by before distances are taken: see :func:`scaled`."""

_IMAGE = 3  # dimensions of an event whose numbers have one unit: channels, rows, columns


def scaled(
    scale: Scale, *, own_units: bool = False, **samples: Tensor
) -> tuple[tuple[Tensor, ...], str | None]:
    r"""Return samples with their columns in units of their own, and what they were divided by, in a word.

    What is divided is float64, so that an offset costs no digits; what is not is as it was.

    ``"pooled"`` divides each column by its standard deviation in all the samples together. These do not
    depend on which point came from where, so that a permutation test keeps its level. A column that is
    constant, to rounding, in all of them has no such unit and tells nothing; one that is constant in one
    sample only has one. A tensor divides by its numbers, and None by nothing. ``"auto"`` is None for images
    (events of three dimensions or more) and where ``own_units`` says that a kernel or a network is given,
    which speaks of the numbers as they are; otherwise "pooled".

    Args:
        scale: "auto", "pooled", a positive tensor or array that broadcasts to an event, or None.
        own_units: whether what is to be computed has units already.
        samples: of shape (n, \*event), named as in the error messages.

    Raises:
        TypeError, ValueError: for samples that are not finite or not alike, and for any other scale.

    >>> x, y = torch.tensor([[0.0, 500.0], [2.0, 500.0]]), torch.tensor([[0.0, 500.0], [2.0, 700.0]])
    >>> scaled("pooled", x=x, y=y)[0][1][1] - scaled("pooled", x=x, y=y)[0][1][0]  # two, and 2.3, deviations
    tensor([2.0000, 2.3094], dtype=torch.float64)
    """
    units, choice = units_of(scale, own_units=own_units, **samples)
    found = tuple(sample.detach() for sample in samples.values())
    if units is None:
        return found, choice
    return tuple(sample.double() / units for sample in found), choice


def units_of(scale: Scale, *, own_units: bool = False, **samples: Tensor) -> tuple[Tensor | None, str | None]:
    """Return what :func:`scaled` divides by, in float64, shape event, or None, and the choice in a word."""
    check_finite(**samples)
    first = next(iter(samples.values()))
    if isinstance(scale, Tensor | np.ndarray):
        return _checked(torch.as_tensor(scale), first), "given"
    if not (scale is None or isinstance(scale, str)) or scale not in ("auto", "pooled", None):
        raise ValueError(f"scale should be 'auto', 'pooled', a tensor or None but got {scale!r}")
    if scale is None or (scale == "auto" and (own_units or first.dim() > _IMAGE)):
        return None, None
    return pooled_scale(*samples.values()), "pooled"


@torch.no_grad()
def pooled_scale(*samples: Tensor) -> Tensor:
    r"""Return the standard deviation of each column of samples taken together, shape event, in float64.

    A column that is constant, to four units in the last place, has its largest absolute value in place of
    it, or 1: divided by it, it stays constant and small.

    >>> pooled_scale(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    tensor([1., 5.], dtype=torch.float64)
    """
    points = torch.cat([sample.detach() for sample in samples]).double()
    size, apart = points.abs().amax(0), points - points.mean(0)
    farthest = apart.abs().amax(0)
    deviation = farthest * (apart / torch.where(farthest > 0, farthest, 1)).square().mean(0).sqrt()
    return torch.where(columns_vary(*samples), deviation, torch.where(size > 0, size, 1.0))


@torch.no_grad()
def columns_vary(*samples: Tensor) -> Tensor:
    """Say which columns of samples taken together vary by more than four units in the last place."""
    points = torch.cat([sample.detach() for sample in samples])
    rounding = 4 * torch.finfo(points.dtype).eps * points.double().abs().amax(0)
    return points.double().amax(0) - points.double().amin(0) > rounding


def _checked(scale: Tensor, points: Tensor) -> Tensor:
    """Return scales that are given, in float64, once they are looked at."""
    event = tuple(points.shape[1:])
    try:
        units = scale.detach().double().to(points.device).expand(event)
    except RuntimeError:
        raise ValueError(
            f"scale should broadcast to an event, shape {event}, but has shape {tuple(scale.shape)}"
        ) from None
    if not (torch.isfinite(units) & (units > 0)).all():
        raise ValueError(f"scale should be positive and finite but has the smallest {float(units.min()):g}")
    return units
