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
from probgen.models import VAE
from probgen.objectives import BetaELBO
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
        return dist.Normal(self.linear(a), torch.as_tensor(self.log_scale).exp().to(a)).to_event(1)


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
