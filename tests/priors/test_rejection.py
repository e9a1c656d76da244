"""A rejection sampler as a prior, against quadrature and against the sampler written out."""

import math

import pytest
import torch
from torch import nn

import probgen as pg
from probgen import models, nets, priors
from probgen.priors import Resampled
from tests import laws

double = torch.float64
GRID = torch.linspace(-9, 9, 40_001, dtype=double)


class Wavy(nn.Module):
    """A logit of acceptance that refuses most, and more on one side."""

    def forward(self, z):
        return 2 * (3 * z).sin() - 2 + z


def proposal():
    return torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(1, dtype=double), torch.ones(1, dtype=double)), 1
    )


def log_acceptance(z):
    return nn.functional.logsigmoid(Wavy()(z)).squeeze(-1)


def quadrature(values):
    return torch.trapezoid(values, GRID)


def exact_rate():
    grid = GRID[:, None]
    return quadrature((proposal().log_prob(grid) + log_acceptance(grid)).exp())


def law_of(truncation):
    z = exact_rate()
    return Resampled(proposal(), log_acceptance, (z.log(), torch.log1p(-z)), truncation=truncation)


def cdf_of(law):
    density = law.log_prob(GRID[:, None]).exp()
    steps = (density[1:] + density[:-1]) / 2 * GRID.diff()
    total = torch.cat([torch.zeros(1, dtype=double), steps.cumsum(0)])

    def cdf(x):
        place = ((x - GRID[0]) / (GRID[1] - GRID[0])).clamp(0, len(GRID) - 2)
        low = place.floor().long()
        return total[low] + (place - low) * (total[low + 1] - total[low])

    return cdf


def written_out(truncation, n):
    """What the sampler does, proposal after proposal; the last is taken whatever it is."""
    z, waiting = proposal().sample((n,)), torch.ones(n, dtype=torch.bool)
    for _ in range(truncation - 1):
        waiting &= torch.rand(n, dtype=double) >= log_acceptance(z).exp()
        z[waiting] = proposal().sample((int(waiting.sum()),))
    return z


@pytest.mark.parametrize("truncation", [2, 5, 100])
def test_draws_and_the_sampler_written_out_have_the_density(truncation):
    law = law_of(truncation)
    assert quadrature(law.log_prob(GRID[:, None]).exp()).item() == pytest.approx(1, abs=1e-9)
    cdf = cdf_of(law)
    draws = law.sample((100_000,))
    laws.check_goodness_of_fit(draws, cdf)
    laws.assert_power(draws, cdf, shift=0.02)
    laws.check_goodness_of_fit(written_out(truncation, 100_000), cdf)
    other = cdf_of(law_of(truncation + 1))
    if truncation < 10:  # one proposal more or less would be seen
        assert laws.dkw_distance(draws, other) > laws.dkw_radius(draws.numel())


def test_the_share_accepted_is_the_normaliser():
    law = law_of(100)
    law.sample((50_000,))
    report = law.report()
    z = exact_rate().item()
    assert report.expected_acceptance == pytest.approx(z, rel=1e-9)
    assert abs(report.acceptance - z) < 5 * math.sqrt(z * (1 - z) / report.proposals)
    assert abs(report.log_normaliser.value - math.log(z)) < 5 * report.log_normaliser.stderr
    assert 0.1 < z < 0.3


def test_the_law_has_the_shapes_of_a_law():
    laws.check_shapes(law_of(5), double)


def test_nothing_is_lost_where_nearly_all_or_nearly_nothing_is_accepted():
    z = torch.tensor([[0.3]], dtype=double)
    for logit in (-60.0, 60.0):
        level = torch.tensor(logit, dtype=double, requires_grad=True)
        shares = nn.functional.logsigmoid(level), nn.functional.logsigmoid(-level)
        law = Resampled(proposal(), lambda z, a=shares[0]: a.expand(z.shape[:-1]), shares, truncation=100)
        value = law.log_prob(z)
        torch.testing.assert_close(value, proposal().log_prob(z))
        (slope,) = torch.autograd.grad(value.sum(), level)
        assert abs(slope.item()) < 1e-12
        assert law.sample((50,)).isfinite().all()


