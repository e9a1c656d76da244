"""A prior given a context, and the VAE of x given c, against conditional normal laws."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import SVI, fit, nets
from probgen.evaluation import log_likelihood
from probgen.models import VAE
from probgen.priors import Conditional
from probgen.training import schedules
from tests.pairs import ppca_best_evidence


class Linear(nn.Module):
    """(a, c) ↦ N(Wa + Vc + b, σ), with one σ for all coordinates or one each."""

    def __init__(self, inputs, outputs, scales):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.log_scale = nn.Parameter(torch.full((scales,), -0.5))
        self.outputs = outputs

    def forward(self, a, c):
        both = torch.cat([a, c.expand(*a.shape[:-1], -1)], -1)
        return dist.Normal(self.linear(both), self.log_scale.exp().expand(self.outputs)).to_event(1)


@pytest.fixture(scope="module")
def learned():
    """Data x | c ~ N(Bc, WWᵀ + σ²I), a linear conditional VAE learned from them, and what is left of x."""
    gen = torch.Generator().manual_seed(3)
    b, w = torch.randn(2, 5, generator=gen), 1.2 * torch.randn(2, 5, generator=gen)
    c, z, noise = (torch.randn(400, k, generator=gen) for k in (2, 2, 5))
    x = c @ b + z @ w + 0.5 * noise
    torch.manual_seed(0)
    prior = Conditional(nets.MLP(2, 2, hidden=()))
    vae = VAE(Linear(7, 2, 2), Linear(4, 5, 1), prior)
    fit(
        SVI(vae), (x, c), steps=160, batch_size=400, seed=1, progress=False,
        schedules={"lr": schedules.cosine(0.1, 1e-3, steps=160)},
    )  # fmt: skip
    design = torch.cat([c, torch.ones(400, 1)], 1)
    rest = x - design @ torch.linalg.lstsq(design, x).solution
    return vae, x, c, rest


def test_a_conditional_vae_learns_the_conditional_normal_law(learned):
    # The greatest likelihood: regression on c, and probabilistic PCA of what is left (Tipping and Bishop).
    vae, x, c, rest = learned
    best = ppca_best_evidence(rest.double(), 2)
    bound = torch.stack([SVI(vae)(x, c)[1]["elbo"] for _ in range(50)]).mean()
    assert float(bound) == pytest.approx(best, abs=0.05)
    value = log_likelihood(vae, (x, c), particles=50, seed=0).value
    assert value == pytest.approx(best, abs=0.05)
    draws = vae.sample(20_000, c[:1].expand(20_000, -1), seed=0)
    expected = torch.cat([c[:1], torch.ones(1, 1)], 1)
    design = torch.cat([c, torch.ones(400, 1)], 1)
    centre = expected @ torch.linalg.lstsq(design, x).solution
    torch.testing.assert_close(draws.mean(0, keepdim=True), centre, atol=0.1, rtol=0)


def test_both_the_context_and_the_code_count(learned):
    # Each costs nats when it is another datum's: the same check for any conditional pair.
    vae, x, c, _ = learned
    other = torch.arange(400).roll(1)
    right = log_likelihood(vae, (x, c), particles=20, seed=0).value
    wrong_context = log_likelihood(vae, (x, c[other]), particles=20, seed=0).value
    assert right - wrong_context > 1
    codes = vae.encode(x, c).mean
    own = vae.decode(codes, c).log_prob(x).mean()
    wrong_code = vae.decode(codes[other], c).log_prob(x).mean()
    assert own - wrong_code > 1


def test_it_starts_at_the_standard_normal_and_knows_contexts_of_both_kinds():
    labels = torch.tensor([0, 2, -1])
    prior = Conditional(nets.Joined(nets.MLP(3, 4), nets.OneHot(3)))
    law = prior(labels)
    assert (law.batch_shape, law.event_shape) == ((3,), (4,))
    assert torch.equal(law.mean, torch.zeros(3, 4))
    assert torch.equal(law.stddev, torch.ones(3, 4))
    law.mean.sum().backward()
    assert prior.net.net.last.weight.grad.abs().sum() > 0  # it can leave
    assert prior.outputs == 4


def test_bad_input_is_named():
    with pytest.raises(TypeError, match=r"end in an nn.Linear, as nets.MLP does, but is a Identity"):
        Conditional(nn.Identity())
    prior = Conditional(nets.Joined(nets.MLP(3, 2), nets.OneHot(3)))
    with pytest.raises(ValueError, match="labels should be 0 to 2, or -1 where missing, but hold 3"):
        prior(torch.tensor([0, 3]))
