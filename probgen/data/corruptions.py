"""Data that are corrupted afresh at each look: noise, masks, salt and pepper; and pictures made smaller."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from probgen.core import check_count
from probgen.data.batches import Indexable, rows_at


class GaussianNoise:
    r"""Add normal noise: x + σε, ε ~ N(0, I).

    Args:
        scale: σ, in the units of the data.

    >>> GaussianNoise(0.5)(torch.zeros(3, 2)).shape
    torch.Size([3, 2])
    """

    def __init__(self, scale: float) -> None:
        if not 0 < scale < math.inf:
            raise ValueError(f"scale should be above 0 and finite but got {scale}")
        self.scale = scale

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        _check_real(x)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return x + self.scale * noise


class Masking:
    """Set each coordinate to 0 with a probability, by itself; the others stay as they are.

    Args:
        share: the probability, above 0 and below 1.

    Source: Vincent, Larochelle, Bengio and Manzagol (2008), Extracting and composing robust features with
    denoising autoencoders.
    """

    def __init__(self, share: float) -> None:
        self.share = _probability(share)

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        _check_real(x)
        return torch.where(_uniform(x, generator) < self.share, 0, x)


class SaltAndPepper:
    """Set each coordinate with a probability to one of two values, with even chances.

    Args:
        share: the probability, above 0 and below 1.
        low, high: pepper and salt, the ends of the data's range.
    """

    def __init__(self, share: float, *, low: float = 0.0, high: float = 1.0) -> None:
        self.share = _probability(share)
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"low should be below high, both finite, but they are {low} and {high}")
        self.low, self.high = low, high

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        _check_real(x)
        uniform = _uniform(x, generator)
        salted = torch.where(uniform < self.share, self.high, x)
        return torch.where(uniform < self.share / 2, self.low, salted)


class Pooling:
    r"""Make flat pictures smaller: each pixel the mean of a square of ``factor`` by ``factor``.

    Args:
        image_shape: (H, W) or (C, H, W) of a picture.
        factor: 2 for half the height and half the width.

    Raises:
        ValueError: for a size that is no multiple of the factor; it says by what it can be divided.

    >>> Pooling((4, 4), 2)(torch.arange(16.0)[None])
    tensor([[ 2.5000,  4.5000, 10.5000, 12.5000]])
    """

    def __init__(self, image_shape: Sequence[int], factor: int) -> None:
        factor = check_count("factor", factor, least=2)
        self.image_shape = with_channels(image_shape)
        self.factor = factor
        *channels, height, width = image_shape
        if height % factor or width % factor:
            common = math.gcd(height, width)
            possible = [k for k in range(2, common + 1) if common % k == 0]
            by = f"factors {', '.join(map(str, possible))} can" if possible else "no factor can"
            near = " x ".join(str(size - size % factor) for size in (height, width))
            way = "they are too small" if min(height, width) < factor else f"{by}, or crop them to {near}"
            raise ValueError(
                f"pictures of {height} x {width} pixels cannot be made smaller by {factor}: {way}"
            )
        self.small_shape = (*channels, height // factor, width // factor)
        """The shape of a picture after it, as ``image_shape`` was given."""

    @property
    def size(self) -> int:
        """The number of coordinates of a smaller picture."""
        return math.prod(self.small_shape)

    def __call__(self, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        small = avg_pool2d(pictures_of(x, self.image_shape), self.factor)
        return small.reshape(*x.shape[:-1], self.size)


Corruption = Callable[[Tensor], Tensor]
"""What makes something else of data, with noise or without, row by row."""


class Corrupted:
    r"""Data seen corrupted, afresh at each access, beside what they were.

    ``Corrupted(x, corruption)[index]`` is (corruption(x[index]), x[index]); noise comes from torch's global
    generator. ``objectives.Reconstruction`` learns the second from the first.

    Args:
        x: a tensor of shape (n, \*event), or another indexable of one tensor, such as ``Binarised(grey)``,
            whose draws are corrupted.
        corruption: such as ``GaussianNoise(0.5)``, or a function of one's own.

    >>> seen, clean = Corrupted(torch.ones(5, 3), Masking(0.5))[torch.tensor([0, 1])]
    >>> bool((clean == 1).all()), seen.shape
    (True, torch.Size([2, 3]))

    Source: Vincent, Larochelle, Bengio and Manzagol (2008).
    """

    def __init__(self, x: Indexable, corruption: Corruption) -> None:
        if not callable(corruption):
            raise TypeError(
                f"corruption should be a function of data, such as data.Masking(0.5), but is a "
                f"{type(corruption).__name__}"
            )
        self.x, self.corruption = x, corruption
        self.device = getattr(x, "device", torch.device("cpu"))

    def __repr__(self) -> str:
        what = self.corruption
        name = getattr(what, "__name__", type(what).__name__)
        return f"Corrupted({len(self)} rows, by {name})"

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        clean = rows_at(self.x, index)
        if not isinstance(clean, Tensor):
            raise TypeError(
                f"x should give one tensor for a tensor of indices but gave a {type(clean).__name__}"
            )
        return self.corruption(clean), clean


def with_channels(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return the shape of a picture as (C, H, W), C = 1 where it has none."""
    if len(image_shape) not in (2, 3) or min(image_shape) < 1:
        raise ValueError(f"image_shape should be (H, W) or (C, H, W) but got {tuple(image_shape)}")
    *channels, height, width = image_shape
    return (channels[0] if channels else 1, height, width)


def pictures_of(x: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Return flat pictures as (n, C, H, W), after checking that they are some."""
    _check_real(x)
    if x.dim() == 0 or x.shape[-1] != math.prod(image_shape):
        raise ValueError(
            f"x should be flat pictures of {math.prod(image_shape)} pixels but has shape {tuple(x.shape)}"
        )
    return x.reshape(-1, *image_shape)


def _probability(share: float) -> float:
    if not 0 < share < 1:
        raise ValueError(f"share should be a probability above 0 and below 1 but got {share}")
    return share


def _check_real(x: Tensor) -> None:
    if not x.is_floating_point():
        raise TypeError(f"what is corrupted should be floating point but is {x.dtype}")


def _uniform(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(x.shape, generator=generator, device=x.device)
