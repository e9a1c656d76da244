"""Means normalised over the batch: the KL that they guarantee, whatever the net does, in both modes."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence

import probgen as pg
from probgen import models, nets, objectives


def kl(law):
    """Return the KL to N(0, I), the mean over rows of the sum over coordinates."""
    zeros = torch.zeros_like(law.mean)
    return float(kl_divergence(law, dist.Normal(zeros, 1.0).to_event(1)).mean().detach())


@pytest.mark.parametrize("size", [1e-4, 1.0, 30.0])
def test_the_kl_is_at_least_what_is_promised_whatever_the_net_gives(size, device, dtype):
    head = nets.BatchNormHead(nets.MLP(5, 3, hidden=8), gamma=0.7).to(device, dtype)
    with torch.no_grad():
        head.net.last.weight.mul_(size)
        head.net.last.bias.add_(10 * size)
        head.net.last.weight[3:], head.net.last.bias[3:] = 0, 0  # scales 1: the bound is reached
    x = torch.randn(64, 5, device=device, dtype=dtype)
    assert kl(head(x)) == pytest.approx(3 * 0.7**2 / 2, rel=1e-3)
    head.shift.data.fill_(0.5)
    assert kl(head(x)) == pytest.approx(3 * (0.7**2 + 0.5**2) / 2, rel=1e-3)
    head.net.last.bias.data[3:] = 0.3
    assert kl(head(x)) > 3 * (0.7**2 + 0.5**2) / 2 + 0.1


def test_in_evaluation_a_law_depends_on_its_own_row_and_the_bound_holds(device):
    head = nets.BatchNormHead(nets.MLP(5, 3, hidden=8), gamma=0.7).to(device)
    x = 3 + 2 * torch.randn(4000, 5, device=device)
    for rows in x.split(100):
        head(rows)
    head.eval()
    together = head(x)
    torch.testing.assert_close(head(x[:1]).mean, together.mean[:1])
    torch.testing.assert_close(head(x.reshape(4, 1000, 5)).mean.reshape(-1, 3), together.mean)
    torch.testing.assert_close(together.mean.std(0), torch.full((3,), 0.7, device=device), rtol=0.05, atol=0)
    assert kl(together) > 0.95 * 3 * 0.7**2 / 2


def test_it_keeps_alive_what_collapses_otherwise():
    """x does not depend on z: the best guide is the prior, unless its means are normalised."""

    class Deaf(nn.Module):
        def forward(self, z):
            return dist.Normal(torch.zeros(*z.shape[:-1], 4), 1.0).to_event(1)

    torch.manual_seed(0)
    x, found = torch.randn(256, 4), {}
    for name, head in {"normal": nets.NormalHead, "normalised": nets.BatchNormHead}.items():
        vae = models.VAE(head(nets.MLP(4, 2, hidden=16)), Deaf())
        svi = objectives.SVI(vae)
        falling = {"lr": pg.training.schedules.cosine(0.02, 1e-5, steps=150)}
        pg.fit(svi, x, steps=150, batch_size=64, schedules=falling, seed=0, progress=False)
        found[name] = kl(vae.encode(x))
    assert found["normal"] < 0.02
    assert found["normalised"] == pytest.approx(2 * 0.5**2 / 2, rel=0.1)


def test_it_says_what_is_wrong():
    with pytest.raises(ValueError, match="gamma should be positive and finite but is 0"):
        nets.BatchNormHead(nets.MLP(5, 3), gamma=0)
    head = nets.BatchNormHead(nets.MLP(5, 3))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        head(torch.zeros(1, 5))
    head.eval()(torch.zeros(1, 5))
