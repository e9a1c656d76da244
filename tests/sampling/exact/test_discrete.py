import math

import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

from probgen.sampling import DiscreteInverse, Empirical
from probgen.sampling.exact.tables.alias_table import AliasTable
from probgen.sampling.exact.tables.guide_table import GuideTable
from probgen.sampling.exact.tables.step_laws import cumulated
from tests import laws

float64 = torch.float64


def chi_square_level(counts, expected):
    """The probability of a larger χ², each row of counts against expected counts above 0."""
    degrees = (expected > 0).sum(-1).double() - 1
    chi2 = ((counts - expected) ** 2 / expected.clamp(min=1e-300)).where(expected > 0, 0.0).sum(-1)
    return torch.special.gammaincc(degrees / 2, chi2 / 2)


def test_empirical_columns_are_laws_of_their_own(device, dtype):
    samples = torch.randn(300, 4, 2, dtype=dtype, device=device)
    law = Empirical(samples)
    assert law.batch_shape == (4, 2)
    draws = law.sample((5000,))
    assert draws.shape == (5000, 4, 2)
    for i in range(4):
        for j in range(2):
            assert torch.isin(draws[:, i, j], samples[:, i, j]).all()
    z = (draws.mean(0) - samples.mean(0)) / (law.variance / 5000).sqrt()
    assert z.abs().max() < 5.5
    correlation = torch.corrcoef(draws.flatten(1).T.double()).fill_diagonal_(0)
    assert correlation.abs().max() < 5.5 / math.sqrt(5000)


