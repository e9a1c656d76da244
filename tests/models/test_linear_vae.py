"""The linear VAE of fixed noise: which coordinates of its code are active, and what each costs, is known.

With decoder N(Wz + b, σ²I), linear encoder and KL weight β, coordinate i is active iff the i-th eigenvalue of
the data's covariance λ_i > βσ², and then its KL is ½ log(λ_i/βσ²); at β = 1 the bound is the exact evidence
(Lucas, Tucker, Grosse and Norouzi, 2019, Don't blame the ELBO! for β = 1).
"""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import SVI, fit
from probgen.data import digits as load_digits
from probgen.models import VAE
from probgen.objectives import IWAE, BetaELBO
from probgen.training import schedules

EIGENVALUES = torch.tensor([4.0, 2.0, 0.8, 0.3, 0.1], dtype=torch.float64)
NOISE = 0.5
"""σ²."""


class Linear(nn.Module):
    """a ↦ N(Wa + b, diag(s²)), s learned or given."""

    def __init__(self, inputs, outputs, scale=None):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.log_scale = nn.Parameter(torch.zeros(outputs)) if scale is None else math.log(scale)
        self.outputs = outputs

    def forward(self, a):
        scale = torch.as_tensor(self.log_scale, dtype=a.dtype, device=a.device).exp()
        return dist.Normal(self.linear(a), scale).to_event(1)


def data(device):
    """Return rows whose covariance has exactly these eigenvalues, turned out of the axes."""
    raw = torch.randn(1000, 5, dtype=torch.float64)
    raw = raw - raw.mean(0)
    white = raw @ torch.linalg.inv(torch.linalg.cholesky(raw.T @ raw / len(raw))).T
    turn, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    return (white * EIGENVALUES.sqrt() @ turn.T).to(device)


def evidence(active):
    """Return the mean log p(x) of the data at the best weights, with so many active coordinates."""
    inactive = len(EIGENVALUES) - active
    fitted = EIGENVALUES[:active].log().sum() + inactive * math.log(NOISE)
    traces = active + EIGENVALUES[active:].sum() / NOISE
    return -0.5 * float(len(EIGENVALUES) * math.log(2 * math.pi) + fitted + traces)


@pytest.mark.parametrize(("beta", "active"), [(1.0, 3), (2.0, 2)])
def test_coordinates_are_active_above_the_threshold_and_cost_what_is_known(beta, active, device):
    x = data(device)
    vae = VAE(Linear(5, 4), Linear(4, 5, math.sqrt(NOISE))).double().to(device)
    svi = SVI(vae, BetaELBO(beta)).to(device)
    rate = {"lr": schedules.cosine(0.1, 1e-3, steps=120)}
    fit(svi, x, steps=120, batch_size=1000, schedules=rate, seed=0, progress=False)
    with torch.no_grad():
        terms = [svi(x)[1] for _ in range(20)]
        law = vae.encoder(x)
    kl = (
        0.5 * (law.mean.square() + law.variance - 1 - law.variance.log()).mean(0).sort(descending=True).values
    )
    expected = 0.5 * (EIGENVALUES[:4] / (beta * NOISE)).log().clamp(min=0)
    torch.testing.assert_close(kl.cpu(), expected, atol=0.02, rtol=0)
    assert int(terms[0]["active"]) == active
    # The noise of 20 bounds is 0.01 nats.
    found = float(torch.stack([t["elbo"] for t in terms]).mean())
    if beta == 1:
        assert found == pytest.approx(evidence(active), abs=0.02)
    else:
        assert found < evidence(3) - 0.1  # a bound weighted otherwise has another best


def at_the_best_weights(x, latent, level, noise):
    """Return the VAE at its best weights for a KL weighted by level / σ², and the eigenvalues of the data."""
    eigenvalues, axes = torch.linalg.eigh(torch.cov(x.T, correction=0))
    eigenvalues, axes = eigenvalues.flip(0), axes.flip(1)[:, :latent]
    above = (eigenvalues[:latent] - level).clamp(min=0)
    share = above / eigenvalues[:latent]  # Var μ_i = 1 − βσ²/λ_i
    vae = VAE(Linear(x.shape[1], latent), Linear(latent, x.shape[1], math.sqrt(noise))).double()
    with torch.no_grad():
        vae.decoder.linear.weight.copy_(axes * above.sqrt())
        vae.decoder.linear.bias.copy_(x.mean(0))
        vae.encoder.linear.weight.copy_((share / above.sqrt()).nan_to_num()[:, None] * axes.T)
        vae.encoder.linear.bias.copy_(-vae.encoder.linear.weight @ x.mean(0))
        vae.encoder.log_scale.copy_(0.5 * (1 - share).log())
    return vae, eigenvalues


def test_on_digits_the_bound_at_the_best_weights_is_the_evidence_to_the_last_digits():
    """There the guide is the posterior, so that each draw of an importance weight is p(x)."""
    digits = load_digits()
    x = torch.cat([digits.train, digits.test]).double()
    noise, latent, size = 0.2, 10, x.shape[1]
    vae, eigenvalues = at_the_best_weights(x, latent, noise, noise)
    k = int((eigenvalues > noise).sum())
    log_det = eigenvalues[:k].log().sum() + (size - k) * math.log(noise)
    evidence = -0.5 * float(size * math.log(2 * math.pi) + log_det + k + eigenvalues[k:].sum() / noise)
    assert (k, evidence) == (7, pytest.approx(-17.3517, abs=1e-4))
    for particles in (1, 3):
        assert -SVI(vae, IWAE(particles))(x)[0].item() == pytest.approx(evidence, abs=1e-9)
    bound = SVI(vae)
    terms = bound(x)[1]
    expected = 0.5 * (eigenvalues[:latent] / noise).log().clamp(min=0)
    assert float(terms["kl"]) == pytest.approx(float(expected.sum()), abs=1e-9)
    assert int(terms["active"]) == 6  # the seventh has 0.006 nats, less than the 0.01 that count
    # And no weight wants to go elsewhere: over 200 draws each gradient is 0 but for its noise.
    gradients = []
    for _ in range(200):
        vae.zero_grad()
        bound(x)[0].backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in vae.parameters()]))
    found = torch.stack(gradients)
    scores = found.mean(0) / (found.std(0) / 200**0.5).clamp(min=1e-9)
    assert scores.square().mean() < 1.5


def test_on_digits_a_weighted_bound_has_the_best_weights_that_are_known():
    """At σ² = .05 and β = 4 the KL is that at σ² = .2 and β = 1."""
    digits = load_digits()
    x = torch.cat([digits.train, digits.test]).double()
    vae, eigenvalues = at_the_best_weights(x, 10, 0.2, 0.05)
    terms = SVI(vae, BetaELBO(4.0))(x)[1]
    expected = 0.5 * (eigenvalues[:10] / 0.2).log().clamp(min=0)
    assert float(terms["kl"]) == pytest.approx(float(expected.sum()), abs=1e-9)
