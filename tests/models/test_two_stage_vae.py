"""The VAE of the codes of a VAE."""

import pyro.distributions as dist
import torch
from torch import nn

from probgen.models import VAE, TwoStageVAE
from probgen.nets import MLP, NormalHead


class Shifted(nn.Module):
    """z ↦ N(2z + shift, 0.1²), with the event shape of z."""

    def __init__(self, shift):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def forward(self, z):
        return dist.Normal(2 * z + self.shift, 0.1).to_event(1)


def test_draws_are_those_of_the_first_at_codes_of_the_second(device):
    """u ~ N(0, 1), z = 2u + 3, x = 2z + 1, each with noise: x ~ N(7, 16 + 4 · 0.01 + 0.01)."""
    first, second = (VAE(NormalHead(MLP(2, 2)), Shifted(shift)) for shift in (1.0, 3.0))
    model = TwoStageVAE(first, second).to(device)
    x = model.sample(20_000, seed=0)
    assert (x.mean(0) - 7).abs().max() < 5 * 4 / 20_000**0.5
    assert (x.var(0) - 16.05).abs().max() < 5 * 16 * (2 / 20_000) ** 0.5
    assert torch.equal(x, model.sample(20_000, seed=0))
    law = model.encode(x[:5])
    torch.testing.assert_close(law.mean, first.encode(x[:5]).mean)
    torch.testing.assert_close(model.decode(law.mean).mean, 2 * law.mean + 1)
