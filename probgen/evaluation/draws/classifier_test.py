"""The classifier two-sample test: can a classifier tell two samples apart?"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.core import check_count, seed_of, taking_arrays
from probgen.mmd.pairwise import centred

_CAP = 1000
Array = np.ndarray[Any, Any]


class C2ST(NamedTuple):
    """The outcome of a classifier two-sample test: held-out accuracy, its standard error, and a p-value."""

    accuracy: float
    stderr: float
    p_value: float


@taking_arrays("x", "y")
def classifier_two_sample(
    x: Tensor,
    y: Tensor,
    *,
    folds: int = 5,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> C2ST:
    r"""Test whether two samples come from one law by the held-out accuracy of a classifier, ½ if they do.

    Each class has the size of the smaller sample, at most 1,000 points, drawn at random. Features are
    standardised by the pooled sample. The classifier adds the votes of a support-vector machine, whose kernel
    is the mean of two Gaussians with σ² = d/2 and d/16 (smooth differences in any dimension d, and fine
    patterns in low ones), and of gradient-boosted trees (differences in single coordinates, atoms and gaps).

    The folds share training data, so their accuracies are correlated: the variance is the binomial one
    times 1 + K / (K − 1), K the number of folds. The p-value is the normal tail above ½ with this error.
    For 5 folds that is 2.25, against 1.7 to 1.9 measured over null repeats, so that p errs on the large side.

    Args:
        x, y: samples of independent points, shape (n, \*event) and (m, \*event); events are flattened.
        folds: K, at least 2 and at most the size of a class.
        seed, generator: of the subsamples, the folds and the classifier, one at most; seed 0 where not
            given.

    Raises:
        TypeError, ValueError: for samples that are too small, not finite or not alike, or a wrong ``folds``.

    Source: Lopez-Paz and Oquab (2017); Nadeau and Bengio (2003) for the variance.

    >>> x = torch.linspace(0, 1, 100)
    >>> classifier_two_sample(x, x + 2).accuracy
    1.0
    """
    from sklearn.model_selection import StratifiedKFold

    samples, seed = centred(x=x, y=y), seed_of(seed, generator, default=0) % 2**32  # for scikit-learn
    size = min(len(x), len(y), _CAP)
    folds = check_count("folds", folds)
    if not 2 <= folds <= size:
        raise ValueError(f"folds should be between 2 and the {size} points of a class but got {folds}")
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randperm(len(sample), generator=generator)[:size] for sample in samples]
    pooled = torch.cat([sample.cpu()[chosen] for sample, chosen in zip(samples, rows, strict=True)])
    spread = pooled.std(0)
    features = (pooled / torch.where(spread > 0, spread, 1)).numpy()
    is_y = np.repeat([0, 1], size)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(features, is_y)
    votes = _held_out_votes(features, is_y, list(split), seed)

    accuracy = float(((votes > 0) == is_y).mean())
    inflation = (1 + folds / (folds - 1)) / (2 * size)
    score = (accuracy - 0.5) / math.sqrt(0.25 * inflation)
    p_value = 0.5 * math.erfc(score / math.sqrt(2))
    return C2ST(accuracy, math.sqrt(accuracy * (1 - accuracy) * inflation), p_value)


def _held_out_votes(features: Array, is_y: Array, split: list[tuple[Array, Array]], seed: int) -> Array:
    """Return a number for each point, positive where classifiers that did not see it say y."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics.pairwise import rbf_kernel
    from sklearn.svm import SVC

    d = features.shape[1]
    kernel = (rbf_kernel(features, gamma=1 / d) + rbf_kernel(features, gamma=8 / d)) / 2
    votes = np.zeros(len(features))
    for train, test in split:
        machine = SVC(kernel="precomputed").fit(kernel[np.ix_(train, train)], is_y[train])
        trees = HistGradientBoostingClassifier(
            max_iter=50, max_leaf_nodes=15, max_bins=63, early_stopping=False, random_state=seed
        ).fit(features[train], is_y[train])
        votes[test] = machine.decision_function(kernel[np.ix_(test, train)])
        votes[test] += 2 * trees.predict_proba(features[test])[:, 1] - 1
    return votes
