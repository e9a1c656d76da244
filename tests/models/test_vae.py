"""The VAE: its posterior as a density, its draws, its bound."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import SVI, fit
from probgen.evaluation import log_likelihood
from probgen.models import VAE
from probgen.nets import NormalHead
from probgen.priors import StandardNormal
from tests.pairs import LinearGaussian, ppca_best_evidence


class LinearNormal(nn.Module):
    """x ↦ N(Wx + b, σ), a conditional with one matrix."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.log_scale = nn.Parameter(torch.full((outputs,), -0.5))
        self.outputs = outputs

    def forward(self, x):
        return dist.Normal(self.linear(x), self.log_scale.exp()).to_event(1)


class ScalarNoise(LinearNormal):
    """The same with one scale for all coordinates, as in probabilistic PCA."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.log_scale = nn.Parameter(torch.tensor(-0.5))


def make(device):
    return VAE(encoder=LinearNormal(3, 2), decoder=ScalarNoise(2, 3)).to(device).double()


def exact(vae):
    """Return the pair of the same model with the closed forms."""
    pair = LinearGaussian().to(vae.decoder.log_scale.device).double()
    pair.weight, pair.bias = vae.decoder.linear.weight, vae.decoder.linear.bias
    pair.log_sigma = vae.decoder.log_scale
    return pair


def test_a_linear_vae_reproduces_the_evidence_of_probabilistic_pca(device):
    gen = torch.Generator().manual_seed(1)
    x = torch.randn(400, 2, generator=gen) @ torch.randn(2, 3, generator=gen)
    x = (x + 0.4 * torch.randn(400, 3, generator=gen)).double().to(device)
    vae = make(device)
    adam = torch.optim.Adam(vae.parameters(), lr=0.02)
    fit(SVI(vae), x, steps=2500, batch_size=400, optimizer=adam, seed=0, progress=False)
    estimate = log_likelihood(vae, x, particles=500, seed=0)
    evidence = float(exact(vae).evidence(x).mean().detach())
    assert estimate.value == pytest.approx(evidence, abs=0.01)
    best = ppca_best_evidence(x.cpu(), 2)
    assert best - 0.03 < evidence <= best + 1e-9


def test_the_posterior_is_the_joint_density_of_each_datum(device):
    vae = make(device)
    x = torch.randn(4, 3, dtype=torch.float64, device=device)
    density = vae.posterior(x)
    assert (density.batch_shape, density.dim, density.names) == ((4,), 2, ("z",))
    assert (density.dtype, density.device.type) == (x.dtype, x.device.type)
    z = torch.randn(7, 4, 2, dtype=torch.float64, device=device)
    posterior = exact(vae).exact_posterior(x)
    difference = density.log_prob(z) - posterior.log_prob(z)  # log p(x), the same for all z
    torch.testing.assert_close(difference, exact(vae).evidence(x).expand(7, 4))
    torch.testing.assert_close(density.unconstrained_log_prob(z), density.log_prob(z))


def test_draws_follow_their_seed_and_leave_the_global_noise_alone(device):
    vae = make(device)
    before = torch.get_rng_state()
    first, second, other = (vae.sample(5, seed=s) for s in (1, 1, 2))
    assert first.shape == (5, 3)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())
    assert not first.requires_grad


def test_codes_and_means(device):
    vae = make(device)
    x = torch.randn(4, 3, dtype=torch.float64, device=device)
    torch.testing.assert_close(vae.encode(x).mean, vae.encoder.linear(x).detach())
    torch.testing.assert_close(vae.decode(vae.encode(x).mean).mean.shape, x.shape)


class OfContext(LinearNormal):
    """The same of x and one coordinate of context."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs + 1, outputs)

    def forward(self, x, context):
        return super().forward(torch.cat([x, context], -1))


def test_the_standard_normal_prior_serves_any_context(device):
    vae = VAE(encoder=OfContext(3, 2), decoder=OfContext(2, 3)).to(device)
    batch = torch.randn(5, 3, device=device), torch.randn(5, 1, device=device)
    loss, _ = SVI(vae)(*batch)
    assert loss.isfinite()
    assert vae.sample(5, batch[1]).shape == (5, 3)


def test_bad_input_is_named(device):
    vae = make(device)
    with pytest.raises(ValueError, match="n should be at least 1 but got 0"):
        vae.sample(0)
    with pytest.raises(ValueError, match="the guide needs x"):
        vae.guide()
    with pytest.raises(TypeError, match="prior should be given"):
        VAE(encoder=nn.Identity(), decoder=nn.Identity())


def test_drawing_coding_and_decoding_are_in_evaluation_mode_and_leave_the_mode_as_it_was(device):
    encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4))
    decoder = nn.Sequential(nn.Linear(2, 6), nn.Dropout(0.5))
    vae = VAE(NormalHead(encoder), NormalHead(decoder), prior=StandardNormal(2)).to(device)
    vae.decoder.eval()
    before = {name: buffer.clone() for name, buffer in vae.named_buffers()}
    x, z = torch.randn(8, 3, device=device), torch.randn(8, 2, device=device)
    for call in (lambda: vae.encode(x).mean, lambda: vae.decode(z).mean, lambda: vae.sample(8, seed=0)):
        assert torch.equal(call(), call())
    assert all(torch.equal(buffer, before[name]) for name, buffer in vae.named_buffers())
    assert vae.encoder.training
    assert not vae.decoder.training
