import math

import pytest
import scipy.stats
import torch
from torch.distributions import constraints

from probgen.sampling.exact.rejection.adaptive_rejection import AdaptiveRejection
from tests import laws
from tests.gallery import GALLERY
from tests.laws import of_scipy

float64 = torch.float64
N = 400_000
real, positive = constraints.real, constraints.positive

LAWS = {
    "normal": (lambda x: -(x**2) / 2 + 7, real, scipy.stats.norm(), 7 + math.log(2 * math.pi) / 2),
    "narrow and far": (lambda x: -(((x - 1000) / 1e-6) ** 2) / 2, real, scipy.stats.norm(1000, 1e-6), None),
    "exponential": (lambda x: -x * 1e-20, constraints.nonnegative, scipy.stats.expon(scale=1e20), None),
    "gamma 1.01": (lambda x: 0.01 * x.log() - x, positive, scipy.stats.gamma(1.01), math.lgamma(1.01)),
    "gamma 10,000": (lambda x: 9999 * x.log() - x, positive, scipy.stats.gamma(1e4), math.lgamma(1e4)),
    "beta": (
        lambda x: x.log() + (1 - x).log(),
        constraints.unit_interval,
        scipy.stats.beta(2, 2),
        -math.log(6),
    ),
    "laplace": (lambda x: -(x - 1.2345).abs(), real, scipy.stats.laplace(1.2345), math.log(2)),
    "gumbel": (lambda x: -x - (-x).exp(), real, scipy.stats.gumbel_r(), 0.0),
    "tail": (lambda x: -(x**2) / 2, constraints.greater_than(8.0), scipy.stats.truncnorm(8, math.inf), None),
    "uniform": (lambda x: 0 * x, constraints.interval(-3.0, 5.0), scipy.stats.uniform(-3, 8), math.log(8)),
    "cut": (lambda x: torch.where(x > 0.3, -x, -torch.inf), real, scipy.stats.expon(0.3), -0.3),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws(name, device):
    log_prob, support, exact, log_normaliser = LAWS[name]
    law = AdaptiveRejection(
        log_prob, support=support, dtype=float64, device=device, log_normaliser=log_normaliser
    )
    draws = law.sample((N,)).cpu()
    cdf = of_scipy(exact)
    laws.check_goodness_of_fit(draws, cdf)
    laws.assert_power(draws, cdf, shift=0.02)
    report = law.report()
    assert report.acceptance > 0.98
    if log_normaliser is not None:
        value, stderr = report.log_normaliser
        assert abs(value - log_normaliser) < 5.5 * stderr + 1e-6
        spread = math.sqrt((1 - report.acceptance) / N)
        assert abs(report.acceptance - report.expected_acceptance) < 5.5 * spread + 1e-6


def test_one_draw_of_each_of_many_laws(device):
    """Gibbs sampling: the hats stand on points from the last sweep, and few values are computed."""
    shapes = torch.linspace(1, 100, 5000, dtype=float64, device=device)
    law = AdaptiveRejection(
        lambda x: (shapes - 1) * x.log() - x,
        support=positive,
        points=shapes * torch.tensor([[0.7], [1.0], [1.4]], dtype=float64, device=device),
    )
    draws = law.sample().cpu()
    levels = torch.from_numpy(scipy.stats.gamma(shapes.cpu().numpy()).cdf(draws.numpy()))
    laws.check_goodness_of_fit(levels, lambda u: u.clamp(0, 1))
    laws.assert_power(levels, lambda u: u.clamp(0, 1), shift=0.15)
    assert law.report().evaluations < 20 * 5000


def test_first_draws_have_the_law():
    """The draws of the crude first hats: ten of each of 20,000 equal laws."""
    points = torch.tensor([-1.0, 0.3, 2.0], dtype=float64)[:, None].expand(3, 20_000)
    law = AdaptiveRejection(lambda x: -(x**2) / 2, points=points, batch_shape=(20_000,))
    for _ in range(2):
        draws = law.sample((10,))
        laws.check_goodness_of_fit(draws, torch.special.ndtr)
        laws.assert_power(draws, torch.special.ndtr, shift=0.03)
        laws.check_goodness_of_fit(draws[0], torch.special.ndtr)
    gaps = law._state["hull"].x.diff(dim=-1)
    gaps = gaps.where(gaps.isfinite() & (gaps > 0), torch.nan)
    ratios = (gaps[:, 1:] / gaps[:, :-1]).log().abs().nan_to_num(0)
    assert ratios.max() < math.log(1e4)  # secants of points that nearly meet would be noise


def test_the_hat_sharpens():
    law = AdaptiveRejection(lambda x: -(x**2) / 2)
    law.sample((10,))
    first = law.report()
    law.expand([2]).sample((N,))
    last = law.report()
    assert last.points > 3 * first.points
    assert last.acceptance > 0.99
    assert last.evaluations < first.evaluations + 0.02 * N


@pytest.mark.parametrize(
    "log_prob",
    [
        lambda x: -torch.log1p(x**2),
        lambda x: torch.logaddexp(-((x - 2) ** 2) / 2, -((x + 2) ** 2) / 2),
        lambda x: -x.abs().sqrt(),
    ],
)
def test_what_is_not_log_concave_raises(log_prob):
    law = AdaptiveRejection(log_prob, validate_args=False)
    with pytest.raises(ValueError, match=r"log-concave but at x = \S+ it is \S+ times its (hat|squeeze)$"):
        law.sample((1000,))
    with pytest.raises(
        ValueError, match=r"log-concave but at x = \S+ it is \S+ times what its values beside it"
    ):
        AdaptiveRejection(log_prob)


@pytest.mark.parametrize(
    "name", ["double well", "two bumps with a gap", "two bumps far apart", "spike of 1e-6 on a normal"]
)
def test_modes_that_draws_would_not_meet_are_seen_at_set_up(name):
    """Without validation all draws come from under a hat on one of the modes, and nothing is said."""
    with pytest.raises(ValueError, match="the density should be log-concave but at x ="):
        AdaptiveRejection(GALLERY[name].log_prob, dtype=float64)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.tensor([0.0, 1.0]), r"points should have shape \(n, \*batch\), n ≥ 3, but have \(2,\)"),
        (torch.tensor([0.0, 1.0, 0.5]), "points should increase inside the support but are"),
        (torch.tensor([0.0, 1.0, math.inf]), "points should increase inside the support but are"),
        (
            torch.tensor([1.0, 2.0, 3.0]),
            r"should fall beyond the outermost points .* but the hat does not at x = 1$",
        ),
    ],
)
def test_bad_points(points, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveRejection(lambda x: -(x**2) / 2, points=points)


def test_points_outside_the_support():
    with pytest.raises(ValueError, match="points should increase inside the support"):
        AdaptiveRejection(lambda x: -x, support=positive, points=torch.tensor([-1.0, 1.0, 2.0]))


def test_what_is_not_known_is_not_told():
    law = AdaptiveRejection(lambda x: -(x**2) / 2)
    with pytest.raises(ValueError, match="log_prob needs log_normaliser="):
        law.log_prob(torch.tensor(0.5))


def test_a_wrong_normaliser_is_found():
    law = AdaptiveRejection(lambda x: -(x**2) / 2, log_normaliser=0.8)
    with pytest.raises(ValueError, match=r"log_normaliser = 0\.8 means an acceptance of 0\.\d+ but"):
        law.sample((10_000,))
