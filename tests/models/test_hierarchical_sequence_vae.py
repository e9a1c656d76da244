"""The conductor over bars: padding, what a step may know, evidence by quadrature, draws of its own law."""

import math

import pyro.distributions as dist
import pytest
import torch

from probgen import SVI, fit
from probgen.data import Ragged
from probgen.evaluation.likelihood.importance import log_likelihoods
from probgen.models import HierarchicalSequenceVAE
from probgen.nets import GRU, MLP, BernoulliHead, History, Joined, NormalHead, SequenceReader
from probgen.objectives import ELBO, IWAE

LENGTHS = torch.tensor([5, 1, 3])


def vae(size=2, latent=1, bar=2, seed=0):
    torch.manual_seed(seed)
    return HierarchicalSequenceVAE(
        NormalHead(SequenceReader(size, latent, width=4)),
        conductor=GRU(latent, 3),
        history=History(GRU(size + 3, 4)),
        decoder=BernoulliHead(Joined(MLP(4 + 3, size, hidden=8))),
        bar=bar,
    ).double()


def data(rows=3, size=2):
    x = (torch.rand(rows, 5, size, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    return torch.where(torch.arange(5)[:, None] < LENGTHS.repeat(rows // 3)[:, None, None], x, 0.0)


@pytest.mark.parametrize("elbo", [ELBO(), IWAE(4)], ids=["elbo", "iwae"])
def test_bounds_do_not_change_with_padding_or_company(elbo):
    pair, x = vae().eval(), data()
    found = []
    for batch in ((x, LENGTHS), (torch.cat([x, torch.ones(3, 4, 2).double()], 1), LENGTHS)):
        torch.manual_seed(1)
        loss, terms = SVI(pair, elbo)(*batch)
        found.append(float(loss.detach()))
        assert float(terms["nats_per_step"][1]) == 3.0
    assert found[0] == pytest.approx(found[1], abs=1e-10)
    law = pair._law(torch.ones(3, 1).double(), x, LENGTHS)
    alone = pair._law(torch.ones(1, 1).double(), x[2:, :3], LENGTHS[2:])
    torch.testing.assert_close(law.log_prob(x)[2:], alone.log_prob(x[2:, :3]))
    torch.testing.assert_close(pair.encode(x, LENGTHS).mean[2:], pair.encode(x[2:, :3], LENGTHS[2:]).mean)


def test_a_step_knows_its_code_and_its_bar_alone():
    pair, x = vae().eval(), data()
    z = torch.zeros(3, 1, dtype=torch.float64)
    logits = pair._law(z, x).base_dist.logits
    for t in range(5):
        changed = x.clone()
        changed[:, t] = 1 - changed[:, t]
        moved = (pair._law(z, changed).base_dist.logits - logits).abs().amax((0, 2)) > 1e-9
        same_bar = {1} if t == 0 else {3} if t == 2 else set()
        assert set(moved.nonzero()[:, 0].tolist()) == same_bar
    other = (pair._law(z + 1, x).base_dist.logits - logits).abs().amax((0, 2))
    assert (other > 1e-9).all()


def test_the_likelihood_is_that_of_quadrature():
    pair, x = vae().eval(), data()
    z = torch.linspace(-8, 8, 801, dtype=torch.float64)[:, None]
    with torch.no_grad():
        each = z[:, None].expand(801, 3, 1)
        log_p = dist.Normal(0.0, 1.0).log_prob(z) + pair._law(each, x, LENGTHS).log_prob(x)
    exact = torch.logsumexp(log_p, 0) + math.log(16 / 800)
    estimates = torch.stack([log_likelihoods(pair, x, LENGTHS, particles=1000, seed=s) for s in range(5)])
    assert ((estimates.mean(0) - exact).abs() < 0.02).all()


def test_draws_have_the_law_that_is_scored():
    """Frequencies of sequences of 3 steps of one number against their mass: false alarms below 1e-3."""
    pair = vae(size=1, seed=3).eval()
    z = torch.full((4000, 1), 0.7, dtype=torch.float64)
    torch.manual_seed(0)
    draws = pair.drawn(z, torch.full((4000,), 3))
    for number in range(8):
        x = torch.tensor([number >> 2 & 1, number >> 1 & 1, number & 1], dtype=torch.float64)[None, :, None]
        mass = float(pair._law(z[:1], x).log_prob(x).exp().detach())
        share = float((draws == x).all(1).double().mean())
        assert abs(share - mass) < 4 * math.sqrt(mass * (1 - mass) / 4000)


def test_it_is_trained_drawn_and_refuses_what_it_cannot():
    pair = vae(latent=2, bar=4)
    x = data(30)
    ragged = Ragged([row[:n] for row, n in zip(x, LENGTHS.repeat(10).tolist(), strict=True)], multiple=4)
    before = [weight.detach().clone() for weight in pair.parameters()]
    fit(SVI(pair), ragged, steps=3, batch_size=10, seed=0, progress=False)
    assert all(not torch.equal(*two) for two in zip(before, pair.parameters(), strict=True))
    draws = pair.sample(3, LENGTHS, seed=0)
    assert draws.shape == (3, 5, 2)
    assert torch.equal(draws, pair.sample(3, LENGTHS, seed=0))
    assert not draws[1, 1:].any()
    with pytest.raises(ValueError, match="lengths of the sequences to be drawn should be given"):
        pair.sample(3)
    with pytest.raises(ValueError, match="bar should be at least 1"):
        vae(bar=0)
