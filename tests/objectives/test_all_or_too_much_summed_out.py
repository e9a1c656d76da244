"""Bounds at the ends of summation: a guide that draws nothing at all, and more combinations than fit."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import Pair
from probgen.objectives import ELBO, IWAE, SVI, Renyi

PRIOR = (0.2, 0.5, 0.3)


class SummedOut(Pair):
    """k ~ Categorical, x | k ~ N(c_k, 0.8²), and a guide of nothing: the bound is the evidence."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(x.new_tensor(PRIOR)))
            return pyro.sample("x", dist.Normal(self.centre[k], 0.8), obs=x)

    def guide(self, x=None, *context, n=1):
        pass

    def evidence(self, x):
        laws = dist.Normal(self.centre, 0.8)
        return dist.MixtureSameFamily(dist.Categorical(x.new_tensor(PRIOR)), laws).log_prob(x)


@pytest.mark.parametrize(
    "bound", [ELBO(), ELBO(particles=3), IWAE(4), IWAE(4, gradient="plain"), Renyi(0.5)], ids=repr
)
def test_a_guide_of_nothing_has_the_evidence_and_its_gradient(bound, device):
    x = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, device=device)
    pair = SummedOut().to(device)
    loss, _ = SVI(pair, bound)(x)
    (slope,) = torch.autograd.grad(loss, [pair.centre])
    expected = -pair.evidence(x).mean()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(slope, torch.autograd.grad(expected, [pair.centre])[0])


class Sum(Pair):
    """x ~ N(k_1 + ... + k_J, 1): its density has a value for each combination of all sites."""

    def __init__(self, sites, values, *, guided):
        super().__init__()
        self.sites, self.values, self.guided = sites, values, guided

    def drawn(self, x):
        law = dist.Categorical(x.new_ones(len(x), self.values))
        return [pyro.sample(f"k{site}", law) for site in range(self.sites)]

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            return pyro.sample("x", dist.Normal(sum(self.drawn(x)).to(x), 1.0), obs=x)

    def guide(self, x=None, *context, n=1):
        if self.guided:
            with pyro.plate("data", len(x)):
                self.drawn(x)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("sites", "values"), [(2, 1_000_000)])
def test_combinations_that_have_no_room_are_said_with_their_sites(guided, sites, values):
    with pytest.raises(ValueError, match=r"combinations of those of \['k0'.* no room in memory: give one of"):
        SVI(Sum(sites, values, guided=guided))(torch.zeros(5))
