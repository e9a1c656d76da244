"""Thresholds and p-values of scores whose false-alarm rate holds for any sample size and any law."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen.evaluation.anomaly.given_scores import scores_of


def conformal_threshold(calibration: Any, *, false_alarm: float = 0.05) -> float:
    r"""Return a threshold that the score of a normal datum exceeds with a probability of at most α.

    It is the k-th smallest of n calibration scores, k = ⌈(n + 1)(1 − α)⌉. A new normal datum is exchangeable
    with them, so that its rank among the n + 1 is uniform and P(score > threshold) ≤ α, whatever the scores'
    law is; without ties it is ⌊(n + 1) α⌋ / (n + 1). The probability is over both: given the calibration
    rows, it varies about α with a standard deviation of about √(α (1 − α) / n).

    Args:
        calibration: scores, the higher the more anomalous, of normal rows from which neither the model nor
            the score has learned, shape (n,). Training rows fit too well, and the rate would not hold.
        false_alarm: α, above 0 and below 1.

    Raises:
        ValueError: for fewer than 1 / α − 1 rows: then no threshold holds the rate.

    Source: Vovk, Gammerman and Shafer (2005), Algorithmic learning in a random world.

    >>> conformal_threshold(torch.arange(1.0, 100.0), false_alarm=0.05)
    95.0
    """
    scores = scores_of(calibration, "calibration")
    if not 0 < false_alarm < 1:
        raise ValueError(f"false_alarm should be above 0 and below 1 but is {false_alarm}")
    rate = Fraction(str(float(false_alarm)))  # as written: 0.29 of 100 is 29, which it is not in binary
    rank = math.ceil((len(scores) + 1) * (1 - rate))
    if rank > len(scores):
        raise ValueError(
            f"calibration should have at least {math.ceil(1 / rate) - 1} rows for a false-alarm rate of "
            f"{false_alarm} but has {len(scores)}: no threshold on so few holds the rate"
        )
    return float(np.partition(scores, rank - 1)[rank - 1])


def conformal_p_values(calibration: Any, scores: Any) -> Tensor:
    r"""Return the p-value of each score, (1 + the number of calibration scores not below it) / (n + 1).

    Where a datum is normal, P(p ≤ α) ≤ α for every α. p ≤ α if and only if the score is above
    :func:`conformal_threshold` at α. The p-values of several rows share the calibration rows and depend on
    one another, so that they are for one decision a row, or for a procedure which allows that, as that of
    Benjamini and Hochberg does.

    Args:
        calibration: as of :func:`conformal_threshold`.
        scores: shape (m,).

    Returns:
        shape (m,), float64.

    Source: Bates, Candès, Lei, Romano and Sesia (2023), Testing for outliers with conformal p-values.

    >>> conformal_p_values([1.0, 2.0, 3.0], [0.5, 2.0, 9.0])
    tensor([1.0000, 0.7500, 0.2500], dtype=torch.float64)
    """
    known, new = np.sort(scores_of(calibration, "calibration")), scores_of(scores, "scores")
    as_high = len(known) - np.searchsorted(known, new, side="left")
    return torch.from_numpy((1 + as_high) / (len(known) + 1))
