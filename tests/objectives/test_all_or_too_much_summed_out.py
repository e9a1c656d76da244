"""Bounds at the ends of summation: a guide that draws nothing at all, and more combinations than fit."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from probgen import Pair
from probgen.objectives import ELBO, IWAE, SVI, Renyi, room_for_values

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


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that is made in memory."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and not isinstance(x, FakeTensor) and x.device.type == "cpu":
                self.bytes = max(self.bytes, x.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize(
    ("guided", "bound"), [(False, ELBO()), (True, ELBO()), (False, IWAE(2)), (False, ELBO(particles=2))]
)
@pytest.mark.parametrize("memory", [2.0**30, 2.0**26], ids=["in the density", "in the story"])
def test_what_has_no_room_is_refused_before_it_is_made(guided, bound, memory, monkeypatch):
    monkeypatch.setattr(room_for_values, "memory", lambda device: memory)
    sentence = r"the 10,000,000 combinations of those of \['k0'.* no room in memory"
    with Largest() as largest, pytest.raises(ValueError, match=sentence):
        SVI(Sum(7, 10, guided=guided), bound)(torch.zeros(10))  # 400 MB a tensor
    assert largest.bytes < 10_000
    with Largest() as largest:
        loss, _ = SVI(Sum(4, 10, guided=guided), bound)(torch.zeros(10))
    assert largest.bytes >= 400_000
    assert loss.isfinite()


class Apart(Pair):
    """x_j ~ N(k_j, 1), j < 30, k_j of two values: 2³⁰ combinations, of which no tensor knows."""

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            for j in range(x.shape[1]):
                k = pyro.sample(f"k{j}", dist.Bernoulli(x.new_tensor(0.3)))
                pyro.sample(f"x{j}", dist.Normal(k, 1.0), obs=x[:, j])

    def guide(self, x=None, *context, n=1):
        pass


def test_many_combinations_whose_values_meet_nowhere_are_summed_out(monkeypatch):
    monkeypatch.setattr(room_for_values, "memory", lambda device: 2.0**20)
    x = torch.linspace(-1, 2, 90, dtype=torch.float64).reshape(3, 30)
    loss, _ = SVI(Apart())(x)
    laws = dist.Normal(torch.tensor([0.0, 1.0], dtype=torch.float64), 1.0)
    prior = dist.Categorical(torch.tensor([0.7, 0.3], dtype=torch.float64))
    evidence = dist.MixtureSameFamily(prior, laws).log_prob(x).sum(1)
    torch.testing.assert_close(loss, -evidence.mean())


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(("sites", "values"), [(2, 1_000_000)])
def test_combinations_that_have_no_room_are_said_with_their_sites(guided, sites, values):
    with pytest.raises(ValueError, match=r"combinations of those of \['k0'.* no room in memory: give one of"):
        SVI(Sum(sites, values, guided=guided))(torch.zeros(5))


class InTrainingAlone(SummedOut):
    """It cannot be run in evaluation mode, and counts its runs in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))

    def model(self, x=None, *context, n=1):
        if not self.training:
            raise RuntimeError("there are no averages yet")
        self.runs.add_(1.0)
        return super().model(x, *context, n=n)


def test_sites_are_found_in_the_mode_that_a_pair_can_be_run_in():
    x = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    pair = InTrainingAlone()
    for runs in (1, 2):
        loss, _ = SVI(pair)(x)
        torch.testing.assert_close(loss, -pair.evidence(x).mean())
        assert float(pair.runs) == runs
    with pytest.raises(RuntimeError, match="there are no averages yet"):
        SVI(pair.eval())(torch.zeros(1, 1, dtype=torch.float64))
