"""Grey levels made binary or continuous, afresh at each access or once."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import check_count, source_of
from probgen.data.batches import rows_at
from probgen.data.uniform import inner_uniform


def binarise(grey: Tensor, *, generator: torch.Generator | None = None, seed: int | None = None) -> Tensor:
    """Draw x ~ Bernoulli(grey) once, as one does for validation and test data.

    Raises ValueError where ``grey`` leaves [0, 1].
    """
    _check_unit(grey, "grey")
    return torch.bernoulli(grey, generator=source_of(generator, seed, grey.device))


def dequantise(
    x: Tensor, levels: int, *, generator: torch.Generator | None = None, seed: int | None = None
) -> Tensor:
    r"""Spread each grey level over its cell: v/(levels-1) becomes (v + U)/levels, U uniform on (0, 1).

    A density p(y) on (0, 1)^d then bounds the probability of the levels:
    log P(v) >= E[log p(y)] - d log(levels) (Theis et al., 2016).

    Raises ValueError where ``x`` is not on the grid 0, 1/(levels-1), ..., 1.
    """
    level = _level(x, levels)
    bits = (levels - 1).bit_length()
    if torch.finfo(x.dtype).eps * 2**bits > 2**-8:
        raise ValueError(f"{x.dtype} is too coarse for {levels} levels: use float32 or float64")
    generator = generator if seed is None else source_of(generator, seed, x.device)
    noise = inner_uniform(x.shape, integer_bits=bits, generator=generator, dtype=x.dtype, device=x.device)
    return (level + noise) / levels


def quantise(y: Tensor, levels: int) -> Tensor:
    """Return the grey level of the cell in which y lies, floor(levels y)/(levels-1): undoes dequantise.

    The cells are half-open, the last one is closed. Raises ValueError where ``y`` leaves [0, 1].

    >>> quantise(torch.tensor([0.0, 0.3, 0.5, 1.0]), 2)
    tensor([0., 0., 1., 1.])
    """
    _check_levels(levels)
    _check_unit(y, "y")
    return (y * levels).floor().clamp(max=levels - 1) / (levels - 1)


class Binarised:
    r"""Grey pictures that are binarised afresh at each access (dynamic binarisation, Burda et al., 2016).

    ``Binarised(grey)[index]`` draws x ~ Bernoulli(grey[index]) from torch's global generator.

    Args:
        grey: shape (n, \*event), values in [0, 1].
    """

    def __init__(self, grey: Tensor) -> None:
        _check_unit(grey, "grey")
        self.grey = grey
        self.device = grey.device

    def __repr__(self) -> str:
        return f"Binarised({len(self)} x {tuple(self.grey.shape[1:])})"

    def __len__(self) -> int:
        return len(self.grey)

    def __getitem__(self, index: Tensor) -> Tensor:
        return _bernoulli(rows_at(self.grey, index))


class Dequantised:
    r"""Grey pictures that are dequantised afresh at each access, from torch's global generator.

    Args:
        x: shape (n, \*event), values on the grid 0, 1/(levels-1), ..., 1.
        levels: the number of grey levels.
    """

    def __init__(self, x: Tensor, levels: int) -> None:
        _level(x, levels)
        self.x, self.levels = x, levels
        self.device = x.device

    def __repr__(self) -> str:
        return f"Dequantised({len(self)} x {tuple(self.x.shape[1:])}, {self.levels} levels)"

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor) -> Tensor:
        return dequantise(rows_at(self.x, index), self.levels)


def _bernoulli(p: Tensor) -> Tensor:
    """Return ``torch.bernoulli(p)``, to the bit, on a CPU in half its time."""
    if p.device.type != "cpu" or p.dtype not in (torch.float32, torch.float64):
        return torch.bernoulli(p)
    return torch.empty_like(p).uniform_().lt_(p)


def _level(x: Tensor, levels: int) -> Tensor:
    """Return the level 0..levels-1 of each value on the grid."""
    _check_levels(levels)
    _check_unit(x, "x")
    steps = x * (levels - 1)
    level = steps.round()
    if ((steps - level).abs() > 1e-3).any():
        raise ValueError(f"x should lie on the grid 0, 1/{levels - 1}, ..., 1 but some values do not")
    return level


def _check_levels(levels: int) -> None:
    check_count("levels", levels, least=2)


def _check_unit(x: Tensor, name: str) -> None:
    if not x.is_floating_point():
        raise TypeError(f"{name} should be floating point but is {x.dtype}")
    bad = x[~((x >= 0) & (x <= 1))]
    if bad.numel():
        raise ValueError(f"{name} should lie in [0, 1] but holds {bad[0].item():g}")
