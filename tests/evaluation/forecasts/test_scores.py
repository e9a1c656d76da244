"""Scores of forecasts: integrals, sums written out, estimates without bias, and propriety."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Independent, Laplace, Normal, StudentT

from probgen.evaluation import crps, energy_score, pinball


def integral(law, x):
    """∫ (F(y) − 1[x ≤ y])² dy."""
    low = integrate.quad(lambda y: law.cdf(y) ** 2, -np.inf, x, epsabs=1e-11)[0]
    return low + integrate.quad(lambda y: law.sf(y) ** 2, x, np.inf, epsabs=1e-11)[0]


@pytest.mark.parametrize("x", [-3.0, 0.4, 0.5, 7.0])
@pytest.mark.parametrize("freedom", [None, 1.3, 2.0, 4.5, 60.0])
def test_the_score_of_a_law_is_its_integral(x, freedom):
    law = stats.norm(0.4, 1.7) if freedom is None else stats.t(freedom, 0.4, 1.7)
    place = torch.tensor([0.4, 1.7], dtype=torch.float64)
    own = Normal(*place) if freedom is None else StudentT(torch.tensor(freedom).double(), *place)
    assert float(crps(own, x)) == pytest.approx(integral(law, x), abs=1e-7)


def test_laws_of_rows_are_scored_row_by_row():
    law = Independent(Normal(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 2.0]])), 1)
    each = [float(crps(Normal(m, s), x)) for m, s, x in ((0.0, 1.0, 0.5), (1.0, 2.0, -1.0))]
    assert crps(law, [[0.5, -1.0]])[0].tolist() == pytest.approx(each)


def test_the_score_of_draws_is_the_sum_over_pairs():
    draws, x = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0)).double().unbind(0)[0], 0.3
    pairs = sum((a - b).abs() for a, b in itertools.combinations(draws, 2)) / (7 * 6)
    torch.testing.assert_close(crps(draws, torch.full((3,), x)), (draws - x).abs().mean(0) - pairs)
    vectors = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(1)).double()
    came = torch.randn(4, 3, generator=torch.Generator().manual_seed(2)).double()
    pairs = sum((a - b).norm(dim=-1) for a, b in itertools.combinations(vectors, 2)) / (5 * 4)
    torch.testing.assert_close(energy_score(vectors, came), (vectors - came).norm(dim=-1).mean(0) - pairs)


def test_in_one_dimension_the_energy_score_is_crps(monkeypatch):
    draws, came = np.random.default_rng(0).normal(size=(6, 9, 1)), np.zeros((9, 1))
    monkeypatch.setattr("probgen.evaluation.forecasts.scores.ELEMENTS", 80)  # several parts
    torch.testing.assert_close(energy_score(draws, came), crps(draws, came)[:, 0])


@pytest.mark.parametrize("count", [2, 3, 20])
def test_the_estimate_has_no_bias(count):
    """Of any number of draws: z of 40,000 repeats within 4.4, one false alarm in 10⁵."""
    source = np.random.default_rng(count)
    draws = source.standard_t(5, size=(count, 40_000))
    found = crps(draws, np.full(40_000, 0.7))
    exact = float(crps(StudentT(torch.tensor(5.0).double()), 0.7))
    error = float(found.std()) / 200
    assert float(found.mean()) == pytest.approx(exact, abs=4.4 * error)
    assert error < 0.005  # the plain estimate is off by E|X − X'| / (2 m), 0.035 at 20


def test_pinball_loss_is_least_at_the_quantile_and_sums_to_crps():
    law, levels = stats.norm(0.2, 1.1), (np.arange(2000) + 0.5) / 2000
    x = 0.9
    losses = [float(pinball(q, x, level)) for q, level in zip(law.ppf(levels), levels, strict=True)]
    assert 2 * np.mean(losses) == pytest.approx(integral(law, x), abs=1e-4)
    came = law.rvs(20_000, random_state=0)
    at = {q: float(pinball(np.full(20_000, q), came, 0.1).mean()) for q in (law.ppf(0.1), -2.0, -0.5)}
    assert min(at, key=at.get) == law.ppf(0.1)


def test_right_forecasts_score_best():
    came = torch.randn(1500, 2, generator=torch.Generator().manual_seed(0))
    draws = torch.randn(100, 1500, 2, generator=torch.Generator().manual_seed(1))
    best = float(energy_score(draws, came).mean())
    assert best < float(energy_score(1.3 * draws, came).mean()) - 0.01
    assert best < float(energy_score(0.7 * draws, came).mean()) - 0.01
    assert best < float(energy_score(draws + 0.4, came).mean()) - 0.01


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: crps([[1.0, 2.0]], [1.0, 2.0]), ValueError, r"at least 2 .* shape \(m, 2\), but have"),
        (lambda: crps([[1.0], [2.0]], [1.0, 2.0]), ValueError, r"have shape \(2, 1\)"),
        (lambda: crps([[1.0], [2.0]], [math.nan]), ValueError, "x should be finite but 1 numbers are not"),
        (lambda: crps("a", [1.0]), TypeError, "draws should hold numbers but is a str"),
        (lambda: crps(Laplace(0.0, 1.0), [1.0]), TypeError, "a Normal or StudentT, but is a Laplace"),
        (lambda: crps(StudentT(1.0), [1.0]), ValueError, "df above 1, for a mean, but one is 1"),
        (lambda: energy_score([[1.0], [2.0]], [1.0]), ValueError, "of numbers use crps"),
        (lambda: pinball(1.0, 2.0, 1.0), ValueError, "level should be above 0 and below 1 but is 1"),
        (lambda: pinball([1.0], 2.0, 0.5), ValueError, r"quantile should have shape \(\) but has \(1,\)"),
    ],
)
def test_what_is_wrong_is_said(call, error, words):
    with pytest.raises(error, match=words):
        call()
