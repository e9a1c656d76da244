"""Sprites: white shapes on black with known factors, drawn here, and the file of dSprites they follow."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen.data.images import Images

SIDE, REACH = 64, 16
"""Pixels of a side of a picture, and how far a shape reaches from its centre at most."""

FACTORS: dict[str, tuple[float, ...]] = {
    "shape": (0.0, 1.0, 2.0),
    "scale": tuple(np.linspace(0.5, 1.0, 6).tolist()),
    "orientation": tuple(np.linspace(0.0, 2 * math.pi, 40).tolist()),
    "x": tuple(np.linspace(0.0, 1.0, 32).tolist()),
    "y": tuple(np.linspace(0.0, 1.0, 32).tolist()),
}
SHAPES = ("square", "ellipse", "heart")

TRAIN, TEST = 10_000, 2_000


class Factored:
    r"""Pictures of which each is known by the values of its factors, in every combination of these.

    ``pictures[index]`` returns float32 pictures, shape (n, height · width), for a tensor of indices, so that
    they are data for ``fit``; the last factor changes first, as in row-major order.

    Attributes:
        values: the values of each factor, by its name.
        sizes: how many there are.
        image_shape: (height, width).
    """

    image_shape = (SIDE, SIDE)

    def __init__(self, values: Mapping[str, Sequence[float]]) -> None:
        self.values = {name: tuple(map(float, own)) for name, own in values.items()}
        self.sizes = tuple(map(len, self.values.values()))

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def __getitem__(self, index: Tensor) -> Tensor:
        raise NotImplementedError

    def classes(self, index: Tensor) -> Tensor:
        r"""Return which value of each factor the pictures have, int64, (\*index, factors)."""
        places = torch.unravel_index(self._checked(index), self.sizes)
        return torch.stack(places, -1)

    def index(self, classes: Tensor) -> Tensor:
        r"""Return which pictures have these values of the factors, (\*batch, factors) to (\*batch)."""
        sizes = torch.tensor(self.sizes)
        if classes.shape[-1:] != sizes.shape:
            raise ValueError(
                f"classes should have one column for each of {', '.join(self.values)} but has shape "
                f"{tuple(classes.shape)}"
            )
        if not ((classes >= 0) & (classes < sizes)).all():
            wrong = int(((classes < 0) | (classes >= sizes)).reshape(-1, len(sizes)).any(0).nonzero()[0])
            name = list(self.values)[wrong]
            raise ValueError(
                f"classes of {name!r} should be 0 to {self.sizes[wrong] - 1} but hold "
                f"{classes[..., wrong].min()} to {classes[..., wrong].max()}"
            )
        strides = sizes.flip(0).cumprod(0).flip(0).div(sizes, rounding_mode="floor")
        return (classes * strides).sum(-1)

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return n pictures, each factor drawn evenly and apart from the others, and their classes."""
        index = torch.randint(len(self), (n,), generator=generator)
        return self[index], self.classes(index)

    def _checked(self, index: Tensor) -> Tensor:
        if index.numel() and not (index.min() >= 0 and index.max() < len(self)):
            raise ValueError(
                f"index should be 0 to {len(self) - 1} but holds {int(index.min())} to {int(index.max())}"
            )
        return index


class Sprites(Factored):
    """737,280 white shapes on black, 64x64: 3 shapes, 6 scales, 40 orientations, 32 places across and down.

    The factors are those of dSprites (Matthey, Higgins, Hassabis and Lerchner, 2017) and the shapes are drawn
    here, a pixel white where its centre is inside: so the files differ, pixel by pixel. Two steps of x or y
    are a pixel apart. Orientations 0 and 39 are one, an ellipse is itself at half a turn and a square at a
    quarter, as far as 39 steps hit that: where orientation counts, take the heart. Pictures are drawn when
    they are asked for.

    >>> pictures = Sprites()
    >>> heart = pictures.index(torch.tensor([[2, 5, 0, 16, 16]]))
    >>> pictures[heart].shape, len(pictures)
    (torch.Size([1, 4096]), 737280)
    """

    def __init__(self) -> None:
        super().__init__(FACTORS)
        self._stamps = torch.stack([_stamps(shape) for shape in SHAPES]).flatten(0, 2)

    def __getitem__(self, index: Tensor) -> Tensor:
        shape, scale, orientation, x, y = self.classes(index).unbind(-1)
        stamps = self._stamps[(shape * self.sizes[1] + scale) * self.sizes[2] + orientation]
        width = 2 * REACH + 1
        pictures = torch.zeros(len(index), SIDE * SIDE)
        offsets = torch.arange(width)
        rows = (y[:, None] + offsets)[:, :, None]
        columns = (x[:, None] + offsets)[:, None, :]
        places = (rows * SIDE + columns).flatten(1)
        return pictures.scatter_(1, places, stamps.flatten(1).float())

    def attributes(self, index: Tensor) -> Tensor:
        """Return numbers from −1 to 1 that tell the factors, (n, 8): the shape one-hot, the scale, cosine and
        sine of the orientation, x and y."""
        shape, *places = self.classes(index).unbind(-1)
        named = zip(list(self.values)[1:], places, strict=True)
        scale, angle, x, y = (torch.tensor(self.values[name])[place] for name, place in named)
        hot = torch.nn.functional.one_hot(shape, len(SHAPES)).float()
        others = torch.stack([4 * scale - 3, angle.cos(), angle.sin(), 2 * x - 1, 2 * y - 1], 1)
        return torch.cat([hot, others], 1)


