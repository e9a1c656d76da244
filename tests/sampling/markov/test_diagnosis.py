import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from probgen import Density
from probgen.sampling import Chains, RunState, sample
from probgen.sampling.markov import diagnosis

Y = torch.tensor([0.5, -1.0, 2.0])


def schools():
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("data", 3):
        t = pyro.sample("t", dist.Normal(0.0, 1.0))
        pyro.deterministic("theta", mu + t)
        pyro.sample("y", dist.Normal(mu + t, 1.0), obs=Y)


def mixture():
    mu = pyro.sample("mu", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", 3):
        k = pyro.sample("k", dist.Bernoulli(0.5)).long()
        pyro.sample("y", dist.Normal(mu[k], 1.0), obs=Y)


def chains_of(draws, density=None, **statistics):
    first = next(iter(draws.values()))
    found = {"log_prob": torch.randn(first.shape[:2]), "acceptance": torch.full(first.shape[:2], 0.6)}
    state = RunState(None, torch.empty(0))
    return Chains(draws, statistics=found | statistics, state=state, density=density)


@pytest.fixture
def of_schools():
    draws = {"mu": 0.2 * torch.randn(4, 50), "t": 0.2 * torch.randn(4, 50, 3)}
    divergent = torch.zeros(4, 50, dtype=torch.int32)
    divergent[1, 3] = 2
    return chains_of(draws, Density.from_model(schools), divergent=divergent, energy=torch.randn(4, 50))


def test_every_group_of_a_model_is_there(of_schools):
    data = of_schools.to_arviz()
    groups = {name.strip("/") for name in (data.groups() if callable(data.groups) else data.groups)} - {""}
    assert groups == {
        "posterior", "sample_stats", "log_likelihood", "posterior_predictive", "observed_data", "log_prior",
        "prior", "prior_predictive",
    }  # fmt: skip
    theta = of_schools["mu"].unsqueeze(-1) + of_schools["t"]
    torch.testing.assert_close(torch.tensor(data["posterior"]["theta"].values), theta)
    expected = dist.Normal(theta, 1.0).log_prob(Y)
    torch.testing.assert_close(torch.tensor(data["log_likelihood"]["y"].values), expected.double())
    assert data["posterior_predictive"]["y"].shape == (4, 50, 3)
    assert data["observed_data"]["y"].values.tolist() == Y.tolist()
    diverging = data["sample_stats"]["diverging"].values
    assert (diverging.dtype == bool, diverging.sum()) == (True, 1)
    assert data["sample_stats"]["energy"].shape == (4, 50)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ArviZ 0.23's own, of Matplotlib
def test_arviz_reads_it(of_schools):
    import arviz

    data = of_schools.to_arviz()
    assert math.isfinite(arviz.loo(data).elpd_loo)
    arviz.plot_ppc(data, num_pp_samples=5)
    arviz.plot_energy(data)
    arviz.plot_trace(data, var_names=["mu"], divergences=True)


def test_derived_sites_are_drawn_by_name(of_schools):
    assert of_schools["theta"].shape == (4, 50, 3)
    assert "theta[2]" in of_schools.summary().index
    with pytest.raises(KeyError, match=r"'v' is not a site of these chains: \['mu', 't', 'theta'\]"):
        of_schools["v"]


def test_what_a_model_cannot_tell_is_left_out(caplog):
    density = Density.from_model(mixture)
    with caplog.at_level("INFO", "probgen"):
        data = chains_of({"mu": torch.randn(4, 20, 2)}, density).to_arviz()
    assert "discrete sites are summed out" in caplog.text
    assert hasattr(data, "observed_data")
    assert not hasattr(data, "log_likelihood")
    part = chains_of({"mu": torch.randn(4, 20)}, Density.from_model(schools))
    assert not hasattr(part.to_arviz(), "observed_data")


def autoregression(phi, chains=200, n=2000):
    x = torch.empty(chains, n, dtype=torch.float64)
    x[:, 0] = torch.randn(chains) / math.sqrt(1 - phi**2)
    for t in range(1, n):
        x[:, t] = phi * x[:, t - 1] + torch.randn(chains)
    return x


def test_autocorrelation_of_an_autoregression():
    found = diagnosis.autocorrelation(autoregression(0.8))
    torch.testing.assert_close(found[:10], 0.8 ** torch.arange(10.0).double(), rtol=0, atol=0.02)


def test_chains_that_disagree_stay_correlated():
    apart = torch.randn(8, 500) + 3 * torch.arange(8.0).unsqueeze(-1)
    assert diagnosis.autocorrelation(apart)[100] > 0.7


def test_nested_r_hat():
    """Short chains that have forgotten their start, and chains that have not."""
    draws = torch.randn(256, 5)
    assert diagnosis.nested_r_hat(draws, superchains=16) < 1.06
    stuck = draws + 0.8 * torch.randn(16).repeat_interleave(16).unsqueeze(-1)
    between, within = 0.64 + 1 / 80, 1 + 1 / 5
    found = diagnosis.nested_r_hat(stuck, superchains=16)
    assert abs(float(found) - math.sqrt(1 + between / within)) < 0.15
    assert chains_of({"x": stuck}).nested_r_hat(16)["x"] == found
    with pytest.raises(ValueError, match="should be at least 2 and divide the 256 chains but got 7"):
        diagnosis.nested_r_hat(draws, superchains=7)


def test_nested_r_hat_of_single_draws():
    """Eight chains of one draw, each a superchain, have no variance within, and so no R-hat."""
    with pytest.raises(ValueError, match="a superchain should hold at least two draws"):
        diagnosis.nested_r_hat(torch.randn(8, 1), superchains=8)
    assert diagnosis.nested_r_hat(torch.randn(8, 1), superchains=4).isfinite()
    assert diagnosis.nested_r_hat(torch.randn(8, 2), superchains=8).isfinite()


def test_derived_sites_that_are_not_finite_are_told():
    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.deterministic("root", a.sqrt())
        pyro.deterministic("two", torch.tensor([1.0, 2.0]))

    draws = {"a": torch.randn(4, 50)}
    findings = chains_of(draws, Density.from_model(model)).diagnose()
    below = int((draws["a"] < 0).sum())
    assert any(finding.startswith(f"root is not finite in {below} places, the first") for finding in findings)
    assert not any("two" in finding for finding in findings)  # a constant by its nature
    few = chains_of({"a": torch.tensor([[math.nan, 0.0]])}).diagnose()
    assert any("a is not finite in 1 places, the first at draw 0 of chain 0" in finding for finding in few)


@pytest.mark.parametrize(
    ("statistics", "words"),
    [
        ({"divergent": torch.ones(8, 200, dtype=torch.int32)}, "1600 trajectories diverged, of 8 chains"),
        ({"energy": torch.randn(8, 200).cumsum(1)}, "The energy moves slowly in 8 of 8 chains"),
        ({"not_finite": torch.ones(8, 200, dtype=torch.int32)}, "NaN or +inf at 1600 proposals"),
        (
            {"log_prob": torch.zeros(8, 200)},
            "the same at all draws of 8 of 8 chains, though they move. It is",
        ),
    ],
)
def test_what_the_statistics_tell(statistics, words):
    findings = chains_of({"x": torch.randn(8, 200)}, **statistics).diagnose()
    assert any(words in finding for finding in findings), findings


def test_chains_that_halt_are_told():
    draws = torch.randn(8, 200).where(torch.arange(200) < 90, 0.0)
    findings = chains_of({"x": draws}, log_prob=-0.5 * draws**2).diagnose()
    assert findings[0].startswith("8 of 8 chains stood still for the last half of their draws")


def test_a_flat_law_of_states_is_no_finding():
    """Whole numbers may all have the same probability."""
    states = torch.randint(3, (8, 200))
    assert chains_of({"k": states}, log_prob=torch.zeros(8, 200)).diagnose() == []


@pytest.mark.parametrize(
    "density",
    [
        Density(
            lambda x: -0.5 * (x[..., 0] - x[..., 1]) ** 2,
            support=dist.constraints.real_vector,
            event_shape=(2,),
        ),
        Density(lambda x: 0 * x, support=dist.constraints.positive),
    ],
    ids=["ridge", "half line"],
)
def test_improper_densities_are_told(density, generator):
    chains = sample(density, method="random_walk", chains=16, warmup=500, draws=100, generator=generator)
    findings = chains.diagnose()
    assert any("the density may be improper, so that chains drift for ever" in words for words in findings)


def test_chains_that_run_away_in_the_warm_up_are_told(generator):
    with pytest.raises(ValueError, match="in the warm-up but run away: is the density proper"):
        sample(Density(lambda x: x), method="hmc", chains=8, warmup=200, draws=10, generator=generator)


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        (1e13 * torch.randn(8, 300), "x is as far out as"),
        (torch.randn(100, 300).cumsum(1), "x spreads as the chains go on"),
        (torch.randn(100, 300).cumsum(1).abs(), "x spreads as the chains go on"),
        (torch.randn(100, 300).double().cumsum(1).exp(), "x spreads as the chains go on"),
        (torch.ones(8, 300), "x has the same value in all draws of all chains, in 1 of 1"),
        (torch.full((8, 300), math.nan), "x is not finite in 2400 places"),
    ],
)
def test_what_the_draws_tell(draws, words):
    findings = chains_of({"x": draws}).diagnose()
    assert any(words in finding for finding in findings), findings


