"""The targets: draws against densities, densities against CDFs, envelopes, bad input."""

import math

import pytest
import torch
from scipy import integrate, stats

from probgen.data import TARGETS, target

ALPHA = 1e-6
N = 20_000
BOXES = {  # (low, high) per coordinate, and steps below 0.7 standard deviations of the narrowest part
    "banana": ((-85, 85), (-12, 215), (0.5, 0.25)),
    "ring": ((-1.6, 1.6), (-1.6, 1.6), (0.008, 0.008)),
    "grid": ((-4.5, 4.5), (-4.5, 4.5), (0.025, 0.025)),
    "two-moons": ((-2, 3), (-1.5, 2), (0.05, 0.05)),
    "swiss-roll": ((-4.5, 4.5), (-4.5, 4.5), (0.1, 0.1)),
}


@pytest.fixture(params=TARGETS)
def law(request):
    return target(request.param)


def lattice(box, device):
    (a, b), (c, d), (dx, dy) = box
    x = torch.arange(a, b, dx, dtype=torch.float64, device=device)
    return torch.cartesian_prod(x, torch.arange(c, d, dy, dtype=torch.float64, device=device))


def uniforms(law, x):
    """The probability-integral transform of x: uniform on the unit square where x follows the law."""
    marginal, conditional = law.conditional_cdfs
    return torch.stack([marginal(x[:, 0]), conditional(x[:, 1], x[:, 0])], -1)


def uniformity(u, cells=16):
    """P-value that u is uniform on the unit square, by a chi-square of equal cells."""
    index = (u * cells).floor().clamp(0, cells - 1) @ torch.tensor([cells, 1.0]).to(u)
    counts = index.long().bincount(minlength=cells**2)
    return stats.chisquare(counts.cpu()).pvalue


def test_draws_follow_the_law(law, generator, device, dtype):
    x = law.sample(N, generator=generator, dtype=dtype, device=device)
    assert (x.shape, x.dtype, x.device.type) == ((N, 2), dtype, device.type)
    u = uniforms(law, x.double())
    assert uniformity(u) > ALPHA
    gaps = [stats.kstest(column.cpu(), "uniform").pvalue for column in u.T]
    assert min(gaps) > ALPHA
    shift = {"banana": 0.5, "ring": 0.007, "grid": 0.025}.get(law.name, 0.05)
    assert uniformity(uniforms(law, x.double() + shift)) < ALPHA  # the power: a small shift is seen


def test_draws_are_independent(law, generator, device):
    u = uniforms(law, law.sample(N, generator=generator, dtype=torch.float64, device=device))
    for pair in (u[::2, :1], u[1::2, 1:]), (u[::2, :1], u[1::2, :1]):
        assert uniformity(torch.cat(pair, -1)) > ALPHA


def test_density_is_the_derivative_of_the_cdfs(law, generator, device):
    x = law.sample(500, generator=generator, dtype=torch.float64, device=device)
    x0, x1 = (column.clone().requires_grad_() for column in x.T)
    marginal, conditional = law.conditional_cdfs
    (f0,) = torch.autograd.grad(marginal(x0).sum(), x0)
    (f1,) = torch.autograd.grad(conditional(x1, x0.detach()).sum(), x1)
    torch.testing.assert_close(law.log_prob(x), (f0 * f1).log(), rtol=1e-9, atol=1e-9)


def test_cdfs_run_from_zero_to_one(law, device):
    far = torch.tensor([-1e4, 1e4], dtype=torch.float64, device=device)
    marginal, conditional = law.conditional_cdfs
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=device)
    torch.testing.assert_close(marginal(far), ends)
    for x0 in law.sample(20, dtype=torch.float64, device=device)[:, 0]:
        torch.testing.assert_close(conditional(1e4 * far, x0.expand(2)), ends)
        line = torch.linspace(-300, 300, 501, dtype=torch.float64, device=device)
        assert (conditional(line, x0.expand_as(line)).diff() >= -1e-15).all()


@pytest.mark.parametrize("name", BOXES)
def test_density_integrates_to_one(name, device):
    law, box = target(name), BOXES[name]
    total = sum(law.log_prob(x).exp().sum() for x in lattice(box, device).split(50_000)) * math.prod(box[2])
    assert total.item() == pytest.approx(1, abs=1e-8)


def test_checkerboard_density_is_that_of_its_squares():
    centres = torch.cartesian_prod(*[torch.arange(-5.0, 6.0, 2.0)] * 2)
    density = target("checkerboard").log_prob(centres).exp()
    inside = (centres.abs() < 4).all(-1)
    torch.testing.assert_close(density[inside].sort().values, torch.tensor([0.0] * 8 + [1 / 32] * 8))
    assert not density[~inside].any()
    assert target("checkerboard").log_prob(torch.tensor([math.nan, 0.0])).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_checkerboard_draws_lie_strictly_inside_their_squares(dtype):
    x = target("checkerboard").sample(200_000, dtype=dtype)
    assert ((x / 2) != (x / 2).floor()).all()
    assert (target("checkerboard").log_prob(x) == -torch.tensor(32, dtype=dtype).log()).all()


