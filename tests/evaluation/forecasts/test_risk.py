"""Risks against integrals, tests against likelihoods written out, and their false-alarm rates."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Normal, StudentT

from probgen.evaluation import acerbi_szekely, christoffersen, kupiec, tail_risk


@pytest.mark.parametrize("freedom", [None, 1.5, 4.0])
@pytest.mark.parametrize("level", [0.01, 0.4])
def test_risks_of_a_law_are_its_quantile_and_the_mean_beyond(freedom, level):
    law = stats.norm(0.1, 1.3) if freedom is None else stats.t(freedom, 0.1, 1.3)
    place = torch.tensor([0.1, 1.3], dtype=torch.float64)
    own = Normal(*place) if freedom is None else StudentT(torch.tensor(freedom).double(), *place)
    risk, shortfall = tail_risk(own, level)
    beyond = integrate.quad(lambda p: law.ppf(p), 0, level, limit=200)[0] / level
    assert float(risk) == pytest.approx(-law.ppf(level))
    assert float(shortfall) == pytest.approx(-beyond, rel=1e-5)


def test_risks_of_draws():
    draws = torch.tensor([[3.0, -1.0, -5.0, 0.0, 1.0]]).T
    risk, shortfall = tail_risk(draws, 0.5)  # the lowest 2.5 of 5: −5, −1 and half of 0
    assert (float(risk), float(shortfall)) == (0.0, pytest.approx(6 / 2.5))
    risk, shortfall = tail_risk(draws, 0.4)
    assert (float(risk), float(shortfall)) == (1.0, 3.0)
    many = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    found, exact = tail_risk(many, 0.025), tail_risk(Normal(0.0, 1.0), 0.025)
    assert float(found.value_at_risk) == pytest.approx(float(exact.value_at_risk), abs=0.03)
    assert float(found.expected_shortfall) == pytest.approx(float(exact.expected_shortfall), abs=0.03)


def test_ratios_are_those_of_likelihoods_written_out():
    hits = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0])
    log = math.log
    null, best = 3 * log(0.1) + 9 * log(0.9), 3 * log(0.25) + 9 * log(0.75)
    found = kupiec(hits, 0.1)
    assert found.statistic == pytest.approx(2 * (best - null))
    assert found.p_value == pytest.approx(stats.chi2(1).sf(found.statistic))
    # Days 2 to 12: after 0 there are 6 zeros and 2 ones, after 1 there are 2 zeros and 1 one.
    chain = 6 * log(6 / 8) + 2 * log(2 / 8) + 2 * log(2 / 3) + log(1 / 3)
    one, null = 3 * log(3 / 11) + 8 * log(8 / 11), 3 * log(0.1) + 8 * log(0.9)
    independence, coverage = christoffersen(hits, 0.1)
    assert independence.statistic == pytest.approx(2 * (chain - one))
    assert coverage.statistic == pytest.approx(2 * (chain - null))
    assert coverage.p_value == pytest.approx(math.exp(-coverage.statistic / 2))


def test_published_values():
    """Kupiec's regions for 1 % of 255 days: fewer than 7 are not rejected at 5 %, and 7 are."""
    p = [kupiec([1.0] * x + [0.0] * (255 - x), 0.01).p_value for x in range(10)]
    assert [value < 0.05 for value in p] == [True, *[False] * 6, True, True, True]


def test_no_violation_and_nothing_else_have_finite_ratios():
    for hits in (np.zeros(20), np.ones(20)):
        assert christoffersen(hits, 0.1).independence == (0.0, 1.0)
        assert math.isfinite(kupiec(hits, 0.1).statistic)


def test_false_alarms_come_near_their_rate():
    source = np.random.default_rng(0)
    series = source.random((800, 1000)) < 0.05
    rates = {
        "kupiec": np.mean([kupiec(hits, 0.05).p_value < 0.05 for hits in series]),
        "independence": np.mean([christoffersen(hits, 0.05)[0].p_value < 0.05 for hits in series]),
        "both": np.mean([christoffersen(hits, 0.05)[1].p_value < 0.05 for hits in series]),
    }
    assert all(0.025 < rate < 0.085 for rate in rates.values()), rates
    clustered = series | np.roll(series, 1, axis=1)  # each is followed by one
    assert np.mean([christoffersen(hits, 0.1)[0].p_value < 0.05 for hits in clustered[:200]]) > 0.99
    assert np.mean([kupiec(hits, 0.025).p_value < 0.05 for hits in series[:200]]) > 0.95


def test_shortfall_is_tested_at_its_rate_whatever_the_laws_are():
    """Forecasts whose scale changes each day; 1,000 series against 199 draws: a rate of 5 %, z < 4.4."""
    source = np.random.default_rng(1)
    scale = np.exp(source.normal(size=60))
    law = stats.t(3)
    risk, shortfall = (float(part) for part in tail_risk(StudentT(torch.tensor(3.0).double()), 0.05))
    said = {"value_at_risk": scale * risk, "expected_shortfall": scale * shortfall, "level": 0.05}
    p = []
    for _ in range(1000):
        came, draws = (
            scale * law.rvs(60, random_state=source),
            scale * law.rvs((199, 60), random_state=source),
        )
        p.append(acerbi_szekely(came, draws=draws, **said).p_value)
    assert abs(np.mean(np.array(p) <= 0.05) - 0.05) < 4.4 * math.sqrt(0.05 * 0.95 / 1000)
    draws = scale * law.rvs((1999, 60), random_state=source)
    worse = [acerbi_szekely(2 * row, draws=draws, **said).p_value <= 0.05 for row in draws[:300]]
    assert np.mean(worse) > 0.5
    z = [acerbi_szekely(row, draws=draws[:2], **said).statistic for row in draws]
    assert abs(np.mean(z)) < 4.4 * np.std(z) / math.sqrt(1999)


def test_the_statistic_is_written_out():
    draws = np.zeros((9, 4))
    found = acerbi_szekely([-3.0, 1.0, -1.0, -4.0], [2.0] * 4, [2.5, 2.5, 2.5, 5.0], draws, 0.1)
    assert found == (pytest.approx(1 - (3 / 2.5 + 4 / 5) / 0.4), 0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kupiec([0.5, 1.0], 0.1), "violations should be 0 or 1"),
        (lambda: kupiec([0.0, 1.0], 0.0), "level should be above 0 and below 1 but is 0"),
        (lambda: tail_risk(torch.randn(39), 0.025), "draws should be at least 40 for a level of 0.025"),
        (lambda: tail_risk(StudentT(1.0), 0.025), "df above 1"),
        (
            lambda: acerbi_szekely([1.0, 2.0], [1.0, 1.0], [0.0, 1.0], np.zeros((2, 2))),
            "expected_shortfall should be a loss, above 0, but one is 0",
        ),
    ],
)
def test_what_is_wrong_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()
