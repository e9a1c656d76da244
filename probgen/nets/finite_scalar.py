"""Finite scalar quantisation: each coordinate is rounded to one of a few levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from probgen.core import check_count

MOST = 2**31
"""Codes, at most."""


class FiniteScalar(nn.Module):
    r"""A quantiser without a codebook: coordinate i is rounded to one of L_i levels, evenly over [−1, 1].

    The level is j = round((L − 1)(tanh z + 1)/2) and its value 2j/(L − 1) − 1, to which the gradient passes
    straight through. A code is the number whose digits are the levels, so that there are Π L_i. For odd L
    this is the paper's form; for even L it is symmetric, where the paper's is off by half a level: at L = 2,
    the sign of z.

    It takes the place of a :class:`Codebook` in a model, and has nothing to learn. So vectors have to spread
    over the levels by themselves: those of a fresh net differ by less than a level, all fall on one code, and
    the decoder learns to do without it. Let them pass nn.BatchNorm1d(T·d, affine=False) as the last layer of
    the encoder. Of five levels and more, 2⁸ codes are about (8, 6, 5), 2¹⁰ (8, 5, 5, 5), 2¹² (7, 5, 5, 5, 5).

    Args:
        levels: L_i of each coordinate, at least 2.

    Source: Mentzer, Minnen, Agustsson and Tschannen (2024), Finite scalar quantization: VQ-VAE made simple.

    >>> quantiser = FiniteScalar([8, 6, 5])
    >>> codes, quantised = quantiser(torch.randn(5, 7, 3))
    >>> quantiser.size, codes.shape, quantised.shape
    (240, torch.Size([5, 7]), torch.Size([5, 7, 3]))
    """

    halves: Tensor
    levels: Tensor
    places: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        if not len(levels):
            raise ValueError("levels should be told for at least one coordinate but are none")
        counts = [check_count("levels", count, least=2) for count in levels]
        self.size, self.dim = math.prod(counts), len(counts)
        if self.size > MOST:
            raise ValueError(
                f"levels should make at most 2^31 codes but {tuple(counts)} make {self.size:,}: take fewer"
            )
        places = [math.prod(counts[:i]) for i in range(self.dim)]
        self.register_buffer("levels", torch.tensor(counts), persistent=False)
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.register_buffer("halves", torch.tensor([(count - 1) / 2 for count in counts]), persistent=False)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return the codes of vectors (\*batch, d), and their values with a gradient for z.

        Returns:
            codes (\*batch), int64, and values (\*batch, d): to the bit those of ``embed(codes)``.
        """
        codes, passed = self.nearest(z), z.tanh()
        return codes, self.embed(codes) + (passed - passed.detach())

    def nearest(self, z: Tensor) -> Tensor:
        r"""Return the code of the levels nearest to tanh z, int64 (\*batch)."""
        if z.shape[-1:] != (self.dim,):
            raise ValueError(
                f"vectors should have {self.dim} numbers, one for each of the levels, but have shape "
                f"{tuple(z.shape)}"
            )
        level = ((z.detach().to(self.halves).tanh() + 1) * self.halves + 0.5).floor().long()
        return (level * self.places).sum(-1)

    def embed(self, codes: Tensor) -> Tensor:
        r"""Return the values of codes (\*batch), shape (\*batch, d)."""
        level = codes[..., None] // self.places % self.levels
        return level / self.halves - 1

    def extra_repr(self) -> str:
        return f"levels={self.levels.tolist()}"
