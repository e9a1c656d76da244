"""Scores of disentanglement beside the published protocols, written out from the papers' formulas.

The input is one for all: codes that mix factors, repeat one, and carry noise, so that no score is 0 or 1.
"""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score
from sklearn.svm import LinearSVC

from probgen.evaluation import (
    beta_vae_score,
    binned_mutual_information_gap,
    dci,
    factor_vae_score,
    infomec,
    mutual_information_gap,
    sap_score,
)

FACTORS = np.stack(np.meshgrid(*[np.arange(n) for n in (3, 4, 5)], indexing="ij"), -1).reshape(-1, 3)
FACTORS = np.tile(FACTORS, (20, 1))
ROWS = len(FACTORS)


def mixed():
    source, v = np.random.default_rng(0), FACTORS.astype(float)
    z = np.stack([v[:, 0] + 0.4 * v[:, 1], 2 * v[:, 1], v[:, 2], 0.5 * v[:, 2] - v[:, 0]], 1)
    return z + source.normal(size=z.shape) * np.array([0.8, 1.0, 0.5, 0.6])


def test_binned_gap_is_that_of_twenty_equal_bins():
    """Locatello and others (2019): bins between least and largest, mutual information over entropy."""
    z = mixed()
    binned = np.stack([np.digitize(code, np.histogram(code, 20)[1][:-1]) for code in z.T], 1)
    information = np.array([[mutual_info_score(v, code) for v in FACTORS.T] for code in binned.T])
    ordered = np.sort(information, 0)[::-1]
    gaps = (ordered[0] - ordered[1]) / [mutual_info_score(v, v) for v in FACTORS.T]
    found = binned_mutual_information_gap(z, FACTORS)
    np.testing.assert_allclose(found.gaps, gaps, rtol=1e-9)
    assert found.score == pytest.approx(gaps.mean())
    assert 0.05 < found.score < 0.95


def test_gap_of_densities_is_that_of_entropies():
    """Chen and others (2018): I = H(z_j) − Σ_v p(v) H(z_j | v), of draws by the mean density of all rows."""
    means, scale = torch.from_numpy(mixed()), 0.7
    law = torch.distributions.Independent(torch.distributions.Normal(means, scale), 1)
    found = mutual_information_gap(law, FACTORS, seed=0)
    draws = (means + scale * torch.randn(means.shape, generator=torch.Generator().manual_seed(1))).numpy()
    logs = -0.5 * ((draws[:, None] - means.numpy()[None]) / scale) ** 2  # (draws, rows, coordinates)

    def entropies(rows):
        return -np.log(np.exp(logs[np.ix_(rows, rows)]).mean(1)).mean(0)

    whole = entropies(np.arange(ROWS))
    for k, factor in enumerate(FACTORS.T):
        values, counts = np.unique(factor, return_counts=True)
        given = sum(
            c / ROWS * entropies(np.flatnonzero(factor == v)) for v, c in zip(values, counts, strict=True)
        )
        expected = (whole - given) / math.log(len(values))
        # Both are means over 1,200 draws of numbers with a deviation below 1: four errors of the difference.
        np.testing.assert_allclose(found.information[:, k], expected, atol=4 * math.sqrt(2 / ROWS))


def test_dci_is_that_of_its_matrix_of_importances():
    """Eastwood and Williams (2018): 1 − H in base K by coordinate, weighted; 1 − H in base d by factor."""
    found = dci(mixed(), FACTORS, trees=20)
    r = found.importance.numpy()
    of_codes = 1 - entropy(r.T, base=r.shape[1])
    assert found.disentanglement == pytest.approx(float(of_codes @ (r.sum(1) / r.sum())), rel=1e-9)
    assert found.completeness == pytest.approx(float((1 - entropy(r, base=r.shape[0])).mean()), rel=1e-9)
    assert 0.05 < found.disentanglement < 0.95
    np.testing.assert_allclose(r.sum(0), 1)


def test_sap_is_that_of_linear_machines_and_of_squared_correlations():
    """Kumar and others (2018); Locatello and others (2019): C = 0.01, balanced classes, the top two apart."""
    z, half = mixed(), np.random.default_rng(3).permutation(ROWS) < ROWS // 2
    table = np.zeros((4, 3))
    for j, code in enumerate(z.T):
        for k, v in enumerate(FACTORS.T):
            machine = LinearSVC(C=0.01, class_weight="balanced", dual=False).fit(code[half, None], v[half])
            table[j, k] = machine.score(code[~half, None], v[~half])
    found = sap_score(z, FACTORS, seed=5)
    # Other halves: shares of 600 rows, four errors of the difference of two.
    np.testing.assert_allclose(found.predictability, table, atol=4 * math.sqrt(2 * 0.25 / 600))
    squared = np.corrcoef(np.concatenate([z, FACTORS], 1).T)[:4, 4:] ** 2
    ordered = np.sort(squared, 0)[::-1]
    expected = (ordered[0] - ordered[1]).mean()
    assert sap_score(z, FACTORS, continuous=[0, 1, 2]).score == pytest.approx(expected, rel=1e-9)


