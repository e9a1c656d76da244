"""Rows of an array that stays in its file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor


class MemoryMapped:
    r"""An array in a file, larger than memory maybe, of which only the rows asked for are read.

    ``MemoryMapped("x.npy")[index]`` returns the rows as a tensor of shape (B, \*event) on the CPU, in the
    order of ``index``; the file is read in its own order.

    Args:
        array: the path of a ``.npy`` file, or an array such as ``np.memmap``; its first axis is the rows. Of
            an archive (``.npz``) one array is named: ``np.load(path)["x"]``, which lies in memory then.
        dtype: of the tensors: floating point, torch's default one where not given; or int64 for integers.
        scale: what the values are divided by, 255 for grey levels in bytes.

    Raises:
        ValueError: where the array has no rows or no real numbers, ``dtype`` cannot hold them, ``scale`` is
            not positive, or the file is no ``.npy``.
        FileNotFoundError: where there is no such file.

    >>> MemoryMapped(np.arange(6, dtype=np.uint8).reshape(3, 2), scale=5)[torch.tensor([2, 0])]
    tensor([[0.8000, 1.0000],
            [0.0000, 0.2000]])
    """

    def __init__(
        self, array: np.ndarray | str | Path, *, dtype: torch.dtype | None = None, scale: float = 1.0
    ) -> None:
        if not isinstance(array, np.ndarray | str | Path):
            raise TypeError(
                f"array should be a NumPy array, or the path of a .npy file, but is a {type(array).__name__}"
            )
        self._array = array if isinstance(array, np.ndarray) else _open(Path(array))
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        self.scale = scale
        if self._array.dtype.kind not in "biuf" or self._array.dtype.itemsize > 8:
            raise ValueError(f"array should hold real numbers of up to 64 bits but holds {self._array.dtype}")
        if self._array.ndim == 0 or self._array.size == 0:
            raise ValueError(f"array should have at least one row but has shape {self._array.shape}")
        whole = self._array.dtype.kind in "biu" and scale == 1
        if not (self.dtype.is_floating_point or (whole and self.dtype == torch.int64)):
            raise ValueError(
                f"dtype should be floating point, or int64 for integers that are not scaled, but is {dtype}"
            )
        if not 0 < scale < math.inf:
            raise ValueError(f"scale should be positive and finite but got {scale}")

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Tensor:
        if not (isinstance(index, Tensor) and index.dim() == 1 and index.dtype == torch.int64):
            found = torch.arange(len(self))[index]  # a number, a slice, a list, a mask
            return self[found] if found.dim() else self[found[None]][0]
        rows, place = index.sort()
        block = self._array[rows.numpy()]
        values = torch.from_numpy(block.astype(block.dtype.newbyteorder("="), copy=False)).to(self.dtype)
        if self.scale != 1:
            values = values / self.scale
        return values[place.argsort()]


def _open(path: Path) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, BadZipFile, IsADirectoryError) as error:
        raise ValueError(f"array should be a .npy file of numbers but {path} is none: {error}") from None
    if not isinstance(found, np.ndarray):
        names = found.files
        found.close()
        raise ValueError(
            f"array should be a .npy file of numbers but {path} is an archive of "
            f"{', '.join(names) or 'nothing'}: give np.load(path)[{(names or ['x'])[0]!r}], or np.save it in "
            "a file of its own"
        )
    return found
