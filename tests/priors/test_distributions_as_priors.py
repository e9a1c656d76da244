"""Mixtures and logit-normals, and distributions in the place of a prior's module."""

import math

import numpy as np
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch.distributions import Cauchy, Gamma, Laplace, MultivariateNormal, Normal

import probgen as pg
from probgen import models, nets, priors
from probgen.core import Density
from tests import laws

double = torch.float64


def test_a_mixture_of_several_families():
    law = priors.Mixture([Normal(0.0, 1.0), Cauchy(1.0, 3.0), Normal(5.0, 0.1)], [2.0, 1.0, 1.0])
    x = torch.linspace(-4, 9, 50, dtype=double)
    density = sum(
        w * scipy.stats.norm.pdf(x, *p) if kind == "n" else w * scipy.stats.cauchy.pdf(x, *p)
        for w, kind, p in ((0.5, "n", (0, 1)), (0.25, "c", (1, 3)), (0.25, "n", (5, 0.1)))
    )
    torch.testing.assert_close(law.log_prob(x).exp(), torch.as_tensor(density), rtol=1e-5, atol=1e-8)
    torch.manual_seed(0)
    draws = law.sample((200_000,))
    laws.check_goodness_of_fit(draws, law.cdf)
    laws.check_shapes(law, torch.float32)


def test_a_mixture_of_laws_on_other_intervals():
    law = priors.Mixture([Gamma(2.0, 1.0), dist.Uniform(-1.0, 1.0)], torch.tensor([0.5, 0.5]))
    assert law.support.lower_bound == -1
    x = torch.tensor([-0.5, 0.5, 2.0])
    expected = [0.25, 0.25 + 0.5 * 0.5 * math.exp(-0.5), 0.5 * 2 * math.exp(-2)]
    torch.testing.assert_close(law.log_prob(x).exp(), torch.tensor(expected))
    torch.testing.assert_close(law.cdf(x)[:1], torch.tensor([0.125]))
    torch.manual_seed(0)
    laws.check_goodness_of_fit(law.sample((100_000,)), law.cdf)
    position = torch.linspace(-3, 3, 7)[:, None]
    assert Density.from_distribution(law).unconstrained_log_prob(position).isfinite().all()


def test_a_mixture_has_the_moments_of_its_parts():
    law = priors.Mixture([Normal(-1.0, 1.0), Laplace(2.0, 0.5)], [0.25, 0.75])
    assert law.mean.item() == pytest.approx(-0.25 + 1.5)
    assert law.variance.item() == pytest.approx(0.25 * (1 + 2.25**2) + 0.75 * (0.5 + 0.75**2))
    vectors = [MultivariateNormal(torch.full((2,), m), torch.eye(2)) for m in (-1.0, 1.0)]
    both = priors.Mixture(vectors, [0.5, 0.5])
    assert both.event_shape == (2,)
    assert both.sample((5,)).shape == (5, 2)
    torch.testing.assert_close(both.variance, torch.full((2,), 2.0))


@pytest.mark.parametrize(
    ("parts", "weights", "message"),
    [
        ([Normal(0.0, 1.0)], [0.5, 0.5], "one for each of 1 laws"),
        ([Normal(0.0, 1.0)] * 2, [0.5, -0.5], "at least 0"),
        ([Normal(0.0, 1.0)] * 2, [1.0, float("inf")], "finite"),
        ([Normal(0.0, 1.0), MultivariateNormal(torch.zeros(2), torch.eye(2))], [0.5, 0.5], "one event shape"),
        ([dist.Poisson(1.0), Normal(0.0, 1.0)], [0.5, 0.5], "continuous"),
    ],
)
def test_mixtures_of_no_law_are_refused(parts, weights, message):
    with pytest.raises(ValueError, match=message):
        priors.Mixture(parts, weights)


