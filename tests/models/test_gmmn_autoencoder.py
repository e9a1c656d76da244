"""GMMN+AE on data that lie on a line in space: the autoencoder finds the line, the network its law."""

import pytest
import torch
from torch import nn

from probgen import fit, nets
from probgen.mmd import Gaussian, bandwidth_grid, mmd_test
from probgen.models import GMMNAutoencoder
from probgen.objectives import MomentMatching, Reconstruction
from probgen.training import schedules


def make(device):
    torch.manual_seed(0)
    decoder = nets.NormalHead(nn.Linear(1, 3), scale="shared")
    encoder = nn.Sequential(nn.Dropout(0.1), nn.Linear(3, 1))
    return GMMNAutoencoder(encoder, decoder, nn.Linear(1, 1), noise=1).to(device)


def test_two_trainings_reproduce_a_law_on_a_line(device):
    gen = torch.Generator().manual_seed(3)
    direction, centre = torch.tensor([0.6, 0.0, -0.8]), torch.tensor([1.0, 2.0, 3.0])
    draw = lambda n: (centre + (2 * torch.rand(n, 1, generator=gen) - 1) * direction).to(device)  # noqa: E731
    x, held_out = draw(2000), draw(500)
    model = make(device)
    model.encoder[0].p = 0.0
    adam = lambda parameters: torch.optim.Adam(parameters, lr=0.02)  # noqa: E731
    options = {"batch_size": 200, "optimizer": adam, "seed": 0, "progress": False, "compile": "eager"}
    falling = {"lr": schedules.cosine(0.02, 1e-4, steps=600)}
    history = fit(Reconstruction(model), x, steps=600, schedules=falling, **options)
    assert history.values("mse")[-1] < 0.001 / 3
    codes = model.encode(x).mean
    kernel = Gaussian(bandwidth_grid(codes[:500], codes[500:1000]))
    untrained = model.sample(500, seed=0)
    fit(MomentMatching(model.codes, kernel), codes, steps=300, **options)
    draws, permuted = model.sample(500, seed=0), torch.Generator(device).manual_seed(0)
    assert mmd_test(untrained, held_out, permutations=199, generator=permuted, scale=None).p_value == 1 / 200
    assert mmd_test(draws, held_out, permutations=199, generator=permuted, scale=None).p_value > 0.01
    along = (draws.cpu() - centre) @ direction
    assert (draws.cpu() - centre - along[:, None] * direction).abs().max() < 0.1
    assert float(along.std()) == pytest.approx(3**-0.5, abs=0.05)


def test_the_loss_is_the_codes_log_probability_and_leaves_the_generator_alone(device):
    model = make(device).eval()
    x = torch.randn(5, 3, device=device)
    objective = Reconstruction(model)
    loss, terms = objective(x)
    law = model.decoder(model.encode(x).mean)
    torch.testing.assert_close(loss, -law.log_prob(x).mean())
    torch.testing.assert_close(terms["mse"], (law.mean - x).square().mean().detach())
    assert {id(p) for p in objective.parameters()}.isdisjoint({id(p) for p in model.codes.parameters()})


def test_codes_and_draws_have_no_dropout(device):
    model = make(device).train()
    x = torch.randn(50, 3, device=device)
    assert torch.equal(model.encode(x).mean, model.encode(x).mean)
    assert not torch.equal(model.encoder(x), model.encoder(x))
    torch.testing.assert_close(
        model.decode(model.encode(x).mean).mean, model.decoder(model.encode(x).mean).mean
    )
    assert model.training
