"""Margins of copulas: both tails exact, or refused; atoms refused."""

import pyro.distributions as dist
import pytest
import scipy.special
import scipy.stats
import torch
from torch.distributions import constraints

from probgen.sampling.exact.copulas import EmpiricalCopula, GaussianCopula
from probgen.sampling.exact.inverse_cdf import InverseCDF
from probgen.sampling.exact.tails.both_tails import tails
from probgen.sampling.exact.truncate import truncate
from tests import laws
from tests.sampling.exact.test_copulas import EYE, normal, tensor

float64 = torch.float64


def test_a_mixture_as_margin_is_exact_in_both_tails():
    parts = dist.Normal(tensor(-2.0, 2.0), 1.0)
    mixture = dist.MixtureSameFamily(dist.Categorical(tensor(0.25, 0.75)), parts)
    law = GaussianCopula([mixture, normal(0.0, 1.0)], correlation=torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    x = tensor(-14.0, -3.0, 0.5, 12.0, 15.0)
    weights, norm = tensor(0.25, 0.75).numpy(), scipy.stats.norm
    shifted = x[:, None].numpy() - parts.loc.numpy()
    lower, upper = (scipy.special.logsumexp(f(shifted), b=weights, axis=1) for f in (norm.logcdf, norm.logsf))
    z = torch.from_numpy(scipy.special.ndtri_exp(lower.clip(max=-1e-9)))
    z = torch.where(x > 0, -torch.from_numpy(scipy.special.ndtri_exp(upper)), z)
    both = dist.MultivariateNormal(torch.zeros(2, dtype=float64), law.scale_tril @ law.scale_tril.T)
    y = tensor(8.0, -1.0, 0.0, 2.0, 8.0)
    expected = (
        both.log_prob(torch.stack([z, y], -1)) - dist.Normal(0.0, 1.0).log_prob(z) + mixture.log_prob(x)
    )
    found = law.log_prob(torch.stack([x, y], -1))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    placed = law._placed(*(torch.stack([torch.from_numpy(t)] * 2, -1) for t in (lower, upper)))[:, 0]
    torch.testing.assert_close(placed, x, rtol=1e-9, atol=0)

    def moved(m):
        parts = dist.Normal(torch.stack([m, 2 * m]), 1.0)
        margin = dist.MixtureSameFamily(dist.Categorical(tensor(0.25, 0.75)), parts)
        return GaussianCopula([margin, normal(0.0, 1.0)], correlation=EYE)

    for u in (tensor(0.97, 0.2), tensor(0.03, 0.2)):
        laws.check_gradient(lambda m, u=u: moved(m).from_uniform(u), 1.3)


CLOSED = {
    "Logistic": (dist.Logistic(tensor(0.5), tensor(2.0)), scipy.stats.logistic(0.5, 2.0), 300.0),
    "Uniform to Logistic": (
        dist.TransformedDistribution(
            dist.Uniform(tensor(0.0), tensor(1.0)),
            [dist.transforms.SigmoidTransform().inv, dist.transforms.AffineTransform(0.5, 2.0)],
        ),
        scipy.stats.logistic(0.5, 2.0), 300.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_margins_of_logistic_laws_are_exact_in_both_tails(name):
    margin, exact, far = CLOSED[name]
    x = tensor(-far, -1.0, 3.0, far)
    lower, upper = tails(margin).of(x)
    torch.testing.assert_close(lower, torch.from_numpy(exact.logcdf(x.numpy())), rtol=1e-12, atol=0)
    torch.testing.assert_close(upper, torch.from_numpy(exact.logsf(x.numpy())), rtol=1e-12, atol=0)
    torch.testing.assert_close(tails(margin).quantile(lower, upper), x, rtol=1e-12, atol=0)


def test_both_tails_of_kumaraswamy():
    """F(x) = 1 − (1 − x²)³: 3 x² near 0, and (2 (1 − x))³ from 1 near 1."""
    known = tails(dist.Kumaraswamy(tensor(2.0), tensor(3.0)))
    x = tensor(1e-12, 0.5, 1 - 1e-12)
    lower, upper = known.of(x)
    torch.testing.assert_close(lower[:2].exp(), tensor(3e-24, 1 - 0.75**3), rtol=1e-10, atol=0)
    torch.testing.assert_close(upper[1:].exp(), tensor(0.75**3, 8e-36), rtol=1e-3, atol=0)
    torch.testing.assert_close(known.quantile(lower, upper), x, rtol=1e-10, atol=0)


def test_a_tail_that_is_not_known_raises():
    law = GaussianCopula([InverseCDF(cdf=torch.sigmoid, dtype=float64), normal(0.0, 1.0)], correlation=EYE)
    assert law.log_prob(tensor(20.0, 1.0)).isfinite()
    with pytest.raises(ValueError, match=r"nan at x = \[60.0, 1.0\]: margin 0, InverseCDF does not know"):
        law.log_prob(tensor(60.0, 1.0))
    by_density = InverseCDF(log_prob=lambda x: -(x**2) / 2)
    law = EmpiricalCopula(torch.randn(9, 2), [normal(0.0, 1.0), by_density])
    with pytest.raises(ValueError, match=r"nan at x = \[1.0, 30.0\]: margin 1, InverseCDF does not know"):
        law.log_prob(tensor(1.0, 30.0))


def with_atom(x):
    return torch.where(x < 0, 0.7 * torch.sigmoid(x), 0.3 + 0.7 * torch.sigmoid(x))


class Censored(dist.TorchDistribution):
    """max(0, Z), Z standard normal."""

    arg_constraints = {}  # noqa: RUF012
    support = constraints.nonnegative

    def cdf(self, x):
        return torch.where(x < 0, 0.0, torch.special.ndtr(x))

    def log_prob(self, x):
        return dist.Normal(0.0, 1.0).log_prob(x)

    def sample(self, shape=()):
        return torch.randn(shape).clamp(min=0)


ATOMS = {
    "cdf": (lambda: InverseCDF(cdf=with_atom), "InverseCDF has about 0.3 of its mass at x = 0.0"),
    "icdf": (lambda: InverseCDF(icdf=lambda u: u.logit().clamp(max=6.0)), "0.0022 of its mass at x = 6.0"),
    "end": (
        lambda: InverseCDF(icdf=lambda u: (u / 0.9).clamp(max=1), support=constraints.interval(0.0, 1.0)),
        "InverseCDF has about 0.1 of its mass at x = 1.0",
    ),
    "truncated": (lambda: truncate(InverseCDF(cdf=with_atom), -1.0, 1.0), "has about .* at x = 0.0"),
    "moved": (
        lambda: dist.TransformedDistribution(
            InverseCDF(cdf=with_atom), dist.transforms.AffineTransform(1.0, 2.0)
        ),
        "TransformedDistribution has about 0.3 of its mass at x = 1.0",
    ),
    "mixed": (
        lambda: dist.MixtureSameFamily(
            dist.Categorical(torch.ones(2)), InverseCDF(cdf=with_atom, batch_shape=(2,))
        ),
        "MixtureSameFamily has about 0.3 of its mass at x = 0.0",
    ),
    "own": (lambda: Censored(validate_args=False), "Censored has about 0.5 of its mass at x = 0.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATOMS)
def test_margins_with_atoms_are_refused(name):
    build, message = ATOMS[name]
    with pytest.raises(ValueError, match=f"margin 1 should have no atom but .*{message}"):
        GaussianCopula([dist.Normal(0.0, 1.0), build()], correlation=EYE)
    with pytest.raises(ValueError, match="margin 0 should have no atom"):
        EmpiricalCopula(torch.randn(5, 2), [build(), dist.Normal(0.0, 1.0)])


# Gradients.
