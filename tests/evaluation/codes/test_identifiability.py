"""Mean correlation: all permutations, a closed form of its chance level, and what cannot be identified."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning

from probgen.evaluation import chance_correlation, mean_correlation


def laws(n, d, law, seed):
    random = np.random.default_rng(seed)
    return {"uniform": random.random, "laplace": random.laplace, "gaussian": random.normal}[law](size=(n, d))


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_the_assignment_is_the_best_of_all(method):
    s = torch.randn(60, 4, dtype=torch.float64)
    z = torch.cat([s @ torch.randn(4, 5).double() + torch.randn(60, 5), torch.ones(60, 1)], 1)
    found = mean_correlation(s, z, method=method)
    whole = np.corrcoef(s.T, z[:, :5].T) if method == "pearson" else spearmanr(s, z[:, :5]).statistic
    each = np.abs(whole[:4, 4:])
    best = max(each[range(4), p].mean() for p in itertools.permutations(range(5), 4))
    assert found.value == pytest.approx(best, abs=1e-12)
    np.testing.assert_allclose(found.each, each[range(4), found.coordinates], atol=1e-12)


def test_order_scale_and_sign_do_not_count_and_shape_only_for_pearson(device):
    s = torch.randn(200, 3, device=device)
    z = s[:, [2, 0, 1]] * torch.tensor([-2.0, 0.5, 3.0], device=device) + 5
    found = mean_correlation(s, z)
    assert found.value == pytest.approx(1, abs=1e-6)
    assert found.coordinates.tolist() == [1, 2, 0]
    assert mean_correlation(s, z.exp(), method="spearman").value == pytest.approx(1, abs=1e-3)
    assert mean_correlation(s, z.exp()).value < 0.9


def test_a_coordinate_that_does_not_vary_correlates_with_nothing():
    s = torch.randn(50, 2)
    each = mean_correlation(s, torch.stack([s[:, 1], torch.full((50,), 0.1)], 1)).each
    assert each.tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize(("d", "level"), [(2, 0.90), (3, 0.83), (5, 0.73), (10, 0.59)])
def test_the_chance_level(d, level):
    """Scores of rotations have a spread of at most 0.085: 4.4 standard errors of 400 are 0.019."""
    chance = chance_correlation(uncorrelated(1000, d), draws=400)
    assert chance.value == pytest.approx(level, abs=0.019)
    assert 0 < chance.sd < 0.085
    assert chance == chance_correlation(uncorrelated(1000, d), draws=400)
    assert chance != chance_correlation(uncorrelated(1000, d), draws=400, seed=1)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_the_chance_level_of_two_normal_sources_in_closed_form(method):
    """A uniform angle φ gives two correlations ρ = max(|cos φ|, |sin φ|), or (6/π) asin(ρ/2) of ranks."""
    rho = torch.linspace(0, math.pi / 4, 10_001, dtype=torch.float64).cos()
    score = rho if method == "pearson" else 6 / math.pi * torch.asin(rho / 2)
    chance = chance_correlation(uncorrelated(4000, 2), method=method, draws=400)
    error = 4.4 * float(score.std()) / math.sqrt(400) + (0 if method == "pearson" else 0.01)
    assert chance.value == pytest.approx(float(score.mean()), abs=error)
    assert chance.sd == pytest.approx(float(score.std()), rel=0.2)


def uncorrelated(n, d):
    """Return normal sources that correlate with each other in the sample as little as in their law: not."""
    s = torch.randn(n, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    return torch.linalg.qr(s - s.mean(0)).Q


@pytest.mark.parametrize(("law", "least"), [("uniform", 0.99), ("laplace", 0.97)])
def test_linear_ica_finds_sources_that_are_not_gaussian(law, least):
    assert held_out_score(law).value >= least


def test_gaussian_sources_are_not_found():
    """FastICA of normal sources is a rotation by chance: the mean of four, within 3.5 standard errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # there is nothing for it to converge to
        scores = [held_out_score("gaussian", seed).value for seed in range(4)]
    chance = chance_correlation(laws(2000, 5, "gaussian", 9))
    assert abs(np.mean(scores) - chance.value) < 3.5 * chance.sd / 2


def held_out_score(law, seed=0):
    """Mix five sources linearly, learn from 8,000 rows, and score 2,000 others."""
    s = laws(10_000, 5, law, seed)
    x = s @ np.random.default_rng(100 + seed).normal(size=(5, 5))
    learned = FastICA(random_state=seed, max_iter=300).fit(x[:8000])
    return mean_correlation(s[8000:], learned.transform(x[8000:]))


def test_bad_input_is_one_sentence():
    s = torch.randn(9, 2)
    with pytest.raises(ValueError, match="method should be 'pearson' or 'spearman' but is 'kendall'"):
        mean_correlation(s, s, method="kendall")
    with pytest.raises(ValueError, match=r"as many coordinates or more, but .* \(9, 1\) and \(9, 2\)"):
        mean_correlation(s, s[:, :1])
    with pytest.raises(ValueError, match=r"codes should have shape \(n, d\) .* but has \(9,\)"):
        mean_correlation(s, s[:, 0])
    with pytest.raises(ValueError, match="sources should be finite"):
        chance_correlation(s / 0)
    with pytest.raises(ValueError, match="each source should vary but source 1 is the same in all rows"):
        mean_correlation(torch.stack([s[:, 0], torch.ones(9)], 1), s)


def test_the_spread_of_chance_is_that_of_rotations_however_few() -> None:
    """Of two draws, squared standard deviations have the variance for their mean; over 400 seeds 5 errors."""
    s = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    variances = torch.tensor([chance_correlation(s, draws=2, seed=seed).sd ** 2 for seed in range(400)])
    known = chance_correlation(s, draws=4000, seed=1).sd ** 2
    assert abs(variances.mean().item() - known) < 5 * variances.std().item() / 400**0.5 < 0.5 * known
