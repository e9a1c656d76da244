"""InfoMEC: modularity, compactness and explicitness of codes, in nats."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.core import seed_of
from probgen.evaluation.codes.disentanglement.codes_and_factors import (
    Array,
    codes_and_factors,
    entropy,
    matrix,
    standardised,
)

NEIGHBOURS = 10
LEAST_SPREAD = 0.1


class InfoMEC(NamedTuple):
    """InfoM, InfoC, InfoE, and I(z_j; v_k) / H(v_k) of active coordinates, shape (active, factors).

    ``active`` holds the places of these coordinates.
    """

    modularity: float
    compactness: float
    explicitness: float
    information: Tensor
    active: Tensor


def infomec(
    codes: Any,
    factors: Any,
    *,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> InfoMEC:
    r"""Return modularity, compactness and explicitness of codes by information.

    N_jk = I(z_j; v_k) / H(v_k). Modularity is the mean over coordinates of (max_k N_jk / Σ_k N_jk − 1/K) / (1
    − 1/K), of K factors: does a coordinate say something of one factor alone? Compactness is the same the
    other way round: is a factor in one coordinate alone? Explicitness is the mean over factors of 1 − CE /
    log(values), CE the cross-entropy of an unpenalised logistic regression of the factor on all coordinates,
    its classes weighted evenly, on the rows that it has seen: can a linear map read the factor?

    Coordinates whose interquartile range is below a tenth of the largest are inactive and left out.
    Information of real codes is that of their 10 nearest neighbours (Ross, 2014), of whole numbers (int64)
    that of counts. Modularity and compactness compare shares, also of information that is chance alone: where
    explicitness is near 0 they say nothing. Where there is no information at all they are 0.

    Args:
        codes: shape (n, coordinates); integers are symbols, and active where they vary.
        factors: classes, integers of shape (n, K), K ≥ 2.
        seed, generator: of the noise that parts ties between neighbours, one at most; seed 0 where not given.

    Raises:
        ValueError: for codes and factors that do not fit, fewer than 2 factors, and where nothing varies.

    Source: Hsu, Dorrell, Whittington, Wu and Finn (2023), Disentanglement via latent quantization; inactive
    coordinates and neighbours as in Hsu and others (2024), Tripod.

    >>> factors = torch.cartesian_prod(torch.arange(3), torch.arange(3)).repeat(20, 1)
    >>> [round(score, 3) for score in infomec(factors, factors)[:3]]
    [1.0, 1.0, 1.0]
    """
    from sklearn.feature_selection import mutual_info_classif

    symbols = matrix(codes, "codes").dtype.kind in "biu"
    z, classes = codes_and_factors(codes, factors)
    if classes.shape[1] < 2:
        raise ValueError("factors should have at least 2 columns but have 1")
    seed = seed_of(seed, generator, default=0) % 2**32  # for scikit-learn
    active = _active(z, symbols)
    z = z[:, active] if symbols else standardised(z[:, active])
    options = {"discrete_features": symbols, "n_neighbors": NEIGHBOURS, "random_state": seed}
    shares = [mutual_info_classif(z, v, **options) / entropy(v) for v in classes.T]
    table = np.stack(shares, 1)
    inputs = _one_hot(z) if symbols else z
    explicitness = [_explicitness(inputs, v) for v in classes.T]
    return InfoMEC(
        modularity=float(_largest_share(table).mean()),
        compactness=float(_largest_share(table.T).mean()),
        explicitness=float(np.mean(explicitness)),
        information=torch.from_numpy(table),
        active=torch.from_numpy(active),
    )


def _active(z: Array, symbols: bool) -> Array:
    """Return the places of coordinates that vary."""
    varies = np.ptp(z, 0) > 0
    if not symbols:
        low, high = np.quantile(z, [0.25, 0.75], axis=0)
        varies &= high - low >= LEAST_SPREAD * (high - low).max()
    if not varies.any():
        raise ValueError("codes should vary but every coordinate has one value")
    return np.flatnonzero(varies)


def _largest_share(table: Array) -> Array:
    """Return (max / Σ − 1/m) / (1 − 1/m) of each row of m numbers: 1 where one has all, 0 where none has any.

    A row of one number, as of one active coordinate, has all.
    """
    sums, m = table.sum(1), table.shape[1]
    if m == 1:
        return (sums > 0).astype(float)
    largest = np.divide(table.max(1), sums, out=np.full(len(table), 1 / m), where=sums > 0)
    return (largest - 1 / m) / (1 - 1 / m)


def _one_hot(z: Array) -> Array:
    return np.concatenate([(column[:, None] == np.unique(column)).astype(float) for column in z.T], 1)


def _explicitness(inputs: Array, factor: Array) -> float:
    """Return 1 − CE / log(values) of a logistic regression with evenly weighted classes."""
    from scipy.special import logsumexp
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=500)
    with warnings.catch_warnings():
        # Of classes that a linear map parts, the optimum is at infinity, and CE falls to 0 on the way.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, factor)
    logits = model.decision_function(inputs)
    if logits.ndim == 1:  # of two values there is one, the other being 0
        logits = np.stack([np.zeros_like(logits), logits], 1)
    log_probs = logits[np.arange(len(factor)), factor] - logsumexp(logits, axis=1)
    counts = np.bincount(factor)
    evenly = (1 / (len(counts) * counts))[factor]
    return float(1 + (evenly * log_probs).sum() / np.log(len(counts)))