def test_nothing_is_found_in_independent_draws():
    for _ in range(20):
        energy = torch.randn(8, 200)
        assert chains_of({"x": torch.randn(8, 200)}, energy=energy).diagnose() == []


@pytest.mark.parametrize("at_end", [lambda x: x, lambda x: 1 - x, lambda x: x.float()])
def test_draws_next_to_an_end_do_not_spread(at_end, generator):
    """Of independent draws of Beta(0.005, 1) quartiles differ e-fold between thirds by chance alone."""
    u = torch.rand(20, 64, 300, generator=generator, dtype=torch.float64)
    for draws in at_end(u**200):
        assert not [finding for finding in chains_of({"x": draws}).diagnose() if "spreads" in finding]


def test_the_zeros_of_a_cholesky_factor_are_no_finding(generator):
    """Of the 9 numbers of a factor the support settles 4; a fifth that stands still is said."""
    density = Density.from_distribution(dist.LKJCholesky(3, 2.0), name="L")
    chains = sample(density, chains=8, warmup=50, draws=20, generator=generator)
    assert not [finding for finding in chains.diagnose() if "same value" in finding]
    chains["L"][..., 1, 0] = 0.5
    (said,) = (finding for finding in chains.diagnose() if "same value" in finding)
    assert said == "L has the same value in all draws of all chains, in 1 of 9 coordinates."


def test_a_single_chain_is_told_that_it_cannot_disagree():
    found = chains_of({"x": torch.randn(1, 1000)}).diagnose()
    assert len(found) == 1
    assert found[0].startswith("There is one chain, and one cannot disagree with itself")
    assert not any("one chain" in finding for finding in chains_of({"x": torch.randn(2, 1000)}).diagnose())