def sets(n, size, seed):
    """Sets of rows with one factor in common, as the papers draw them: a factor, a value, rows of it."""
    source = np.random.default_rng(seed)
    for _ in range(n):
        k = source.integers(3)
        rows = np.flatnonzero(FACTORS[:, k] == source.choice(np.unique(FACTORS[:, k])))
        yield k, source.choice(rows, size), source.choice(rows, size)


def by_votes(z, least, n=1500, size=64):
    """Kim and Mnih (2018): the coordinate of least relative variance votes, the majority is the rule."""
    with np.errstate(invalid="ignore"):
        kept = z[:, z.std(0) >= least]
        votes = [(k, np.argmin(kept[rows].var(0) / kept.var(0))) for k, rows, _ in sets(2 * n, size, 4)]
    counts = np.zeros((z.shape[1], 3), int)
    for k, vote in votes[:n]:
        counts[vote, k] += 1
    return np.mean([counts[vote].argmax() == k for k, vote in votes[n:]])


def test_factor_vae_score_is_that_of_votes():
    z = mixed() + 3 * np.random.default_rng(6).normal(size=(ROWS, 4))  # so that votes err
    found = factor_vae_score(z, FACTORS, train=1500, test=1500, rows=16)
    error = math.sqrt(2 * 0.25 / 1500)
    assert found.score == pytest.approx(by_votes(z, 0.05, size=16), abs=4 * error + 0.01)
    assert 0.4 < found.score < 0.95


def test_a_collapsed_coordinate_wins_every_vote_without_a_threshold():
    """disentanglement_lib prunes by 0.05 and others by nothing: 0/0 is then least, and the score a guess."""
    z = np.insert(mixed(), 2, 0.5, axis=1)
    error = 4 * math.sqrt(2 / 9 / 1500)
    assert by_votes(z, 0.0) == pytest.approx(1 / 3, abs=error + 0.02)
    found = factor_vae_score(z, FACTORS, least_scale=0.0, train=1500, test=1500)
    assert found == factor_vae_score(z, FACTORS, train=1500, test=1500)
    assert found.score == pytest.approx(by_votes(z, 0.05), abs=4 * math.sqrt(0.5 / 1500))
    assert found.score > 0.8


def test_beta_vae_score_is_that_of_mean_differences():
    """Higgins and others (2017): logistic regression on means of |z − z'| over pairs with one factor fixed.

    A pair has one value in common; here, as in the paper, each pair of a point has its own.
    """
    z, points, source = mixed(), [], np.random.default_rng(7)
    z = (z - z.mean(0)) / z.std(0)
    for _ in range(1200):
        k = source.integers(3)
        first = source.integers(ROWS, size=8)
        second = [source.choice(np.flatnonzero(FACTORS[:, k] == FACTORS[i, k])) for i in first]
        points.append((k, np.abs(z[first] - z[second]).mean(0)))
    labels, x = np.array([k for k, _ in points]), np.array([point for _, point in points])
    x = (x - x.mean(0)) / x.std(0)
    expected = LogisticRegression(max_iter=1000).fit(x[:600], labels[:600]).score(x[600:], labels[600:])
    found = beta_vae_score(mixed(), FACTORS, pairs=8, train=600, test=600)
    assert found == pytest.approx(expected, abs=4 * math.sqrt(2 * 0.2 / 600))
    assert 0.4 < found < 0.97


def test_infomec_is_that_of_its_table():
    """Hsu and others (2023): (max / Σ − 1/m) / (1 − 1/m) over sources and over coordinates."""
    found = infomec(mixed(), FACTORS)
    n = found.information.numpy()
    modularity = ((n.max(1) / n.sum(1) - 1 / 3) / (1 - 1 / 3)).mean()
    compactness = ((n.max(0) / n.sum(0) - 1 / 4) / (1 - 1 / 4)).mean()
    assert (found.modularity, found.compactness) == pytest.approx((modularity, compactness), rel=1e-9)
    model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=5000)
    z = (mixed() - mixed().mean(0)) / mixed().std(0)
    expected = []
    for v in FACTORS.T:
        probabilities = model.fit(z, v).predict_proba(z)
        by_value = [-np.log(probabilities[v == u, u]).mean() for u in np.unique(v)]
        expected.append(1 - np.mean(by_value) / math.log(len(by_value)))
    assert found.explicitness == pytest.approx(np.mean(expected), abs=1e-4)