def test_the_logit_normal():
    law = priors.LogitNormal(0.4, 1.5)
    x = torch.linspace(0.01, 0.99, 21, dtype=double)
    logit = x.log() - (-x).log1p()
    density = scipy.stats.norm.pdf(logit, 0.4, 1.5) / (x * (1 - x)).numpy()
    torch.testing.assert_close(law.log_prob(x).exp(), torch.as_tensor(density), rtol=1e-5, atol=1e-7)
    grid = torch.as_tensor(np.linspace(0, 1, 200_001)[1:-1])
    weight = law.log_prob(grid).exp()
    mean = torch.trapezoid(weight * grid, grid)
    assert torch.trapezoid(weight, grid).item() == pytest.approx(1, abs=1e-6)
    assert law.mean.item() == pytest.approx(mean.item(), abs=1e-6)
    assert law.variance.item() == pytest.approx(
        torch.trapezoid(weight * (grid - mean) ** 2, grid).item(), abs=1e-6
    )
    torch.manual_seed(0)
    laws.check_goodness_of_fit(law.sample((100_000,)), law.cdf)
    laws.check_shapes(priors.LogitNormal(torch.tensor([0.0, 1.0]), 1.0), torch.float32)
    far = Density.from_distribution(law).unconstrained_log_prob(torch.tensor([[60.0]]))
    assert far.item() == pytest.approx(scipy.stats.norm.logpdf(60, 0.4, 1.5), rel=1e-5)  # to the end


LAWS = {
    "of one number": priors.from_quantiles({0.05: -1, 0.5: 0.6, 0.95: 3}),
    "of torch": Laplace(0.0, 1.0),
    "a law for each": Normal(torch.zeros(2), torch.tensor([1.0, 2.0])),
    "of vectors": MultivariateNormal(torch.zeros(2), torch.eye(2)),
    "a mixture": priors.Mixture([Normal(-2.0, 0.5), Normal(2.0, 0.5)], [0.5, 0.5]),
    "a horseshoe": priors.Horseshoe(0.5),
    "a table": priors.from_table([-4.0, 0.0, 4.0], [0.0, 1.0, 0.0]),
    "spike and slab": priors.SpikeAndSlab(0.5, spike=0.1),
}


def vae_with(prior):
    torch.manual_seed(0)
    return models.VAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)), prior=prior)


@pytest.mark.parametrize("name", [name for name in LAWS if name != "a table"])
def test_a_vae_takes_a_distribution_for_its_prior(name):
    vae, x = vae_with(LAWS[name]), torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    history = pg.fit(pg.SVI(vae), x, steps=3, batch_size=8, seed=1, progress=False)
    assert math.isfinite(history.values("loss")[-1])
    assert vae.sample(4, seed=1).shape == (4, 3)
    law = vae.prior()
    z = torch.tensor([[0.3, -0.2]])
    single = LAWS[name].log_prob(z) if LAWS[name].event_shape else LAWS[name].log_prob(z).sum(-1)
    torch.testing.assert_close(law.log_prob(z), single)


def test_a_prior_that_is_a_distribution_moves_with_its_model():
    for name, law in LAWS.items():
        wide = priors.Given(law, dim=2).double()()
        assert wide.log_prob(torch.tensor([[0.3, -0.2]], dtype=double)).dtype == double
        if name != "a table":  # whose closures keep their own numbers
            assert wide.sample().dtype == double
    moved = priors.Given(priors.LogitNormal(torch.zeros(2), 1.0)).to("meta")()
    assert moved.base_dist.base_dist.loc.is_meta


@pytest.mark.parametrize(
    ("law", "error", "message"),
    [
        (3.0, TypeError, "a distribution, or a module"),
        (Normal(torch.tensor(0.0, requires_grad=True), 1.0), ValueError, "should not need gradients"),
        (MultivariateNormal(torch.zeros(3), torch.eye(3)), ValueError, r"event shape \(2,\)"),
        (Normal(torch.zeros(3), 1.0), ValueError, r"event shape \(2,\)"),
    ],
)
def test_priors_that_cannot_be_are_refused(law, error, message):
    with pytest.raises(error, match=message):
        vae_with(law)
