"""What objects say of themselves is short and tells what they are."""

import pyro.distributions as dist
import pytest
import torch

from probgen import data, nets, priors, sampling
from probgen.core import Density
from probgen.recipes import load, make

ZERO = torch.zeros(2)


def net_of_tokens(_: torch.Tensor) -> torch.Tensor:
    return torch.zeros(3, 5)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Density(lambda x: -x.square().sum(-1), event_shape=(3,)), "Density(x: (3,) on Real())"),
        (
            lambda: sampling.InverseCDF(icdf=torch.logit).expand([2]),
            "InverseCDF(by its icdf, support=Real(), batch_shape=(2,))",
        ),
        (lambda: priors.NormalMixture(2, 20), "NormalMixture(dim=2, components=20)"),
        (lambda: priors.NormalMixture(2, 20)(), "ManyNormals(20 in 2 coordinates)"),
        (
            lambda: priors.NormalMixture(2, 20)().expand([3]),
            "ManyNormals(20 in 2 coordinates, batch_shape=(3,))",
        ),
        (lambda: priors.StandardNormal(3), "StandardNormal(dim=3)"),
        (
            lambda: priors.Path(lambda z: dist.Normal(z, 1.0).to_event(1), torch.zeros(1), steps=20),
            "Path(20 steps of 1 coordinates)",
        ),
        (
            lambda: priors.TokenSequence(net_of_tokens, torch.zeros(3, 2), steps=4, size=5),
            "TokenSequence(4 steps of 5 tokens, batch_shape=(3,))",
        ),
        (lambda: nets.Codebook(64, 8), "Codebook(64 atoms of 8 coordinates)"),
        (lambda: data.Binarised(torch.rand(10, 4)), "Binarised(10 x (4,))"),
        (lambda: data.Dequantised(torch.ones(10, 4), 17), "Dequantised(10 x (4,), 17 levels)"),
        (
            lambda: data.Corrupted(torch.ones(10, 4), data.Masking(0.5)),
            "Corrupted(10 rows, by Masking)",
        ),
        (
            lambda: data.Ragged([torch.zeros(3, 2), torch.zeros(5, 2)]),
            "Ragged(2 sequences of 3 to 5 x (2,))",
        ),
        (lambda: make("vae", load("digits")), "Recipe(VAE, by SVI)"),
    ],
)
def test_what_an_object_says(made, said):
    assert repr(made()) == said


def test_what_chains_say():
    density = Density(lambda x: -x.square().sum(-1), event_shape=(3,))
    chains = sampling.sample(density, chains=4, warmup=20, draws=10, seed=0, progress=False)
    assert repr(chains) == "Chains(4 chains x 10 draws; x: (3,))"
    assert len(repr(chains.state)) < 60


def test_what_a_resampled_law_says():
    law = priors.Rejection(nets.MLP(2, 1), 2, truncation=10, draws=16, fixed=64)()
    assert repr(law).startswith("Resampled(Independent(Normal(")
    assert repr(law).endswith("truncation=10)")
