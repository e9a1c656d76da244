"""Scores, checked, as an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from probgen.evaluation.codes.labelled_codes import Array


def scores_of(values: Any, name: str) -> Array:
    """Return scores, one a row, as float64, shape (n,); infinite ones are the first or last of all.

    Raises:
        ValueError: for scores that are none, NaN, or of another shape.
    """
    if isinstance(values, Tensor):
        values = values.detach().to_dense().cpu()
        values = values.double() if values.is_floating_point() else values  # NumPy has no bfloat16
    array = np.asarray(values)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} should be scores, numbers of shape (n,), at least one, but are {array.dtype} of shape "
            f"{array.shape}"
        )
    array = array.astype(np.float64)
    if np.isnan(array).any():
        raise ValueError(f"{name} should be numbers but are NaN at row {int(np.isnan(array).argmax())}")
    return array
