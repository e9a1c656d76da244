"""The logistic law on grey levels: masses, far tails, gradients, draws; bits beside the categorical law's."""

import math

import mpmath
import pyro
import pytest
import torch
from scipy import stats

from probgen.nets import CategoricalHead, DiscretisedLogisticHead
from probgen.nets.discretised_logistic import DiscretisedLogistic

LOCS = [-50.0, -0.4, 0.0, 0.3, 0.5, 1.0, 1.7, 50.0]
LOG_SCALES = [-20.0, -7.0, -3.0, 0.0, 5.0, 30.0]
ALPHA = 1e-6


def all_laws(levels, dtype, device):
    loc = torch.tensor(LOCS, dtype=dtype, device=device)[:, None]
    log_scale = torch.tensor(LOG_SCALES, dtype=dtype, device=device)
    return DiscretisedLogistic(loc, log_scale, levels)


def log_mass(value, loc, log_scale, levels):
    """log(S(b) − S(a)) in 4,000 digits, of which few are left in the tails."""
    with mpmath.workdps(4000):
        scale, half = mpmath.exp(log_scale), mpmath.mpf(1) / (2 * (levels - 1))

        def below(end):
            return 1 / (1 + mpmath.exp(-(end - mpmath.mpf(loc)) / scale))

        if value < half:
            return float(mpmath.log(below(value + half)))
        if value > 1 - half:
            return float(mpmath.log(1 - below(value - half)))
        return float(mpmath.log(below(value + half) - below(value - half)))


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_masses_of_all_levels_sum_to_one(levels, dtype, device):
    law = all_laws(levels, dtype, device)
    masses = law.log_prob(law.grid[:, None, None]).exp()
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(masses.sum(0), torch.ones_like(masses[0]), rtol=0, atol=max(levels, 8) * eps)


@pytest.mark.parametrize("log_scale", [-5.0, -2.0, 0.0, 3.0])
@pytest.mark.parametrize("loc", [-50.0, 0.3, 0.503, 20.0])
def test_masses_are_exact_far_in_the_tails(loc, log_scale, device):
    for dtype, digits in ((torch.float32, 4e-7), (torch.float64, 1e-15)):
        law = DiscretisedLogistic(*torch.tensor([loc, log_scale], dtype=dtype, device=device), 256)
        for level in (0, 1, 77, 254, 255):
            truth = log_mass(level / 255, float(law.loc), log_scale, 256)
            found = float(law.log_prob(law.grid[level]))
            moved = digits * math.exp(-log_scale)  # what the rounding of level and location does
            assert found == pytest.approx(truth, rel=digits, abs=digits + moved)


