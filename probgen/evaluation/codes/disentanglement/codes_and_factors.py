"""Codes and the factors of what they are codes of, checked, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from probgen.evaluation.codes.labelled_codes import Array, array_of, check_codes


def codes_and_factors(codes: Any, factors: Any, *, least: int = 1) -> tuple[Array, Array]:
    """Return codes as float64, (n, d), and factors as classes 0, 1, ... without gaps, (n, factors).

    Raises:
        ValueError: for shapes that do not fit, codes that are not finite, factors that are no whole numbers
            or have one value alone, and fewer coordinates than ``least``.
    """
    z = check_codes(matrix(codes, "codes").astype(np.float64), "codes")
    if z.shape[1] < least:
        raise ValueError(f"codes should have at least {least} coordinates but have {z.shape[1]}")
    return z, classes_of(factors, len(z))


def classes_of(factors: Any, rows: int) -> Array:
    """Return integer columns as classes 0, 1, ... without gaps, (rows, factors)."""
    values = matrix(factors, "factors")
    if len(values) != rows:
        raise ValueError(f"factors should have {rows} rows, one a code, but have {len(values)}")
    if not (np.isfinite(values) & (values == np.round(values))).all():
        raise ValueError("factors should be whole numbers, classes of each factor, but some are not")
    classes = [np.unique(column, return_inverse=True)[1] for column in values.T]
    for place, column in enumerate(classes):
        if column.max() == 0:
            raise ValueError(f"factors should vary but column {place} has one value: leave it out")
    return np.stack(classes, 1)


def matrix(values: Any, name: str) -> Array:
    """Return a tensor, an array or a frame as an array of two dimensions, none of them empty."""
    array = array_of(values, name)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} should have shape (n, columns) but have shape {array.shape}")
    return array


def standardised(codes: Array) -> Array:
    """Return codes, (n, coordinates), of mean 0 and standard deviation 1; those that do not vary as 0."""
    varies = np.ptp(codes, 0) > 0
    return np.where(varies, (codes - codes.mean(0)) / np.where(varies, codes.std(0), 1.0), 0.0)


def entropy(classes: Array) -> float:
    """Return the entropy of the shares of classes 0, 1, ..., in nats."""
    shares = np.bincount(classes) / len(classes)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def concentration(weights: Array) -> Array:
    r"""Return 1 − H(P) / log m of each row of non-negative weights, P their shares: 0 where they are equal.

    1 where all the weight is in one of m places, 0 where there is no weight at all.
    """
    sums = weights.sum(1, keepdims=True)
    shares = np.divide(weights, sums, out=np.full_like(weights, 1 / weights.shape[1]), where=sums > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return 1 + (shares * logs).sum(1) / np.log(weights.shape[1])
