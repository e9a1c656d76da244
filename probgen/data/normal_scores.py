"""Numbers as normal scores of their ranks, and back to the quantiles of those seen."""

from __future__ import annotations

import torch
from torch import Tensor


def normal_scores(x: Tensor, seen: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return Φ⁻¹((rank + ½)/n) of each number among ``seen``, sorted; equal ones have one of their ranks at
    random, and what lies outside the range seen is put at its end. Both are float64 on the CPU.

    >>> normal_scores(torch.tensor([3.0]).double(), torch.arange(7).double(), generator=torch.Generator())
    tensor([0.], dtype=torch.float64)
    """
    low, high = (torch.searchsorted(seen, x.contiguous(), side=side) for side in ("left", "right"))
    share = torch.rand(len(x), dtype=torch.float64, generator=generator)
    rank = (low + share * (high - low - 1).clamp(min=0)).clamp(0, len(seen) - 1)
    return torch.special.ndtri((rank + 0.5) / len(seen))


def from_normal_scores(scores: Tensor, seen: Tensor, *, between: bool) -> Tensor:
    """Return the quantiles of ``seen``, sorted, at Φ(score): between those seen, or only those themselves."""
    place = (torch.special.ndtr(scores) * len(seen) - 0.5).clamp(0, len(seen) - 1)
    if not between:
        return seen[place.round().long()]
    below = place.floor().long()
    above = (below + 1).clamp(max=len(seen) - 1)
    return torch.lerp(seen[below], seen[above], place - below)
