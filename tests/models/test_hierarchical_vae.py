"""Two levels of codes: a linear model's evidence in closed form, bounds below it, an exact guide on it."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import probgen as pg
from probgen import nets, priors
from probgen.evaluation import log_likelihood
from probgen.models import HierarchicalVAE

double = torch.float64


class Affine(nn.Module):
    """(z, ...) ↦ N(W [z, ...] + b, scale²)."""

    def __init__(self, weight, bias, scale):
        super().__init__()
        self.weight, self.bias, self.scale = map(nn.Parameter, (weight, bias, scale))
        self.outputs = len(bias)

    def forward(self, *inputs):
        batch = torch.broadcast_shapes(*(part.shape[:-1] for part in inputs))
        z = torch.cat([part.expand(*batch, part.shape[-1]) for part in inputs], -1)
        return dist.Normal(z @ self.weight.T + self.bias, self.scale.expand(self.outputs)).to_event(1)


def numbers(*values):
    return torch.tensor(values, dtype=double)


A, B, C, S1, S = 1.2, numbers(0.7, -1.0, 0.4), numbers(0.3, 0.2, -0.9), 0.6, 0.5
SHIFT, B0 = 0.3, numbers(0.1, -0.2, 0.5)


def covariance():
    """Of (z2, z1, x), z2 ~ N(0, 1), z1 = A z2 + SHIFT + S1 e, x = B z1 + C z2 + B0 + S e."""
    of_z = torch.tensor([[1.0, A], [A, A**2 + S1**2]], dtype=double)
    map_x = torch.stack([C, B], 1)
    of_x = map_x @ of_z @ map_x.T + S**2 * torch.eye(3, dtype=double)
    cross = of_z @ map_x.T
    return torch.cat([torch.cat([of_z, cross], 1), torch.cat([cross.T, of_x], 1)])


MEAN = torch.cat([numbers(0.0, SHIFT), B * SHIFT + B0])


def regression(of, on):
    """The exact law of one coordinate given others, as an affine conditional."""
    sigma = covariance()
    weight = torch.linalg.solve(sigma[on][:, on], sigma[on, of])
    variance = sigma[of, of] - weight @ sigma[on, of]
    return Affine(weight[None], (MEAN[of] - weight @ MEAN[on])[None], variance.sqrt())


def linear(guide="exact", order="from above", *, skip=True):
    x, z2, z1 = [2, 3, 4], 0, 1
    decoder = Affine(torch.stack([B, C], 1) if skip else B[:, None], B0, torch.tensor(S, dtype=double))
    below = Affine(numbers(A)[:, None], numbers(SHIFT), torch.tensor(S1, dtype=double))
    if guide == "exact":
        pair = (regression(z2, x), regression(z1, [*x, z2]))
        pair = pair if order == "from above" else (regression(z2, [z1]), regression(z1, x))
    else:
        pair = (
            Affine(torch.zeros(1, 3, dtype=double), numbers(0.0), numbers(0.9)),
            Affine(torch.zeros(1, 4, dtype=double), numbers(0.2), numbers(0.9)),
        )
    return HierarchicalVAE(decoder, below, *pair, skip=skip, guide=order).double()


@pytest.fixture
def x():
    return torch.randn(40, 3, dtype=double, generator=torch.Generator().manual_seed(0)) + B0


def evidence(x):
    law = torch.distributions.MultivariateNormal(MEAN[2:], covariance()[2:, 2:])
    return law.log_prob(x).mean().item()


def test_with_the_exact_guide_the_bound_is_the_evidence(x):
    pair = linear()
    assert log_likelihood(pair, x, particles=1, seed=0).value == pytest.approx(evidence(x), abs=1e-10)
    assert -pg.SVI(pair, pg.objectives.IWAE(3))(x)[0].item() == pytest.approx(evidence(x), abs=1e-10)
    objective = pg.SVI(pair, pg.objectives.ELBO(particles=4000))  # its analytic KL leaves noise
    assert -objective(x)[0].item() == pytest.approx(evidence(x), abs=0.02)


def test_bounds_of_another_guide_lie_below_it_and_rise(x):
    pair, exact = linear("poor"), evidence(x)
    torch.manual_seed(0)
    low = -pg.SVI(pair, pg.objectives.ELBO(particles=2000))(x)[0].item()
    bound = pg.SVI(pair, pg.objectives.IWAE(3))
    middle = torch.stack([-bound(x)[0].detach() for _ in range(200)])
    error = middle.std().item() / math.sqrt(200)
    assert low + 0.1 < middle.mean().item() < exact - 5 * error
    assert log_likelihood(pair, x, particles=20_000, seed=0).value == pytest.approx(exact, abs=0.03)


def test_draws_have_the_moments_of_the_model():
    draws = linear().sample(20_000, seed=1)
    sigma = covariance()[2:, 2:]
    assert (draws.mean(0) - MEAN[2:]).abs().max() < 5 * sigma.diagonal().max().sqrt() / math.sqrt(20_000)
    torch.testing.assert_close(draws.T.cov(), sigma, atol=0.12, rtol=0)
    assert torch.equal(draws, linear().sample(20_000, seed=1))


@pytest.mark.parametrize("order", ["from above", "from below"])
@pytest.mark.parametrize("skip", [True, False])
def test_every_order_trains_every_weight(order, skip, device):
    torch.manual_seed(0)
    upper = nets.NormalHead(nets.MLP(6 if order == "from above" else 3, 2, hidden=8))
    lower = nets.Joined(nets.MLP(6 + 2 * (order == "from above"), 3, hidden=8))
    decoder = nets.NormalHead(nets.MLP(3 + 2 * skip, 6, hidden=8), scale="shared")
    below = nets.NormalHead(nets.MLP(2, 3, hidden=8))
    pair = HierarchicalVAE(decoder, below, upper, nets.NormalHead(lower), skip=skip, guide=order).to(device)
    x = torch.randn(64, 6, device=device)
    losses = []
    for elbo in (pg.objectives.ELBO(), pg.objectives.ELBO(particles=3), pg.objectives.IWAE(3)):
        pair.zero_grad()
        loss, terms = pg.SVI(pair, elbo)(x)
        loss.backward()
        losses.append(loss.item())
        missing = [key for key, w in pair.named_parameters() if w.grad is None or not w.grad.abs().sum() > 0]
        assert not missing
        assert {"kl/z1", "kl/z2"} <= terms.keys() or "elbo" not in terms
    assert losses[2] < losses[1] + 0.5
    start = pg.SVI(pair)(x)[0].item()
    pg.fit(pg.SVI(pair), x, steps=60, batch_size=64, seed=0, progress=False, compile="graph")
    assert pg.SVI(pair)(x)[0].item() < start - 0.5
    varied = pair.vary(x[:4], draws=5, seed=0)
    assert varied.shape == (5, 4, 6)
    assert torch.equal(varied, pair.vary(x[:4], draws=5, seed=0))
    assert varied.std(0).min() > 0


def test_bad_input_is_named(x):
    with pytest.raises(ValueError, match="guide should be 'from above' or 'from below' but is 'up'"):
        HierarchicalVAE(nn.Identity(), nn.Identity(), nn.Identity(), nn.Identity(), guide="up")
    with pytest.raises(TypeError, match="prior should be given"):
        HierarchicalVAE(nn.Identity(), nn.Identity(), nn.Identity(), nn.Identity())
    with pytest.raises(ValueError, match="the guide needs x"):
        linear().guide()
    upper = nets.NormalHead(nets.MLP(3, 1))
    pair = linear()
    wrong = HierarchicalVAE(pair.decoder, pair.below, upper, pair.lower, priors.StandardNormal(2)).double()
    with pytest.raises(ValueError, match="'z2' should have the same batch and event shape"):
        pg.SVI(wrong)(x)
