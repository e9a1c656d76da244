"""Codes and labels, checked, as arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen.core import tensor_of

Array = np.ndarray[Any, Any]

LARGEST = 1e100
"""The largest code, and one over the least spread of codes."""


def array_of(values: Any, name: str) -> Array:
    """Return a tensor, an array, a frame or a list as an array, of float64 where its numbers are not whole.

    Raises:
        ValueError: for what holds no real numbers.
    """
    found = values if isinstance(values, Tensor) or hasattr(values, "to_numpy") else np.asarray(values)
    if isinstance(found, np.ndarray) and found.dtype.kind in "US":
        raise ValueError(f"{name} should be real numbers but are strings: code them, as by pandas.factorize")
    found = tensor_of(found, name, dtype=torch.float64)
    if found.layout is not torch.strided:
        raise ValueError(f"{name} should be dense but are {found.layout}: take .to_dense() of them")
    found = found.detach().cpu()
    if found.is_complex():
        raise ValueError(f"{name} should hold real numbers but hold {found.dtype}")
    return (found.double() if found.is_floating_point() else found).numpy()


def codes_of(values: Any, name: str) -> Array:
    """Return codes, one a row, as float64, shape (n, coordinates); of several dimensions they are flattened.

    Raises:
        ValueError: for codes that are empty or not finite.
    """
    array = array_of(values, name)
    if array.ndim < 2 or 0 in array.shape:
        raise ValueError(f"{name} should have shape (n, coordinates) but have shape {array.shape}")
    return check_codes(array.reshape(len(array), -1).astype(np.float64), name)


def check_codes(array: Array, name: str) -> Array:
    """Return codes, (n, coordinates), that are finite and whose squares have digits.

    Raises:
        ValueError: for others.
    """
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} should be finite but hold {(~np.isfinite(array)).sum()} numbers that are not"
        )
    largest, spread = np.abs(array).max(), np.ptp(array, 0).max()
    if largest > LARGEST or 0 < spread < 1 / LARGEST:
        raise ValueError(
            f"{name} should be at most {LARGEST:g} and spread over at least {1 / LARGEST:g}, so that their "
            f"squares have digits, but have {largest:.3g} and {spread:.3g}: write them in other units"
        )
    return array


def one_unit(codes: Array) -> tuple[Array, float]:
    """Return the mean of codes, and the number in whose units their coordinates have the mean variance 1.

    Of codes that are all the same that number is 0.
    """
    return codes.mean(0), math.sqrt(codes.var(0).mean()) if np.ptp(codes, 0).any() else 0.0


def labels_of(values: Any, name: str, rows: int) -> Array:
    """Return labels, whole numbers of at least 0, one a row.

    Raises:
        ValueError: for others; −1, a missing label, among them.
    """
    array = array_of(values, name)
    if array.shape != (rows,):
        raise ValueError(f"{name} should have shape ({rows},), one a code, but have shape {array.shape}")
    if not ((array == np.round(array)) & (array >= 0) & (array < 2.0**63)).all():
        raise ValueError(
            f"{name} should be whole numbers of at least 0, but some are not: leave those rows out"
        )
    return array.astype(np.int64)
