"""What sample takes for a target: densities, laws, Pyro models with their arguments, functions."""

import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch.distributions import constraints

from probgen.core import Density
from probgen.sampling import sample

SHORT = {"chains": 100, "warmup": 200, "draws": 100, "seed": 1, "progress": False}


def coin(heads, a=1.0):
    p = pyro.sample("p", dist.Beta(a, 1.0))
    with pyro.plate("tosses", len(heads)):
        pyro.sample("heads", dist.Bernoulli(p), obs=heads)


def z_of(draws, mean):
    of_chains = draws.mean(1)
    return abs(float((of_chains.mean() - mean) / (of_chains.std() / math.sqrt(len(of_chains)))))


@pytest.mark.parametrize(
    ("target", "arguments", "options", "name", "mean"),
    [
        (Density(lambda x: -x, support=constraints.positive), (), {}, "x", 1.0),
        (torch.distributions.Gamma(3.0, 1.0), (), {}, "x", 3.0),
        (lambda x: -0.5 * (x - 2) ** 2, (), {"support": constraints.real}, "x", 2.0),
        (lambda x: -x, (), {"support": constraints.positive}, "x", 1.0),
        (lambda x: -0.5 * ((x - 4) ** 2).sum(-1), (), {"dim": 3}, "x", 4.0),
        (lambda x: -x.sum(-1), (), {"dim": 2, "support": constraints.positive}, "x", 1.0),
        (coin, (torch.tensor([1.0, 1.0, 0.0]),), {}, "p", 3 / 5),
        (coin, (torch.tensor([1.0, 1.0, 0.0]), 2.0), {}, "p", 4 / 6),
        (lambda: pyro.sample("mu", dist.Normal(5.0, 1.0)), (), {}, "mu", 5.0),
        (pyro.nn.PyroModule(), (), {}, "", 0.0),
    ],
    ids=["density", "law", "real", "positive", "dim", "both", "model", "arguments", "closed", "module"],
)
def test_each_kind_of_target_has_its_mean(target, arguments, options, name, mean):
    if isinstance(target, torch.nn.Module):

        class Model(torch.nn.Module):
            def forward(self):
                return pyro.sample("mu", dist.Normal(-1.0, 1.0))

        target, name, mean = Model(), "mu", -1.0
    draws = sample(target, *arguments, **options, **SHORT)[name]
    assert draws.shape[:2] == (100, 100)
    assert z_of(draws.flatten(2).mean(-1) if draws.dim() > 2 else draws, mean) < 5


@pytest.mark.parametrize(
    ("target", "arguments", "options", "words"),
    [
        (lambda x: -(x**2), (), {}, "a log-density needs its support= or dim=, a Pyro model its arguments"),
        (coin, (), {}, "a log-density needs its support= or dim=, a Pyro model its arguments"),
        (3.0, (), {}, "should be a Density, a distribution, a Pyro model .* but got 3.0"),
        (torch.zeros(3), (), {}, "should be a Density, a distribution, a Pyro model .* but got type Tensor"),
        (dist.Normal(0.0, 1.0), (), {"dim": 2}, "dim= and support= belong to a function"),
        (coin, (torch.ones(2),), {"dim": 2}, "takes either arguments of a Pyro model or dim= and support="),
        (lambda x: -(x**2), (), {"dim": 0}, "dim should be at least 1 but got 0"),
        (lambda: torch.zeros(()), (), {}, "should have a continuous latent site but has none"),
        (scipy.stats.norm(0, 1), (), {}, "torch.distributions or Pyro, .* but got one of SciPy"),
        (dist.Normal, (), {}, "should be an instance, with its parameters, but got the class Normal"),
        (lambda x: -(x**2).sum(-1), (), {"support": constraints.simplex}, "dim="),
        (lambda x: -(x**2), (), {"support": "positive"}, "support should be a constraint"),
    ],
)
def test_what_is_no_target_is_answered_by_what_to_write(target, arguments, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        sample(target, *arguments, **options, **SHORT)


def test_names_of_methods_in_other_spellings():
    law = torch.distributions.Normal(0.0, 1.0)
    assert torch.equal(sample(law, method="HMC", **SHORT)["x"], sample(law, method="hmc", **SHORT)["x"])
    assert sample(law, method="Random-Walk", **SHORT).names == ("x",)
    with pytest.raises(ValueError, match=r"method 'NUTS' .*: use method='hmc'"):
        sample(law, method="NUTS", **SHORT)
    with pytest.raises(ValueError, match=r"method should be one of hmc, .* but got 'gibbs'"):
        sample(law, method="gibbs", **SHORT)


def test_a_seed_is_a_generator_and_leaves_torch_alone():
    law = torch.distributions.Normal(0.0, 1.0)
    options = SHORT | {"seed": None}
    before = torch.get_rng_state()
    by_seed = sample(law, **SHORT)["x"]
    assert torch.equal(before, torch.get_rng_state())
    by_generator = sample(law, generator=torch.Generator().manual_seed(1), **options)["x"]
    assert torch.equal(by_seed, by_generator)
    with pytest.raises(ValueError, match="generator or seed, one at most"):
        sample(law, generator=torch.Generator(), **SHORT)


def test_a_bar_is_shown_unless_it_is_not_wanted(capsys):
    law, options = torch.distributions.Normal(0.0, 1.0), SHORT | {"warmup": 20, "draws": 10}
    sample(law, **options)
    assert capsys.readouterr().err == ""
    del options["progress"]
    sample(law, **options)
    assert "100%" in capsys.readouterr().err