def test_gradients_are_finite_everywhere_and_right():
    law = all_laws(256, torch.float32, "cpu")
    loc, log_scale = law.loc.clone().requires_grad_(), law.log_scale.clone().requires_grad_()
    log_p = DiscretisedLogistic(loc, log_scale, 256).log_prob(law.grid[:, None, None])
    assert log_p.isfinite().all()
    for gradient in torch.autograd.grad(log_p.sum(), (loc, log_scale)):
        assert gradient.isfinite().all()
    # Far away the slope is that of the exponential tail, 1/s, and does not vanish.
    far = torch.tensor(30.0, requires_grad=True)
    (slope,) = torch.autograd.grad(
        DiscretisedLogistic(far, torch.tensor(-2.0), 256).log_prob(law.grid[100]), far
    )
    assert float(slope) == pytest.approx(-math.exp(2), rel=1e-6)
    numbers = torch.tensor([[0.3, -3.0], [0.9, -1.0], [-1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[0.0], [0.25], [1.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: DiscretisedLogistic(*t.unbind(-1), 5).log_prob(x), numbers)


def test_many_levels_have_the_logistic_density(device):
    law = DiscretisedLogistic(*torch.tensor([0.4, -2.0], dtype=torch.float64, device=device), 100_001)
    x = law.grid[1:-1:9999]
    theirs = stats.logistic.logpdf(x.cpu().numpy(), 0.4, math.exp(-2))
    torch.testing.assert_close(
        (law.log_prob(x) + math.log(100_000)).cpu(), torch.as_tensor(theirs), atol=1e-8, rtol=0
    )


def test_draws_follow_the_masses(device, dtype):
    loc = torch.tensor([0.1, 0.5, 1.2], device=device, dtype=dtype)
    law = DiscretisedLogistic(loc, torch.tensor(-1.5, device=device, dtype=dtype), 5)
    draws = law.sample((20000,))
    assert draws.dtype == dtype
    assert law.support.check(draws).all()
    counts = torch.stack([(draws == level).sum(0) for level in law.grid], -1).cpu().double()
    probs = law.log_prob(law.grid[:, None]).T.exp().cpu().double()
    for row, p in zip(counts, probs, strict=True):
        p = p / p.sum()
        assert stats.chisquare(row, 20000 * p).pvalue > ALPHA
        other = (p + 0.03 * torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])).clamp(min=1e-3)
        assert stats.chisquare(row, 20000 * other / other.sum()).pvalue < ALPHA  # the power
    grid = law.grid.cpu().double()
    torch.testing.assert_close(law.mean.cpu().double(), probs @ grid, atol=1e-6, rtol=0)
    variance = probs @ grid**2 - (probs @ grid) ** 2
    torch.testing.assert_close(law.variance.cpu().double(), variance, atol=1e-6, rtol=0)


def test_expand_and_plates():
    law = DiscretisedLogistic(torch.rand(4), torch.randn(4), 17).to_event(1)
    wide = law.expand([3])
    x = wide.sample()
    assert (wide.batch_shape, wide.event_shape, x.shape) == ((3,), (4,), (3, 4))
    torch.testing.assert_close(wide.log_prob(x), law.log_prob(x))
    assert law.log_prob(wide.sample((7,))).shape == (7, 3)
    with pyro.plate("data", 6):
        assert pyro.sample("x", law).shape == (6, 4)


@pytest.mark.parametrize("value", [0.25, -1 / 3, 4 / 3, math.nan])
def test_other_values_are_refused(value):
    law = DiscretisedLogistic(torch.tensor(0.5), torch.tensor(0.0), 4)
    with pytest.raises(ValueError, match=r"a law of 4 grey levels needs values 0, 1/3, ..., 1 but got"):
        law.log_prob(torch.tensor(value))


def test_it_loses_fewer_bits_than_a_categorical_law_where_it_holds():
    """k parameters learned from n pixels cost k/2n nats on others (Akaike): 2 here, L − 1 for levels."""
    pixels, n, levels = 200, 1000, 17
    truth = DiscretisedLogistic(*torch.tensor([0.4, -1.2], dtype=torch.float64), levels)
    x = truth.sample((n, pixels))
    counts = torch.stack([(x == level).sum(0) for level in truth.grid])
    nothing = torch.zeros(1, dtype=torch.float64)

    def bits_lost(law):
        """The bits per dimension on new pixels beyond the entropy, exactly, for each pixel."""
        grid = truth.grid[:, None].expand(levels, pixels)
        loss = truth.log_prob(grid) - law.base_dist.log_prob(grid)
        return (truth.log_prob(grid).exp() * loss).sum(0) / math.log(2)

    categorical = CategoricalHead(torch.nn.Linear(1, levels * pixels), levels).double()
    with torch.no_grad():
        categorical.net.bias.copy_((counts / n).log().flatten())
    head = DiscretisedLogisticHead(torch.nn.Linear(1, 2 * pixels), levels).double()
    torch.nn.init.constant_(head.net.bias, 0.5)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = -head(nothing).log_prob(x).mean()
        value.backward()
        return value

    optimizer.step(loss)
    for law, parameters in ((head, 2), (categorical, levels - 1)):
        lost = bits_lost(law(nothing)).detach()
        expected = parameters / (2 * n * math.log(2))
        error = float(lost.std()) / math.sqrt(pixels)
        assert float(lost.mean()) == pytest.approx(expected, abs=5 * error)
        assert expected > 10 * error  # so that it would see either off by half
