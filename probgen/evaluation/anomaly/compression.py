"""How simple data are: the bits that a lossless compressor needs for each."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen.core import check_count
from probgen.evaluation.codes.labelled_codes import array_of


def compressed_bits(x: Any, *, levels: int) -> Tensor:
    r"""Return the length of each row of x in bits, compressed without loss, shape (n,), float64.

    Each number is a byte, its level, and each row is compressed by itself with deflate, the algorithm of PNG
    and zlib, without a header. A row that is one value throughout takes the fewest.

    Args:
        x: shape (n, \*event), grey levels 0, 1 / (L − 1), ..., 1.
        levels: L, from 2 to 256.

    Raises:
        ValueError: for numbers that are no such levels.

    >>> compressed_bits(torch.stack([torch.zeros(64), torch.arange(64) / 255]), levels=256)
    tensor([ 48., 528.], dtype=torch.float64)
    """
    levels = check_count("levels", levels, least=2)
    if levels > 256:
        raise ValueError(f"levels should be at most 256, a byte, but are {levels}")
    found = array_of(x, "x")
    if not np.isfinite(found).all():
        raise ValueError("x should be finite but holds NaN or infinity")
    steps = found.astype(np.float64) * (levels - 1)
    bytes_of = np.round(steps)
    # Grey levels in float32 are their fractions to seven digits.
    wrong = ~((np.abs(steps - bytes_of) < 1e-3) & (bytes_of >= 0) & (bytes_of < levels))
    if bytes_of.ndim < 2 or wrong.any():
        value = float(found[wrong][0]) if wrong.any() else f"of shape {bytes_of.shape}"
        raise ValueError(
            f"x should be rows of grey levels, whole numbers of 1 / {levels - 1} from 0 to 1, but is {value}"
        )
    lengths = [8 * _deflated(row.tobytes()) for row in bytes_of.astype(np.uint8)]
    return torch.tensor(lengths, dtype=torch.float64)


def _deflated(content: bytes) -> int:
    compressor = zlib.compressobj(level=9, wbits=-15)
    return len(compressor.compress(content)) + len(compressor.flush())
