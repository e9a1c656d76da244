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
