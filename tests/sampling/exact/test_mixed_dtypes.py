"""Data of one dtype under priors of another: every method draws, from the right law, in the wider one."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

from probgen import Density
from probgen.sampling import sample
from probgen.sampling.markov.sample import METHODS

Y = torch.tensor([0.3, -1.2, 2.0, 0.7], dtype=torch.float64) + 1e5
X = torch.linspace(-1, 1, 8).reshape(4, 2)


def far_mean():
    """Data far from 0, whose float64 digits those of float32 cannot hold."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1e6))
    with pyro.plate("data", 4):
        pyro.sample("y", dist.Normal(mu, 0.01), obs=Y)


def regression():
    """A float32 matrix, which takes no float64 weights."""
    w = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", 4):
        pyro.sample("y", dist.Normal(X @ w, 1.0), obs=Y - 1e5)


@pytest.mark.parametrize("compile", ["eager", "graph"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs(method, compile, generator):
    warmup = 250 if method == "tempered" else 20
    options = {"method": method, "compile": compile, "chains": 8, "generator": generator}
    for log_dtype, dtype in ((torch.float64, torch.float32), (torch.float32, torch.float64)):
        density = Density(
            lambda x, to=log_dtype: -0.5 * x.to(to).square().sum(-1),
            support=constraints.real_vector,
            event_shape=(2,),
            dtype=dtype,
        )
        chains = sample(density, warmup=warmup, draws=3, **options)
        assert chains["x"].dtype == dtype
        assert chains.state.state.position.dtype == dtype


def test_float64_data_have_float64_positions(generator):
    density = Density.from_model(far_mean)
    assert density.dtype == torch.float64
    init = {"mu": Y.mean() + 0.01 * torch.randn(64, dtype=torch.float64, generator=generator)}
    means = sample(density, warmup=200, draws=100, init=init, generator=generator)["mu"].mean(1)
    z = (means.mean() - Y.mean()) / (means.std() / math.sqrt(64))
    assert abs(z) < 5
    assert means.std() < 0.005


def test_a_model_that_runs_in_its_priors_dtype_alone_keeps_it(generator):
    density = Density.from_model(regression)
    assert density.dtype == torch.float32
    chains = sample(density, warmup=200, draws=200, generator=generator)
    x = X.double()
    expected = torch.linalg.solve(x.mT @ x + torch.eye(2), x.mT @ (Y - 1e5))
    means = chains["w"].double().mean(1)
    assert ((means.mean(0) - expected) / (means.std(0) / math.sqrt(64))).abs().max() < 5
