"""Symmetric steps of whole numbers, and supports that are walked round."""

from __future__ import annotations

import torch
from torch import Tensor

LABELS = 20
"""A support of up to so many values is taken for one of labels, whose order says nothing."""
FARTHEST = 2.0**20
"""No step is longer: float32 counts to 2²⁴."""


def integer_steps(
    position: Tensor, scale: Tensor, cells: tuple[Tensor, Tensor], generator: torch.Generator
) -> Tensor:
    r"""Draw steps ±(1 + ⌊scale U⌋), U uniform, for positions (\*chains, \*batch, dim).

    In a support of K values a share min(1, 20 / K) of the steps is uniform on 0 ... K − 1 instead.
    """
    shape, (first, last) = position.shape, cells
    size, side, which = torch.rand(
        (3, *shape), dtype=position.dtype, device=position.device, generator=generator
    )
    near = (1 + (size * scale).floor()).clamp(max=FARTHEST) * torch.where(side < 0.5, -1, 1)
    anywhere = (size * (last - first)).floor()
    return torch.where(which * (last - first) < LABELS, anywhere, near)


def walked_round(position: Tensor, cells: tuple[Tensor, Tensor]) -> Tensor:
    """Return positions, those beyond one end of a support with two ends coming in at the other."""
    first, last = cells
    around = first + (position - first).remainder(last - first)
    return torch.where((last - first).isfinite(), around, position)
