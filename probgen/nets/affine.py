"""A fixed change of origin and unit, as a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Affine(nn.Module):
    r"""x ↦ shift + factor · x, with numbers that are given and not learned.

    At the end of a generator, ``units = Affine(centre, scale)`` gives it the origin and unit of the data;
    ``units.inverse()``, at the start of a discriminator, takes them away.

    Args:
        shift, factor: numbers, or tensors of the shape of one x.

    Raises:
        ValueError: for numbers that are not finite.

    >>> Affine(torch.tensor([1.0, 2.0]), 10.0)(torch.ones(3, 2))[0]
    tensor([11., 12.])
    """

    shift: Tensor
    factor: Tensor

    def __init__(self, shift: Tensor | float, factor: Tensor | float) -> None:
        super().__init__()
        for name, value in (("shift", shift), ("factor", factor)):
            value = torch.as_tensor(
                value, dtype=None if isinstance(value, Tensor) else torch.get_default_dtype()
            )
            if not value.isfinite().all():
                raise ValueError(f"{name} should be finite but holds NaN or infinity")
            self.register_buffer(name, value.detach().clone())

    def inverse(self) -> Affine:
        """Return the layer that takes this one back."""
        if not (self.factor != 0).all():
            raise ValueError("factor should not be 0 where an inverse is asked for")
        return Affine(-self.shift / self.factor, 1 / self.factor)

    def forward(self, x: Tensor) -> Tensor:
        return self.shift + self.factor * x
