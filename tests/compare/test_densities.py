"""Methods that draw from a density: exact ones, chains that are thinned or marked, what they cost."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import Beta, Gamma, Normal, constraints

from probgen import mmd
from probgen.compare import Fitted, Method, compare, thinned_chains
from probgen.compare.density_methods import reference_draws
from probgen.core import Density
from probgen.sampling import sample

CHAINS = {"chains": 32, "warmup": 200}


def gamma(x: Tensor) -> Tensor:
    return 2 * x.log() - x


def far_modes(x: Tensor) -> Tensor:
    return torch.logaddexp(-0.5 * (x - 12) ** 2, -0.5 * (x + 12) ** 2)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinned_chains, "DRAWS", 150)


def fitted(method: str, density: object = gamma, **options: object) -> Fitted:
    given = {} if isinstance(density, torch.distributions.Distribution) else {"support": constraints.positive}
    given |= CHAINS if method in ("hmc", "random_walk") else {}
    return Method.from_density(density, method, **(given | options)).fit(None, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "method", ["inverse", "rejection", "adaptive_rejection", "ratio_of_uniforms", "hmc", "random_walk"]
)
def test_no_method_is_told_apart_from_exact_draws(method: str) -> None:
    """Under p > 0.001, one of six fails by chance in fewer than 6 of 1,000 runs; the seeds are fixed."""
    own = fitted(method)
    assert not own.findings
    draws = own.sample(600, seed=1)
    assert draws.shape == (600,)
    assert torch.equal(draws, own.sample(600, seed=1))
    assert not torch.equal(draws, own.sample(600, seed=2))
    exact = exact_gammas(600, 3)
    p = mmd.mmd_test(draws[:, None], exact[:, None], generator=torch.Generator().manual_seed(0)).p_value
    assert p > 1e-3
    # The same test tells a law of another rate from it.
    wrong = mmd.mmd_test(1.3 * draws[:, None], exact[:, None], generator=torch.Generator().manual_seed(0))
    assert wrong.p_value < 0.01


def exact_gammas(n: int, seed: int) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Gamma(3.0, 1.0).sample((n,))


def test_thinned_draws_hold_the_level_and_unthinned_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 25 tests at 5 %, more than 6 reject with probability 0.02 % where the level holds (binomial)."""
    monkeypatch.setattr(thinned_chains, "LONGER", (1,))  # so that only the thinning makes draws independent
    monkeypatch.setattr(thinned_chains, "DRAWS", 3000)
    slow = {"target_acceptance": 0.85, "chains": 4, "warmup": 200}
    own = Method.from_density(Normal(0.0, 1.0), "random_walk", **slow).fit(None, 0)
    draws = own.sample(25 * 60, seed=1).reshape(25, 60, 1)
    assert sum(rejects(x, repeat) for repeat, x in enumerate(draws)) <= 6
    chains = sample(Normal(0.0, 1.0), method="random_walk", draws=375, seed=1, progress=False, **slow)
    close = chains["x"].reshape(25, 60, 1)
    assert sum(rejects(x, repeat) for repeat, x in enumerate(close)) > 15


def rejects(x: Tensor, seed: int) -> bool:
    generator = torch.Generator().manual_seed(seed)
    exact = torch.randn(60, 1, generator=generator)
    return mmd.mmd_test(x, exact, permutations=199, generator=generator).p_value <= 0.05


def test_far_modes_mark_a_random_walk() -> None:
    reference = reference_draws(far_modes, 200, support=constraints.real, seed=1)
    assert "exact draws by inversion" in reference.about
    assert 0.3 < float((reference.draws > 0).float().mean()) < 0.7
    methods = {
        "inverse": Method.from_density(far_modes, "inverse", support=constraints.real),
        "random_walk": Method.from_density(far_modes, "random_walk", support=constraints.real, **CHAINS),
    }
    result = compare(methods, reference.draws, ["mmd2_p", "cost"], repeats=1, progress=False)
    assert list(result.findings()) == ["random_walk"]
    assert "R-hat is above" in result.findings()["random_walk"]
    assert "random_walk †" in result.table()
    assert result.protocol["train_shape"] is None
    assert "inverse of the CDF" in result.protocol["methods"]["inverse"]


def test_costs_are_counted() -> None:
    normal = Density(lambda x: -0.5 * (x**2).sum(-1), support=constraints.real_vector, event_shape=(2,))
    methods = {name: Method.from_density(normal, name, **CHAINS) for name in ("hmc", "random_walk")}
    reference = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    result = compare(methods, reference, ["cost", "ksd"], repeats=1, progress=False)
    cost = result.summary().xs("mean", axis=1, level=1)
    for name, own in result.protocol["notes"].items():
        # The 64 draws of 32 chains take two draws each, beside an evaluation where the chains stand.
        assert cost.loc[name, "evaluations"] == own[0]["log-densities a draw"] + 0.5
    assert cost.loc["hmc", "gradients"] == cost.loc["hmc", "evaluations"]
    assert cost.loc["random_walk", "gradients"] == 0
    notes = result.protocol["notes"]["random_walk"][0]
    assert notes["log-densities a draw"] == notes["steps between draws"]
    hmc = result.protocol["notes"]["hmc"][0]
    assert hmc["gradients a draw"] % hmc["steps between draws"] == 0
    assert {"divergences", "largest R-hat", "effective draws a second"} <= set(hmc)
    assert cost.loc["hmc", "ksd_p"] > 1e-3


