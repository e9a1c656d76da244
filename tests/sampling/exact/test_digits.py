"""Digits: quantiles and vectors keep those of u, and laws too narrow for their dtype are refused."""

import pytest
import torch
from torch.distributions import Exponential, Normal, TransformedDistribution
from torch.distributions.transforms import ExpTransform

from probgen import sampling
from probgen.sampling import Beta, Gamma, InverseCDF, StudentT, VonMises, truncate

float64 = torch.float64

NARROW = {
    "StudentT": lambda dtype: StudentT(torch.tensor(3.0, dtype=dtype), 1e8, 1.0),
    "Gamma": lambda dtype: Gamma(torch.tensor(1e13, dtype=dtype), torch.tensor(1.0)),
    "Beta": lambda dtype: Beta(torch.tensor(1e10, dtype=dtype), torch.tensor(1.0)),
    "Beta of many": lambda dtype: Beta(torch.tensor(1e13, dtype=dtype), torch.tensor(1e13, dtype=dtype)),
    "VonMises": lambda dtype: VonMises(torch.tensor(1.0), torch.tensor(1e14, dtype=dtype)),
    "truncated": lambda dtype: truncate(Normal(torch.tensor(1e8, dtype=dtype), 1.0), 1e8),
}


@pytest.mark.parametrize("name", NARROW)
def test_draws_that_float32_cannot_tell_apart_are_refused(name):
    with pytest.raises(ValueError, match=r"torch.float32 near .*give parameters of dtype=torch.float64"):
        NARROW[name](torch.float32).sample((3,))
    assert NARROW[name](float64).sample((1000,)).unique().numel() > 900


VECTORS = {
    "Rosenblatt": lambda: sampling.Rosenblatt(
        [InverseCDF(cdf=torch.sigmoid), lambda x: Gamma(x.exp(), torch.tensor(1.0))]
    ),
    "GaussianCopula": lambda: sampling.GaussianCopula(
        [Normal(0.0, 1.0), Exponential(1.0)], correlation=torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_keep_the_digits_of_u(name):
    law, u = VECTORS[name](), torch.tensor([[0.1, 0.7], [0.6, 0.2]], dtype=float64)
    x = law.from_uniform(u)
    assert x.dtype == float64
    torch.testing.assert_close(law.to_uniform(x), u, rtol=1e-12, atol=0)
    assert law.from_uniform(u.to(torch.float32)).dtype == torch.float32
    assert law.sample((3,)).dtype == law.rsample((3,)).dtype == torch.float32
    assert sampling.sample_qmc(law, 4).dtype == torch.float32


def test_copulas_name_a_margin_too_narrow_for_their_dtype():
    with pytest.raises(ValueError, match=r"near x = 100000000 are 8 apart.*give the margins parameters"):
        sampling.GaussianCopula([Normal(1e8, 1.0), Normal(0.0, 1.0)], correlation=torch.eye(2))


def test_a_transformed_law_keeps_the_digits_of_u():
    u = torch.tensor([0.1, 0.7], dtype=float64)
    law = TransformedDistribution(InverseCDF(cdf=torch.sigmoid), [ExpTransform()])
    torch.testing.assert_close(law.icdf(u), u / (1 - u), rtol=1e-14, atol=0)


def test_copulas_are_made_under_vmap():
    def log_prob(loc):
        margins = [Normal(loc, 1.0), Normal(0.0, 1.0)]
        return sampling.GaussianCopula(margins, correlation=torch.eye(2)).log_prob(torch.tensor([0.5, 0.1]))

    loc = torch.tensor([1.0, 2.0])
    expected = Normal(loc, 1.0).log_prob(torch.tensor(0.5)) + Normal(0.0, 1.0).log_prob(torch.tensor(0.1))
    torch.testing.assert_close(torch.vmap(log_prob)(loc), expected)
