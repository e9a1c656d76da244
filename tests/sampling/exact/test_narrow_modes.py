"""Modes that are narrow for their distance from all else: found, named, or as the report says."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import constraints

from probgen.sampling import InverseCDF

float64 = torch.float64
LEVEL = 0.5 * math.log(2 * math.pi)


def normals(mean, sd, weight):
    """The log-density of a mixture of normals, normalised."""
    mean, sd, weight = (torch.as_tensor(a, dtype=float64) for a in (mean, sd, weight))
    return lambda x: ((weight / sd).log() - LEVEL - ((x[..., None] - mean) / sd).square() / 2).logsumexp(-1)


def scattered(seed):
    """Wide normals within 10 of 0, and one or two of widths from 1e-6 to 1e-2 that are 50 to 10,000 away."""
    random = np.random.default_rng(seed)
    wide, narrow = random.integers(1, 4), random.integers(1, 3)
    side = random.choice([-1, 1], narrow)
    mean = np.r_[random.uniform(-10, 10, wide), side * 10 ** random.uniform(1.7, 4, narrow)]
    sd = np.r_[10 ** random.uniform(-0.5, 0.5, wide), 10 ** random.uniform(-6, -2, narrow)]
    return mean, sd, random.dirichlet(np.ones(wide + narrow))


@pytest.mark.parametrize("seed", [3, 5, 9, 10, 12, 22, 23])
def test_what_is_named_is_found_to_all_digits(seed):
    """Taken for poles, such modes were refused, or off by 1e-10."""
    mean, sd, weight = scattered(seed)
    law = InverseCDF(log_prob=normals(mean, sd, weight), points=np.sort(mean), dtype=float64)
    assert float(law.report().log_normaliser) == pytest.approx(0.0, abs=1e-13)
    assert law.report().u_error < 1e-13
    order = np.argsort(mean)
    between = torch.as_tensor((mean[order][1:] + mean[order][:-1]) / 2)
    far_apart = np.diff(mean[order]) > 40  # times the widest sd is 3
    exact = torch.as_tensor(np.cumsum(weight[order])[:-1][far_apart])
    torch.testing.assert_close(law.cdf(between[far_apart]), exact, rtol=0, atol=1e-12)


def test_two_narrow_modes_that_are_both_named_are_not_refused():
    place = [-3000.0, 2000.0]
    law = InverseCDF(log_prob=normals(place, [1e-6, 2e-6], [0.25, 0.75]), points=place, dtype=float64)
    assert float(law.report().log_normaliser) == pytest.approx(0.0, abs=1e-13)
    assert float(law.cdf(torch.tensor(0.0, dtype=float64))) == pytest.approx(0.25, abs=1e-13)


@pytest.mark.parametrize("a", [0.3, 0.7, -700.0])
@pytest.mark.parametrize("power", [-0.5, 0.4])
def test_what_is_named_and_is_a_pole_remains_one(a, power):
    law = InverseCDF(log_prob=lambda x: power * (x - a).abs().log() - (x - a).abs(), points=[a])
    assert float(law.report().log_normaliser) == pytest.approx(math.log(2) + math.lgamma(1 + power), abs=1e-9)


@pytest.mark.parametrize(("place", "spread"), [(50.0, 1e-12), (1e4, 1e-11), (-300.0, 1e-9)])
def test_a_named_mode_too_narrow_for_its_distance_is_refused_soon(place, spread):
    def log_prob(x):
        return torch.logaddexp(-x.square() / 2, -((x - place) / spread).square() / 2 - math.log(spread))

    with pytest.raises(ValueError, match="at x = "):
        InverseCDF(log_prob=log_prob, points=[place], dtype=float64)


def bumps(place, width, height):
    """A normal and a box on which the log-density is ``height``."""
    return lambda x: torch.where((x - place).abs() < width / 2, height, -x.square() / 2)


@pytest.mark.parametrize("place", [-7.0, 41.0, -300.0, 5e4, 2e6])
def test_a_lone_mode_outside_is_found_that_is_as_wide_as_the_report_says(place):
    report = InverseCDF(log_prob=lambda x: -x.square() / 2, dtype=float64).report()
    assert 0 < report.narrowest_beyond < 1e-3
    width = 1.01 * report.narrowest_beyond * abs(place)
    law = InverseCDF(log_prob=bumps(place, width, -3.0), dtype=float64)
    total = math.sqrt(2 * math.pi) + width * math.exp(-3)
    assert float(law.report().log_normaliser) == pytest.approx(math.log(total), abs=1e-9)


@pytest.mark.parametrize(("place", "spread"), [(-32.0, 1e-4), (250.0, 1e-4), (-4000.0, 1e-4), (1e5, 2e-4)])
def test_a_steep_mode_outside_is_found_that_a_look_meets_on_its_flank_where_it_has_no_mass(place, spread):
    def log_prob(x):
        return torch.logaddexp(-x.square() / 2, -((x - place) / spread).square() / 2 - math.log(2 * spread))

    narrowest = InverseCDF(log_prob=lambda x: -x.square() / 2, dtype=float64).report().narrowest_beyond
    rises_from = spread * abs(place)  # from where it is above the normal
    assert 2 * rises_from > 0.9 * narrowest * abs(place)
    law = InverseCDF(log_prob=log_prob, dtype=float64)
    assert float(law.report().log_normaliser) == pytest.approx(
        math.log(1.5 * math.sqrt(2 * math.pi)), abs=1e-9
    )


def test_how_far_out_is_that_of_the_law_and_not_of_the_unit():
    scale = 1e-7
    width = 1.01 * scale * 300 * InverseCDF(log_prob=lambda x: -x.square() / 2).report().narrowest_beyond
    law = InverseCDF(log_prob=lambda x: bumps(300.0, width / scale, 0.0)(x / scale), dtype=float64)
    total = scale * math.sqrt(2 * math.pi) + width
    assert float(law.report().log_normaliser) == pytest.approx(math.log(total), abs=1e-9)


def test_outside_ends_where_the_support_does():
    law = InverseCDF(log_prob=lambda x: 1.5 * x.log() - x, support=constraints.positive)
    bounded = InverseCDF(log_prob=lambda x: -x, support=constraints.interval(0.0, 3.0))
    assert law.report().narrowest_beyond == bounded.report().narrowest_beyond < 1e-3
    assert float(law.report().log_normaliser) == pytest.approx(math.lgamma(2.5), abs=1e-12)


def test_laws_of_a_batch_are_looked_at_more_coarsely_and_the_report_says_so():
    alone = InverseCDF(log_prob=lambda x: -x.square() / 2, dtype=float64).report()
    scale = torch.linspace(1, 2, 16, dtype=float64)
    report = InverseCDF(log_prob=lambda x: -(x / scale).square() / 2, dtype=float64).report()
    assert report.narrowest_beyond > 10 * alone.narrowest_beyond
    place = 200.0 * scale
    width = 1.01 * report.narrowest_beyond * place
    law = InverseCDF(
        log_prob=lambda x: torch.where((x - place).abs() < width / 2, 0.0, -(x / scale).square() / 2),
        dtype=float64,
    )
    total = scale * math.sqrt(2 * math.pi) + width
    torch.testing.assert_close(law.report().log_normaliser, total.log(), rtol=0, atol=1e-8)


def test_without_validation_nothing_is_said_of_what_lies_beyond():
    report = InverseCDF(log_prob=lambda x: -x.square() / 2, validate_args=False).report()
    assert math.isnan(report.narrowest_beyond)


def test_a_law_is_found_in_a_million_values():
    """That of a normal took 1.2 million, and looked at less."""
    evaluated = 0

    def log_prob(x):
        nonlocal evaluated
        evaluated += x.numel()
        return -x.square() / 2

    InverseCDF(log_prob=log_prob)
    assert evaluated < 1.05e6
