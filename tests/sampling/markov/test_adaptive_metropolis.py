"""Warm-ups by adaptive Metropolis and its robust form: the shape that they find, and that they end."""

import math

import pytest
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import constraints

from probgen.core import Density
from probgen.sampling import adapt_haario, adapt_robust, run, sample
from tests import laws

DOUBLE = {"dtype": torch.float64}
WARM_UPS = {"haario": adapt_haario, "robust": adapt_robust}
each = pytest.mark.parametrize("warm_up", WARM_UPS.values(), ids=WARM_UPS)
FACTOR = torch.tensor([[0.01, 0.0], [50.0, 100.0]], **DOUBLE)


def elliptic(factor: Tensor, log_prob) -> Density:
    """A law of x = ½ + L z, by the log-density of |z|²."""
    inverse = torch.linalg.inv(factor)
    return Density(
        lambda x: log_prob(((x - 0.5) @ inverse.T).square().sum(-1)),
        support=constraints.real_vector,
        event_shape=(len(factor),),
        **DOUBLE,
    )


def normal(factor: Tensor) -> Density:
    return elliptic(factor, lambda square: -0.5 * square)


def scale_of(density: Density, tuned, generator) -> Tensor:
    """Return the factor of the steps of a tuned walk, up to a rotation, from the steps of the flat law."""
    flat = torch.zeros(20_000, density.dim, **DOUBLE)
    density.log_prob = lambda x: 0 * x[..., 0]
    state, _ = tuned.transition.step(tuned.transition.init(flat), generator)
    return torch.linalg.cholesky(state.position.T.cov())


@each
def test_the_shape_of_a_gaussian_is_found(warm_up, generator):
    """A target 10⁴ times as long as it is wide; the best factor is 2.38/√2 times that of the target."""
    density = normal(FACTOR)
    tuned = warm_up(density, torch.randn(64, 2, generator=generator, **DOUBLE), generator=generator)
    chains = run(tuned.transition, tuned.position, draws=200, density=density, generator=generator)
    assert abs(chains.statistics["acceptance"].mean() - 0.234) < 0.04
    found = torch.linalg.svdvals(torch.linalg.solve(FACTOR, scale_of(density, tuned, generator)))
    assert found.max() / found.min() < 1.2
    assert 3.0 / math.sqrt(2) < found.min() < found.max() < 5.2 / math.sqrt(2)


def test_the_robust_shape_of_a_cauchy_law_is_that_of_its_contours(device):
    """It has no covariance: what Haario's learns is a few far places."""
    generator = torch.Generator(device).manual_seed(3)
    start = torch.randn(64, 2, generator=generator, **DOUBLE)
    spread = {}
    for name, warm_up in WARM_UPS.items():
        density = elliptic(FACTOR, lambda square: -1.5 * torch.log1p(square))
        tuned = warm_up(density, start, generator=generator)
        found = torch.linalg.svdvals(torch.linalg.solve(FACTOR, scale_of(density, tuned, generator)))
        spread[name] = found.max() / found.min()
    assert spread["robust"] < 1.3
    assert spread["haario"] > 2


@each
def test_chains_are_stationary_once_it_has_ended(warm_up, generator):
    """Exact draws, moved by the tuned walk, keep the law of a heavy tail."""
    density = Density(lambda x: -torch.log1p(x**2), **DOUBLE)
    tuned = warm_up(density, torch.zeros(64, 1, **DOUBLE), steps=300, generator=generator)
    exact = torch.as_tensor(scipy.stats.cauchy.ppf(torch.rand(50_000, generator=generator, **DOUBLE).numpy()))
    level = [(torch.arctan, lambda x: x / math.pi + 0.5)]
    laws.check_stationary(density, tuned.transition, exact, level, generator=generator, steps=3)


@each
def test_tuning_ends_with_the_warm_up(warm_up, generator):
    density = normal(torch.eye(2, **DOUBLE))
    tuned = warm_up(density, torch.zeros(8, 2, **DOUBLE), steps=100, generator=generator)
    state = tuned.transition.init(tuned.position)
    once, _ = tuned.transition.step(state, torch.Generator().manual_seed(1))
    for _ in range(50):
        tuned.transition.step(state, generator)
    again, _ = tuned.transition.step(state, torch.Generator().manual_seed(1))
    assert torch.equal(once.position, again.position)


@each
def test_members_of_a_batch_are_tuned_apart(warm_up, generator):
    scales = torch.tensor([[1e-2], [1.0], [1e2]], **DOUBLE)
    density = Density(
        lambda x: -0.5 * (x / scales).square().sum(-1),
        support=constraints.real_vector,
        event_shape=(1,),
        batch_shape=(3,),
        **DOUBLE,
    )
    start = torch.randn(4, 3, 1, generator=generator, **DOUBLE)
    tuned = warm_up(density, start, steps=600, generator=generator)
    chains = run(tuned.transition, tuned.position[:1].expand(64, 3, 1), draws=50, generator=generator)
    assert ((chains.statistics["acceptance"].mean((0, 1)) - 0.44).abs() < 0.12).all()


@each
def test_a_single_chain_is_tuned_in_some_dimensions(warm_up, generator):
    """Where one step's acceptance is all there is to learn from, the shape stays positive."""
    density = normal(torch.eye(8, **DOUBLE))
    tuned = warm_up(density, torch.zeros(1, 8, **DOUBLE), generator=generator)
    chains = run(tuned.transition, torch.zeros(64, 8, **DOUBLE), draws=200, generator=generator)
    assert 0.05 < chains.statistics["acceptance"].mean() < 0.5


@pytest.mark.parametrize("method", WARM_UPS)
def test_sample_by_name(method, generator):
    means, scales = torch.tensor([-3.0, 5.0]), torch.tensor([0.1, 10.0])
    density = Density.from_distribution(torch.distributions.Normal(means, scales))
    chains = sample(density, method=method, chains=100, warmup=300, draws=100, generator=generator)
    of_chains = chains["x"].mean(1)
    assert ((of_chains.mean(0) - means).abs() < 5.5 * of_chains.std(0) / 10).all()
    assert chains.target_acceptance == 0.44


@each
@pytest.mark.parametrize(
    ("log_prob", "options", "message"),
    [
        (lambda x: -(x**2), {"steps": 10}, "warm-up should have at least 20 steps but got 10"),
        (lambda x: -(x**2), {"target": 1.0}, r"target acceptance should be between 0 and 1 but got 1\.0"),
        (lambda x: x * math.nan, {}, r"log_prob should be finite but is nan at x = 0\.0 \(chain 0\)"),
        (
            lambda x: torch.where(x == 0, 0.0, -torch.inf),
            {"steps": 50},
            "chains should move during warm-up but some stood still",
        ),
    ],
)
def test_bad_input(warm_up, log_prob, options, message, generator):
    with pytest.raises(ValueError, match=message):
        warm_up(Density(log_prob), torch.zeros(4, 1), generator=generator, **options)
