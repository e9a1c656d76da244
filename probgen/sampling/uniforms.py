"""Uniform random numbers, from which every exact draw starts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def uniform(
    shape: Sequence[int],
    *,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw float64 uniforms (k + ½)/2⁵², k = 0 ... 2⁵² − 1: symmetric about ½ and never 0 or 1."""
    draws = torch.rand(tuple(shape), dtype=torch.float64, device=device, generator=generator)
    return draws.mul_(2.0**52).floor_().add_(0.5).mul_(2.0**-52)
