"""Noise that is partly of two values, so that a generator can jump."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from probgen.core import check_count
from probgen.nets.checks import check_last, check_sizes


class Signs(nn.Module):
    r"""Replace the last coordinates by their signs: (z₁, ..., z_d) ↦ (z₁, ..., z_{d−k}, sgn z_{d−k+1}, ...).

    In front of a generator of standard normal noise. A continuous G takes noise, which hangs together, to
    draws that do, so that between modes far apart there is a bridge of draws that are of neither; the signs
    cut the noise into :math:`2^k` sheets of equal mass, and from sheet to sheet G is free to jump. The noise
    itself stays normal, and what samples it goes on working. A coordinate of 0 counts as positive.

    Args:
        size: d, at least k.
        signs: k.

    Raises:
        ValueError: for sizes below 1 and more signs than coordinates.

    Source: Tanielian, Issenhuth, Dohmatob and Mary (2020), Learning disconnected manifolds: a no GAN's land,
    for how much of continuous draws must lie between modes; Khayatkhoei, Singh and Elgammal (2018),
    Disconnected manifold learning for generative adversarial networks, for noise with discrete parts.

    >>> Signs(3, signs=2)(torch.tensor([[0.5, -0.1, 2.0]])).tolist()
    [[0.5, -1.0, 1.0]]
    """

    def __init__(self, size: int, *, signs: int) -> None:
        super().__init__()
        check_sizes(size=size)
        self.signs = check_count("signs", signs)
        if signs > size:
            raise ValueError(f"signs should be at most the size of the noise, {size}, but is {signs}")
        self.inputs = self.outputs = size

    def forward(self, z: Tensor) -> Tensor:
        check_last(self, z)
        kept, others = z[..., : -self.signs], z[..., -self.signs :]
        cut = torch.where(others >= 0, 1.0, torch.where(others < 0, -1.0, others))  # NaN stays
        return torch.cat([kept, cut], -1)
