"""Scores of two normal laws, whose log ratio is linear: the fit, and the level and power of its tests."""

import math

import pytest
import torch
from torch.special import ndtr

from probgen.sampling.discriminator.calibration import calibrated
from tests.laws import check_goodness_of_fit

REPEATS = 700


def scores(n: int, generator: torch.Generator, *, apart: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """d of N(1, 1) against N(0, 1) is x − ½; here 2 d + 5, so that a = ½, b = −2.5."""
    x = torch.randn(2, n, generator=generator, dtype=torch.float64)
    x[0] += apart
    d = apart * x - apart**2 / 2
    return 2 * d[0] + 5, 2 * d[1] + 5


def test_slope_and_intercept_have_the_errors_that_are_told():
    generator = torch.Generator().manual_seed(0)
    found = [calibrated(*scores(400, generator), seed=i) for i in range(REPEATS)]
    for truth, estimates in ((0.5, [f.slope for f in found]), (-2.5, [f.intercept for f in found])):
        z = torch.tensor([(e.value - truth) / e.stderr for e in estimates]).double()
        # Maximum likelihood is biased by O(1/n), a tenth of an error here.
        assert abs(float(z.mean())) < 0.25
        assert 0.9 < float(z.std()) < 1.1
    assert found[0].rows == 200


@pytest.mark.parametrize(("apart", "up_to"), [(0.3, math.inf), (1.0, math.inf), (1.0, 6.0), (3.0, math.inf)])
def test_both_tests_have_their_level(apart, up_to):
    generator = torch.Generator().manual_seed(1)
    found = [calibrated(*scores(400, generator, apart=apart), seed=i, up_to=up_to) for i in range(REPEATS)]
    check_goodness_of_fit(torch.tensor([f.z for f in found]), ndtr)
    p_values = torch.tensor([f.p_value for f in found])
    check_goodness_of_fit(p_values, lambda p: p.clamp(0, 1))
    assert float((p_values < 0.01).double().mean()) < 0.01 + 5 * (0.01 * 0.99 / REPEATS) ** 0.5


def test_the_groups_see_a_score_that_is_no_linear_function_of_the_ratio():
    generator = torch.Generator().manual_seed(2)
    real, fake = scores(5000, generator)
    cut = calibrated(real.clamp(min=5), fake.clamp(min=5), seed=0)
    assert calibrated(real, fake, seed=0).p_value > 0.001
    assert cut.p_value < 1e-6


def test_a_cut_and_more_draws_than_data_change_neither_slope_nor_intercept():
    generator = torch.Generator().manual_seed(3)
    real, _ = scores(20_000, generator)
    _, fake = scores(60_000, generator)
    for up_to in (math.inf, 5.5):
        found = calibrated(real, fake, seed=0, up_to=up_to)
        assert abs(found.slope.value - 0.5) < 4.9 * found.slope.stderr
        assert abs(found.intercept.value + 2.5) < 4.9 * found.intercept.stderr
        assert found.slope.stderr < 0.03


def test_scores_that_cannot_be_calibrated_are_refused():
    real, fake = torch.linspace(1, 2, 100), torch.linspace(0, 0.9, 100)
    with pytest.raises(ValueError, match="tell held-out data from draws all but without a mistake"):
        calibrated(real, fake, seed=0)
    with pytest.raises(ValueError, match=r"at least 20 scores among those of draws, up to 0\.9, but has 0"):
        calibrated(real, fake, seed=0, up_to=0.9)
    with pytest.raises(ValueError, match="scores should differ but are 1 for all"):
        calibrated(torch.ones(50), torch.ones(50), seed=0)
