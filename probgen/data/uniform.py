"""Uniforms to which small integers can be added without rounding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def inner_uniform(
    shape: Sequence[int],
    *,
    integer_bits: int,
    generator: torch.Generator | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Draw U strictly inside (0, 1) such that v + U is exact for integers |v| < 2**integer_bits.

    U lies on the midpoints of 2**(p - integer_bits) equal cells, where the significand has p + 1 bits.
    """
    cells = int(1 / torch.finfo(dtype).eps) >> integer_bits
    source = device if generator is None else generator.device
    cell = torch.randint(cells, tuple(shape), generator=generator, device=source)
    return ((cell.double() + 0.5) / cells).to(device=device, dtype=dtype)
