"""Laws of many modes, steps or steep sides, given by their log-density alone: all have their mass."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import constraints

from probgen.sampling import InverseCDF

float64 = torch.float64


def kernels(mean, sd, log_weight):
    """The log-density of normals, unnormalised: log Z is that of the sum of weight · sd · √(2π)."""
    mean, sd, log_weight = (torch.as_tensor(a, dtype=float64) for a in (mean, sd, log_weight))
    log_normaliser = (log_weight + sd.log()).logsumexp(-1) + 0.5 * math.log(2 * math.pi)
    return lambda x: (log_weight - ((x[..., None] - mean) / sd).square() / 2).logsumexp(-1), log_normaliser


def comb(teeth, spacing, sd, offset=0.0):
    return kernels(offset + spacing * np.arange(teeth), sd, np.zeros(teeth))


def irregular():
    random = np.random.default_rng(0)
    mean = 50 + np.cumsum(random.uniform(1, 20, 20))
    return kernels(mean, 0.01, random.uniform(0, math.log(1e3), 20))


def kernel_estimate(n, width):
    return kernels(np.random.default_rng(n).standard_normal(n), width, np.zeros(n))


MANY_MODES = {
    "nine teeth": comb(9, 10.0, 0.01),
    "two teeth, far from 0": comb(2, 1.0, 1e-4, offset=1e4),
    "thirty teeth, far from 0": comb(30, 0.1, 1e-3, offset=-1e4),
    "the last of nine is the highest": kernels(10 * np.arange(9.0), 0.01, [0.0] * 8 + [math.log(3)]),
    "irregular": irregular(),
    "ten kernels": kernel_estimate(10, 1e-3),
    "thirty kernels": kernel_estimate(30, 1e-4),
    "unequal widths": kernels([0.0, 3.0, 50.0, 51.0], [1.0, 1e-3, 1e-4, 20.0], [0.0, 7.0, 9.0, 0.0]),
}


@pytest.mark.parametrize("name", MANY_MODES)
def test_all_modes_have_their_mass(name):
    log_prob, log_normaliser = MANY_MODES[name]
    report = InverseCDF(log_prob=log_prob, dtype=float64).report()
    assert float(report.log_normaliser) == pytest.approx(float(log_normaliser), abs=1e-11)
    assert report.u_error < 1e-11


@pytest.mark.parametrize(("k", "m"), [(1e4, 10.0), (1e6, 60.0)])
def test_all_periods_have_their_mass(k, m):
    law = InverseCDF(
        log_prob=lambda x: k * (torch.cos(2 * math.pi * x) - 1), support=constraints.interval(0.0, m)
    )
    exact = math.log(m * float(torch.special.i0e(torch.tensor(k, dtype=float64))))
    assert float(law.report().log_normaliser) == pytest.approx(exact, abs=1e-11)


def test_all_modes_are_drawn():
    law = InverseCDF(log_prob=comb(9, 10.0, 0.01)[0], dtype=float64)
    count = torch.bincount((law.sample((90_000,)) / 10).round().long(), minlength=9)
    assert ((count - 10_000).abs() < 5 * math.sqrt(10_000 * 8 / 9)).all()  # 5 standard errors
    assert float(law.mean) == pytest.approx(40.0, rel=1e-12)


def test_laws_of_a_batch_have_their_own_modes():
    teeth = torch.tensor([1, 3, 9])
    spacing = torch.tensor([1.0, 10.0, 5.0], dtype=float64)
    place = torch.minimum(torch.arange(9), teeth[:, None] - 1) * spacing[:, None]
    law = InverseCDF(
        log_prob=lambda x: (-((x[..., None] - place) / 0.01).square() / 2).logsumexp(-1), dtype=float64
    )
    exact = math.log(9 * 0.01 * math.sqrt(2 * math.pi))
    torch.testing.assert_close(law.report().log_normaliser, torch.full((3,), exact, dtype=float64))


def boxes(teeth, width, spacing, offset=0.0):
    """Uniform pieces with nothing between them: from there no log_prob leads to them."""

    def log_prob(x):
        k = ((x - offset) / spacing).round().clamp(0, teeth - 1)
        return torch.where((x - offset - k * spacing).abs() < width / 2, 0.0, -torch.inf).double()

    return log_prob


@pytest.mark.parametrize(
    ("teeth", "width", "spacing", "offset", "points"),
    [(9, 0.01, 10.0, 0.0, ()), (20, 1e-3, 10.0, 50.0, ()), (5, 2.0**-13, 0.125, -1e3, (-1e3,))],
)
def test_teeth_with_nothing_between(teeth, width, spacing, offset, points):
    law = InverseCDF(log_prob=boxes(teeth, width, spacing, offset), points=points, dtype=float64)
    rounding = 2 * np.spacing(abs(offset)) / width  # of the places of the jumps
    assert float(law.report().log_normaliser) == pytest.approx(math.log(teeth * width), abs=2e-10 + rounding)


def test_teeth_on_a_slab():
    spikes, log_normaliser = comb(9, 10.0, 1e-3, offset=1.0)
    law = InverseCDF(
        log_prob=lambda x: torch.logaddexp(spikes(x) - log_normaliser, torch.full_like(x, -math.log(82))),
        support=constraints.interval(0.0, 82.0),
        dtype=float64,
    )
    assert float(law.report().log_normaliser) == pytest.approx(math.log(2), abs=1e-11)


def test_spikes_among_which_more_may_hide():
    """Two of three are found, beside the ends: all of them named, the law is right."""
    place = [1e-7, 0.5, 1 - 1e-7]
    spikes, log_normaliser = kernels(place, 1e-9, np.zeros(3))

    def law(points):
        return InverseCDF(
            log_prob=lambda x: torch.logaddexp(spikes(x) - log_normaliser, torch.zeros_like(x)),
            support=constraints.unit_interval,
            points=points,
            dtype=float64,
        )

    for points in ([], place[1:2]):
        with pytest.raises(ValueError, match="more mass may be there than can be seen; name places of all"):
            law(points)
    assert float(law(place).report().log_normaliser) == pytest.approx(math.log(2), abs=1e-9)


def mixture(seed):
    """Up to a dozen normals of widths from 1e-5 to 100, hundreds apart, with weights that sum to 1."""
    random = np.random.default_rng(seed)
    k = random.integers(3, 13)
    mean, sd = random.uniform(-1000, 1000, k), 10 ** random.uniform(-5, 2, k)
    weight = random.dirichlet(np.ones(k))
    return mean, sd, weight, kernels(mean, sd, np.log(weight / sd) - 0.5 * math.log(2 * math.pi))[0]


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_modes_of_very_different_widths(seed):
    """All that dominate on a stretch as wide as the report says have their mass."""
    _, sd, weight, log_prob = mixture(seed)
    report = InverseCDF(log_prob=log_prob, dtype=float64).report()
    mass = math.exp(float(report.log_normaliser))
    assert weight[8 * sd > float(report.narrowest)].sum() - 1e-10 < mass < 1 + 1e-10


@pytest.mark.parametrize("seed", [6, 7])
def test_modes_too_narrow_to_look_for_more_are_refused_but_with_their_places(seed):
    mean, _, _, log_prob = mixture(seed)
    with pytest.raises(ValueError, match="more mass may be there than can be seen; name places of all"):
        InverseCDF(log_prob=log_prob, dtype=float64)
    report = InverseCDF(log_prob=log_prob, points=np.sort(mean), dtype=float64).report()
    assert float(report.log_normaliser) == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("place", [0.37, -2.2, 2.9])
def test_a_lone_mode_as_narrow_as_the_report_says(place):
    report = InverseCDF(log_prob=lambda x: -x * x / 2, dtype=float64).report()
    assert 0 < float(report.narrowest) < 1e-4
    width = float(report.narrowest)
    log_prob, log_normaliser = kernels([0.0, place], [1.0, width], [0.0, 5.0])
    law = InverseCDF(log_prob=log_prob, dtype=float64)
    assert float(law.report().log_normaliser) == pytest.approx(float(log_normaliser), abs=1e-11)


def test_without_validation_the_report_does_not_say_that_all_is_well():
    report = InverseCDF(log_prob=comb(9, 10.0, 0.01)[0], dtype=float64, validate_args=False).report()
    numbers = (report.u_error, report.x_error, report.log_normaliser_error, float(report.narrowest))
    assert all(math.isnan(number) for number in numbers)


def test_the_time_of_points_is_not_that_of_their_pairs():
    """A histogram of 200 bins, all inner edges named: there were 2 million values of log_prob a point."""
    random = np.random.default_rng(0)
    edges = np.sort(np.r_[0, random.uniform(0, 10, 199), 10.0])
    mass = random.dirichlet(np.ones(200))
    height, inner = torch.as_tensor(np.log(mass / np.diff(edges))), torch.as_tensor(edges[1:-1])
    evaluated = 0

    def log_prob(x):
        nonlocal evaluated
        evaluated += x.numel()
        return height[torch.bucketize(x.contiguous(), inner, right=True)]

    law = InverseCDF(log_prob=log_prob, support=constraints.interval(0.0, 10.0), points=inner, dtype=float64)
    assert evaluated < 4e6
    assert float(law.report().log_normaliser) == pytest.approx(0.0, abs=1e-10)
    torch.testing.assert_close(law.cdf(inner), torch.as_tensor(np.cumsum(mass)[:-1]), rtol=1e-9, atol=0)


@pytest.mark.parametrize("a", [500.0, 1000.0, 1e4])
@pytest.mark.parametrize("named", [True, False])
def test_a_steep_side_that_the_first_panels_miss(a, named):
    law = InverseCDF(
        log_prob=lambda x: -x * x / 2 + torch.special.log_ndtr(a * x), points=[0.0, 3 / a] if named else ()
    )
    assert float(law.report().log_normaliser) == pytest.approx(0.5 * math.log(math.pi / 2), abs=1e-11)


@pytest.mark.parametrize("step", [0.5, 0.99, 1.01, -0.5])
def test_a_step(step):
    law = InverseCDF(
        log_prob=lambda x: -x + step * (x > 0.3).double(), support=constraints.positive, dtype=float64
    )
    total = -math.expm1(-0.3) + math.exp(step - 0.3)
    assert float(law.report().log_normaliser) == pytest.approx(math.log(total), abs=1e-11)
    assert float(law.cdf(torch.tensor(0.3, dtype=float64))) == pytest.approx(-math.expm1(-0.3) / total)


@pytest.mark.parametrize("bins", [25, 100, 400])
def test_steps_that_are_not_named(bins):
    random = np.random.default_rng(0)
    edges = np.sort(np.r_[0, random.uniform(0, 10, bins - 1), 10.0])
    mass = random.dirichlet(np.ones(bins))
    height, inner = torch.as_tensor(np.log(mass / np.diff(edges))), torch.as_tensor(edges[1:-1])
    law = InverseCDF(
        log_prob=lambda x: height[torch.bucketize(x.contiguous(), inner, right=True)],
        support=constraints.interval(0.0, 10.0),
        dtype=float64,
    )
    torch.testing.assert_close(law.cdf(inner), torch.as_tensor(np.cumsum(mass)[:-1]), rtol=1e-9, atol=1e-10)


def kumaraswamy(a, b):
    """Beside 1 the formula rounds to the pole itself: at the last float64 numbers it is inf."""
    return lambda x: (a - 1) * x.log() + (b - 1) * torch.log1p(-(x**a))


def test_a_formula_that_is_inf_beside_its_pole():
    law = InverseCDF(log_prob=kumaraswamy(0.2, 0.9), support=constraints.unit_interval, dtype=float64)
    assert float(law.report().log_normaliser) == pytest.approx(-math.log(0.18), abs=1e-12)
    with pytest.raises(ValueError, match=r"rounds beside the pole at 1\.0, shift or reflect the line"):
        InverseCDF(log_prob=kumaraswamy(0.2, 0.1), support=constraints.unit_interval)


@pytest.mark.parametrize(("a", "b"), [(0.2, 0.3), (0.2, 0.5), (2.0, 0.1), (2.0, 0.3), (5.0, 0.2)])
def test_a_formula_that_rounds_beside_its_pole(a, b):
    """There the law of the pole is fitted farther out, where it rounds less."""
    law = InverseCDF(log_prob=kumaraswamy(a, b), support=constraints.unit_interval, dtype=float64)
    assert float(law.report().log_normaliser) == pytest.approx(-math.log(a * b), abs=5e-11)
    upper = torch.logspace(-9, -1, 33, dtype=float64)  # 1 - x, to some digits of itself
    x = 1 - upper
    exact = (-((1 - x).neg().log1p() * a).expm1()) ** b  # 1 - x^a, without rounding
    torch.testing.assert_close(law.sf(x), exact, rtol=1e-9, atol=5e-11)
