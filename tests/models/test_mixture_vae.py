"""Classes without labels: the evidence of a mixture of linear models, sums over classes, quadrature."""

import logging

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import probgen as pg
from probgen import nets
from probgen.capture.captured_loss import CapturedLoss
from probgen.evaluation.likelihood.importance import log_likelihoods
from probgen.models import MixtureVAE
from probgen.objectives import ELBO, IWAE
from probgen.priors import NormalMixture

CLASSES, NOISE = 3, 0.4
WEIGHT = torch.tensor([[1.0, 0.5], [-0.5, 1.0], [0.3, -0.8], [0.0, 1.2]], dtype=torch.float64)


class Linear(nn.Module):
    """z ↦ N(Wz, σ²)."""

    def forward(self, z):
        return dist.Normal(z @ WEIGHT.to(z).T, NOISE).to_event(1)


class Exact(nn.Module):
    """The posterior of a mixture of linear models: p(k | x), and p(z | x, k)."""

    def __init__(self, prior, of):
        super().__init__()
        self.prior, self.of = prior, of

    def evidence(self, x):
        """Return log w_k + log p(x | k), (n, K)."""
        w, variances = WEIGHT.to(x), (2 * self.prior.log_scale).exp()
        covariance = w * variances[:, None, :] @ w.T + NOISE**2 * torch.eye(4).to(x)
        law = torch.distributions.MultivariateNormal(self.prior.loc @ w.T, covariance)
        return self.prior.logits.log_softmax(0) + law.log_prob(x[:, None])

    def forward(self, x, k=None):
        if self.of == "k":
            return dist.Categorical(logits=self.evidence(x))
        w, precision = WEIGHT.to(x), (-2 * self.prior.log_scale).exp()
        whole = precision.diag_embed() + w.T @ w / NOISE**2
        linear = (precision * self.prior.loc)[k] + x @ w / NOISE**2
        mean = torch.linalg.solve(whole[k], linear[..., None])[..., 0]
        return dist.MultivariateNormal(mean, precision_matrix=whole[k])


def mixture(device):
    prior = NormalMixture(2, CLASSES)
    with torch.no_grad():
        prior.loc.copy_(torch.tensor([[2.0, 0.0], [-1.5, 1.0], [0.0, -2.0]]))
        prior.log_scale.copy_(torch.tensor([[0.0, -0.5], [-1.0, 0.2], [0.3, -0.3]]))
        prior.logits.copy_(torch.tensor([0.3, -0.2, 0.5]))
    return prior.double().to(device)


@pytest.mark.parametrize("particles", [1, 3])
def test_by_the_posterior_the_bound_is_the_evidence(particles, device):
    """Whatever is drawn: Σ_k q(k) log p(x | k) − KL(q(k) ‖ w) = log p(x), as each importance weight is."""
    prior = mixture(device)
    pair = MixtureVAE(Exact(prior, "k"), Exact(prior, "z"), Linear(), prior)
    x = pair.sample(50, seed=1)
    exact = Exact(prior, "k").evidence(x).logsumexp(1)
    loss, terms = pg.SVI(pair, ELBO(particles=particles))(x)
    torch.testing.assert_close(-loss, exact.mean())
    assert terms["kl/k"] > 0.1
    torch.testing.assert_close(log_likelihoods(pair, x, particles=particles, seed=0), exact)


def learned(device, latent=1, classes=CLASSES):
    torch.manual_seed(0)
    encoder = nets.Joined(
        nets.MLP(5 + classes, latent, hidden=6), nets.MLP(4, 5, hidden=6), nets.OneHot(classes)
    )
    pair = MixtureVAE(
        nets.ClassHead(nets.MLP(4, classes, hidden=6)),
        nets.NormalHead(encoder),
        nets.NormalHead(nets.MLP(latent, 4, hidden=6), scale="shared"),
        NormalMixture(latent, classes),
    )
    with torch.no_grad():
        for weight in pair.parameters():
            weight += 0.3 * torch.randn_like(weight)
    return pair.double().to(device)


