"""Densities say what they are over."""

import pyro
import pyro.distributions as dist
import torch
from torch.distributions import constraints

from probgen.core import Density


def test_a_density_says_what_it_is_over():
    simplex = Density(
        lambda x: x.sum(-1), support=constraints.simplex, event_shape=(3,), batch_shape=(4,), name="p"
    )
    assert repr(simplex) == "Density(p: (3,) on Simplex(), batch_shape=(4,))"

    def story(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.0), obs=y)

    found = repr(Density.from_model(story, torch.zeros(5)))
    assert found == "ModelDensity(mu: () on Real(), given y: (5,))"
