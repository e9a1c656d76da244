"""Goodness of fit by Stein's discrepancy: its null draws by brute force, level, power, chains, bad input."""

import pytest
import torch
from scipy import stats
from torch.distributions import Gamma

from probgen.core import Density
from probgen.mmd import Gaussian, InverseMultiquadric, ksd2, ksd_test
from probgen.mmd.blocks import blocks_of_chains, membership
from probgen.mmd.stein import SteinKernel, points_and_scores

REPEATS = 200


def expected_rejections(level: float) -> tuple[int, int]:
    """The bounds that a test of this level leaves with probability 1e-5 on each side."""
    return int(stats.binom.ppf(1e-5, REPEATS, level)), int(stats.binom.isf(1e-5, REPEATS, level))


def normal_score(x):
    return -x


def autoregressive(chains, draws, memory, generator):
    """Stationary chains of one coordinate with the law N(0, 1)."""
    noise = torch.randn(draws, chains, 1, dtype=torch.float64, generator=generator)
    x = [noise[0]]
    for step in noise[1:]:
        x.append(memory * x[-1] + (1 - memory**2) ** 0.5 * step)
    return torch.stack(x, 1)


def test_is_the_unbiased_discrepancy_and_its_signed_sums(device, dtype, generator):
    x = torch.randn(12, 2, device=device, dtype=dtype, generator=generator) + 0.5
    kernel = Gaussian([0.5, 2.0])
    state = generator.get_state()
    found = ksd_test(x, normal_score, kernels=kernel, bootstraps=50, generator=generator)
    assert found.statistic == pytest.approx(ksd2(x, normal_score, kernel).value, rel=1e-9)
    generator.set_state(state)
    signs = 2.0 * torch.randint(0, 2, (12, 50), generator=generator, device=device) - 1
    whole = slice(0, 12)
    values = SteinKernel(*points_and_scores(x, normal_score), kernel).block(whole, whole).fill_diagonal_(0)
    expected = torch.einsum("ib,ij,jb->b", signs.double(), values, signs.double()) / (12 * 11)
    assert found.null == pytest.approx(expected, rel=1e-9)
    assert found.p_value == ((expected >= found.statistic).sum().item() + 1) / 51


@pytest.mark.parametrize("kernels", [InverseMultiquadric(1.0), None], ids=["one kernel", "five kernels"])
def test_the_level_holds(kernels, generator):
    p_values = []
    for _ in range(REPEATS):
        x = torch.randn(50, 2, generator=generator)
        found = ksd_test(x, normal_score, kernels=kernels, bootstraps=99, generator=generator)
        p_values.append(found.p_value)
    low, high = expected_rejections(0.1)
    assert low <= sum(p <= 0.1 for p in p_values) <= high


WRONG = {"moved": lambda x: x + 0.5, "wide": lambda x: 1.7 * x, "cubed": lambda x: x**3 / 2}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_power(wrong, generator):
    """Of 40 samples of 100 at least 37 are told from the normal law, at level 0.05."""
    p_values = [
        ksd_test(
            wrong(torch.randn(100, 2, generator=generator)), normal_score, bootstraps=99, generator=generator
        ).p_value
        for _ in range(40)
    ]
    assert sum(p <= 0.05 for p in p_values) >= 37


def test_densities_on_a_support(generator):
    density = Density.from_distribution(Gamma(3.0, 1.0))
    torch.manual_seed(0)
    right, wrong = Gamma(3.0, 1.0).sample((300,)), Gamma(3.0, 1.5).sample((300,))
    assert ksd_test(right, density, bootstraps=199, generator=generator).p_value > 0.01
    assert ksd_test({"x": wrong}, density, bootstraps=199, generator=generator).p_value <= 0.02


def test_the_level_holds_for_chains(generator):
    """And does not where their draws are taken to be independent."""
    p_values, naive = [], []
    for _ in range(REPEATS):
        x = autoregressive(25, 20, 0.9, generator)
        options = {"kernels": InverseMultiquadric(1.0), "bootstraps": 99, "generator": generator}
        p_values.append(ksd_test(x, normal_score, method="block", **options).p_value)
        if len(naive) < 40:
            naive.append(ksd_test(x.flatten(0, 1), normal_score, **options).p_value)
    low, high = expected_rejections(0.1)
    assert low <= sum(p <= 0.1 for p in p_values) <= high
    assert sum(p <= 0.1 for p in naive) > 25


def test_power_for_chains(generator):
    x = autoregressive(30, 40, 0.9, generator)
    options = {"method": "block", "bootstraps": 199, "generator": generator}
    assert ksd_test(x + 1.0, normal_score, **options).p_value <= 0.01
    few = autoregressive(2, 1000, 0.9, generator)
    assert ksd_test(few, normal_score, **options).p_value > 0.01
    assert ksd_test({"x": few[..., 0] + 0.8}, Density(lambda x: -(x**2) / 2), **options).p_value < 0.05


def test_many_chains_fill_a_hundred_blocks(generator):
    """Memory grows with the draws and not with draws times chains; a chain stays whole."""
    units = blocks_of_chains("x", torch.randn(250, 3, 1, generator=generator))
    member = membership(units, torch.zeros(()))
    assert member.shape == (750, 100)
    assert member.sum(1).eq(1).all()
    assert member.reshape(250, 3, 100).std(1).max() == 0
    assert set(member.sum(0).tolist()) == {6.0, 9.0}


def test_a_mode_without_draws_is_not_missed(generator):
    """As the docstrings warn: far modes are invisible to the score where the draws are."""
    modes = Density(lambda x: torch.logaddexp(-((x - 8) ** 2) / 2, -((x + 8) ** 2) / 2), dtype=torch.float64)
    one = torch.randn(400, dtype=torch.float64, generator=generator) + 8
    assert ksd_test(one, modes, bootstraps=199, generator=generator).p_value > 0.05


X = torch.linspace(-1.0, 1.0, 20)


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        (X, {"method": "wild"}, "method should be 'independent' or 'block' but got 'wild'"),
        (X, {"bootstraps": 0}, "bootstraps should be at least 1 but got 0"),
        (X, {"kernels": []}, "kernels should hold at least one kernel"),
        (X[:3], {}, "x should hold at least 4 points"),
        (X, {"method": "block"}, r"should have shape \(chains, draws, \*event\)"),
        (X[None], {"method": "block"}, "draw more"),
    ],
)
def test_bad_input(x, options, words):
    with pytest.raises(ValueError, match=words):
        ksd_test(x, normal_score, **options)


def test_a_level_out_of_reach():
    with pytest.raises(ValueError, match=r"level should be at least 0\.1"):
        ksd_test(X, normal_score, bootstraps=9).rejects(0.05)
