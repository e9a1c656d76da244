import math
import warnings

import pytest
import torch

import probgen as pg
from probgen.evaluation import guide_against_chains, pareto_k
from probgen.sampling import Chains, RunState
from tests.pairs import LinearGaussian

ROWS = 4


def conjugate(dtype=torch.float32):
    """Return a pair whose guide is the posterior, data, and the posterior."""
    pair = LinearGaussian(latent=1).to(dtype)
    x = pair.sample(ROWS, seed=1)
    posterior = pair.exact_posterior(x)
    with torch.no_grad():
        gain = posterior.variance[0] * pair.weight.T / (2 * pair.log_sigma).exp()
        pair.guide_map.weight.copy_(gain)
        pair.guide_map.bias.copy_(-gain @ pair.bias)
        pair.guide_log_scale.copy_(posterior.variance[0].log() / 2)
    return pair, x, posterior


def chains_of(draws, **statistics):
    """Return draws (chains, draws, rows, 1) as chains."""
    found = {"log_prob": torch.randn(draws.shape[:3]), "acceptance": torch.full(draws.shape[:3], 0.6)}
    return Chains({"z": draws}, statistics=found | statistics, state=RunState(None, torch.empty(0)))


@pytest.fixture
def exact():
    pair, x, posterior = conjugate()
    return pair, x, chains_of(posterior.sample((16, 100)).detach())


def test_nothing_is_found_where_the_guide_is_the_posterior(exact):
    found = guide_against_chains(*exact)
    assert found.failures() == []
    assert (found.rows.k_hat < 0.3).all()
    assert (found.rows.ess > 0.99).all()
    assert list(found.numbers.index) == [f"z[{row}, 0]" for row in range(ROWS)]
    assert list(found.numbers.row) == list(range(ROWS))
    assert (found.numbers["shift"].abs() < 5 * found.numbers.stderr).all()
    assert found.numbers.stderr.tolist() == pytest.approx([math.hypot(1 / 40, 1 / 63.2)] * ROWS, rel=0.2)
    assert found.numbers.sd_ratio.tolist() == pytest.approx([1] * ROWS, abs=0.1)


def test_false_alarms_are_as_rare_as_declared():
    """Of 40 exact guides 8 or more are wrongly failed at alpha = 0.05 with probability 1e-3."""
    pair, x, posterior = conjugate()
    alarms = 0
    for seed in range(40):
        torch.manual_seed(seed)
        chains = chains_of(posterior.sample((8, 10)).detach())
        found = guide_against_chains(pair, x, chains, particles=250, permutations=200, seed=seed)
        alarms += any("MMD" in failure for failure in found.failures(alpha=0.05))
    assert alarms < 8


def test_a_shifted_guide_is_seen(exact):
    pair, x, chains = exact
    with torch.no_grad():
        pair.guide_map.bias += 0.5 * pair.guide_log_scale.exp()
    found = guide_against_chains(pair, x, chains)
    assert found.numbers["shift"].tolist() == pytest.approx([0.5] * ROWS, abs=0.15)
    (words,) = found.failures()
    assert "not that of the chains for 4 of 4 rows (MMD test)" in words


def test_a_narrow_guide_is_seen_by_its_weights(exact):
    pair, x, chains = exact
    with torch.no_grad():
        pair.guide_log_scale += math.log(0.4)
    found = guide_against_chains(pair, x, chains)
    assert found.numbers.sd_ratio.tolist() == pytest.approx([0.4] * ROWS, rel=0.1)
    assert (found.rows.ess < 0.5).all()
    heavy, different = found.failures()
    assert "k-hat is above 0.70 for 4 of 4 rows" in heavy
    assert "the guide's standard deviation is 0." in different


def test_a_wide_guide_has_good_weights_but_another_law(exact):
    pair, x, chains = exact
    with torch.no_grad():
        pair.guide_log_scale += math.log(2)
    found = guide_against_chains(pair, x, chains)
    assert (found.rows.k_hat < 0.5).all()
    assert found.rows.ess.tolist() == pytest.approx([math.sqrt(7) / 4] * ROWS, rel=0.1)  # 1 / E[w²]
    assert "4 of 4 rows (MMD test)" in found.failures()[0]


def test_a_single_wrong_row_is_named(exact):
    pair, x, chains = exact
    draws = chains["z"].clone()
    draws[:, :, 2] += 1.0
    found = guide_against_chains(pair, x, chains_of(draws))
    (words,) = found.failures()
    assert "1 of 4 rows (MMD test)" in words
    assert "(z[2, 0])" in words


def test_chains_that_have_not_converged_come_first(exact):
    pair, x, chains = exact
    broken = chains_of(chains["z"], divergent=torch.ones(16, 100, ROWS, dtype=torch.int32))
    (words,) = guide_against_chains(pair, x, broken).failures()
    assert words.startswith("The chains are to be looked at first. 6400 trajectories diverged")


def test_sampled_chains():
    pair, x, _ = conjugate()
    density = pair.posterior(x)
    chains = pg.sampling.sample(
        density, chains=32, warmup=100, draws=100, generator=torch.Generator().manual_seed(2)
    )
    assert guide_against_chains(pair, x, chains).failures() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: {"particles": 100}, "particles should be at least 250 but got 100"),
        (lambda z: {"chains": chains_of(z[:, :, :2])}, r"'z' should have shape \(chains, draws, 4, 1\)"),
        (lambda z: {"chains": chains_of(z[:2, :5])}, "at least 20 draws that are about independent but have"),
    ],
    ids=["particles", "rows", "few"],
)
def test_bad_input(exact, change, message):
    pair, x, chains = exact
    with pytest.raises(ValueError, match=message):
        guide_against_chains(**({"pair": pair, "x": x, "chains": chains} | change(chains["z"])))


