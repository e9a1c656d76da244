"""Horseshoe, spike and slab: their densities, and posteriors that are known."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch

from probgen import models, nets, priors
from probgen.core import Density
from probgen.sampling import sample
from tests import laws

double = torch.float64


def marginal_by_quadrature(beta, tau=1.0):
    """The horseshoe's density ∫ N(β; 0, τ²λ²) C⁺(λ) dλ, in t = log λ."""

    def integrand(t):
        scale = tau * math.exp(t)
        return scipy.stats.norm.pdf(beta, 0, scale) * 2 / math.pi / (1 + math.exp(2 * t)) * math.exp(t)

    middle = math.log(abs(beta) / tau)
    return sum(
        scipy.integrate.quad(integrand, *ends, epsabs=0, epsrel=1e-11, limit=200)[0]
        for ends in ((middle - 4, middle), (middle, middle + 4), (middle + 4, middle + 60))
    )


def test_the_horseshoe_has_its_density():
    beta = torch.tensor([1e-8, 1e-3, 0.1, 1.0, 1.9, 2.1, 10.0, 1e4], dtype=double)
    expected = torch.tensor([marginal_by_quadrature(float(b)) for b in beta], dtype=double)
    law = priors.Horseshoe()
    torch.testing.assert_close(law.log_prob(beta).exp(), expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(law.log_prob(-beta), law.log_prob(beta), rtol=0, atol=0)
    scaled = priors.Horseshoe(torch.tensor(3.0, dtype=double))
    torch.testing.assert_close(
        scaled.log_prob(3 * beta), law.log_prob(beta) - math.log(3), rtol=1e-12, atol=1e-12
    )


def test_the_horseshoe_lies_between_the_bounds_of_its_paper():
    beta = torch.logspace(-12, 3, 200, dtype=double)
    density, k = priors.Horseshoe().log_prob(beta).exp(), (2 * math.pi**3) ** -0.5
    assert (density > k / 2 * (4 / beta**2).log1p()).all()
    assert (density < k * (2 / beta**2).log1p()).all()


def test_the_exponential_integral_is_that_of_scipy():
    x = torch.logspace(-300, 8, 500, dtype=double)
    ours = priors.Horseshoe().log_prob((2 * x).sqrt())
    near = x < 600
    expected = torch.as_tensor(scipy.special.exp1(x[near].numpy())) * x[near].exp()
    ours = (ours[near] + 0.5 * math.log(2 * math.pi**3)).exp()
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0)


def test_the_horseshoe_has_gradients_to_all_orders_and_under_vmap():
    law = priors.Horseshoe(torch.tensor(0.7, dtype=double))
    x = torch.tensor([0.3, 1.4, 5.0], dtype=double, requires_grad=True)
    assert torch.autograd.gradcheck(law.log_prob, x)
    assert torch.autograd.gradgradcheck(law.log_prob, x)
    laws.check_gradient(lambda s: priors.Horseshoe(s).log_prob(x.detach()).sum(), 0.7)
    each = torch.func.vmap(torch.func.grad(law.log_prob))(x.detach())
    torch.testing.assert_close(each, torch.autograd.grad(law.log_prob(x).sum(), x)[0])


def test_the_horseshoe_is_drawn():
    def cdf(x):
        """P(ε λ ≤ x): the law of ε integrated over u, λ = tan(π u / 2)."""
        nodes, weights = np.polynomial.legendre.leggauss(400)
        scale = torch.as_tensor(np.tan(math.pi * (nodes + 1) / 4))
        return (torch.special.ndtr(x[..., None] / scale) * torch.as_tensor(weights / 2)).sum(-1)

    draws = priors.Horseshoe().sample((20_000,), generator=torch.Generator().manual_seed(1))
    knots = torch.tensor([-3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0], dtype=double)
    shares = (draws.double()[:, None] <= knots).double().mean(0)
    torch.testing.assert_close(shares, cdf(knots), rtol=0, atol=laws.dkw_radius(len(draws)))
    laws.check_shapes(priors.Horseshoe(torch.tensor([0.1, 2.0])), torch.float32)


def posterior_mean(prior, data, scale, grid):
    """E(θ | data) and P(|θ| < 0.1 | data) by quadrature."""
    log_post = prior.log_prob(grid) + dist.Normal(grid[:, None], scale).log_prob(data).sum(-1)
    weight = (log_post - log_post.max()).exp()
    total = torch.trapezoid(weight, grid)
    return float(torch.trapezoid(weight * grid, grid) / total), float(
        torch.trapezoid(weight * (grid.abs() < 0.1), grid) / total
    )


def chains_on_a_mean(prior, data, scale, **settings):
    def model():
        theta = pyro.sample("theta", prior)
        with pyro.plate("data", len(data)):
            pyro.sample("y", dist.Normal(theta, scale), obs=data)

    settings = {"chains": 256, "warmup": 200, "draws": 100, "progress": False} | settings
    return sample(Density.from_model(model), generator=torch.Generator().manual_seed(0), **settings)["theta"]


def normal_evidence(data, scale, spread):
    """p(data) where θ ~ N(0, spread²)."""
    n = len(data)
    covariance = scale**2 * np.eye(n) + spread**2 * np.ones((n, n))
    return scipy.stats.multivariate_normal(np.zeros(n), covariance).pdf(data.numpy())


