"""Laws by density on intervals that are short for their distance from 0: few float64 numbers lie in them."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import constraints

from probgen.sampling import InverseCDF, truncate

float64 = torch.float64
LEVELS = torch.tensor([0.001, 0.25, 0.5, 0.75, 0.999], dtype=float64)
INTERVALS = [(1e6, 1.0), (2024.0, 1e-3), (1.0, 1e-6), (-1e6, 1.0), (-2024.001, 1e-3), (1e5, 10.0)]


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


@pytest.mark.parametrize("rate", [1.0, -1.0, 5.0, -30.0, 1e-3, 0.0])
@pytest.mark.parametrize(("start", "width"), INTERVALS)
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


def test_a_law_cut_to_one_side_of_its_mode_far_from_0():
    cut = truncate(InverseCDF(log_prob=lambda x: -0.5 * (x - 1e6) ** 2, dtype=float64), 1e6, 1e6 + 0.5)
    expected = torch.special.ndtri(
        0.5 + LEVELS * (torch.special.ndtr(torch.tensor(0.5, dtype=float64)) - 0.5)
    )
    torch.testing.assert_close(cut.icdf(LEVELS) - 1e6, expected, rtol=0, atol=1e-9)
