"""A head with a full covariance: its law, and the gap that it closes where a diagonal one cannot."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

import probgen as pg
from probgen import models, nets
from probgen.evaluation import log_likelihoods

double = torch.float64


class Correlated(nn.Module):
    """x | z ~ N(Wz, 0.25), known, under which the coordinates of z depend on each other."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor([[1.0, 0.9], [0.8, 1.0], [0.3, 0.5]], dtype=double))

    def forward(self, z):
        return dist.Normal(z @ self.weight.T, 0.5).to_event(1)

    def posterior(self, x):
        m = torch.eye(2, dtype=double) + self.weight.T @ self.weight / 0.25
        return m, torch.linalg.solve(m, self.weight.T / 0.25)

    def evidence(self, x):
        sigma = self.weight @ self.weight.T + 0.25 * torch.eye(3, dtype=double)
        return dist.MultivariateNormal(torch.zeros(3, dtype=double), sigma).log_prob(x)


def test_its_law_is_the_one_of_its_numbers():
    head = nets.MultivariateNormalHead(nets.MLP(3, 4, hidden=8)).double()
    law = head(torch.randn(2, 5, 3, dtype=double))
    assert law.batch_shape == (2, 5)
    tril = law.scale_tril
    assert (tril.triu(1) == 0).all()
    blocks = head.blocks(torch.zeros(1, 3, dtype=double))[0]
    scale = (5 * torch.asinh(blocks[1:].diagonal() / 5)).exp()
    expected = torch.diag(scale) @ (torch.eye(4, dtype=double) + blocks[1:].tril(-1))
    torch.testing.assert_close(head(torch.zeros(1, 3, dtype=double)).scale_tril[0], expected)
    assert head.outputs == 4


def test_at_the_exact_posterior_one_draw_gives_the_exact_evidence_and_the_best_diagonal_loses_its_gap():
    decoder = Correlated()
    m, gain = decoder.posterior(None)
    tril = torch.linalg.cholesky(torch.linalg.inv(m))
    scale = tril.diagonal()
    x = torch.randn(20, 3, dtype=double)
    full = nets.MultivariateNormalHead(nets.MLP(3, 2, hidden=())).double()
    diagonal = nets.NormalHead(nets.MLP(3, 2, hidden=())).double()
    with torch.no_grad():
        for head in (full, diagonal):
            head.net.last.weight.zero_()
            head.net.last.bias.zero_()
            head.net.last.weight[:2] = gain
        rows = (tril / scale[:, None]).tril(-1) + torch.diag(5 * torch.sinh(scale.log() / 5))
        full.net.last.bias[2:] = rows.flatten()
        diagonal.net.last.bias[2:] = 5 * torch.sinh(-m.diagonal().log() / 2 / 5)
    exact = decoder.evidence(x)
    vae = models.VAE(full, decoder).double()
    torch.testing.assert_close(log_likelihoods(vae, x, particles=1, seed=0), exact)
    other = models.VAE(diagonal, decoder).double()
    draws = torch.stack([log_likelihoods(other, x, particles=1, seed=seed) for seed in range(300)]).mean(1)
    lost = float(exact.mean() - draws.mean())
    gap = float(0.5 * (m.diagonal().log().sum() - m.logdet()))
    assert gap > 0.5
    assert lost == pytest.approx(gap, abs=4.4 * float(draws.std()) / 300**0.5)


def test_it_learns_the_posterior_by_svi():
    torch.manual_seed(0)
    decoder = Correlated()
    vae = models.VAE(nets.MultivariateNormalHead(nets.MLP(3, 2, hidden=())), decoder).double()
    x = vae.sample(400, seed=0)
    pg.fit(
        pg.SVI(vae),
        x,
        steps=400,
        batch_size=200,
        optimizer=torch.optim.Adam(vae.parameters(), lr=0.03),
        schedules={"lr": pg.training.schedules.cosine(0.03, 0.001, steps=400)},
        seed=0,
        progress=False,
    )
    m, _ = decoder.posterior(None)
    gap = float(0.5 * (m.diagonal().log().sum() - m.logdet()))
    with torch.no_grad():
        bound = -float(pg.SVI(vae, pg.objectives.ELBO(particles=50))(x)[0])
    assert float(decoder.evidence(x).mean()) - 0.5 * gap < bound  # no diagonal guide comes so near


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="dim should be given, as a Linear has no size"):
        nets.MultivariateNormalHead(nn.Linear(3, 6))
    assert nets.MultivariateNormalHead(nn.Linear(3, 6), dim=2)(torch.zeros(4, 3)).event_shape == (2,)
    with pytest.raises(ValueError, match="needs 3 numbers per coordinate, but its net returned 7"):
        nets.MultivariateNormalHead(nn.Linear(3, 7), dim=2)(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"needs 2 x 3 numbers for a law of 2 coordinates, .* returned 9"):
        nets.MultivariateNormalHead(nn.Linear(3, 9), dim=2)(torch.zeros(4, 3))
