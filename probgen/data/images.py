"""Real pictures, flat and grey in [0, 1], split into train and test once and for all."""

from __future__ import annotations

import struct
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.data.files import SOURCES, read
from probgen.data.split import by_digest


class Images(NamedTuple):
    """Pictures with labels.

    ``train`` and ``test`` are float32 of shape (n, d), each row a picture read row by row, each value a
    grey level on the grid 0, 1/(levels-1), ..., 1. The labels are int64 of shape (n,), −1 where missing.
    """

    train: Tensor
    test: Tensor
    train_labels: Tensor
    test_labels: Tensor
    image_shape: tuple[int, int]
    levels: int
    name: str
    version: str

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.image_shape))
        counts = f"{len(self.train)} and {len(self.test)}"
        return f"Images({self.name!r}, {counts} pictures of {size} in {self.levels} grey levels)"


def digits() -> Images:
    """Return scikit-learn's 1,797 digits (Alpaydin and Kaynak, 1998), 8x8, in 17 grey levels.

    Split, version 1: the 899 pictures whose place in the file, written in decimal, has the smallest SHA-256
    are test, the other 898 train; both halves stand in file order. So the halves are exchangeable, as
    two-sample tests of one against the other require; neighbours in the file, often by one writer, are not
    dealt out evenly, which would make the halves more alike than chance.

    >>> images = digits()
    >>> images.train.shape, images.test.shape
    (torch.Size([898, 64]), torch.Size([899, 64]))
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.as_tensor(bunch.data).float() / 16
    labels = torch.as_tensor(bunch.target).long()
    train, test = map(torch.from_numpy, by_digest(len(grey), 899))
    return Images(grey[train], grey[test], labels[train], labels[test], (8, 8), 17, "digits", "1")


def mnist() -> Images:
    """Return MNIST (LeCun et al., 1998): 60,000 and 10,000 digits, 28x28, in 256 grey levels.

    The files are read from the folder ``mnist`` under PROBGEN_DATA or in the user's cache, or downloaded
    there. Raises ValueError where one is damaged, ConnectionError where none can be had.
    """
    source = SOURCES["mnist"]
    train, train_labels, test, test_labels = (_idx(read("mnist", file)) for file in source.files)
    return Images(
        train.flatten(1).float().div_(255),
        test.flatten(1).float().div_(255),
        train_labels.long(),
        test_labels.long(),
        (28, 28),
        256,
        "mnist",
        source.version,
    )


def _idx(content: bytes) -> Tensor:
    """Read the bytes of an IDX file: 0, 0, type 8 (uint8), number of dimensions; the sizes; the values."""
    start = 4 + 4 * content[3]
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(shape)
