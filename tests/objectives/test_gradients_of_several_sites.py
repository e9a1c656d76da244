"""The doubly reparameterised gradient where the guide has several sites, against the closed form."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import Pair
from probgen.capture.captured_loss import CapturedLoss
from probgen.objectives import IWAE, SVI


class TwoLevels(Pair):
    """z1 ~ N(0, 1), z2 | z1 ~ N(a z1, 1), x | z2 ~ N(z2, 1); the guide draws one level given the other.

    At ``offset`` 0 the guide is the posterior: log w = log p(x) for every draw.
    """

    def __init__(self, *, downwards=True, offset=0.0, coefficient=0.8):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(coefficient, dtype=torch.float64))
        a = coefficient
        # The posterior of z1 and z2 given x, by regression: first level given x, other level given it and x.
        var = 1 / (1 + 1 / (a**2 + 1)) if not downwards else 1 / (1 + a**2 / 2)
        first = (a / 2 * var, 0.0, var) if downwards else (var, 0.0, var)
        step = 0.5 if downwards else 1 / (1 + a**2)
        second = (0.5 if downwards else 0.0, a * step, step)
        self.maps = nn.Parameter(torch.tensor([first[:2], second[:2]], dtype=torch.float64) + offset)
        self.log_scales = nn.Parameter(torch.tensor([first[2], second[2]], dtype=torch.float64).log() / 2)
        self.names = ("z1", "z2") if downwards else ("z2", "z1")

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x.new_zeros(()), 1.0))
            z2 = pyro.sample("z2", dist.Normal(self.a * z1, 1.0))
            return pyro.sample("x", dist.Normal(z2, 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        of, scales = self.maps, self.log_scales.exp()
        with pyro.plate("data", len(x)):
            first = pyro.sample(self.names[0], dist.Normal(of[0, 0] * x, scales[0]))
            return pyro.sample(self.names[1], dist.Normal(of[1, 0] * x + of[1, 1] * first, scales[1]))

    def evidence(self, x):
        return dist.Normal(0.0, (self.a**2 + 2).sqrt()).log_prob(x)


def gradients(pair, x, elbo, repeats):
    found = []
    for _ in range(repeats):
        loss = SVI(pair, elbo)(x)[0]
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(pair.parameters()))]))
    return torch.stack(found)


@pytest.fixture
def x(device):
    return torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64, device=device).repeat(2000)


@pytest.mark.parametrize("downwards", [True, False])
def test_at_the_posterior_it_is_that_of_the_evidence_without_noise_for_the_guide(downwards, x):
    pair = TwoLevels(downwards=downwards).to(x.device)
    found = gradients(pair, x, IWAE(4), 12)
    torch.testing.assert_close(-SVI(pair, IWAE(4))(x)[0], pair.evidence(x).mean())
    assert found[:, 1:].abs().max() < 1e-12  # the guide's: none, for every draw
    exact = -torch.autograd.grad(pair.evidence(x).mean(), pair.a)[0]
    error = float(found[:, 0].std() / 12**0.5)
    assert abs(float(found[:, 0].mean() - exact)) < 5 * error < 0.1 * abs(float(exact))


@pytest.mark.parametrize("downwards", [True, False])
@pytest.mark.parametrize("particles", [1, 6])
def test_it_has_no_bias_and_less_noise(downwards, particles, x):
    pair = TwoLevels(downwards=downwards, offset=0.15).to(x.device)
    plain = gradients(pair, x, IWAE(particles, gradient="plain"), 15)
    dreg = gradients(pair, x, IWAE(particles), 15)
    error = ((plain.var(0) + dreg.var(0)) / 15).sqrt()
    assert ((plain.mean(0) - dreg.mean(0)).abs() <= 4.5 * error).all()
    assert error[1:].norm() < 0.2 * plain.mean(0)[1:].norm()  # power: wrong by half is seen
    assert dreg.var(0)[1:].sum() < (0.6 if particles > 1 else 1.0) * plain.var(0)[1:].sum()


def test_one_particle_has_the_gradient_of_the_elbo_in_closed_form(x):
    pair = TwoLevels(offset=0.15).to(x.device)
    (u, v), s = pair.maps, (2 * pair.log_scales).exp()
    # z1 = u x + e1, z2 = (v0 + v1 u) x + v1 e1 + e2
    slope, var2 = v[0] + v[1] * u[0], v[1] ** 2 * s[0] + s[1]
    first = (u[0] * x) ** 2 + s[0]
    step = ((slope - pair.a * u[0]) * x) ** 2 + (v[1] - pair.a) ** 2 * s[0] + s[1]
    last = ((1 - slope) * x) ** 2 + var2
    exact = (0.5 * (first + step + last)).mean() - pair.log_scales.sum()
    expected = torch.cat(
        [g.flatten() for g in torch.autograd.grad(exact, list(pair.parameters()), allow_unused=True)]
    )
    found = gradients(pair, x, IWAE(1), 15)
    assert ((found.mean(0) - expected).abs() < 4.5 * found.std(0) / 15**0.5 + 1e-12).all()


def test_it_is_captured_to_the_same_bits(x, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        torch.manual_seed(7)
        objective = SVI(TwoLevels(offset=0.15).to(x.device), IWAE(3))
        loss_of, optimizer = CapturedLoss(objective, mode), torch.optim.SGD(objective.parameters(), lr=0.01)
        for _ in range(5):
            loss = loss_of(x)[0]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        outcomes.append([loss.detach(), *objective.pair.parameters()])
    assert not caplog.records
    assert all(map(torch.equal, *outcomes))


def test_dropout_which_a_second_run_would_draw_anew_is_named(x):
    pair = TwoLevels().to(x.device)
    pair.net = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.1))
    with pytest.raises(ValueError, match=r"gradient=.dreg. should have no dropout but net\.1 draws it"):
        SVI(pair, IWAE(2))(x)
    SVI(pair, IWAE(2, gradient="plain"))(x)
    SVI(pair.eval(), IWAE(2))(x)
