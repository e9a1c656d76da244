"""Rows of data that have one factor in common, drawn from those at hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from probgen.evaluation.codes.disentanglement.codes_and_factors import Array


class Fixed(NamedTuple):
    """Which factor is fixed in each of n sets of rows, (n,), and the rows, (n, rows of a set)."""

    factor: Array
    rows: Array


def sets_of_rows(classes: Array, n: int, size: int, generator: np.random.Generator) -> Fixed:
    """Return n sets of rows that have the value of one factor in common.

    The factor is drawn evenly, its value as it is among the rows, and rows of this value with replacement.
    """
    factor = generator.integers(classes.shape[1], size=n)
    rows = np.empty((n, size), dtype=np.int64)
    for k in range(classes.shape[1]):
        of_k = np.flatnonzero(factor == k)
        anchors = generator.integers(len(classes), size=len(of_k))
        rows[of_k] = partners(classes[:, k], np.repeat(anchors[:, None], size, 1), generator)
    return Fixed(factor, rows)


def sets_of_pairs(
    classes: Array, n: int, size: int, generator: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Return which factor is the same in n sets of pairs of rows, (n,), and both rows, (n, pairs) each.

    The factor is drawn evenly for a set, its value for each pair as it is among the rows.
    """
    factor = generator.integers(classes.shape[1], size=n)
    first = generator.integers(len(classes), size=(n, size))
    second = np.empty_like(first)
    for k in range(classes.shape[1]):
        second[factor == k] = partners(classes[:, k], first[factor == k], generator)
    return factor, first, second


def partners(column: Array, rows: Array, generator: np.random.Generator) -> Array:
    """Return for each of some rows one of those with the same value in a column of classes."""
    in_order = np.argsort(column, kind="stable")
    counts = np.bincount(column)
    starts = np.cumsum(counts) - counts
    value = column[rows]
    return in_order[starts[value] + generator.integers(counts[value])]