def test_ksd_sees_draws_of_another_law() -> None:
    """The density is the one that is said to be drawn from; the draws are not its own."""

    def wide(n: int, *, seed: int) -> Tensor:
        return 1.5 * torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))

    normal = Density(lambda x: -0.5 * (x**2).sum(-1), support=constraints.real_vector, event_shape=(1,))
    reference = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    result = compare(
        {"wide": Fitted(wide, density=normal), "other": wide}, reference, ["ksd"], repeats=1,
        progress=False,
    )  # fmt: skip
    summary = result.summary()
    assert summary.loc["wide", ("ksd_p", "mean")] < 0.01
    assert summary.loc["other", ("ksd_p", "mean")] != summary.loc["other", ("ksd_p", "mean")]


def test_models_stand_side_by_side_and_fit_the_training_data_type() -> None:
    def model(heads: Tensor) -> None:
        p = pyro.sample("p", dist.Beta(1.0, 1.0))
        pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("heads", dist.Binomial(10, p), obs=heads)

    own = Method.from_density(model, "hmc", torch.tensor(7.0), **CHAINS).fit(torch.zeros(1).double(), 0)
    draws = own.sample(500, seed=0)
    assert draws.shape == (500, 3)
    assert draws.dtype == torch.float64
    assert abs(float(draws[:, 0].mean()) - 8 / 12) < 5 * Beta(8.0, 4.0).stddev / 500**0.5
    one = Method.from_density(lambda: pyro.sample("p", dist.Beta(8.0, 4.0)), "inverse").fit(None, 0)
    assert abs(float(one.sample(500, seed=0).mean()) - 8 / 12) < 5 * Beta(8.0, 4.0).stddev / 500**0.5


def test_rejection_with_a_proposal_and_a_bound() -> None:
    normal = Density(lambda x: -0.5 * (x**2).sum(-1), support=constraints.real_vector, event_shape=(2,))
    proposal = dist.Normal(torch.zeros(2), 1.5).to_event(1)
    bound = 2 * torch.tensor(1.5).log() + torch.tensor(2 * torch.pi).log()
    own = Method.from_density(normal, "rejection", proposal=proposal, log_bound=bound + 1e-6).fit(None, 0)
    draws = own.sample(2000, seed=0)
    assert abs(own.notes["acceptance"] - 1 / 2.25) < 0.08
    assert (draws.std(0) - 1).abs().max() < 5 * (1 / 4000) ** 0.5


def test_a_reference_of_a_long_run_says_so_and_a_doubtful_one_is_refused() -> None:
    banana = Density(
        lambda x: -0.5 * (x[..., 0] ** 2 + (x[..., 1] - x[..., 0]) ** 2),
        support=constraints.real_vector,
        event_shape=(2,),
    )
    found = reference_draws(banana, 300, seed=0)
    assert "a run of hmc of its own, whose chains agree" in found.about
    assert abs(float(found.draws[:, 1].std()) - 2**0.5) < 5 * (1 / 300) ** 0.5
    assert "law itself" in reference_draws(Normal(0.0, 1.0), 10, seed=0).about


def test_what_is_refused() -> None:
    normal = Density(lambda x: -0.5 * (x**2).sum(-1), support=constraints.real_vector, event_shape=(2,))
    with pytest.raises(ValueError, match=r"should be one of inverse, .*hmc.* but got 'gibbs'"):
        Method.from_density(normal, "gibbs")
    with pytest.raises(ValueError, match="is not here, since trajectories"):
        Method.from_density(normal, "NUTS")
    with pytest.raises(ValueError, match="method 'inverse' is for a continuous density of one number"):
        Method.from_density(normal, "inverse")
    with pytest.raises(ValueError, match="one law but is a batch"):
        Method.from_density(Normal(torch.zeros(3), 1.0), "hmc")
    with pytest.raises(ValueError, match="train should be given"):
        compare({"learns": Method(lambda train, seed: Fitted(train))}, torch.zeros(9, 1), progress=False)


def test_a_plain_sampler_is_described_by_its_docstring() -> None:
    def draw(n: int, *, seed: int) -> Tensor:
        """Standard normal draws.

        More.
        """
        return torch.randn(n, 1, generator=torch.Generator().manual_seed(seed))

    result = compare({"a": draw}, draw(50, seed=1), ["energy"], repeats=1, progress=False)
    assert result.protocol["methods"]["a"] == "Standard normal draws"
