"""Real tables, split into train and test once and for all, and tables as numbers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


class Table(NamedTuple):
    """A table in two halves: columns of floats are numbers, all others categories."""

    train: pd.DataFrame
    test: pd.DataFrame
    name: str
    version: str


def diabetes() -> Table:
    """Return scikit-learn's 442 patients (Efron et al., 2004): ten measurements, one of them the sex, and the
    progression of the disease after a year.

    Split, version 1: the 221 rows whose place in the file, written in decimal, has the smallest SHA-256 are
    test, the others train.

    >>> table = diabetes()
    >>> table.train.shape, table.test.shape
    ((221, 11), (221, 11))
    """
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True, scaled=False).frame.astype(float)
    frame["sex"] = frame["sex"].map({1.0: "one", 2.0: "two"})  # the file does not say which is which
    digests = [hashlib.sha256(str(row).encode()).digest() for row in range(len(frame))]
    by_digest = sorted(range(len(frame)), key=digests.__getitem__)
    halves = by_digest[:221], by_digest[221:]
    test, train = (frame.iloc[sorted(rows)].reset_index(drop=True) for rows in halves)
    return Table(train, test, "diabetes", "1")


def as_numbers(table: pd.DataFrame, like: pd.DataFrame) -> Tensor:
    """Return rows as numbers that distances can be taken of, shape (n, k), float32.

    A column of floats is in units of the standard deviation of that column of ``like``, from its mean; any
    other column becomes a one-hot vector over the values in that column of ``like``.

    Raises:
        ValueError: for other columns than those of ``like``, or a column of ``like`` that is constant.
    """
    from pandas.api.types import is_float_dtype

    if list(table.columns) != list(like.columns):
        raise ValueError(f"table should have the columns {list(like.columns)} but has {list(table.columns)}")
    parts: list[np.ndarray] = []
    for name in like.columns:
        if is_float_dtype(like[name].dtype):
            mean, spread = like[name].mean(), like[name].std()
            if not spread > 0:
                raise ValueError(f"column {name!r} should vary but its standard deviation is {spread}")
            parts.append(((table[name] - mean) / spread).to_numpy()[:, None])
        else:
            levels = sorted(like[name].unique())
            parts.append(table[name].to_numpy()[:, None] == np.array(levels, dtype=object)[None])
    return torch.from_numpy(np.concatenate(parts, 1).astype(np.float32))
