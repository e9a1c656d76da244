"""Options: Hull's numbers, Black and Scholes by Monte Carlo, parity, martingales, volatilities found."""

import math

import numpy as np
import pytest
import torch

from probgen import evaluation

MARKET = {"spot": 100.0, "rate": 0.05, "years": 0.5}
STRIKES = torch.tensor([80.0, 100.0, 125.0], dtype=torch.float64)


def brownian(n, *, drift=0.05, volatility=0.3, seed=0):
    """Draws of S_T of geometric Brownian motion, by the law's own formula."""
    normal = torch.from_numpy(np.random.default_rng(seed).standard_normal(n))
    return 100 * ((drift - volatility**2 / 2) * 0.5 + volatility * math.sqrt(0.5) * normal).exp()


def test_black_scholes_has_the_numbers_of_the_textbook():
    """Hull, Options, Futures and Other Derivatives: S = 42, K = 40, r = 10 %, σ = 20 %, half a year."""
    call, put = evaluation.black_scholes(40.0, spot=42.0, volatility=0.2, rate=0.1, years=0.5)
    assert float(call) == pytest.approx(4.76, abs=0.005)
    assert float(put) == pytest.approx(0.81, abs=0.005)


def test_monte_carlo_meets_black_scholes_whatever_the_drift():
    """Of 2 seeds, 3 strikes, call and put within 4 standard errors: a false alarm in 1,300."""
    calls, puts = evaluation.black_scholes(STRIKES, volatility=0.3, **MARKET)
    for seed, drift in ((1, 0.05), (2, 0.4)):
        draws = evaluation.as_martingale(brownian(200_000, drift=drift, seed=seed), **MARKET)
        found = evaluation.option_prices(draws, STRIKES, **MARKET)
        assert ((found.call - calls).abs() < 4 * found.call_stderr).all()
        assert ((found.put - puts).abs() < 4 * found.put_stderr).all()
        assert (found.call_stderr < 0.03).all(), "the test would see three cents"


def test_standard_errors_are_those_of_repeated_pricing():
    priced = [
        evaluation.option_prices(
            evaluation.as_martingale(brownian(500, seed=seed), **MARKET), STRIKES, **MARKET
        )
        for seed in range(400)
    ]
    spread = torch.stack([found.call for found in priced]).std(0)
    said = torch.stack([found.call_stderr for found in priced]).mean(0)
    assert torch.allclose(said, spread, rtol=0.15)  # 400 repeats know a deviation to 3.5 %


def test_put_call_parity_holds_to_rounding():
    draws = evaluation.as_martingale(brownian(1000, drift=-0.3), **MARKET)
    found = evaluation.option_prices(draws, STRIKES, **MARKET)
    forward = 100 - STRIKES * math.exp(-0.05 * 0.5)
    torch.testing.assert_close(found.call - found.put, forward, rtol=0, atol=1e-10)


def test_the_martingale_gap_is_the_drift():
    gap = evaluation.martingale_gap(brownian(100_000, drift=0.25), **MARKET)
    assert abs(gap.value - math.expm1(0.2 * 0.5)) < 4.4 * gap.stderr
    put_right = evaluation.as_martingale(brownian(100_000, drift=0.25), **MARKET)
    assert abs(evaluation.martingale_gap(put_right, **MARKET).value) < 1e-12


def test_volatility_is_found_again_and_none_where_there_is_none():
    volatility = torch.tensor([0.05, 0.4, 2.0], dtype=torch.float64)
    calls, _ = evaluation.black_scholes(STRIKES, volatility=volatility, **MARKET)
    found = evaluation.implied_volatility(calls, STRIKES, **MARKET)
    torch.testing.assert_close(found[1:], volatility[1:], rtol=0, atol=1e-9)
    assert abs(float(found[0]) - 0.05) < 1e-3, "deep in the money the price hardly depends on it"
    assert evaluation.implied_volatility([101.0, 0.0], STRIKES[1:], **MARKET).isnan().all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: evaluation.option_prices([90.0, 130.0], [100.0], spot=100.0), "by as_martingale first"),
        (lambda: evaluation.option_prices([100.0, 100.0], [0.0], spot=100.0), "strikes should be above 0"),
        (lambda: evaluation.as_martingale([1.0, -1.0], spot=1.0), "final prices should be above 0"),
        (lambda: evaluation.as_martingale([1.0, 2.0], spot=0.0), "spot and years should be above 0"),
        (lambda: evaluation.black_scholes(1.0, spot=1.0, volatility=0.0), "should be above 0 but some"),
        (lambda: evaluation.martingale_gap([1.0, math.inf], spot=1.0), "final should be finite"),
    ],
)
def test_what_is_wrong_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()
