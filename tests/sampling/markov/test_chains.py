import warnings

import pytest
import torch
from torch.distributions import MultivariateNormal

from probgen.core import Density
from probgen.sampling import Chains, RunState, random_walk, run, sample

WITHOUT = RunState(None, torch.empty(0))


def chains_of(draws, acceptance=0.4, **other):
    log_prob = -0.5 * draws**2
    statistics = {"log_prob": log_prob, "acceptance": torch.full_like(log_prob, acceptance)}
    return Chains({"x": draws}, statistics=statistics, state=WITHOUT, **other)


@pytest.fixture(scope="module")
def two_numbers():
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    density = Density.from_distribution(MultivariateNormal(torch.zeros(2), covariance), name="w")
    return sample(
        density, chains=8, warmup=500, draws=200, thin=20, generator=torch.Generator().manual_seed(3)
    )


def test_to_arviz(two_numbers):
    """InferenceData and DataTree are read alike."""
    data = two_numbers.to_arviz()
    assert data["posterior"]["w"].dims[:2] == ("chain", "draw")
    assert data["posterior"]["w"].shape == (8, 200, 2)
    assert (data["posterior"]["w"].values == two_numbers["w"].numpy()).all()
    for name, ours in (("lp", "log_prob"), ("acceptance_rate", "acceptance")):
        assert (data["sample_stats"][name].values == two_numbers.statistics[ours].numpy()).all()


def test_more_chains_than_draws_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chains_of(torch.randn(50, 10)).to_arviz()


def test_summary(two_numbers):
    table = two_numbers.summary()
    assert list(table.index) == ["w[0]", "w[1]"]
    assert list(table.columns) == ["mean", "sd", "mcse_mean", "mcse_sd", "ess_bulk", "ess_tail", "r_hat"]
    draws = two_numbers["w"].flatten(0, 1).double()
    assert table["mean"].tolist() == pytest.approx(draws.mean(0).tolist(), abs=1e-5)
    assert table["sd"].tolist() == pytest.approx(draws.std(0).tolist(), abs=1e-3)
    assert (table.ess_bulk > 400).all()
    assert (table.r_hat < 1.01).all()


def test_nothing_wrong_with_good_chains(two_numbers):
    assert two_numbers.diagnose() == []


def test_chains_that_disagree_are_told():
    apart = torch.randn(8, 200) + 3 * torch.arange(8.0).unsqueeze(-1)
    findings = chains_of(apart).diagnose()
    assert "R-hat is above 1.01 for 1 of 1 numbers, the largest x: " in findings[0]
    assert "below 400 for 1 of 1 numbers, the smallest x" in findings[1]


def test_stuck_chains_are_told():
    draws = torch.randn(8, 200)
    draws[3] = 1.0
    assert "1 of 8 chains never moved" in chains_of(draws).diagnose()[0]
    everything = chains_of(torch.ones(8, 200)).diagnose()
    assert "8 of 8 chains never moved" in everything[0]


@pytest.mark.parametrize(
    ("acceptance", "target", "words"),
    [
        (0.01, None, "The acceptance is 0.010: use a smaller scale"),
        (0.99, None, "The acceptance is 0.990: use a larger scale"),
        (0.1, 0.234, "The acceptance is 0.100 but the scale was tuned for 0.234"),
        (0.8, 0.44, "The acceptance is 0.800 but the scale was tuned for 0.44"),
    ],
)
def test_an_acceptance_off_target_is_told(acceptance, target, words):
    findings = chains_of(torch.randn(8, 200), acceptance, target_acceptance=target).diagnose()
    assert words in findings[0]


def test_too_few_draws_are_told():
    assert "R-hat and ESS need at least 4 draws" in chains_of(torch.randn(8, 3)).diagnose()[0]


def test_a_family_of_targets_has_a_row_each():
    density = Density(lambda x: -0.5 * x**2, batch_shape=(3,))
    chains = run(random_walk(density, scale=2.4), torch.zeros(4, 3, 1), draws=50, density=density)
    assert list(chains.summary().index) == ["x[0]", "x[1]", "x[2]"]


def test_names(two_numbers):
    assert two_numbers.names == ("w",)
    assert repr(two_numbers) == "Chains(8 chains x 200 draws; w: (2,))"
    with pytest.raises(KeyError, match=r"'v' is not a site of these chains: \['w'\]"):
        two_numbers["v"]


@pytest.mark.parametrize("name", ["draw", "chain", "metric", "w_dim_0", "a/b", "x[0]", ""])
def test_a_site_may_have_any_name(name, two_numbers):
    """Names that mean something to ArviZ or xarray neither hide a site nor another one."""
    sites = {"w": two_numbers["w"], name: two_numbers["w"][..., 0] + 3 * torch.arange(8.0).unsqueeze(-1)}
    chains = Chains(sites, statistics=two_numbers.statistics, state=WITHOUT)
    table = chains.summary()
    assert list(table.index) == ["w[0]", "w[1]", name]
    assert any(f"the largest {name}: " in finding for finding in chains.diagnose())  # by R-hat
    if "/" not in name:
        written = name if name in ("metric", "x[0]", "") else f"{name}_"
        assert (chains.to_arviz()["posterior"][written].values == sites[name].numpy()).all()


def test_a_name_that_is_taken_is_taken_for_no_other_site(two_numbers):
    draws = two_numbers["w"][..., 0]
    sites = {"draw": draws, "draw_": 2 * draws}
    data = Chains(sites, statistics=two_numbers.statistics, state=WITHOUT).to_arviz()
    assert (data["posterior"]["draw_"].values == 2 * draws.numpy()).all()
    assert (data["posterior"]["draw__"].values == draws.numpy()).all()
