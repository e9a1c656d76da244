"""A guide that is a flow: its density, and the gap that the best diagonal guide leaves."""

import math

import pyro.distributions as dist
import torch
from torch import nn

import probgen as pg
from probgen import models, nets

double = torch.float64


def test_its_density_is_that_of_its_draws():
    torch.manual_seed(0)
    head = nets.FlowHead(nets.MLP(3, 2, hidden=8), nets.Couplings(2, layers=2, hidden=8)).double()
    for weight in head.parameters():
        nn.init.normal_(weight, std=0.4)
    x = torch.randn(1, 3, dtype=double)
    side = torch.linspace(-12, 12, 601, dtype=double)
    with torch.no_grad():
        density = head(x).log_prob(torch.cartesian_prod(side, side)).exp()
        assert abs(density.sum() * (side[1] - side[0]) ** 2 - 1) < 1e-4
        place = torch.cartesian_prod(side, side)
        mean = (density[:, None] * place).sum(0) / density.sum()
        draws = head(x).rsample((40_000,))[:, 0]
    assert ((draws.mean(0) - mean).abs() < 5 * draws.std(0) / 200).all()


class Correlated(nn.Module):
    """x | z ~ N(Wz, 0.25), known, under which the coordinates of z depend on each other."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor([[1.0, 0.9], [0.8, 1.0]]))

    def forward(self, z):
        return dist.Normal(z @ self.weight.T, 0.5).to_event(1)


def test_it_closes_the_gap_of_the_best_diagonal_guide():
    """The best diagonal guide loses ½ (Σ log M_ii − log |M|), M = I + WᵀW / σ²."""
    torch.manual_seed(0)
    decoder = Correlated()
    m = torch.eye(2) + decoder.weight.T @ decoder.weight / 0.25
    gap = 0.5 * (m.diagonal().log().sum() - m.logdet()).item()
    sigma = decoder.weight @ decoder.weight.T + 0.25 * torch.eye(2)
    law = torch.distributions.MultivariateNormal(torch.zeros(2), sigma)
    x = law.sample((500,))
    guide = nets.FlowHead(nets.MLP(2, 2, hidden=()), nets.Couplings(2, layers=1, hidden=8))
    vae = models.VAE(guide, decoder)
    pg.fit(
        pg.SVI(vae),
        x,
        steps=400,
        batch_size=250,
        optimizer=torch.optim.Adam(vae.parameters(), lr=0.02),
        schedules={"lr": pg.training.schedules.cosine(0.02, 0.001, steps=400)},
        seed=0,
        progress=False,
    )
    with torch.no_grad():
        bound = -pg.SVI(vae, pg.objectives.ELBO(particles=100))(x)[0].item()
    evidence = law.log_prob(x).mean().item()
    assert gap > 0.4
    assert evidence - 0.3 * gap < bound < evidence + 0.02
    assert math.isfinite(vae.encode(x[:3]).log_prob(torch.zeros(3, 2)).sum().item())
