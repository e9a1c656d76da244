"""The moment-matching network reaches the law that it can represent."""

import pytest
import torch
from torch import nn

from probgen import fit
from probgen.mmd import Energy, Gaussian, mmd_test
from probgen.models import GMMN
from probgen.objectives import MomentMatching


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


def test_the_squared_loss_has_no_bias(device):
    """At the true law its mean is 0, and its gradient's too; elsewhere the mean is above 0."""
    x = torch.rand(400, 20, 1, device=device, dtype=torch.float64) * 2 - 1
    for scale, equal in ((1.0, True), (1.5, False)):
        linear = nn.Linear(1, 1, bias=False, device=device, dtype=torch.float64)
        nn.init.constant_(linear.weight, scale)
        objective = MomentMatching(GMMN(linear, noise=1), Gaussian([0.2, 1.0]), squared=True).to(x)
        losses = [objective(batch)[0] for batch in x]
        slopes = torch.cat([torch.autograd.grad(loss, linear.weight)[0] for loss in losses])[:, 0]
        for values in (torch.stack(losses).detach(), slopes):
            z = values.mean() / (values.std() / 20)
            assert abs(z) < 4.9 if equal else z > 10  # false alarm 1e-6, and power


class Coins(nn.Module):
    """Zeros and ones of noise, with a slope."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, u):
        return (u > 0) * self.weight


@pytest.mark.parametrize("unit", [1.0, 1e-6])
@pytest.mark.parametrize("kernel", [Gaussian([0.2, 1.0]), Energy()], ids=repr)
def test_batches_that_agree_have_no_slope_and_those_that_nearly_do_have_one(kernel, unit, device, dtype):
    objective = MomentMatching(GMMN(Coins(), noise=1), kernel).to(device, dtype)
    weight = objective.model.generator.weight
    kernel = Energy() if isinstance(kernel, Energy) else Gaussian([0.2 * unit, unit])
    objective.kernel = kernel
    with torch.no_grad():
        weight.fill_(unit)
    ones = torch.arange(41, device=device)  # of 40 coins, as many batches as there are counts
    batches = (torch.arange(40, device=device) < ones[:, None]).to(dtype).unsqueeze(2) * unit
    losses, slopes = [], []
    for batch in batches:
        torch.manual_seed(3)
        loss, _ = objective(batch)
        losses.append(loss.detach())
        slopes.append(torch.autograd.grad(loss, weight)[0])
    losses, slopes = torch.stack(losses), torch.stack(slopes)
    assert losses.isfinite().all()
    assert slopes.isfinite().all()
    assert (losses == 0).sum() == 1
    assert slopes[losses == 0] == 0
    assert (slopes[losses != 0] != 0).all()


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


def test_a_last_batch_of_one_row_is_left_out(device):
    model = GMMN(nn.Linear(2, 3).to(device), noise=2)
    x = torch.randn(65, 3, device=device)
    assert fit(MomentMatching(model, Gaussian(1.0)), x, epochs=1, batch_size=32, progress=False).step == 2
