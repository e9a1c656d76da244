"""Laws by density on intervals that are short for their distance from 0: few float64 numbers lie in them."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import constraints

from probgen.sampling import InverseCDF, truncate
from probgen.sampling.exact.inversion import density_moments

float64 = torch.float64
LEVELS = torch.tensor([0.001, 0.25, 0.5, 0.75, 0.999], dtype=float64)
INTERVALS = [
    (1e6, 1.0),
    (2024.0, 1e-3),
    (1.0, 1e-6),
    (-1e6, 1.0),
    (-2024.001, 1e-3),
    (1e5, 10.0),
    (1e9, 10.0),
]


def exponential(u, rate):
    """The quantile at u of the density exp(−rate s), s in [0, 1]."""
    return -torch.log1p(u * math.expm1(-rate)) / rate if rate else u


def moments(rate):
    """Mean and variance of the density exp(−rate s), s in [0, 1], by Gauss–Legendre quadrature."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(60))
    s = (nodes + 1) / 2
    mass = weights * (-rate * s).exp() / (weights * (-rate * s).exp()).sum()
    mean = (mass * s).sum()
    return mean, (mass * (s - mean) ** 2).sum()


@pytest.mark.parametrize(
    ("start", "width", "rate"),
    [(*interval, rate) for interval in INTERVALS for rate in (1.0, -5.0, -30.0, 0.0)]
    + [(1e6, 1e-3, 1.0), (1e6, 1e-3, -5.0), (1.0, 1e-10, 1.0)],
)
def test_monotone_densities(start, width, rate):
    law = InverseCDF(
        log_prob=lambda x: -rate * (x - start) / width,
        support=constraints.interval(start, start + width),
        dtype=float64,
    )
    room = 1e-9 + 4 * 2.0**-52 * abs(start) / width
    share = (law.icdf(LEVELS) - start) / width
    torch.testing.assert_close(share, exponential(LEVELS, rate), rtol=0, atol=room)
    mean, variance = moments(rate)
    torch.testing.assert_close((law.mean - start) / width, mean, rtol=0, atol=room)
    torch.testing.assert_close(law.variance / width**2, variance, rtol=0, atol=room)
    log_normaliser = math.log(width) + (math.log(-math.expm1(-rate) / rate) if rate else 0.0)
    assert float(law.report().log_normaliser) == pytest.approx(log_normaliser, abs=(1 + abs(rate)) * room)


@pytest.mark.parametrize("power", [0.1, 0.5, 2.0])
def test_moments_beside_a_pole_far_from_0(power):
    law = InverseCDF(
        log_prob=lambda x: (power - 1) * (x - 1000).log(),
        support=constraints.interval(1000.0, 1001.0),
        dtype=float64,
    )
    mean = power / (power + 1)
    assert float(law.mean - 1000) == pytest.approx(mean, abs=1e-10)
    assert float(law.variance) == pytest.approx(power / (power + 2) - mean**2, abs=1e-10)


@pytest.mark.parametrize("start", [1e6, -1e9])
def test_moments_of_a_half_line_far_from_0(start):
    support = constraints.greater_than(start)
    law = InverseCDF(log_prob=lambda x: -((x - start) ** 2) / 2, support=support, dtype=float64)
    room = 2.0**-52 * abs(start)
    assert float(law.mean - start) == pytest.approx(math.sqrt(2 / math.pi), abs=1e-9 + room)
    assert float(law.variance) == pytest.approx(1 - 2 / math.pi, abs=1e-9 + room)


def test_gradients_of_moments_far_from_0():
    rate = torch.tensor(1.0, dtype=float64, requires_grad=True)
    support = constraints.interval(1e6, 1e6 + 1)
    law = InverseCDF(log_prob=lambda x: -rate * (x - 1e6), support=support, dtype=float64)
    (gradient,) = torch.autograd.grad(law.mean, rate)
    assert float(gradient) == pytest.approx(-float(moments(1.0)[1]), abs=1e-9)


@pytest.mark.parametrize(("start", "width"), [(1e12, 1.0), (1e15, 100.0)])
def test_moments_are_as_exact_as_float64_numbers_lie_dense(start, width):
    support = constraints.interval(start, start + width)  # of 8,193 float64 numbers, and of 801
    law = InverseCDF(log_prob=lambda x: 0 * x, support=support, dtype=float64)
    step = 2.0**-52 * start / width
    assert float(law.mean - start) / width == pytest.approx(0.5, abs=step)
    assert float(law.variance) / width**2 == pytest.approx(1 / 12, abs=step)


def test_what_is_not_known_raises(monkeypatch):
    law = InverseCDF(log_prob=lambda x: -x.abs(), dtype=float64)
    monkeypatch.setattr(density_moments, "_UNRESOLVED", 0.0)
    with pytest.raises(ValueError, match="order 1 should be found to 0e"):
        _ = law.mean
    with pytest.raises(ValueError, match="shift x"):
        InverseCDF(log_prob=lambda x: -50 * (x - 1e6).sqrt(), support=constraints.interval(1e6, 1e6 + 1e-6))


def test_a_law_cut_to_one_side_of_its_mode_far_from_0():
    cut = truncate(InverseCDF(log_prob=lambda x: -0.5 * (x - 1e6) ** 2, dtype=float64), 1e6, 1e6 + 0.5)
    expected = torch.special.ndtri(
        0.5 + LEVELS * (torch.special.ndtr(torch.tensor(0.5, dtype=float64)) - 0.5)
    )
    torch.testing.assert_close(cut.icdf(LEVELS) - 1e6, expected, rtol=0, atol=1e-9)
