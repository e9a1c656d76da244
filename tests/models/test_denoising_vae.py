"""The denoising VAE: its bound in closed form for linear normal laws; the clean guide in evaluation."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import SVI, data, nets
from probgen.evaluation import log_likelihood
from probgen.models import VAE, DenoisingVAE

SIGMA = 0.7


class LinearNormal(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.outputs = outputs

    def forward(self, x):
        return dist.Normal(self.linear(x), 0.6).to_event(1)


@pytest.fixture
def vae(device):
    torch.manual_seed(0)
    made = DenoisingVAE(LinearNormal(3, 2), LinearNormal(2, 3), corruption=data.GaussianNoise(SIGMA))
    return made.to(device).double()


@pytest.fixture
def x(device):
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(device)


def test_the_bound_lies_below_that_of_the_clean_guide_by_what_the_noise_costs(vae, x):
    """log p(x, z) is quadratic in z, so noise of covariance σ²AAᵀ in its mean costs ½ σ² tr AᵀMA.

    A is the encoder's matrix and M = I + WᵀW/s² the posterior's precision. At 4 standard errors; the cost is
    a hundred of them.
    """
    loss, _ = SVI(vae.eval())(x.repeat(20_000, 1))
    clean = -float(loss.detach())
    loss, _ = SVI(vae.train())(x.repeat(20_000, 1))
    denoising = -float(loss.detach())
    a, w = vae.encoder.linear.weight.detach(), vae.decoder.linear.weight.detach()
    precision = torch.eye(2).to(w) + w.T @ w / 0.6**2
    cost = 0.5 * SIGMA**2 * float(torch.trace(a.T @ precision @ a))
    error = 4 * 3 / 120_000**0.5  # a bound of one draw has a standard deviation below 3
    assert cost > 5 * error
    assert clean - denoising == pytest.approx(cost, abs=2 * error)
    evidence = log_likelihood(vae, x, particles=4000, seed=0)
    assert denoising < clean < evidence.value + 4 * evidence.stderr


def test_in_evaluation_it_is_the_vae(vae, x):
    clean = VAE(vae.encoder, vae.decoder)
    torch.testing.assert_close(vae.train().encode(x).mean, clean.encode(x).mean)
    both = [log_likelihood(pair, x, particles=50, seed=0).value for pair in (vae, clean)]
    assert both[0] == both[1]
    torch.manual_seed(1)
    first = vae.eval().guide(x)
    torch.manual_seed(1)
    assert torch.equal(first, clean.guide(x))
    torch.manual_seed(1)
    assert not torch.equal(first, vae.train().guide(x))


def test_bad_input_is_named(vae):
    with pytest.raises(TypeError, match=r"corruption should be a function of data, .* but is a float"):
        DenoisingVAE(nets.NormalHead(nets.MLP(3, 2)), nets.NormalHead(nets.MLP(2, 3)), corruption=0.3)
    with pytest.raises(ValueError, match="the guide needs x"):
        vae.guide()
