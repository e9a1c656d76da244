"""Judges of draws beside the published protocols, written out: FID, KID, PRDC, and sbibm's C2ST."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier

from probgen.evaluation import (
    classifier_two_sample,
    density_coverage,
    frechet_distance,
    kernel_distance,
    precision_recall,
)


def samples(n, m, d, seed):
    source = np.random.default_rng(seed)
    x, y = source.normal(size=(n, d)), source.normal(size=(m, d)) @ source.normal(size=(d, d)) + 0.5
    return x, y


def test_frechet_distance_is_torchmetrics_formula():
    """‖μ − ν‖² + tr Σ + tr T − 2 Σ √λ, λ the eigenvalues of ΣT, covariances over n − 1."""
    x, y = samples(60, 80, 5, 0)
    s, t = np.cov(x.T), np.cov(y.T)
    roots = np.sqrt(np.linalg.eigvals(s @ t).astype(complex)).real.sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * roots
    assert frechet_distance(x, y).value == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_torchmetrics_of_one_subset_of_all_and_the_mean_of_many():
    """(xᵀy / d + 1)³, within terms without the diagonal; KID is the mean over subsets of such values."""
    x, y = samples(40, 40, 5, 1)

    def kid(a, b):
        kernel = lambda p, q: (p @ q.T / 5 + 1) ** 3  # noqa: E731
        m = len(a)
        within = sum(k.sum() - np.trace(k) for k in (kernel(a, a), kernel(b, b))) / (m * (m - 1))
        return within - 2 * kernel(a, b).mean()

    found = kernel_distance(x, y)
    assert found.value == pytest.approx(kid(x, y), rel=1e-9)
    source = np.random.default_rng(2)
    subsets = [kid(x[source.permutation(40)[:20]], y[source.permutation(40)[:20]]) for _ in range(2000)]
    # Without bias, subsets agree with the whole on average; the mean of 2,000 is known to this.
    assert np.mean(subsets) == pytest.approx(found.value, abs=4.9 * np.std(subsets) / 2000**0.5)


def test_precision_recall_density_and_coverage_are_those_of_nearest_neighbours():
    """Kynkäänniemi and others (2019); Naeem and others (2020), by scikit-learn's neighbours."""
    real, fake = samples(70, 50, 3, 3)
    radius = lambda z, k: NearestNeighbors(n_neighbors=k + 1).fit(z).kneighbors(z)[0][:, k]  # noqa: E731
    apart = np.linalg.norm(real[:, None] - fake[None], axis=-1)
    found = precision_recall(real, fake, neighbours=3, scale=None)
    assert found.precision == pytest.approx((apart <= radius(real, 3)[:, None]).any(0).mean())
    assert found.recall == pytest.approx((apart <= radius(fake, 3)[None]).any(1).mean())
    inside = apart <= radius(real, 5)[:, None]
    found = density_coverage(real, fake, scale=None)
    assert found.density == pytest.approx(inside.sum(0).mean() / 5)
    assert found.coverage == pytest.approx((apart.min(1) <= radius(real, 5)).mean())


def by_sbibm(x, y, seed=1):
    """sbibm: z-scores by the first sample, two layers of 10 d ReLU, five folds, accuracy."""
    mean, sd, d = x.mean(0), x.std(0), x.shape[1]
    points = np.concatenate([(x - mean) / sd, (y - mean) / sd])
    net = MLPClassifier((10 * d, 10 * d), max_iter=10_000, solver="adam", random_state=seed)
    folds = KFold(5, shuffle=True, random_state=seed)
    return cross_val_score(net, points, np.repeat([0, 1], [len(x), len(y)]), cv=folds).mean()


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_classifier_test_agrees_with_sbibms_where_the_best_accuracy_is_known(shift):
    """Of N(0, I) and N(shift e₁, I) no classifier has more than Φ(shift / 2)."""
    x, y = torch.randn(2, 400, 2, generator=torch.Generator().manual_seed(4)).double()
    y[:, 0] += shift
    found, theirs = classifier_two_sample(x, y), by_sbibm(x.numpy(), y.numpy())
    best = norm.cdf(shift / 2)
    error = math.sqrt(best * (1 - best) / 800)
    assert found.accuracy == pytest.approx(best, abs=4 * error * math.sqrt(2.25))
    assert theirs == pytest.approx(best, abs=4 * error * math.sqrt(2.25))
    assert found.accuracy == pytest.approx(theirs, abs=0.06)