@pytest.mark.parametrize("data", [[0.4, -0.1, 0.3], [0.9, 1.2, 0.8]])
def test_chains_find_how_probable_an_effect_is(data):
    """P(θ = 0 | data) of a point spike, in closed form, is the share of draws that are 0."""
    data, w, slab = torch.tensor(data), 0.4, 1.5
    spike, slab_evidence = (normal_evidence(data, 1.0, spread) for spread in (0.0, slab))
    expected = (1 - w) * spike / ((1 - w) * spike + w * slab_evidence)
    law = priors.SpikeAndSlab(w, slab=slab)
    theta = chains_on_a_mean(law, data, 1.0)
    assert (theta == 0).double().mean().item() == pytest.approx(expected, abs=0.02)
    weight = len(data) / (len(data) + 1 / slab**2)
    assert theta[theta != 0].mean().item() == pytest.approx(weight * float(data.mean()), abs=0.03)
    assert theta[theta != 0].std().item() == pytest.approx(math.sqrt(1 / (len(data) + 1 / slab**2)), abs=0.03)


def test_a_narrow_spike_has_its_posterior():
    data, w = torch.tensor([0.4, -0.1, 0.3]), 0.4
    law = priors.SpikeAndSlab(w, slab=1.5, spike=0.3)
    grid = torch.linspace(-6, 6, 20_001, dtype=double)
    mean, small = posterior_mean(law, data.double(), 1.0, grid)
    theta = chains_on_a_mean(law, data, 1.0)
    assert theta.mean().item() == pytest.approx(mean, abs=0.02)
    assert (theta.abs() < 0.1).double().mean().item() == pytest.approx(small, abs=0.02)
    evidence = [normal_evidence(data, 1.0, spread) for spread in (0.3, 1.5)]
    slab_share = w * evidence[1] / (w * evidence[1] + (1 - w) * evidence[0])
    assert law.log_odds(theta).sigmoid().mean().item() == pytest.approx(slab_share, abs=0.02)


def test_a_spike_and_slab_is_drawn_and_summed():
    point, narrow = priors.SpikeAndSlab(0.3, slab=2.0), priors.SpikeAndSlab(0.3, slab=2.0, spike=0.1)
    for law in (point, narrow):
        draws = law.sample((200_000,), generator=torch.Generator().manual_seed(1))
        laws.check_goodness_of_fit(draws, law.cdf)
        laws.check_moments(draws, 0.0, float(law.variance))
        laws.check_shapes(law, torch.float32)
    x = torch.linspace(-20, 20, 40_001, dtype=double)
    assert torch.trapezoid(narrow.log_prob(x).exp(), x).item() == pytest.approx(1, abs=1e-6)
    beside = x + 1e-9
    assert torch.trapezoid(point.log_prob(beside).exp(), beside).item() == pytest.approx(0.3, abs=1e-6)
    assert point.log_prob(torch.tensor(0.0)).exp().item() == pytest.approx(0.7)
    z = torch.linspace(-6, 6, 101, dtype=double)
    values = point.at_normal_scores(z)
    there = values != 0
    torch.testing.assert_close(point.cdf(values)[there], torch.special.ndtr(z)[there], rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(point.normal_scores(values)[there], z[there], rtol=1e-6, atol=1e-9)
    assert (values == 0).double().mean().item() == pytest.approx(
        17 / 101, abs=0.005
    )  # |z| < 1.0364, where Φ(z) is 0.85


def test_a_point_is_refused_where_chains_would_not_find_it():
    law = priors.SpikeAndSlab(0.5)
    with pytest.raises(ValueError, match="has an atom"):
        Density.from_distribution(law)

    def scaled():
        with pyro.poutine.scale(scale=0.5):
            pyro.sample("theta", law)

    with pytest.raises(ValueError, match="site 'theta', scaled"):
        Density.from_model(scaled)
    torch.manual_seed(0)
    vae = models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)), prior=law)
    with pytest.raises(ValueError, match="site 'z' should have a density everywhere"):
        vae.posterior(torch.randn(4, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inclusion": 1.5}, "inclusion"),
        ({"slab": 0.0}, "slab"),
        ({"spike": torch.tensor([0.0, 0.1])}, "for all"),
    ],
)
def test_numbers_of_no_law_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        priors.SpikeAndSlab(**arguments)


def test_how_probable_effects_are_may_be_learned():
    """The inclusion is a latent site: many chains in one run, and the prior's own mean share of zeros."""

    def model():
        w = pyro.sample("w", dist.Beta(2.0, 6.0))
        with pyro.plate("effects", 3):
            pyro.sample("effect", priors.SpikeAndSlab(w, slab=2.0))

    density = Density.from_model(model)
    assert density.vectorised
    settings = {"chains": 256, "warmup": 200, "draws": 50, "seed": 0, "progress": False}
    effect = sample(density, **settings)["effect"]
    assert (effect == 0).double().mean().item() == pytest.approx(0.75, abs=0.02)
    assert effect[effect != 0].std().item() == pytest.approx(2.0, abs=0.1)
