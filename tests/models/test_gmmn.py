"""The moment-matching network reaches the law that it can represent."""

import pytest
import torch
from torch import nn

from probgen import fit
from probgen.mmd import Gaussian, mmd_test
from probgen.models import GMMN, MomentMatching


def test_a_linear_generator_learns_the_uniform_law(device):
    gen = torch.Generator().manual_seed(2)
    x = 3.0 + 0.5 * (2 * torch.rand(2000, 1, generator=gen) - 1).to(device)
    gmmn = GMMN(nn.Linear(1, 1), noise=1).to(device)
    objective = MomentMatching(gmmn, Gaussian([0.1, 0.3, 1.0, 3.0]))
    held_out = 3.0 + 0.5 * (2 * torch.rand(1000, 1, generator=gen) - 1).to(device)
    generator = torch.Generator(device).manual_seed(0)
    before = mmd_test(gmmn.sample(1000, seed=0), held_out, permutations=199, generator=generator)
    adam = torch.optim.Adam(gmmn.parameters(), lr=0.02)
    fit(objective, x, steps=600, batch_size=500, optimizer=adam, seed=0, progress=False)
    after = mmd_test(gmmn.sample(1000, seed=0), held_out, permutations=199, generator=generator)
    assert before.p_value == pytest.approx(1 / 200)  # power: the untrained network is told apart
    assert after.p_value > 0.01
    assert float(gmmn.generator.bias.detach()) == pytest.approx(3.0, abs=0.02)
    assert abs(float(gmmn.generator.weight.detach())) == pytest.approx(0.5, abs=0.03)


def test_loss_is_the_root_of_its_term(device):
    objective = MomentMatching(GMMN(nn.Linear(2, 3), noise=2), Gaussian(1.0)).to(device)
    loss, terms = objective(torch.randn(10, 3, device=device))
    torch.testing.assert_close(loss.detach() ** 2, terms["mmd2"])


def test_noise_is_uniform_on_the_cube(device):
    draws = GMMN(nn.Identity(), noise=2).to(device).sample(50_000, seed=0)
    assert draws.min() >= -1
    assert draws.max() <= 1
    ordered = draws.flatten().sort().values.double()
    n = len(ordered)
    empirical = torch.arange(1, n + 1, device=device, dtype=torch.float64) / n
    gap = (empirical - (ordered + 1) / 2).abs().max()
    assert gap < (torch.log(torch.tensor(2 / 1e-6)) / (2 * n)).sqrt() + 1 / n  # DKW at 1e-6


def test_bad_noise_is_named():
    with pytest.raises(ValueError, match="noise should be at least 1 but got 0"):
        GMMN(nn.Identity(), noise=0)
