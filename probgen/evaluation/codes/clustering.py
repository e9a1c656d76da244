"""Clusters of codes against labels that the clustering has not seen."""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from probgen.core import check_count, seed_of
from probgen.evaluation.codes.labelled_codes import Array, array_of, codes_of, labels_of, one_unit

STARTS = 10


class Clustering(NamedTuple):
    """Accuracy, normalised mutual information and adjusted Rand index: means and standard deviations."""

    accuracy: float
    accuracy_std: float
    nmi: float
    nmi_std: float
    ari: float
    ari_std: float


def clustering(
    codes: Any,
    labels: Any,
    *,
    method: Literal["k-means", "gaussian mixture"] = "k-means",
    clusters: int | None = None,
    repeats: int = 5,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Clustering:
    r"""Return how well clusters of codes agree with labels, over repeats from other starting points.

    Each repeat is the best of ten starts (of k-means, by its squared distances) or one start from k-means (of
    a mixture of normal laws with full covariances): labels have no say in it, nor have the units of codes,
    which are divided by one number so that their coordinates have the mean variance 1. The accuracy is that
    of the best assignment of clusters to labels (:func:`clustering_accuracy`); the normalised mutual
    information is over the mean of both entropies; the adjusted Rand index is 0 by chance. Means and standard
    deviations are over repeats on the same codes: what other trainings of the model would give varies more.
    Of fewer different codes than clusters, as of a collapsed encoder, each is a cluster.

    Args:
        codes: shape (n, coordinates), such as :func:`encoded` gives them.
        labels: shape (n,), whole numbers.
        method: what finds clusters.
        clusters: how many; as many as there are labels where not given.
        repeats: starting points.
        seed, generator: one at most; seed 0 where not given.

    Raises:
        ValueError: for codes and labels that do not fit, and more clusters than codes.

    >>> codes = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1]])
    >>> clustering(codes, torch.tensor([1, 1, 1, 0, 0])).accuracy
    1.0
    """
    if method not in ("k-means", "gaussian mixture"):
        raise ValueError(f"method should be 'k-means' or 'gaussian mixture' but got {method!r}")
    z = codes_of(codes, "codes")
    classes = labels_of(labels, "labels", len(z))
    count = len(np.unique(classes)) if clusters is None else check_count("clusters", clusters)
    if count > len(z):
        raise ValueError(f"clusters should be at most {len(z)}, the codes, but got {count}")
    repeats = check_count("repeats", repeats)
    seed = seed_of(seed, generator, default=0)
    centre, scale = one_unit(z)
    z = (z - centre) / (scale or 1.0)
    seeds = np.random.SeedSequence(seed % 2**64).generate_state(repeats)
    scores = np.array([_scores(_found(z, method, count, int(s)), classes) for s in seeds])
    spread = scores.std(0, ddof=1) if repeats > 1 else np.zeros(3)
    return Clustering(*(float(x) for pair in zip(scores.mean(0), spread, strict=True) for x in pair))


def clustering_accuracy(found: Any, labels: Any) -> float:
    r"""Return the largest share of rows whose cluster is that of their label, over all assignments.

    max_π (1/n) Σ_i 1[π(cluster_i) = label_i], π one to one: no two clusters have one label. Of more clusters
    than labels some have none.

    Args:
        found: clusters, shape (n,), whole numbers.
        labels: shape (n,), whole numbers.

    >>> clustering_accuracy(np.array([2, 2, 0, 0, 0]), np.array([0, 0, 1, 1, 0]))
    0.8
    """
    from scipy.optimize import linear_sum_assignment

    given = array_of(labels, "labels")
    if not given.size:
        raise ValueError("labels should be at least one but are none")
    theirs = labels_of(given, "labels", given.shape[0] if given.ndim else 1)
    mine = labels_of(found, "found", len(theirs))
    theirs, mine = (np.unique(part, return_inverse=True)[1] for part in (theirs, mine))
    counts = np.zeros((mine.max() + 1, theirs.max() + 1), dtype=np.int64)
    np.add.at(counts, (mine, theirs), 1)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / len(theirs))


def _found(z: Array, method: str, count: int, seed: int) -> Array:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of distinct clusters", ConvergenceWarning)
        if method == "k-means":
            return KMeans(count, n_init=STARTS, random_state=seed).fit_predict(z)
        return GaussianMixture(count, random_state=seed).fit_predict(z)


def _scores(found: Array, classes: Array) -> tuple[float, float, float]:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    return (
        clustering_accuracy(found, classes),
        normalized_mutual_info_score(classes, found),
        adjusted_rand_score(classes, found),
    )