class DSprites(Factored):
    """The file of dSprites, ``dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz``, eight pixels in a byte.

    Its factors are "color", of one value, and those of :class:`Sprites`. Nothing in the file is unpickled.

    Args:
        path: of the file.

    Raises:
        ValueError: where it is no such file.
        FileNotFoundError: where there is none.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                classes = _array(archive, "latents_classes.npy")
                values = _array(archive, "latents_values.npy")
                self._bits, height, width = _bits(archive, "imgs.npy")
        except (zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ValueError(f"path should be the npz file of dSprites but {path} is not: {error}") from None
        names = ("color", *FACTORS)
        if classes.ndim != 2 or classes.shape[1] != len(names) or classes.shape != values.shape:
            raise ValueError(
                f"{path} should have one class and value for each of {', '.join(names)} but has shape "
                f"{classes.shape} and {values.shape}"
            )
        super().__init__({name: np.unique(values[:, i]).tolist() for i, name in enumerate(names)})
        order = np.stack(np.unravel_index(np.arange(len(self)), self.sizes), 1)
        if len(self) != len(self._bits) or not np.array_equal(classes, order):
            raise ValueError(
                f"{path} should hold each combination of its factors once, in row-major order, "
                f"{len(self)} pictures, but does not (it holds {len(self._bits)})"
            )
        self.image_shape = (height, width)

    def __getitem__(self, index: Tensor) -> Tensor:
        rows = self._bits[self._checked(index).numpy()]
        return torch.from_numpy(np.unpackbits(rows, axis=1, count=math.prod(self.image_shape))).float()


def sprites() -> Images:
    """Return 10,000 sprites to learn from and 2,000 to test on, of :class:`Sprites`, labelled by their shape.

    Split, version 1: the first of NumPy's permutation of all, ``RandomState(0)``, whose stream NumPy keeps.

    >>> images = sprites()
    >>> images.train.shape, images.levels
    (torch.Size([10000, 4096]), 2)
    """
    pictures = Sprites()
    index = split_of_sprites()
    train, test = index[:TRAIN], index[TRAIN:]
    labels = pictures.classes(index)[:, 0]
    return Images(
        pictures[train],
        pictures[test],
        labels[:TRAIN],
        labels[TRAIN:],
        pictures.image_shape,
        2,
        "sprites",
        "1",
    )


def split_of_sprites() -> Tensor:
    """Return which pictures of :class:`Sprites` are in :func:`sprites`, those to learn from first."""
    rows = math.prod(map(len, FACTORS.values()))
    return torch.from_numpy(np.random.RandomState(0).permutation(rows)[: TRAIN + TEST])


def _stamps(shape: str) -> Tensor:
    """Return one shape at all scales and orientations, uint8, its centre in the middle of 33x33 pixels."""
    scale = torch.tensor(FACTORS["scale"], dtype=torch.float64)[:, None, None, None]
    steps = torch.arange(len(FACTORS["orientation"])) % (len(FACTORS["orientation"]) - 1)
    angle = (2 * math.pi / (len(FACTORS["orientation"]) - 1) * steps.double())[:, None, None]
    along = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    right, up = along[None, :], -along[:, None]
    u = (angle.cos() * right + angle.sin() * up) / scale
    v = (-angle.sin() * right + angle.cos() * up) / scale
    return (_depth(shape, u, v) > 0).to(torch.uint8)


def _depth(shape: str, u: Tensor, v: Tensor) -> Tensor:
    """Return a number that is positive inside a shape of scale 1, u to the right and v above its centre."""
    if shape == "square":
        return 10.8 - torch.maximum(u.abs(), v.abs())
    if shape == "ellipse":
        return 1 - (u / 15.3) ** 2 - (v / 8.1) ** 2
    u, v = u / 11.3, v / 11.3 + 0.12
    return u**2 * v**3 - (u**2 + v**2 - 1) ** 3


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _bits(archive: zipfile.ZipFile, name: str) -> tuple[np.ndarray, int, int]:
    """Read black and white pictures block by block: three gigabytes of bytes are a few hundred megabytes."""
    with archive.open(name) as file:
        major, _ = np.lib.format.read_magic(file)
        read: Any = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[major]
        shape, fortran, dtype = read(file)
        if fortran or dtype != np.uint8 or len(shape) != 3:
            raise ValueError(f"its pictures are {dtype} of shape {shape}")
        rows, height, width = shape
        packed, step = [], 4096
        for start in range(0, rows, step):
            count = min(step, rows - start) * height * width
            content = file.read(count)
            if len(content) != count:
                raise ValueError("it is truncated")
            block = np.frombuffer(content, np.uint8).reshape(-1, height * width)
            if block.max() > 1:
                raise ValueError("its pixels are not 0 and 1")
            packed.append(np.packbits(block, axis=1))
    return np.concatenate(packed), height, width
