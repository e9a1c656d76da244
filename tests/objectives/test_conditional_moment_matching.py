"""The conditional moment-matching network: no bias at the true law, where published losses have one."""

import pytest
import torch
from torch import nn

from probgen import fit
from probgen.mmd import Gaussian
from probgen.models import GMMN
from probgen.objectives import ConditionalMomentMatching
from probgen.training import schedules

WEIGHTS = {"joint": None, "conditional embedding": 0.05}


class Band(nn.Module):
    """x = a + b c + s u, a uniform law about a line."""

    def __init__(self, a=0.0, b=0.0, s=0.2):
        super().__init__()
        self.a, self.b, self.s = (nn.Parameter(torch.tensor(value)) for value in (a, b, s))

    def forward(self, u, c):
        return self.a + self.b * c + self.s * u


def batch(n, device, dtype, generator):
    uniform = lambda: 2 * torch.rand(n, 1, device=device, dtype=dtype, generator=generator) - 1  # noqa: E731
    c = uniform()
    return 1 + 2 * c + 0.5 * uniform(), c


@pytest.mark.parametrize("ridge", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_learns_the_conditional_law(ridge, device, dtype, generator):
    torch.manual_seed(1)  # other numbers than the generator's
    band = Band()
    # A context kernel so narrow that a datum has hardly a neighbour: what rewards narrow draws shows.
    objective = ConditionalMomentMatching(
        GMMN(band, noise=1), Gaussian([0.2, 1.0]), Gaussian(0.01), ridge=ridge
    )
    objective.to(device, dtype)
    x, c = batch(2000, device, dtype, generator)
    adam = torch.optim.Adam(objective.parameters(), lr=0.1)
    rate = schedules.cosine(0.1, 0.001, steps=300)
    options = {"optimizer": adam, "schedules": {"lr": rate}, "compile": "eager", "seed": 0, "progress": False}
    fit(objective, (x, c), steps=300, batch_size=100, **options)
    assert float(band.a.detach()) == pytest.approx(1, abs=0.05)
    assert float(band.b.detach()) == pytest.approx(2, abs=0.1)
    assert abs(float(band.s.detach())) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("ridge", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_at_the_true_law_the_gradient_is_zero_on_average(ridge, device, generator):
    torch.manual_seed(1)

    def scores(s):
        band = Band(1.0, 2.0, s)
        objective = ConditionalMomentMatching(GMMN(band, noise=1), Gaussian(0.5), Gaussian(0.2), ridge=ridge)
        objective.to(device, torch.float64)
        gradients = []
        for _ in range(150):
            loss, _ = objective(*batch(30, device, torch.float64, generator))
            gradients.append(torch.stack(torch.autograd.grad(loss, list(band.parameters()))))
        found = torch.stack(gradients)
        return found.mean(0) / (found.std(0) / 150**0.5)

    assert (scores(0.5).abs() < 5.1).all()  # false alarm 1e-6
    assert scores(0.4)[2] < -8  # power: a spread that is too small is told, and so is one too large
    assert scores(0.6)[2] > 8


def test_the_loss_is_its_formula(device):
    x, c = torch.tensor([[0.0], [1.0]], device=device), torch.tensor([[0.0], [2.0]], device=device)
    model = GMMN(lambda u, c: 0 * u[:, :1] + c, noise=1).to(device)  # draws are the contexts, 0 and 2
    k = lambda d: torch.exp(torch.tensor(-0.5 * d**2))  # noqa: E731
    own, other = (1 - k(0) - k(0)), (k(2) - k(2) - k(2))  # of pairs (1, 1) and (1, 2)
    back, mine = (k(2) - k(1) - k(1)), (1 - k(1) - k(1))
    gram = torch.tensor([[1, k(2)], [k(2), 1]])
    terms = torch.tensor([[own, other], [back, mine]])
    loss, _ = ConditionalMomentMatching(model, Gaussian(1.0), Gaussian(1.0))(x, c)
    torch.testing.assert_close(loss.cpu(), (gram / 4 * terms).sum())
    inverse = torch.linalg.inv(gram + 2 * 0.1 * torch.eye(2))
    loss, _ = ConditionalMomentMatching(model, Gaussian(1.0), Gaussian(1.0), ridge=0.1)(x, c)
    torch.testing.assert_close(loss.cpu(), (inverse @ gram @ inverse * terms).sum())


def test_bad_input_is_named():
    model = GMMN(Band(), noise=1)
    with pytest.raises(ValueError, match="ridge should be positive and finite but got 0"):
        ConditionalMomentMatching(model, Gaussian(1.0), Gaussian(1.0), ridge=0)
    with pytest.raises(ValueError, match="the batch should be x and its context but has no context"):
        ConditionalMomentMatching(model, Gaussian(1.0), Gaussian(1.0))(torch.zeros(3, 1))