def test_other_sites_are_told(exact):
    pair, x, chains = exact
    other = Chains({"w": chains["z"]}, statistics=chains.statistics, state=chains.state)
    with pytest.raises(ValueError, match=r"sites of the guide, \['z'\], but have \['w'\]"):
        guide_against_chains(pair, x, other)


# The tail of weights.


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_pareto_k_of_pareto_weights(k):
    """At the quantiles of a Pareto law; the prior draws 190 tail weights by 10 towards a half."""
    levels = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    found = float(pareto_k(-k * (-levels).log1p()))
    assert found == pytest.approx((190 * k + 10 * 0.5) / 200, abs=0.03)


@pytest.mark.parametrize("draws", [30, 400, 4000])
def test_pareto_k_is_that_of_arviz(draws):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of ArviZ about itself, at its first import
        import arviz
    if not hasattr(arviz, "psislw"):
        pytest.skip("ArviZ 1 has no psislw by that name")
    log_weights = torch.distributions.StudentT(3.0).sample((draws, 5)).double()
    torch.testing.assert_close(
        pareto_k(log_weights), torch.from_numpy(arviz.psislw(log_weights.T.numpy().copy())[1])
    )


def test_pareto_k_of_equal_weights():
    assert pareto_k(torch.zeros(100, 2)).tolist() == [-math.inf] * 2


@pytest.mark.parametrize(("dtype", "noise"), [(torch.float32, 3e-7), (torch.float64, 5e-16)])
@pytest.mark.parametrize("size", [1, 6, 100, 784, 3072])
def test_pareto_k_of_rounding(dtype, noise, size):
    """Each of so many coordinates adds a rounding error, and 1.4 to the size of log p."""
    log_weights = (noise * torch.randn(1000, 5, size, dtype=dtype)).sum(-1) - 1.4 * size
    assert pareto_k(log_weights).tolist() == [-math.inf] * 5
    normalised = log_weights + 1.4 * size  # p is normalised: the weights do not tell how large log p is
    assert pareto_k(normalised, magnitude=torch.tensor(2.8 * size)).tolist() == [-math.inf] * 5


@pytest.mark.parametrize("spread", [1e-6, 1e-5, 5e-5, 1e-4, 1.5e-4, 2e-4, 1e-3, 1e-2])
def test_pareto_k_of_nearly_equal_weights_never_warns(spread):
    """Normal log-weights: from spreads that rounding hides to ones that it does not, k is 0 or less."""
    noise = torch.randn(4000, 20, generator=torch.Generator().manual_seed(0))
    assert (pareto_k(spread * noise) < 0.5).all()
    one_above = torch.nn.functional.one_hot(torch.tensor(7), 4000) * min(spread, 1e-3)
    assert pareto_k(one_above) == -math.inf


@pytest.mark.parametrize(
    "log_weights",
    [
        torch.cat([torch.linspace(-3, 3, 1000), torch.full((200,), 5.0)]),  # clipped from above
        torch.arange(1000.0) % 2,  # two values
        torch.cat([torch.full((800,), -torch.inf), torch.zeros(200)]),  # a part of a uniform law
        torch.cat([torch.zeros(999), torch.tensor([300.0])]),  # one weight is all
        torch.cat([torch.full((997,), -torch.inf), torch.arange(3.0)]),
    ],
    ids=["clipped", "two", "part", "one", "three"],
)
def test_pareto_k_of_no_tail_is_neither_exact_nor_a_number(log_weights):
    assert pareto_k(log_weights).item() == math.inf
    size = len(log_weights)
    beside = torch.stack([log_weights, torch.zeros(size), torch.linspace(-3, 3, size)], 1)
    found = pareto_k(beside).tolist()
    assert found[:2] == [math.inf, -math.inf]
    assert -2 < found[2] < 0.5


def test_pareto_k_of_ties_with_the_cutoff_is_that_of_what_exceeds_it():
    """As ArviZ has it: 40 weights above 3,960 that are equal."""
    k = 0.7
    above = torch.expm1(-k * torch.log1p(-(torch.arange(40, dtype=torch.float64) + 0.5) / 40)) / k
    log_weights = torch.cat([torch.zeros(3960, dtype=torch.float64), above.log1p()])
    assert float(pareto_k(log_weights)) == pytest.approx((40 * k + 10 * 0.5) / 50, abs=0.1)


def test_pareto_k_refuses():
    with pytest.raises(ValueError, match="at least 25 draws but hold 20"):
        pareto_k(torch.zeros(20))
    with pytest.raises(ValueError, match=r"below \+inf but some are NaN or \+inf"):
        pareto_k(torch.full((30,), math.nan))
    with pytest.raises(ValueError, match="should not all be -inf"):
        pareto_k(torch.full((30,), -math.inf))
    with pytest.raises(TypeError, match=r"floating-point tensor but is torch\.int64"):
        pareto_k(torch.zeros(30, dtype=torch.int64))
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"magnitude should be finite and at least 0 but holds {wrong}"):
            pareto_k(torch.zeros(30), magnitude=torch.tensor(wrong))