def test_funnel_and_banana_against_scipy():
    x = torch.randn(50, 2, dtype=torch.float64) * torch.tensor([3.0, 5.0])
    x0, x1 = x.T.numpy()
    funnel = stats.norm.logpdf(x0, 0, 3) + stats.norm.logpdf(x1, 0, (x.T[0] / 2).exp().numpy())
    torch.testing.assert_close(target("funnel").log_prob(x), torch.as_tensor(funnel))
    banana = stats.norm.logpdf(x0, 0, 10) + stats.norm.logpdf(x1, 0.03 * (x0**2 - 100), 1)
    torch.testing.assert_close(target("banana").log_prob(x), torch.as_tensor(banana))


def moon(t):
    return [(math.cos(t), math.sin(t)), (1 - math.cos(t), 0.5 - math.sin(t))]


def roll(t):
    return [(t * math.cos(t) / 5, t * math.sin(t) / 5)]


@pytest.mark.parametrize(
    ("name", "curves", "low", "high", "scale"),
    [("two-moons", moon, 0, math.pi, 0.1), ("swiss-roll", roll, 1.5 * math.pi, 4.5 * math.pi, 0.2)],
)
def test_densities_along_curves_against_adaptive_quadrature(name, curves, low, high, scale):
    x = torch.cat([target(name).sample(10, dtype=torch.float64), 12 * torch.rand(10, 2).double() - 6])
    for point, log_p in zip(x.tolist(), target(name).log_prob(x).tolist(), strict=True):

        def ratio(t, point=point, log_p=log_p):
            squares = [((point[0] - a) ** 2 + (point[1] - b) ** 2) / scale**2 for a, b in curves(t)]
            normaliser = math.log(2 * math.pi * scale**2 * (high - low) * len(squares)) + log_p
            return sum(math.exp(-0.5 * square - normaliser) for square in squares)

        grid = torch.linspace(low, high, 4001).tolist()
        peak = max(grid, key=ratio)
        total, _ = integrate.quad(
            ratio, low, high, points=[peak - 0.03, peak, peak + 0.03], epsabs=1e-12, epsrel=1e-12, limit=500
        )
        assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_modes_stand_where_the_density_peaks(name):
    law = target(name)
    peak = -math.log(2 * math.pi * law.mode_scale**2) - math.log(len(law.modes))
    torch.testing.assert_close(law.log_prob(law.modes), torch.full((len(law.modes),), peak).double())


def test_the_ring_is_wgan_gps():
    law = target("ring")
    torch.testing.assert_close(law.modes.norm(dim=-1), torch.full((8,), 2 / 1.414).double())
    assert law.mode_scale == pytest.approx(0.02 / 1.414)


def test_the_envelope_holds_and_is_tight(law, generator, device, dtype):
    proposal = law.proposal(dtype=dtype, device=device)
    wide = proposal.sample((15_000,))
    exact = law.sample(15_000, generator=generator, dtype=dtype, device=device)
    boxes = BOXES | {
        "funnel": ((-20, 20), (-3, 3), (0.05, 0.02)),
        "checkerboard": ((-3.99, 4), (-3.99, 4), (0.05, 0.05)),
    }
    grid = lattice(boxes[law.name], device).to(dtype)
    places = [wide, exact, grid[torch.randperm(len(grid))[:30_000]]]
    if law.modes is not None:
        places.append(law.modes.to(device, dtype))
    ratio = torch.cat([law.log_prob(x) - proposal.log_prob(x) for x in torch.cat(places).split(20_000)])
    assert not ratio.isnan().any()
    assert (ratio <= law.log_bound).all()
    assert ratio.max() > law.log_bound - 0.3  # tight: a smaller bound would soon be violated
    assert math.exp(-law.log_bound) > 0.05
    weights = (law.log_prob(wide) - proposal.log_prob(wide)).exp().double()  # an unbiased estimate of 1
    assert abs(weights.mean() - 1) < 6 * weights.std() / len(wide) ** 0.5


def test_the_same_generator_gives_the_same_draws(law, device):
    draws = [law.sample(9, generator=torch.Generator(device).manual_seed(3), device=device) for _ in range(2)]
    assert torch.equal(*draws)


@pytest.mark.parametrize("name", [name for name in TARGETS if name != "checkerboard"])  # constant by squares
def test_gradients_against_finite_differences(name):
    law = target(name)
    x = law.sample(20, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(law.log_prob, x, eps=1e-7, atol=1e-3)


def test_an_unknown_name_is_answered_with_the_near_ones():
    with pytest.raises(ValueError, match="there is no target 'two_moons': did you mean 'two-moons'"):
        target("two_moons")
    with pytest.raises(ValueError, match="there is no target 'x': choose from 'banana', 'funnel'"):
        target("x")


def test_too_few_draws():
    with pytest.raises(ValueError, match="n should be at least 1 but got 0"):
        target("ring").sample(0)
