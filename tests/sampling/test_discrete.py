import math

import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

from probgen.sampling import DiscreteInverse, Empirical

float64 = torch.float64


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
    counts = torch.stack([torch.bincount(column, minlength=50) for column in law.sample((n,)).T]).cpu()
    expected = (n * probs / probs.sum(-1, keepdim=True)).cpu()
    assert counts[expected == 0].sum() == 0
    chi2 = ((counts - expected) ** 2 / expected.clamp(min=1e-300)).sum(-1)
    tail = torch.special.gammaincc(torch.tensor(41 / 2, dtype=float64), chi2 / 2)
    assert tail.min() > 1e-6 / 3
    wrong = ((counts - expected.roll(1)) ** 2 / expected.roll(1).clamp(min=1.0)).sum(-1)
    assert torch.special.gammaincc(torch.tensor(41 / 2, dtype=float64), wrong / 2).max() < 1e-6


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


def test_gradient_to_probabilities_is_finite_beside_a_zero():
    probs = torch.tensor([0.5, 0.0, 0.5], requires_grad=True)
    DiscreteInverse(probs).log_prob(torch.tensor(2)).backward()
    torch.testing.assert_close(probs.grad, torch.tensor([-1.0, -1.0, 1.0]))


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
        (lambda: DiscreteInverse(torch.zeros(2, 3)), "probs should have a positive sum but sum to 0"),
        (lambda: DiscreteInverse(torch.tensor(0.5)), r"probs should have shape \(\*batch, K\)"),
        (lambda: DiscreteInverse(torch.ones(3)).log_prob(torch.tensor(3)), "within the support"),
        (lambda: DiscreteInverse(torch.ones(3)).icdf(torch.tensor(-0.5)), r"u should be in \[0, 1\] but got"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()
