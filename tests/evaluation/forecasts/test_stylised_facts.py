"""Stylised facts of returns against SciPy, sums written out, and laws whose facts are known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from probgen.data import log_returns, vix
from probgen.data.files import SOURCES, find
from probgen.evaluation import autocorrelation, excess_kurtosis, hill, leverage


def returns(t=60, series=3):
    return np.random.default_rng(0).standard_t(4, size=(t, series))


def test_kurtosis_is_scipys_in_any_unit():
    r = returns()
    for unit in (1.0, 1e-200, 1e200):
        np.testing.assert_allclose(excess_kurtosis(r * unit), stats.kurtosis(r), rtol=1e-9)


def test_the_tail_of_a_pareto_law_is_its_own():
    t, share = 100_000, 0.05
    r = np.random.default_rng(0).pareto(3.0, size=t) + 1
    r *= np.random.default_rng(1).choice([-1, 1], size=t)
    # Beyond the largest, logarithms are exponential: α / estimate has a Gamma law.
    count = int(share * t)
    low, high = 3 * count / stats.gamma(count).ppf([1 - 5e-5, 5e-5])
    assert low < float(hill(r)) < high
    sizes = np.sort(np.abs(returns(100, 1)[:, 0]))[::-1]
    expected = 1 / (np.log(sizes[:5]) - np.log(sizes[5])).mean()
    assert float(hill(returns(100, 1)[:, 0])) == pytest.approx(expected)


def test_correlations_are_sums_over_pairs_of_times():
    r = returns()
    centred = r - r.mean(0)
    for k in (1, 2, 7):
        expected = (centred[:-k] * centred[k:]).sum(0) / (centred**2).sum(0)
        np.testing.assert_allclose(autocorrelation(r, 7)[k - 1], expected)
        expected = (centred[:-k] * centred[k:] ** 2).mean(0) / r.std(0) ** 3
        np.testing.assert_allclose(leverage(r, 7)[k - 1], expected)


def test_falls_that_raise_volatility_are_seen():
    # r_t = σ_t ε_t with σ_t² = 1 − a sign(ε_{t−1}): L(1) = −a E[σ] E|ε| and L(2) = 0.
    t, a = 200_000, 0.5
    noise = torch.randn(t + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    r = (1 - a * noise[:-1].sign()).sqrt() * noise[1:]
    exact = -a * (math.sqrt(1 - a) + math.sqrt(1 + a)) / 2 * math.sqrt(2 / math.pi)
    first, second = leverage(r, 2)
    assert float(first) == pytest.approx(exact, abs=0.03)  # standard errors below 0.005
    assert float(second) == pytest.approx(0, abs=0.03)
    assert float(leverage(r.flip(0), 1)) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: excess_kurtosis(np.full(9, 0.1)), "returns should vary but those of one series are all"),
        (lambda: excess_kurtosis([1.0]), "with T at least 2 but have"),
        (lambda: excess_kurtosis([1.0, math.nan]), "returns should be finite but 1 numbers are not"),
        (lambda: hill(returns(), share=1.0), "share should be above 0 and below 1 but is 1.0"),
        (lambda: hill(returns(10)), "share should take at least 1 of the 10 returns but is 0.05"),
        (lambda: hill(np.ones(40)), "the 3 largest returns should not be equal or 0"),
        (lambda: hill(np.zeros(40)), "the 3 largest returns should not be equal or 0"),
        (lambda: autocorrelation(returns(), 60), "with T at least 61"),
        (lambda: leverage(returns(), 0), "lags should be at least 1 but got 0"),
    ],
)
def test_what_has_no_facts_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.skipif(find("vix", SOURCES["vix"].files[0]) is None, reason="not on this machine")
def test_the_facts_of_the_vix():
    r = log_returns(vix().prices[:, 3])
    sizes = autocorrelation(r.abs(), 20)[[0, 4, 19]]
    np.testing.assert_allclose(sizes, [0.20, 0.12, 0.05], atol=0.015)
    assert float(leverage(r, 10).mean()) > 0  # what rises raises it: not the leverage of stocks
    assert float(excess_kurtosis(r)) > 2
