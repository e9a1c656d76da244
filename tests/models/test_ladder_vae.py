"""Many levels of codes: the evidence by draws of the story; a guide that adds nothing is the prior."""

import logging
import math

import pytest
import torch
from torch import nn

import probgen as pg
from probgen import nets
from probgen.capture.captured_loss import CapturedLoss
from probgen.evaluation import log_likelihood
from probgen.models import LadderVAE


def ladder(*, learned=True, latent=(3, 2, 1)):
    torch.manual_seed(0)
    up = [nets.MLP(size, 8, hidden=8) for size in (2, 8, 8)[: len(latent)]]
    decoder = nets.NormalHead(nets.MLP(8, 2, hidden=8), scale="shared")
    pair = LadderVAE(decoder, up, latent=latent, width=8)
    if learned:  # off the start, where priors are standard normal
        for name, weight in pair.named_parameters():
            if "scale" not in name:
                nn.init.normal_(weight, std=0.3)
    return pair


def test_importance_sampling_by_the_guide_gives_the_evidence(device):
    """The evidence is the mean of p(x | s) over codes drawn from the priors, level by level, by hand."""
    pair = ladder().to(device)
    x = torch.tensor([[0.5, -0.5], [1.0, 1.0]], device=device)
    with torch.no_grad():
        state = pair.start.expand(100_000, -1)
        for level in (2, 1, 0):
            z = pair.priors[level](state).sample()
            state = state + pair.down[level](torch.cat([z, state], -1))
        log_p = pair.decoder(state).log_prob(x[:, None])
    exact = (log_p.logsumexp(1) - math.log(100_000)).mean().item()
    assert log_likelihood(pair, x, particles=50_000, seed=0).value == pytest.approx(exact, abs=0.03)
    loss, terms = pg.SVI(pair, pg.objectives.ELBO(particles=2000))(x)
    assert -loss.item() < exact
    assert min(terms[f"kl/z{level}"] for level in (1, 2, 3)) > 0.01


def test_a_guide_that_adds_nothing_is_the_prior(device):
    pair = ladder().to(device)
    for residual in pair.residuals:
        for weight in residual.net.net.last.parameters():
            nn.init.zeros_(weight)
    _, terms = pg.SVI(pair)(torch.randn(6, 2, device=device))
    assert abs(terms["kl"]) < 1e-6


def test_every_weight_learns_and_the_loss_is_captured_to_the_same_bits(device, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        pair = ladder().to(device)
        loss_of = CapturedLoss(pg.SVI(pair), mode)
        optimizer = torch.optim.SGD(pair.parameters(), lr=0.01)
        torch.manual_seed(7)
        with caplog.at_level(logging.WARNING):
            for x in torch.randn(4, 9, 2, device=device):
                loss, terms = loss_of(x)
                optimizer.zero_grad()
                loss.backward()
                assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in pair.parameters())
                optimizer.step()
        outcomes.append([loss.detach(), *terms.values(), *pair.parameters()])
        assert loss_of.mode == mode
    assert not caplog.records
    for eager, captured in zip(*outcomes, strict=True):
        assert torch.equal(eager, captured)
    assert torch.equal(pair.sample(9, seed=1), pair.sample(9, seed=1))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="an entry for each level but have 1 and 2"):
        LadderVAE(nn.Identity(), [nn.Identity()], latent=(2, 2), width=3)
    with pytest.raises(ValueError, match="latent should be at least 1 but got 0"):
        LadderVAE(nn.Identity(), [nn.Identity()], latent=(0,), width=3)
    with pytest.raises(ValueError, match="the guide needs x"):
        ladder().guide()
