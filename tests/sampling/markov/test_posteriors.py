"""Eleven posteriors of posteriordb, written as Pyro models, against their reference draws."""

import math
import os

import pytest
import torch

from probgen.sampling import sample
from tests.posteriors import NAMES, posterior, reference

pytestmark = pytest.mark.skipif("PROBGEN_DATA" not in os.environ, reason="needs PROBGEN_DATA")


@pytest.mark.parametrize("name", NAMES)
def test_moments_are_those_of_the_reference_draws(name):
    draws = 500 if name.startswith("garch") else 300
    check(name, method="hmc", chains=16, warmup=300, draws=draws)


def options_without_gradients(name):
    """Return a random walk's options; of the mixture, where it is long on its way, those of single steps."""
    if name.startswith("low_dim"):
        return {"method": "component_wise", "chains": 8, "warmup": 300, "draws": 350, "thin": 3}
    slow, fast = (
        name.startswith(("eight", "nes", "garch", "mesq")),
        name.startswith(("kilp", "kidiq", "gp", "arma")),
    )
    thin = 20 if slow else 7 if fast else 12
    return {"method": "random_walk", "chains": 16, "warmup": 1000, "draws": 300, "thin": thin}


@pytest.mark.parametrize("name", NAMES)
def test_moments_without_gradients_are_those_of_the_reference_draws(name):
    """All eleven have 10 dimensions or fewer."""
    check(name, **options_without_gradients(name))


def check(name, **options):
    """Within 4 combined standard errors: 1 in 100 right samplers has one of all 130 numbers beyond."""
    chains = sample(posterior(name), compile="graph", generator=torch.Generator().manual_seed(1), **options)
    table = chains.summary()
    assert table.r_hat.max() < 1.01
    assert table[["ess_bulk", "ess_tail"]].min(axis=None) >= 400
    for key, expected in reference(name).items():
        site, _, index = key.rstrip("]").partition("[")
        ours, sd = table.loc[f"{site}[{int(index) - 1}]" if index else site], float(expected.std())
        assert abs(ours["mean"] - float(expected.mean())) < 4 * math.hypot(ours.mcse_mean, sd / 100)
        assert abs(ours["sd"] - sd) < 4 * math.hypot(ours.mcse_sd, sd / math.sqrt(20_000))
