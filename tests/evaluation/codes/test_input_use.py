"""What code and context are worth to a decoder: closed forms of a linear pair, and inputs not used."""

import math

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen.evaluation import input_use
from probgen.models import VAE
from probgen.priors import StandardNormal

NOISE = 0.7


class Decoder(nn.Module):
    """x | z, c ~ N(az + bc, σ²)."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, z, c):
        return dist.Normal(self.a * z + self.b * c, NOISE).to_event(1)


class Posterior(Decoder):
    """z | x, c of this decoder and z ~ N(0, 1)."""

    def forward(self, x, c):
        precision = 1 + self.a**2 / NOISE**2
        mean = self.a * (x - self.b * c) / NOISE**2 / precision
        return dist.Normal(mean, torch.tensor(precision**-0.5).to(x)).to_event(1)


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.8), (0.0, 0.8), (1.0, 0.0)])
def test_the_cost_of_shuffling_in_closed_form(a, b, device):
    """a² / σ² for the code and b² Var(c) / σ² for the context, whose cross terms are 0 on average."""
    pair = VAE(Posterior(a, b), Decoder(a, b), StandardNormal(1).to(device))
    c = 1.5 * torch.randn(4000, 1, device=device)
    x = pair.sample(4000, c, seed=1)
    use = input_use(pair, x, c, draws=20)
    for found, exact in ((use.code, (a / NOISE) ** 2), (use.context, (1.5 * b / NOISE) ** 2)):
        assert found.value == pytest.approx(exact, abs=4.5 * found.stderr + 1e-6)
        assert found.stderr < 0.2 * exact + 1e-6
    assert use == input_use(pair, x, c, draws=20)
    assert use != input_use(pair, x, c, draws=20, seed=1)


def test_bad_input_is_one_sentence():
    pair = VAE(Posterior(1, 1), Decoder(1, 1), StandardNormal(1))
    x = torch.randn(5, 1)
    with pytest.raises(ValueError, match="context should be given"):
        input_use(pair, x)
    with pytest.raises(ValueError, match="context 1 should have 5 rows, as x, but has 4"):
        input_use(pair, x, x[:4])
    with pytest.raises(ValueError, match="x should have at least 2 rows, to shuffle, but has 1"):
        input_use(pair, x[:1], x[:1])
    with pytest.raises(TypeError, match="model should have encode and decode, as a VAE has, but is a Linear"):
        input_use(nn.Linear(1, 1), x, x)
    assert math.isfinite(input_use(pair, x, x).code.value)


def test_arrays_are_taken():
    pair = VAE(Posterior(1, 1), Decoder(1, 1), StandardNormal(1))
    x, c = torch.randn(5, 1), torch.randn(5, 1)
    assert input_use(pair, x.numpy(), c.numpy()) == input_use(pair, x, c)


class Bounded(Decoder):
    """x | z, c uniform on z ± 1: each x is outside of what some other code allows."""

    def forward(self, z, c):
        return dist.Uniform(z - 1 + 0 * c, z + 1 + 0 * c, validate_args=False).to_event(1)


class NoEvent(Decoder):
    def forward(self, z, c):
        return dist.Normal(z + c, NOISE)


def test_laws_that_give_no_finite_number_a_row_are_named():
    x, c = torch.linspace(-20, 20, 8)[:, None], torch.zeros(8, 1)

    class Near(nn.Module):
        def forward(self, x, c):
            return dist.Normal(x, 1e-3).to_event(1)

    with pytest.raises(ValueError, match=r"finite but is -inf at row \d of x: by some code or context"):
        input_use(VAE(Near(), Bounded(1, 1), StandardNormal(1)), x, c)
    with pytest.raises(ValueError, match=r"one number a row, \(8,\), but has shape \(8, 1\)"):
        input_use(VAE(Near(), NoEvent(1, 1), StandardNormal(1)), x, c)
