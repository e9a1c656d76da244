import pyro.distributions as dist
import pytest
import torch

from probgen.sampling import DiscreteInverse, InverseCDF
from probgen.sampling.exact.copulas import EmpiricalCopula, GaussianCopula
from probgen.sampling.exact.families import Beta, Gamma
from probgen.sampling.exact.quasi_random import sample_qmc
from probgen.sampling.exact.rosenblatt import Rosenblatt
from probgen.sampling.exact.truncate import truncate
from tests import laws

float64 = torch.float64


def build(name, dtype=float64, device="cpu"):
    zero, one, two = torch.tensor([0.0, 1.0, 2.0], dtype=dtype, device=device)
    normal = dist.Normal(zero, one)
    correlation = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=dtype, device=device)
    return {
        "Normal": lambda: normal,
        "Gamma": lambda: Gamma(torch.stack([one / 2, two]), one),
        "torch's Gamma": lambda: dist.Gamma(two, one),
        "InverseCDF by icdf": lambda: InverseCDF(icdf=lambda u: -(-u).log1p(), dtype=dtype, device=device),
        "InverseCDF by density": lambda: InverseCDF(log_prob=lambda x: -(x**2), dtype=dtype, device=device),
        "truncated": lambda: truncate(normal, 2.0, 5.0),
        "Independent": lambda: Beta(torch.stack([one, two]), two).to_event(1),
        "Rosenblatt": lambda: Rosenblatt([normal, lambda x: dist.Normal(x, one)]),
        "GaussianCopula": lambda: GaussianCopula([normal, dist.Exponential(one)], correlation=correlation),
        "EmpiricalCopula": lambda: EmpiricalCopula(torch.rand(9, 2, device=device), [normal, normal]),
        "discrete": lambda: DiscreteInverse(torch.stack([one, two]) / 3),
    }[name]()


NAMES = [
    "Normal", "Gamma", "torch's Gamma", "InverseCDF by icdf", "InverseCDF by density", "truncated",
    "Independent", "Rosenblatt", "GaussianCopula", "EmpiricalCopula", "discrete",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_inverse_cdf_law(name, dtype, device):
    law = build(name, dtype, device)
    draws = sample_qmc(law, 64, seed=1)
    assert draws.shape == (64, *law.batch_shape, *law.event_shape)
    assert draws.dtype == law.sample().dtype
    assert draws.device.type == device.type
    assert torch.equal(draws, sample_qmc(law, 64, seed=1))
    assert torch.equal(draws, sample_qmc(law, 64, generator=torch.Generator().manual_seed(1)))
    assert name == "discrete" or not torch.equal(draws, sample_qmc(law, 64, seed=2))


@pytest.mark.parametrize("name", ["Normal", "Independent", "Rosenblatt", "GaussianCopula", "truncated"])
def test_the_error_of_smooth_means_is_far_below_that_of_chance(name):
    """The standard error over 10 scrambles of 4096 points: at least 30 times smaller."""
    law = build(name)

    def error(draw):
        means = [draw(seed).reshape(4096, -1).mul(0.3).sin().sum(-1).mean() for seed in range(10)]
        return torch.stack(means).std()

    chance = error(lambda seed: law.sample((4096,)))
    assert error(lambda seed: sample_qmc(law, 4096, seed=seed)) < chance / 30


def test_the_error_falls_faster_than_that_of_chance():
    law = dist.Uniform(torch.zeros(3, dtype=float64), torch.ones(3, dtype=float64)).to_event(1)
    errors = []
    for n in (256, 4096):
        means = [sample_qmc(law, n, seed=seed).sum(-1).exp().mean() for seed in range(24)]
        errors.append(torch.stack(means).std())
    assert errors[0] / errors[1] > 20  # 4 for independent draws, 64 by theory


def test_each_point_is_uniform():
    """The first of the scrambled points has the law: it is not stuck at 0."""
    law = dist.Uniform(torch.tensor(0.0, dtype=float64), torch.tensor(1.0, dtype=float64))
    first = torch.stack([sample_qmc(law, 1, seed=seed)[0] for seed in range(3000)])
    laws.check_goodness_of_fit(first, lambda x: x.clamp(0, 1))
    laws.assert_power(first, lambda x: x.clamp(0, 1), shift=0.3)


@pytest.mark.parametrize("scramble", [True, False])
def test_points_are_inside_the_cube_and_one_in_each_cell(scramble):
    law = dist.Uniform(torch.zeros(3, dtype=float64), torch.ones(3, dtype=float64))
    u = sample_qmc(law, 1024, seed=3, scramble=scramble)
    assert ((u > 0) & (u < 1)).all()
    for column in u.unbind(-1):
        assert torch.equal((column * 1024).floor().long().sort().values, torch.arange(1024))
    tails = sample_qmc(build("Normal"), 1024, seed=3, scramble=scramble)
    assert tails.isfinite().all()


def test_points_have_all_their_bits():
    law = dist.Uniform(torch.zeros(2, dtype=float64), torch.ones(2, dtype=float64))
    u = sample_qmc(law, 1024, seed=3)
    for bits in (24, 30, 52):
        odd = ((u * 2.0**bits).floor() % 2).mean()
        assert 0.3 < odd < 0.7


def test_points_without_scrambling_are_sobols():
    law = dist.Uniform(torch.zeros(2, dtype=float64), torch.ones(2, dtype=float64))
    expected = torch.tensor([[0, 0], [0.5, 0.5], [0.75, 0.25], [0.25, 0.75]], dtype=float64)
    torch.testing.assert_close(sample_qmc(law, 4, scramble=False), expected, rtol=0, atol=1e-9)


def test_draws_have_derivatives():
    rate = torch.tensor(1.5, dtype=float64, requires_grad=True)
    mean = sample_qmc(Gamma(torch.tensor(2.0, dtype=float64), rate), 1024, seed=1).mean()
    (gradient,) = torch.autograd.grad(mean, rate)
    assert gradient.item() == pytest.approx(-2 / 1.5**2, rel=1e-3)


def test_the_global_generator_moves_on():
    law = build("Normal")
    torch.manual_seed(1)
    first, second = sample_qmc(law, 8), sample_qmc(law, 8)
    torch.manual_seed(1)
    assert torch.equal(first, sample_qmc(law, 8))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"n": 0}, ValueError, r"n should be at least 1 and at most 2\^30 but got 0"),
        ({"n": 2**31}, ValueError, r"n should be at least 1 and at most 2\^30 but got 2147483648"),
        ({"seed": 1, "generator": torch.Generator()}, ValueError, "generator or seed, one at most"),
        (
            {"law": dist.Normal(torch.zeros(30_000), 1.0)},
            ValueError,
            "21201 dimensions but the law takes 30000",
        ),
        ({"law": dist.Dirichlet(torch.ones(3))}, TypeError, r"got Dirichlet with event shape \(3,\)"),
        ({"law": dist.Poisson(1.0)}, TypeError, "continuous, and on the line, but got Poisson"),
    ],
)
def test_bad_input(options, kind, message):
    with pytest.raises(kind, match=message):
        sample_qmc(**({"law": dist.Normal(0.0, 1.0), "n": 8} | options))