def test_both_divergences_are_those_of_sums_and_quadrature(device):
    pair, x = learned(device), torch.randn(6, 4, dtype=torch.float64, device=device)
    _, terms = pg.SVI(pair)(x)
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64, device=device)
    kl_k, kl_z = 0.0, 0.0
    with torch.no_grad():
        q, w = pair.classifier(x).probs, pair.prior.logits.softmax(0)
        for k in range(CLASSES):
            kl_k = kl_k + q[:, k] * (q[:, k] / w[k]).log()
            law = pair.encoder(x, torch.full((6,), k, device=device))
            log_q = law.log_prob(grid[:, None, None].expand(-1, 6, 1))
            log_p = pair.component(torch.tensor(k, device=device)).log_prob(grid[:, None])[:, None]
            kl_z = kl_z + q[:, k] * torch.trapezoid(log_q.exp() * (log_q - log_p), grid, dim=0)
    assert terms["kl/k"].item() == pytest.approx(kl_k.mean().item(), abs=1e-9)
    assert terms["kl/z"].item() == pytest.approx(kl_z.mean().item(), abs=1e-8)


def test_classes_enumerated_are_the_sum_over_classes(device):
    """By hand, with the draws of z that the bound takes."""
    pair, x = learned(device, latent=2), torch.randn(7, 4, dtype=torch.float64, device=device)
    torch.manual_seed(3)
    loss, terms = pg.SVI(pair)(x)
    torch.manual_seed(3)
    z = pair.encoder(x, torch.arange(CLASSES, device=device)[:, None]).rsample()
    q, total = pair.classifier(x), 0.0
    for k in range(CLASSES):
        of_class = torch.full((7,), k, device=device)
        kl = torch.distributions.kl_divergence(
            pair.encoder(x, of_class).base_dist, pair.component(of_class).base_dist
        ).sum(-1)
        bound = pair.decoder(z[k]).log_prob(x) - kl + pair.prior.logits.log_softmax(0)[k] - q.logits[:, k]
        total = total + q.probs[:, k] * bound
    torch.testing.assert_close(loss, -total.mean())
    torch.testing.assert_close(terms["elbo"], total.mean().detach())
    for found, wanted in zip(
        torch.autograd.grad(loss, list(pair.parameters())),
        torch.autograd.grad(-total.mean(), list(pair.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted)
        assert found.abs().sum() > 0


def test_codes_are_a_mixture_and_the_posterior_has_no_class(device):
    pair, x = learned(device), torch.randn(5, 4, dtype=torch.float64, device=device)
    law = pair.encode(x)
    grid = torch.linspace(-30, 30, 60_001, dtype=torch.float64, device=device)
    density = law.log_prob(grid[:, None, None].expand(-1, 5, 1)).exp()
    torch.testing.assert_close(torch.trapezoid(density, grid, dim=0), torch.ones(5).to(x))
    torch.testing.assert_close(torch.trapezoid(density * grid[:, None], grid, dim=0), law.mean[:, 0])
    target = pair.posterior(x)
    assert target.names == ("z",)
    z = torch.randn(3, 5, 1, dtype=torch.float64, device=device)
    prior = pair.prior().log_prob(z)
    torch.testing.assert_close(target.log_prob(z), prior + pair.decode(z).log_prob(x))
    assert pair.classify(x).probs.shape == (5, CLASSES)


def test_the_loss_is_captured_to_the_same_bits_and_draws_follow_their_seed(device, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        pair = learned(device, latent=2)
        loss_of = CapturedLoss(pg.SVI(pair), mode)
        optimizer = torch.optim.SGD(pair.parameters(), lr=1e-3)
        torch.manual_seed(7)
        with caplog.at_level(logging.WARNING):
            for x in torch.randn(4, 9, 4, dtype=torch.float64, device=device):
                loss, terms = loss_of(x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *pair.parameters()])
        assert loss_of.mode == mode
    assert not caplog.records
    for eager, captured in zip(*outcomes, strict=True):
        assert torch.equal(eager, captured)
    assert torch.equal(pair.sample(9, seed=1), pair.sample(9, seed=1))
    assert not torch.equal(pair.sample(9, seed=1), pair.sample(9, seed=2))


def test_bad_input_is_named(device):
    pair = learned(device)
    with pytest.raises(ValueError, match="a class for each of the 2 laws of prior but has 3"):
        MixtureVAE(pair.classifier, pair.encoder, pair.decoder, NormalMixture(1, 2))
    with pytest.raises(ValueError, match="the guide needs x"):
        pair.guide()
    with pytest.raises(ValueError, match="guide site 'k' should be reparameterised but Categorical has no"):
        pg.SVI(pair, IWAE(3))(torch.randn(2, 4, dtype=torch.float64, device=device))