def test_in_evaluation_the_normaliser_is_that_of_a_large_fixed_sample():
    prior = priors.Rejection(Wavy(), 1).double().eval()
    law = prior()
    z = exact_rate()
    error = ((1 - z) / (z * 2**15)).sqrt()
    assert (law.log_shares[0] - z.log()).abs() < 5 * error
    assert torch.equal(law.log_shares[0], prior().log_shares[0])


class Level(nn.Module):
    """A logit that does not depend on z, with a known derivative of Z."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(1.0, dtype=double))

    def forward(self, z):
        return self.slope * z - 1


def test_in_training_it_is_averaged_over_steps_with_the_gradient_of_the_step():
    prior = priors.Rejection(Level(), 1).double().train()
    rates, slopes = [], []
    for _ in range(400):
        log_z = prior().log_shares[0]
        prior.after_step()
        (slope,) = torch.autograd.grad(log_z, prior.net.slope)
        rates.append(log_z.exp().item())
        slopes.append(slope.item())
    grid = GRID[:, None]
    slope = torch.tensor(1.0, dtype=double, requires_grad=True)
    exact = quadrature((proposal().log_prob(grid)).exp() * (slope * GRID - 1).sigmoid())
    (derivative,) = torch.autograd.grad(exact.log(), slope)
    assert rates[-1] == pytest.approx(exact.item(), abs=0.003)  # within 5 of .0006; one step's has .006
    spread = torch.tensor(slopes).std().item() / 20
    assert abs(sum(slopes) / 400 - derivative.item()) < 5 * spread + 0.002
    assert spread * 20 > 0.002  # a gradient of the average would be a hundredth of the step's


def test_its_averages_move_once_a_step_by_the_mean_of_all_parts():
    prior = priors.Rejection(Wavy(), 1, draws=64).double().train()
    before = prior().log_shares[0], prior.shares.clone()
    assert torch.equal(before[1], torch.zeros(2, dtype=double))  # forward has moved nothing
    prior.after_step()
    estimates = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        estimates.append(prior._of(proposal().sample((64,))))
    moved = prior.shares.lerp((estimates[0] + estimates[1]) / 2, 0.01)
    for seed in (1, 2):
        torch.manual_seed(seed)
        prior()
    prior.after_step()
    torch.testing.assert_close(prior.shares, moved, rtol=1e-12, atol=0)
    prior.after_step()  # of a step that had no part
    torch.testing.assert_close(prior.shares, moved, rtol=1e-12, atol=0)


@pytest.mark.parametrize("compile", ["eager", "graph"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_training_moves_the_averages_by_one_percent_a_step(compile, accumulate, caplog):
    vae = vae_with(priors.Rejection(nets.MLP(2, 1, hidden=8), 2, draws=64, fixed=64))
    options = {"batch_size": 20, "accumulate": accumulate, "seed": 0, "progress": False}
    pg.fit(pg.SVI(vae), torch.randn(20, 3), steps=7, compile=compile, **options)
    assert vae.prior.shares.sum().item() == pytest.approx(1 - 0.99**7, rel=1e-5)
    assert "eagerly" not in caplog.text


def vae_with(prior, latent=2):
    torch.manual_seed(0)
    encoder = nets.NormalHead(nets.MLP(3, latent, hidden=16))
    decoder = nets.NormalHead(nets.MLP(latent, 3, hidden=16), scale="shared")
    return models.VAE(encoder, decoder, prior)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="truncation should be at least 2 but got 0"):
        priors.Rejection(nets.MLP(2, 1), 2, truncation=0)
    with pytest.raises(ValueError, match=r"one logit for each z, shape \(7, 1\), but returned \(7, 2\)"):
        priors.Rejection(nets.MLP(2, 2), 2, fixed=7).eval()()
    for size in (1, 3):
        vae = vae_with(priors.Rejection(nets.MLP(size, 1), size))
        with pytest.raises(ValueError, match="'z' should have the same batch and event shape"):
            pg.SVI(vae)(torch.zeros(4, 3))