def test_empirical_moments_and_mass():
    samples = torch.tensor([[3.0, 1.0], [1.0, 1.0], [2.0, 1.0], [2.0, 5.0]])
    law = Empirical(samples)
    torch.testing.assert_close(law.mean, samples.mean(0))
    torch.testing.assert_close(law.variance, samples.var(0, correction=0))
    x = torch.tensor([[0.9], [1.0], [2.0], [5.0]])
    torch.testing.assert_close(law.cdf(x), torch.tensor([[0.0, 0.0], [0.25, 0.75], [0.75, 0.75], [1.0, 1.0]]))
    expected = torch.tensor([[0.0, 0.0], [0.25, 0.75], [0.5, 0.0], [0.0, 0.25]]).log()
    torch.testing.assert_close(law.log_prob(x), expected)


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_empirical_weights(shape):
    samples = torch.tensor([[3.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    weights = torch.tensor([1.0, 0.0, 3.0]).reshape(3, *[1] * (len(shape) - 1)).expand(shape)
    law = Empirical(samples, weights=weights)
    torch.testing.assert_close(law.mean, torch.tensor([2.25, 1.5]))
    assert law.icdf(torch.tensor([[0.0], [0.3], [1.0]])).tolist() == [[2.0, 0.0], [2.0, 2.0], [3.0, 2.0]]
    assert law.log_prob(torch.tensor([1.0, 1.0])).tolist() == [-math.inf, -math.inf]


def test_integers_stay_integers():
    law = Empirical(torch.tensor([4, 2, 4]))
    assert law.sample((10,)).dtype == torch.int64
    torch.testing.assert_close(law.mean, torch.tensor(10 / 3))
    torch.testing.assert_close(law.cdf(torch.tensor([1.5, 2.5, 4.0])), torch.tensor([0.0, 1 / 3, 1.0]))


def test_quantiles_at_the_steps():
    n = 1000
    law = Empirical(torch.arange(n))
    u = torch.arange(1, n + 1, dtype=float64) / n
    assert law.icdf(u).tolist() == list(range(n))
    assert law.icdf(torch.nextafter(u, torch.ones(n, dtype=float64))[:-1]).tolist() == list(range(1, n))


def test_discrete_against_its_probabilities(device):
    probs = torch.rand(3, 50, dtype=float64, device=device)
    probs[:, ::7] = 0
    law = DiscreteInverse(probs)
    n = 100_000
    expected = (n * probs / probs.sum(-1, keepdim=True)).cpu()
    by_search = torch.cat([law.sample((70,)) for _ in range(n // 70)])
    for draws in (law.sample((n,)), by_search):
        counts = torch.stack([torch.bincount(column, minlength=50) for column in draws.T]).cpu()
        assert counts[expected == 0].sum() == 0
        assert chi_square_level(counts, expected * (len(draws) / n)).min() > 1e-6 / 3
        slightly_wrong = expected + 0.03 * (expected.roll(1, -1) - expected) * (expected > 0)
        assert chi_square_level(counts, slightly_wrong * (len(draws) / n)).max() < 1e-6


MASSES = {
    "random": lambda k: torch.rand(3, k, dtype=float64) ** 8,
    "equal": lambda k: torch.ones(2, k, dtype=float64),
    "sparse": lambda k: (
        torch.rand(4, k, dtype=float64) * (torch.rand(4, k) < 0.1) + (torch.arange(k) == k // 2)
    ),
    "one": lambda k: (torch.arange(k) == torch.tensor([[0], [k - 1]])).double(),
    "halves": lambda k: (torch.arange(k)[None] % 4 % 3 == 0).double(),
    "geometric": lambda k: (-torch.arange(k, dtype=float64) / 3).exp()[None],
}


@pytest.mark.parametrize("k", [1, 2, 3, 10, 1000, 1024, 1533])
@pytest.mark.parametrize("name", MASSES)
def test_an_alias_table_holds_the_probabilities_exactly(name, k, device):
    """In whole numbers: SciPy's table fails on 1,533 equal probabilities."""
    probs = MASSES[name](k).to(device)
    probs = probs / probs.sum(-1, keepdim=True)
    table = AliasTable(probs)
    cell = 2**62 // table.threshold.shape[-1]
    assert (table.threshold >= 0).all()
    assert (table.threshold <= cell).all()
    held = table.threshold.scatter_add(-1, table.alias, cell - table.threshold)
    assert (held.sum(-1) == 2**62).all()
    assert (held[:, k:] == 0).all()
    largest = probs.argmax(-1, keepdim=True)
    rounding = (held[:, :k] - (probs * 2.0**62).round().long()).abs()
    assert rounding.gather(-1, largest).max() <= k * 2**9
    assert rounding.scatter(-1, largest, 0).max() == 0


@pytest.mark.parametrize("k", [1, 2, 10, 1000, 1533])
@pytest.mark.parametrize("name", MASSES)
def test_a_guide_table_finds_what_a_search_finds(name, k, device):
    """At random numbers, at the steps, and at the numbers beside them."""
    probs = MASSES[name](k).to(device)
    cumulative = cumulated(probs / probs.sum(-1, keepdim=True))
    u = torch.rand(len(cumulative), 30_000, dtype=float64, device=device)
    steps = cumulative.clamp(min=1e-300)
    beside = [torch.nextafter(steps, torch.full_like(steps, end)).clamp(max=1) for end in (0, 2)]
    u = torch.cat([u, steps, *beside, torch.ones_like(u[:, :1])], -1)
    assert torch.equal(GuideTable(cumulative).find(u), torch.searchsorted(cumulative, u))


def test_many_quantiles_are_those_of_few():
    probs = torch.rand(3, 1, 20, dtype=float64) ** 4
    for law in (DiscreteInverse(probs).expand([3, 2]), Empirical(torch.randn(20, 3, 2))):
        u = torch.rand(600, 3, 2, dtype=float64)
        few = torch.stack([law.icdf(one) for one in u])
        assert law._guide is None
        assert torch.equal(law.icdf(u), few)
        assert law._guide is not None
        assert torch.equal(law.expand([4, 3, 2]).icdf(u[:4]), few[:4])
    one = DiscreteInverse(probs)
    one.icdf(u[..., :1])
    assert torch.equal(one.expand([3, 2]).icdf(u), DiscreteInverse(probs).expand([3, 2]).icdf(u))


def test_small_calls_and_large_ones_draw_by_the_same_law():
    law = DiscreteInverse(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert law.sample((2,)).dtype == law.sample((100,)).dtype == torch.int64
    wide = law.expand([3])
    n = 40_000
    counts = torch.stack([column.bincount(minlength=4) for column in wide.sample((n,)).T])
    assert chi_square_level(counts, n * law.probs.double()).min() > 1e-6 / 3
    assert wide.expand([2, 3]).sample((5,)).shape == (5, 2, 3)
    one = DiscreteInverse(torch.ones(1, 4))
    assert one.sample((9,)).shape == (9, 1)
    counts = torch.stack([column.bincount(minlength=4) for column in one.expand([3]).sample((n,)).T])
    assert chi_square_level(counts, torch.full((3, 4), n / 4, dtype=float64)).min() > 1e-6 / 3
    singles = DiscreteInverse(torch.eye(4)[:, None]).expand([4, 3]).sample((50,))
    assert (singles == torch.arange(4)[:, None]).all()
    assert law.sample((0,)).shape == (0,)


def test_half_of_many_categories():
    """torch.multinomial draws none of the upper half of 2²⁴ such categories (pytorch#43115)."""
    k = 2**24 + 2
    probs = torch.ones(k)
    probs[: k // 2] = 2
    law = DiscreteInverse(probs)
    draws = law.sample((100_000,))
    assert abs((draws >= k // 2).double().mean() - 1 / 3) < 5.5 * math.sqrt(2 / 9 / 100_000)


def test_probabilities_of_very_different_size():
    probs = torch.tensor([1e15, 1.0, 1e-15, 1e15])
    law = DiscreteInverse(probs)
    torch.testing.assert_close(law.mass.sum(), torch.tensor(1.0, dtype=float64))
    table = AliasTable(law.mass[None])
    held = table.threshold.scatter_add(-1, table.alias, 2**60 - table.threshold)[0]
    assert abs(int(held[1]) - 2**62 * 0.5e-15) < 1
    assert DiscreteInverse(torch.tensor([1e308, 1e308, 0.0], dtype=float64)).icdf(torch.tensor(1.0)) == 1


def test_discrete_functions():
    probs = torch.tensor([[1.0, 1.0, 2.0], [0.0, 3.0, 0.0]])
    law = DiscreteInverse(probs)
    torch.testing.assert_close(law.mean, torch.tensor([1.25, 1.0]))
    torch.testing.assert_close(law.variance, torch.tensor([0.6875, 0.0]))
    values = law.enumerate_support()
    assert values.shape == (3, 2)
    assert law.enumerate_support(expand=False).shape == (3, 1)
    torch.testing.assert_close(law.log_prob(values).exp().T, probs / probs.sum(-1, keepdim=True))
    torch.testing.assert_close(law.cdf(torch.tensor([-1.0, 1.5])), torch.tensor([0.0, 1.0]))
    assert law.icdf(torch.tensor([[0.0], [0.25], [1.0]])).tolist() == [[0, 1], [0, 1], [2, 1]]


def test_tiny_probabilities_and_many_categories(generator):
    law = DiscreteInverse(torch.tensor([1e-12, 1.0]))
    assert law.icdf(torch.tensor([0.9e-12, 1.1e-12], dtype=float64)).tolist() == [0, 1]
    k = 2**24 + 3
    many = DiscreteInverse(torch.ones(k))
    u = torch.tensor([0.5 / k, (k - 0.5) / k], dtype=float64)
    assert many.icdf(u).tolist() == [0, k - 1]


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0, 0.5, 2.0])])
def test_smoothed(weights):
    samples = torch.tensor([0.3, -1.0, 5.0, 2.0], dtype=float64)
    law = Empirical(samples, weights=weights).smoothed(0.4)
    mass = torch.ones(4) / 4 if weights is None else weights / weights.sum()
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(mass.double()), torch.distributions.Normal(samples, 0.4)
    )
    x = torch.linspace(-3, 6, 7, dtype=float64)
    torch.testing.assert_close(law.log_prob(x), mixture.log_prob(x))
    torch.testing.assert_close(law.cdf(x), mixture.cdf(x))
    torch.testing.assert_close(law.mean, mixture.mean)
    torch.testing.assert_close(law.variance, mixture.variance)
    torch.testing.assert_close(law.cdf(law.icdf(mixture.cdf(x))), mixture.cdf(x))
    draws = law.sample((200_000,))
    laws.check_goodness_of_fit(draws, mixture.cdf)
    laws.assert_power(draws, mixture.cdf, shift=0.02)


def test_smoothed_without_what_weighs_nothing():
    samples, weights = torch.tensor([1.0, 50.0, 2.0]), torch.tensor([1.0, 0.0, 3.0])
    law = Empirical(samples, weights=weights).smoothed(0.4)
    less = Empirical(samples[::2], weights=weights[::2]).smoothed(0.4)
    x = torch.tensor([0.0, 1.5, 50.0])
    torch.testing.assert_close(law.log_prob(x), less.log_prob(x))
    assert law.sample((1000,)).max() < 10


def test_smoothed_batches_and_many_values():
    samples = torch.randn(300, 2, dtype=float64)
    law = Empirical(samples).smoothed(torch.tensor([0.1, 2.0], dtype=float64))
    assert law.batch_shape == (2,)
    x = torch.randn(50_000, 2, dtype=float64)
    values = law.log_prob(x)
    alone = Empirical(samples[:, 1]).smoothed(2.0).log_prob(x[:, 1])
    torch.testing.assert_close(values[:, 1], alone)
    bandwidth = torch.tensor(0.3, dtype=float64, requires_grad=True)
    laws.check_gradient(lambda h: Empirical(samples[:9, 0]).smoothed(h).log_prob(x[:3, 0]), 0.3)
    assert Empirical(samples).smoothed(bandwidth).log_prob(x[:3]).requires_grad
    assert Empirical(torch.tensor([1, 2, 5])).smoothed(1.0).sample((3,)).dtype == torch.float32


def test_silverman_rule():
    samples = torch.randn(1000, dtype=float64)
    quartiles = samples.quantile(torch.tensor([0.25, 0.75], dtype=float64), interpolation="lower")
    spread = min(float(samples.std(correction=0)), float(quartiles.diff()) / 1.349)
    law = Empirical(samples).smoothed()
    torch.testing.assert_close(
        law.bandwidth, torch.tensor(0.9 * spread * 1000**-0.2, dtype=float64), rtol=0.01, atol=0
    )
    repeated = Empirical(samples.repeat(2), weights=torch.cat([torch.ones(1000), torch.zeros(1000)]))
    torch.testing.assert_close(repeated.smoothed().bandwidth, law.bandwidth, rtol=0.01, atol=0)
    with pytest.raises(ValueError, match="samples should differ where the bandwidth is chosen by rule"):
        Empirical(torch.ones(5)).smoothed()


def test_gradient_to_probabilities_is_finite_beside_a_zero():
    probs = torch.tensor([0.5, 0.0, 0.5], requires_grad=True)
    DiscreteInverse(probs).log_prob(torch.tensor(2)).backward()
    torch.testing.assert_close(probs.grad, torch.tensor([-1.0, -1.0, 1.0]))


@pytest.mark.parametrize(
    "probs",
    [
        torch.tensor([1e308, 1e308], dtype=float64),
        torch.tensor([1e-320, 1e-320], dtype=float64),
        torch.tensor([3e38, 3e38, 3e38]),
        torch.tensor([1e-30, 1e30]),
        torch.tensor([6e4, 3e4], dtype=torch.float16),
        torch.tensor([1, 3]),
    ],
)
def test_probabilities_of_any_scale(probs):
    """Sums beyond the range of their dtype, and shares below it."""
    law, logs = DiscreteInverse(probs), probs.to(float64).log()
    expected = (logs - logs.logsumexp(0)).to(law.probs.dtype)
    torch.testing.assert_close(law.log_prob(torch.arange(len(probs))), expected)
    torch.testing.assert_close(law.probs, expected.exp())


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_moments_are_those_of_a_categorical_law(shape, device):
    own = torch.rand(*shape[-1:], 5, dtype=float64, generator=torch.Generator().manual_seed(1)).to(device)
    probs = own.requires_grad_()
    law, known = DiscreteInverse(probs).expand(shape), torch.distributions.Categorical(probs).expand(shape)
    assert torch.equal(law.mode, known.mode)
    mean = (known.probs * torch.arange(5, device=device)).sum(-1)
    for ours, theirs in ((law.entropy(), known.entropy()), (law.mean, mean)):
        assert ours.shape == shape
        torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(one.entropy().sum(), probs)[0] for one in (law, known)]
    torch.testing.assert_close(*gradients)
    with_zero = DiscreteInverse(torch.tensor([0.5, 0.0, 0.5], device=device))
    torch.testing.assert_close(with_zero.entropy(), torch.tensor(math.log(2), device=device))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_entropy_and_mode_of_a_sample_are_those_of_its_distinct_values(shape):
    x = torch.randint(0, 4, (50, *shape[-1:]), generator=torch.Generator().manual_seed(2))
    weights = torch.rand(50, dtype=float64, generator=torch.Generator().manual_seed(3))
    mass = (torch.nn.functional.one_hot(x, 4).movedim(0, -1).to(float64) @ weights) / weights.sum()
    law = Empirical(x.double(), weights=weights).expand(shape)
    known = torch.distributions.Categorical(mass).expand(shape)
    torch.testing.assert_close(law.entropy(), known.entropy())
    assert torch.equal(law.mode, known.mode.double())


def test_enumeration_in_pyro():
    probs = torch.tensor([0.2, 0.8], requires_grad=True)
    place = torch.tensor([-1.0, 1.0])

    @config_enumerate
    def model():
        with pyro.plate("data", 3):
            k = pyro.sample("k", DiscreteInverse(probs))
            pyro.sample("x", pyro.distributions.Normal(place[k], 1.0), obs=torch.tensor([0.0, 1.0, 2.0]))

    loss = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(model, lambda: None)
    normal = torch.distributions.Normal(place, 1.0).log_prob(torch.tensor([[0.0], [1.0], [2.0]]))
    torch.testing.assert_close(loss, -(normal + probs.log()).logsumexp(-1).sum())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Empirical(torch.tensor(1.0)), r"shape \(n, \*batch\), n ≥ 1, but have \(\)"),
        (lambda: Empirical(torch.empty(0, 3)), r"but have \(0, 3\)"),
        (lambda: Empirical(torch.tensor([1.0, math.nan])), "samples should be finite but hold nan or inf"),
        (lambda: Empirical(torch.ones(3), weights=torch.ones(2)), r"weights should have the shape \(3,\)"),
        (
            lambda: Empirical(torch.ones(2), weights=torch.tensor([1.0, -1.0])),
            r"weights should be finite and at least 0 but hold -1\.0",
        ),
        (lambda: Empirical(torch.ones(2), weights=torch.zeros(2)), "weights should have a positive sum"),
        (lambda: DiscreteInverse(torch.tensor([0.5, math.nan])), "probs should be finite and at least 0 but"),
        (
            lambda: DiscreteInverse(torch.tensor([0.5, -0.1])),
            r"probs should be finite and at least 0 but hold -0\.1",
        ),
        (
            lambda: Empirical(torch.ones(2)).smoothed(0.0),
            r"bandwidth should be finite and above 0 but is 0\.0",
        ),
        (
            lambda: Empirical(torch.ones(2)).smoothed(math.nan),
            "bandwidth should be finite and above 0 but is nan",
        ),
        (lambda: Empirical(torch.ones(2)).cdf(torch.tensor(math.nan)), "within the support"),
        (
            lambda: DiscreteInverse(torch.ones(2)).cdf(torch.tensor(math.nan)),
            "cdf needs a number but got nan",
        ),
        (lambda: DiscreteInverse(torch.zeros(2, 3)), "probs should have a positive sum but sum to 0"),
        (lambda: DiscreteInverse(torch.tensor(0.5)), r"probs should have shape \(\*batch, K\)"),
        (lambda: DiscreteInverse(torch.ones(3)).log_prob(torch.tensor(3)), "within the support"),
        (lambda: DiscreteInverse(torch.ones(3)).icdf(torch.tensor(-0.5)), r"u should be in \[0, 1\] but got"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_weight_that_is_small_beside_the_others_counts(place):
    """Beside 1 its share rounds to nothing, and two samples that are tied share it."""
    weights = torch.ones(3, dtype=torch.float64)
    weights[place] = 1e-20
    law = Empirical(torch.arange(3.0, dtype=torch.float64), weights=weights)
    expected = (weights / weights.sum()).log()
    torch.testing.assert_close(law.log_prob(torch.arange(3.0, dtype=torch.float64)), expected)
    torch.testing.assert_close(law.entropy(), -(expected.exp() * expected).sum())
    tied = Empirical(torch.arange(3.0, dtype=torch.float64).repeat(2), weights=weights.repeat(2) / 2).expand(
        [4]
    )
    torch.testing.assert_close(tied.log_prob(torch.tensor(float(place))).double(), expected[place].expand(4))
    batch = Empirical(torch.arange(6.0, dtype=torch.float64).reshape(3, 2), weights=weights)
    values = torch.tensor([2.0, 3.0], dtype=torch.float64)
    expected = torch.where(values == torch.tensor([2.0, 3.0]), expected[1], -torch.inf)
    torch.testing.assert_close(batch.log_prob(values), expected)


def test_what_is_no_category_has_probability_0_without_validation():
    """It does not have the probability of another law of the batch."""
    law = DiscreteInverse(torch.tensor([[0.5, 0.5], [0.1, 0.9]]), validate_args=False)
    values = torch.tensor([[2, 0], [0, -1], [1, 1]])
    expected = torch.tensor([[0.0, 0.1], [0.5, 0.0], [0.5, 0.9]])
    torch.testing.assert_close(law.log_prob(values).exp(), expected)
    assert law.log_prob(torch.tensor(0.5)).tolist() == [-torch.inf] * 2
