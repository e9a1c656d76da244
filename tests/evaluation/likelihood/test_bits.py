"""Bits per dimension against laws of eight-bit data whose probabilities are known."""

import math

import pytest
import torch

from probgen import data
from probgen.core import Estimate
from probgen.evaluation import bits_per_dimension


def test_uniform_levels_cost_their_bits_discrete_and_dequantised():
    pixels = torch.randint(256, (5, 12)) / 255
    discrete = torch.full((5,), -12 * math.log(256))
    torch.testing.assert_close(bits_per_dimension(discrete, 12), torch.full((5,), 8.0))
    spread = data.dequantise(pixels, 256, seed=0)
    density = torch.distributions.Uniform(0.0, 1.0).log_prob(spread).sum(1)
    torch.testing.assert_close(bits_per_dimension(density, 12, dequantised=256), torch.full((5,), 8.0))


def test_a_density_that_is_constant_on_each_cell_costs_what_its_levels_do():
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.4])
    levels = torch.arange(4).repeat(3)
    y = data.dequantise(levels / 3, 4, seed=0)
    cells = (4 * y).long()
    density = (4 * probabilities[cells]).log().sum()  # of y in [0, 1]
    exact = probabilities[levels].log().sum()
    found = bits_per_dimension(float(density), 12, dequantised=4)
    assert found == pytest.approx(bits_per_dimension(float(exact), 12), rel=1e-6)


def test_an_estimate_keeps_its_standard_error_in_bits():
    found = bits_per_dimension(Estimate(-70.0, 0.7), 10)
    assert found == Estimate(pytest.approx(7 / math.log(2)), pytest.approx(0.07 / math.log(2)))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="dimensions should be at least 1 but got 0"):
        bits_per_dimension(-1.0, 0)
    with pytest.raises(ValueError, match="dequantised should be at least 2 but got 1"):
        bits_per_dimension(-1.0, 3, dequantised=1)
