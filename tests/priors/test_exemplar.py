"""The exemplar prior against explicit sums: all data, some of them, and one left out."""

import math

import pytest
import torch

import probgen as pg
from probgen import models, nets, priors

double = torch.float64


@pytest.fixture
def prior():
    torch.manual_seed(0)
    encoder = nets.NormalHead(nets.MLP(3, 2, hidden=8))
    found = priors.Exemplar(encoder, torch.randn(30, 3), subset=5).double()
    with torch.no_grad():
        found.log_scale.fill_(-0.7)
    return found.eval()


def each(prior, z):
    """Return log N(z; m(x_n), σ² I) for each z and exemplar."""
    scale = 5 * torch.asinh(prior.log_scale / 5)
    return (
        torch.distributions.Normal(prior.encoder(prior.data).mean, scale.exp()).log_prob(z[:, None]).sum(-1)
    )


def test_it_is_the_mean_over_all_data_and_without_one_over_the_others(prior):
    z = torch.randn(7, 2, dtype=double)
    log_prob = each(prior, z)
    torch.testing.assert_close(prior().log_prob(z), log_prob.logsumexp(1) - math.log(30))
    index = torch.tensor([0, 3, 29, -1, 3, 8, 12])
    left_out = prior(index)
    assert left_out.batch_shape == (7,)
    expected = [
        (torch.cat([row[:i], row[i + 1 :]]) if i >= 0 else row).logsumexp(0) - math.log(29 if i >= 0 else 30)
        for i, row in zip(index.tolist(), log_prob, strict=True)
    ]
    torch.testing.assert_close(left_out.log_prob(z), torch.stack(expected))
    many = left_out.log_prob(z.expand(4, 7, 2))  # draws of a bound, left of the rows
    torch.testing.assert_close(many, torch.stack(expected).expand(4, 7))


@pytest.mark.parametrize("bad", [30, -2])
def test_an_index_of_no_row_is_refused(prior, bad):
    with pytest.raises(ValueError, match=f"index should be 0 to 29, .*, or -1 for none, but holds {bad}"):
        prior(torch.tensor([0, bad]))


def test_draws_leave_out_what_is_left_out(prior):
    with torch.no_grad():
        prior.log_scale.fill_(-12.0)
    draws = prior(torch.tensor([4, -1])).sample((3000,))
    own = torch.cdist(draws, prior.encoder(prior.data).mean[4:5]).squeeze(-1) < 0.01
    assert own.sum(0)[0] == 0
    assert 60 < own.sum(0)[1] < 145  # of 3000 one in 30, but for a chance of 1e-4
    assert prior(torch.tensor([4, -1])).expand((3, 2)).sample().shape == (3, 2, 2)


def test_some_data_give_a_density_of_the_same_mean_and_a_bound(prior):
    z = torch.randn(4, 2, dtype=double)
    exact = prior().log_prob(z)
    prior.train()
    torch.manual_seed(1)
    with torch.no_grad():
        found = torch.stack([prior().log_prob(z) for _ in range(2000)])
    ratio = (found - exact).exp()
    assert ((ratio.mean(0) - 1).abs() < 4.4 * ratio.std(0) / 2000**0.5).all()
    assert (ratio.std(0) / 2000**0.5 < 0.05).all()
    assert ((exact - found.mean(0)) > 4.4 * found.std(0) / 2000**0.5).all()


def test_leaving_out_keeps_a_prior_from_shrinking_to_the_codes_of_its_data():
    torch.manual_seed(0)
    x = torch.randn(60, 2)
    scales = {}
    for left_out in (True, False):
        torch.manual_seed(1)
        encoder = nets.NormalHead(nets.MLP(2, 2, hidden=()))
        with torch.no_grad():  # codes that are nearly their data
            encoder.net.last.weight.copy_(torch.eye(4, 2))
            encoder.net.last.bias.copy_(torch.tensor([0.0, 0.0, -5.0, -5.0]))
        prior = priors.Exemplar(encoder, x)
        for weight in encoder.parameters():
            weight.requires_grad_(False)
        decoder = nets.WithoutContext(nets.NormalHead(nets.MLP(2, 2, hidden=4)))
        vae = models.VAE(nets.WithoutContext(encoder), decoder, prior)
        index = torch.arange(60) if left_out else torch.full((60,), -1)
        optimizer = torch.optim.Adam([p for p in vae.parameters() if p.requires_grad], lr=0.05)
        pg.fit(pg.SVI(vae), (x, index), steps=200, batch_size=60, optimizer=optimizer, seed=0, progress=False)
        scales[left_out] = float((5 * torch.asinh(prior.log_scale.detach() / 5)).exp())
    assert scales[True] > 0.2  # the bandwidth of a density of 60 normal points
    assert scales[False] < 0.1
