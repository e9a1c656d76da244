import math

import pytest
import scipy.stats
import torch
from torch.distributions import constraints

from probgen.sampling.exact.rejection.ratio_of_uniforms import RatioOfUniforms
from tests import laws
from tests.gallery import GALLERY
from tests.laws import of_scipy

float64 = torch.float64
N = 400_000
real, positive = constraints.real, constraints.positive


def bumps(gap, width):
    """The log-density, unnormalised, and the CDF of ½ N(-gap, width²) + ½ N(gap, width²)."""
    return (
        lambda x: torch.logaddexp(-(((x - gap) / width) ** 2) / 2, -(((x + gap) / width) ** 2) / 2),
        lambda x: (torch.special.ndtr((x - gap) / width) + torch.special.ndtr((x + gap) / width)) / 2,
    )


LAWS = {
    "normal": (lambda x: -(x**2) / 2, real, of_scipy(scipy.stats.norm()), 0.02),
    "narrow and far": (
        lambda x: -(((x - 1000) / 1e-6) ** 2),
        real,
        of_scipy(scipy.stats.norm(1000, 1e-6 / 2**0.5)),
        0.02,
    ),
    "exponential": (lambda x: -x, positive, of_scipy(scipy.stats.expon()), 0.02),
    "cauchy": (lambda x: -torch.log1p(x**2), real, of_scipy(scipy.stats.cauchy()), None),
    "step": (
        lambda x: torch.where(x < 0.5, 0.0, math.log(3)),
        constraints.unit_interval,
        lambda x: torch.where(x < 0.5, x / 2, 0.25 + (x - 0.5) * 1.5),
        0.02,
    ),
    "a second peak, twice as high and narrow": (
        lambda x: torch.logaddexp(-(x**2) / 2, -(((x - 10.85) / 0.3) ** 2) / 2 + math.log(2)),
        real,
        lambda x: (torch.special.ndtr(x) + 0.6 * torch.special.ndtr((x - 10.85) / 0.3)) / 1.6,
        0.02,
    ),
    "bumps": (*bumps(2.0, 1.0)[:1], real, bumps(2.0, 1.0)[1], 0.02),
    "bumps with a gap": (*bumps(4.0, 0.1)[:1], real, bumps(4.0, 0.1)[1], 0.02),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws(name, device):
    log_prob, support, cdf, shift = LAWS[name]
    law = RatioOfUniforms(log_prob, support=support, dtype=float64, device=device)
    n = N // 4 if "gap" in name else N
    draws = law.sample((n,)).cpu()
    laws.check_goodness_of_fit(draws, cdf)
    if shift:
        laws.assert_power(draws, cdf, shift=shift * math.sqrt(N / n))


def test_a_gap_between_bumps_is_crossed():
    """SciPy's polynomial inverse puts all of the mass on one side here, in silence."""
    law = RatioOfUniforms(bumps(4.0, 0.1)[0])
    assert abs((law.sample((10_000,)) > 0).double().mean() - 0.5) < 5.5 * 0.5 / 100


def test_acceptance_and_normaliser():
    law = RatioOfUniforms(lambda x: -(x**2) / 2, log_normaliser=math.log(2 * math.pi) / 2)
    law.sample((N,))
    report = law.report()
    assert abs(report.expected_acceptance - math.sqrt(math.pi * math.e) / 4) < 1e-5  # known: 0.7306
    assert abs(report.acceptance - report.expected_acceptance) < 5.5 * math.sqrt(0.2 / N)
    assert abs(report.log_normaliser.value - math.log(2 * math.pi) / 2) < 5.5 * report.log_normaliser.stderr


def test_a_batch_of_laws(device, dtype):
    shapes = torch.tensor([[1.0], [3.0], [60.0]], dtype=dtype, device=device)
    law = RatioOfUniforms(lambda x: (shapes - 1) * x.log() - x, support=positive)
    assert law.batch_shape == (3, 1)
    n = 50_000
    draws = law.sample((n,)).cpu()
    assert draws.dtype == dtype
    for i, shape in enumerate(shapes.flatten().tolist()):
        cdf = of_scipy(scipy.stats.gamma(shape))
        laws.check_goodness_of_fit(draws[:, i, 0], cdf)
        laws.assert_power(draws[:, i, 0], cdf, shift=0.06)
    value, stderr = law.report().log_normaliser
    assert ((value - torch.lgamma(shapes.double()).cpu()).abs() < 5.5 * stderr).all()


@pytest.mark.parametrize(("bound", "name"), [("_top", "u"), ("_log_left", "v"), ("_log_right", "v")])
def test_a_wrong_rectangle_raises(bound, name):
    """SciPy's RatioUniforms with umax 0.7 in place of 1 draws on: its variance is 1.33 in place of 1."""
    law = RatioOfUniforms(lambda x: -(x**2) / 2)
    setattr(law, bound, getattr(law, bound) + 2 * math.log(0.7))
    with pytest.raises(ValueError, match=rf"at x = \S+ it reaches 1\.\d+ times the bound of {name}"):
        law.sample((1000,))


def test_a_peak_that_the_search_misses_raises():
    hidden = RatioOfUniforms(
        lambda x: torch.logaddexp(-(x**2) / 2, -(((x - 1.2345) / 1e-3) ** 2) / 2 + 2),
        dtype=float64,
        validate_args=False,
    )
    with pytest.raises(
        ValueError, match=r"at x = 1\.23\d+ it reaches 1\.\d+ times the bound of u: the search"
    ):
        hidden.sample((N,))


@pytest.mark.parametrize(
    ("name", "peaks"),
    [
        ("two bumps far apart", [-1e3, 2e4]),
        ("three bumps", [-3.0, 0.1, 40.0]),
        ("spike of 1e-6 on a normal", [0.3]),
        ("spike of 1e-9, named", [0.3]),
    ],
)
def test_the_rectangle_holds_peaks_that_draws_would_not_meet(name, peaks):
    """What draws from a rectangle that leaves out such a peak seldom or never fall on."""
    target = GALLERY[name]
    law = RatioOfUniforms(target.log_prob, points=target.points, dtype=float64)
    x = torch.tensor(peaks, dtype=float64) + torch.linspace(-3e-6, 3e-6, 601, dtype=float64)[:, None]
    law._check(x.reshape(1, -1), target.log_prob(x).reshape(1, -1))


@pytest.mark.parametrize(
    ("log_prob", "support", "message"),
    [
        (
            lambda x: -0.95 * torch.log1p(x**2 / 0.9),
            real,
            r"tails no heavier than 1 / x² but \|x\| √density still",
        ),
        (lambda x: -0.5 * x.log() - x, positive, "log_prob should be bounded"),
        (lambda x: -0.5 * (x - 0.3).abs().log() - x.abs(), real, "bounded but rises|number below"),
        (lambda x: torch.where(x > 3, torch.nan, -(x**2)), real, r"below \+inf but is nan at x = "),
        (lambda x: 0 * x, real, "should fall towards infinity"),
        (lambda x: -(x**2).sum(), real, r"log_prob should return shape \(803,\) but returned \(\)"),
    ],
)
def test_what_cannot_be_drawn_raises(log_prob, support, message):
    with pytest.raises(ValueError, match=message):
        RatioOfUniforms(log_prob, support=support)


def test_a_cap_on_the_rounds():
    law = RatioOfUniforms(bumps(100.0, 0.01)[0], dtype=float64, max_rounds=1)
    with pytest.raises(
        ValueError, match=r"1 rounds of proposals gave \d+ of 1000000 draws: acceptance 0\.\d+"
    ):
        law.sample((1_000_000,))
