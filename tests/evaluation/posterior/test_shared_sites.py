"""Guides of sites that all data share, held against chains: a conjugate mean, and eight schools."""

from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from probgen import sampling
from probgen.core import Density, Pair
from probgen.evaluation import guide_against_chains

X = torch.randn(100, generator=torch.Generator().manual_seed(0)) + 1.0
EFFECTS = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


class NormalMean(Pair):
    """Data N(mean, 1) under a prior N(0, 10²): the posterior is known, and the guide is it, or wider."""

    def __init__(self, factor: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        precision = len(X) + 1 / 100
        self.sd = precision**-0.5
        self.mean, self.of_guide = float(X.sum()) / precision + shift * self.sd, factor * self.sd

    def model(self, x: Tensor | None = None, *, n: int = 1) -> Tensor:
        mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        with pyro.plate("data", n if x is None else len(x)):
            return pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    def guide(self, x: Tensor | None = None, *, n: int = 1) -> Any:
        pyro.sample("mean", dist.Normal(self.mean, self.of_guide))


class Schools(Pair):
    """Eight schools: effects of each beside a mean and a spread of all."""

    def model(self, x: Tensor | None = None, *, n: int = 8) -> Tensor:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.LogNormal(1.0, 0.5))
        with pyro.plate("data", n if x is None else len(x)):
            theta = pyro.sample("theta", dist.Normal(mu, tau))
            return pyro.sample("x", dist.Normal(theta, ERRORS), obs=x)

    def guide(self, x: Tensor | None = None, *, n: int = 8) -> Any:
        mu = pyro.sample("mu", dist.Normal(4.0, 3.0))
        tau = pyro.sample("tau", dist.LogNormal(1.0, 0.5))
        with pyro.plate("data", n if x is None else len(x)):  # theta given mu and tau, exactly
            precision = 1 / ERRORS**2 + tau**-2
            mean = (EFFECTS / ERRORS**2 + mu / tau**2) / precision
            pyro.sample("theta", dist.Normal(mean, precision**-0.5))


def chains_of(pair: Pair, x: Tensor) -> sampling.Chains:
    density = Density.from_model(pair.model, x)
    return sampling.sample(
        density, chains=32, warmup=200, draws=150, generator=torch.Generator().manual_seed(0), progress=False
    )


@pytest.fixture(scope="module")
def chains() -> sampling.Chains:
    return chains_of(NormalMean(), X)


def test_the_exact_posterior_passes(chains: sampling.Chains) -> None:
    found = guide_against_chains(NormalMean(), X, chains, particles=1000)
    assert len(found.rows) == 1
    assert found.rows.k_hat[0] < 0.5
    assert found.rows.ess[0] == pytest.approx(1, abs=1e-3)
    assert found.rows.p_value[0] > 0.01
    assert found.numbers.sd_ratio["mean"] == pytest.approx(1, abs=0.1)
    assert abs(found.numbers["shift"]["mean"]) < 0.1


@pytest.mark.parametrize(("factor", "shift"), [(0.25, 0.0), (1.0, 1.0), (4.3, 0.0)])
def test_a_narrow_a_shifted_and_a_wide_guide_are_named(
    chains: sampling.Chains, factor: float, shift: float
) -> None:
    """The last is what plate("data", len(x)) and batches of 20 of 400 data had taught."""
    found = guide_against_chains(NormalMean(factor, shift), X, chains, particles=1000)
    assert found.rows.p_value[0] < 0.002
    assert found.numbers.sd_ratio["mean"] == pytest.approx(factor, rel=0.15)
    assert any("not that of the chains" in finding for finding in found.failures())
    assert (found.rows.k_hat[0] > 0.7) == (factor < 1)


def test_eight_schools_are_one_row_with_their_numbers() -> None:
    pair = Schools()
    found = guide_against_chains(pair, EFFECTS, chains_of(pair, EFFECTS), particles=1000)
    assert len(found.rows) == 1
    assert set(found.numbers.index) == {"mu", "tau", *(f"theta[{i}]" for i in range(8))}
    assert found.rows.k_hat[0] < 0.7, "a guide whose effects are exact given mu and tau covers the posterior"
    assert ((found.numbers.sd_ratio - 1).abs() < 0.5).all()


def test_chains_of_other_shapes_are_refused(chains: sampling.Chains) -> None:
    with pytest.raises(ValueError, match="chains should have the sites of the guide"):
        guide_against_chains(Schools(), EFFECTS, chains, particles=300)
