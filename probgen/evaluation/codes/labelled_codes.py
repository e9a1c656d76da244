"""Codes and labels, checked, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from probgen.core import tensor_of

Array = np.ndarray[Any, Any]


def codes_of(values: Any, name: str) -> Array:
    """Return codes, one a row, as float64, shape (n, coordinates); of several dimensions they are flattened.

    Raises:
        ValueError: for codes that are empty or not finite.
    """
    found = tensor_of(values, name)
    array = found.detach().cpu().numpy() if isinstance(found, Tensor) else np.asarray(found)
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(f"{name} should have shape (n, coordinates) but have shape {array.shape}")
    array = array.reshape(len(array), -1).astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} should be finite but hold {(~np.isfinite(array)).sum()} numbers that are not"
        )
    return array


def labels_of(values: Any, name: str, rows: int) -> Array:
    """Return labels, whole numbers of at least 0, one a row.

    Raises:
        ValueError: for others; −1, a missing label, among them.
    """
    found = tensor_of(values, name)
    array = found.detach().cpu().numpy() if isinstance(found, Tensor) else np.asarray(found)
    if array.shape != (rows,):
        raise ValueError(f"{name} should have shape ({rows},), one a code, but have shape {array.shape}")
    if not ((array == np.round(array)) & (array >= 0)).all():
        raise ValueError(
            f"{name} should be whole numbers of at least 0, but some are not: leave those rows out"
        )
    return array.astype(np.int64)
