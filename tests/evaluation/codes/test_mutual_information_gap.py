"""The mutual information gap of Gaussian codes and of bins, against quadrature."""

import importlib
import math

import numpy as np
import pytest
import torch
from pyro.distributions import Delta
from torch.distributions import Independent, MultivariateNormal, Normal

from probgen.evaluation import binned_mutual_information_gap, mutual_information_gap

GRID = torch.cartesian_prod(torch.arange(4), torch.arange(3)).repeat(100, 1)


def information_of_means(means, scale):
    """I(z; v) of z ~ N(mean of v, scale²), v uniform, by quadrature."""
    z = np.linspace(min(means) - 10 * scale, max(means) + 10 * scale, 20_001)
    given = np.exp(-0.5 * ((z - np.array(means)[:, None]) / scale) ** 2) / (scale * math.sqrt(2 * math.pi))
    mixed = given.mean(0)
    logs = np.where(given > 1e-300, np.log(np.maximum(given, 1e-300) / np.maximum(mixed, 1e-300)), 0)
    return float(np.trapezoid(given * logs, z, axis=1).mean())


@pytest.fixture
def law(device):
    """Coordinates: factor 0 faintly, factor 0 better, factor 1, nothing."""
    v, w = GRID.double().T
    means = torch.stack([v, 3 * v, 2 * w, 0 * v], 1).to(device)
    return Independent(Normal(means, 1.0), 1)


def test_information_is_that_of_quadrature(law):
    found = mutual_information_gap(law, GRID, seed=1)
    faint, better = (information_of_means([s * i for i in range(4)], 1.0) / math.log(4) for s in (1, 3))
    other = information_of_means([0, 2, 4], 1.0) / math.log(3)
    # I is a mean over 1,200 codes of a number with a standard deviation below 0.6 nats: 4 errors are 0.05.
    expected = torch.tensor([[faint, 0], [better, 0], [0, other], [0, 0]]).double()
    torch.testing.assert_close(found.information, expected, atol=0.05, rtol=0)
    assert abs(found.information[3].abs().max()) < 1e-12  # a coordinate that says nothing of any row
    torch.testing.assert_close(found.gaps, torch.tensor([better - faint, other]).double(), atol=0.07, rtol=0)
    assert found.score == pytest.approx(float(found.gaps.mean()))
    assert found.score == pytest.approx((better - faint + other) / 2, abs=0.05)


@pytest.mark.parametrize("rows", [1, 7])
def test_a_block_at_a_time_gives_the_same(law, rows, monkeypatch):
    whole = mutual_information_gap(law, GRID, draws=100)
    module = importlib.import_module(mutual_information_gap.__module__)
    monkeypatch.setattr(module, "BLOCK", rows * 4 * len(GRID))
    torch.testing.assert_close(mutual_information_gap(law, GRID, draws=100).information, whole.information)


def test_factors_copied_have_gap_1_and_copies_of_them_gap_0(device):
    means = GRID.double().to(device)
    once = Independent(Normal(means, 1e-3), 1)
    assert mutual_information_gap(once, GRID).score == pytest.approx(1.0, abs=1e-6)
    twice = Independent(Normal(torch.cat([means, means], 1), 1e-3), 1)
    found = mutual_information_gap(twice, GRID)
    assert (found.information.amax(0) - 1).abs().max() < 1e-6
    assert found.score == pytest.approx(0.0, abs=1e-6)


def test_turned_by_45_degrees_the_gap_is_0(device):
    factors = torch.cartesian_prod(torch.arange(4), torch.arange(4)).repeat(40, 1)
    turned = factors.double() @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]]).double()
    law = Independent(Normal(turned.to(device), 0.05), 1)
    found = mutual_information_gap(law, factors, seed=2)
    assert found.score == pytest.approx(0.0, abs=0.05)
    assert found.information.min() > 0.3


def test_shapes_of_the_law_are_not_transposed(device):
    """An interchange of rows and coordinates, as in one implementation, gives another number."""
    v, w = GRID.double().T
    law = Independent(Normal(torch.stack([v, w, 0 * v], 1).to(device), 0.01), 1)
    assert mutual_information_gap(law, GRID).score == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (Delta(torch.zeros(1200, 2), event_dim=1), "is Delta of batch shape .* takes codes of any kind"),
        (MultivariateNormal(torch.zeros(1200, 2), torch.eye(2)), "is MultivariateNormal of batch shape"),
        (Independent(Normal(torch.zeros(1200, 1), 1.0), 1), "at least 2 coordinates but has 1"),
        (Normal(torch.zeros(1200, 2), 1.0), "is Normal of batch shape"),
    ],
)
def test_a_law_without_independent_coordinates_is_refused(law, words):
    with pytest.raises(ValueError, match=words):
        mutual_information_gap(law, GRID)


def test_bins_of_a_copy_say_all_and_bins_of_a_constant_nothing():
    v, w = GRID.double().T
    found = binned_mutual_information_gap(torch.stack([v, -w, 7 + 0 * v], 1), GRID)
    expected = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]).double()
    torch.testing.assert_close(found.information, expected, atol=1e-12, rtol=0)
    assert found.score == pytest.approx(1.0)


def test_bins_of_noise_say_what_counts_alone_do():
    generator = torch.Generator().manual_seed(3)
    factors = torch.randint(5, (20_000, 2), generator=generator)
    z = torch.rand(20_000, 3, generator=generator)
    found = binned_mutual_information_gap(z, factors).information * math.log(5)
    # 2n I is chi-squared with 19 · 4 degrees: mean 76, standard deviation 12.3; 6 numbers, 4 deviations.
    assert ((2 * 20_000 * found - 76).abs() < 4 * 12.4).all()


def test_bins_of_gaussians_have_the_information_of_quadrature():
    generator = torch.Generator().manual_seed(4)
    v = torch.randint(4, (100_000,), generator=generator)
    z = torch.stack([v + torch.randn(100_000, generator=generator), torch.rand(100_000)], 1)
    factors = torch.stack([v, torch.randint(2, (100_000,), generator=generator)], 1)
    found = binned_mutual_information_gap(z, factors, bins=100).information[0, 0] * math.log(4)
    # 100 bins of a ninth lose below 0.001 nats, counts add (99 · 3) / 2n = 0.0015, and draws err by 0.002.
    assert float(found) == pytest.approx(information_of_means(range(4), 1.0), abs=0.008)
