"""Laws by their CDF: its ends, which rounding may miss, and the ends of the support."""

import math

import pytest
import torch
from torch.distributions import constraints

from probgen.sampling import InverseCDF

float64 = torch.float64
INF = torch.tensor(torch.inf, dtype=float64)


def float32_mixture(components, dtype):
    noise = torch.Generator().manual_seed(3)
    weights = torch.softmax(3 * torch.randn(components, generator=noise), 0)
    means = torch.randn(components, generator=noise)

    def mixed(x):
        return (weights * torch.special.ndtr(x[..., None].to(dtype) - means)).sum(-1)

    return InverseCDF(cdf=mixed, dtype=float64), weights.double() / weights.double().sum(), means.double()


@pytest.mark.parametrize("dtype", [torch.float32, float64])
@pytest.mark.parametrize("components", [3, 1000, 5000])
def test_a_mixture_with_float32_weights(components, dtype):
    law, weights, means = float32_mixture(components, dtype)
    u = torch.tensor([1.2e-16, 1e-7, 0.3, 1 - 1e-6, 1 - 2.0**-53], dtype=float64)[:: 1 + (dtype != float64)]
    x = law.icdf(u)
    assert x.abs().max() < 12
    rounding = 1e-15 if dtype == float64 else 3e-6
    for before, level, after in zip(x.nextafter(-INF), u, x.nextafter(INF), strict=True):
        low, high = ((weights * torch.special.ndtr(end - means)).sum() for end in (before, after))
        assert low - rounding <= level <= high + rounding


@pytest.mark.parametrize("above", [False, True], ids=["begins at 5e-7", "ends at 1 - 6e-8"])
def test_draws_of_a_cdf_that_begins_or_ends_late_are_finite(above, generator):
    if above:
        law = InverseCDF(cdf=lambda x: (1 - 6e-8) * torch.sigmoid(x), dtype=float64)
    else:
        law = InverseCDF(cdf=lambda x: 5e-7 + (1 - 5e-7) * torch.sigmoid(x), dtype=float64)
    u = torch.tensor([1e-12, 1e-7, 0.5, 1 - 1e-7, 1 - 1e-12], dtype=float64)
    torch.testing.assert_close(law.icdf(u), torch.logit(u), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(law.cdf(torch.logit(u)), u, rtol=1e-3, atol=0)
    assert law.sample((4_000_000,), generator=generator).abs().max() < 40
    assert law._source._solve(torch.tensor([[1.2e-16], [-1.2e-16]], dtype=float64)).abs().max() < 38


def test_draws_that_no_float64_number_reaches_raise():
    def heavy(x):  # log |X| is Cauchy, of scale 1e-4
        return 0.5 + x.sign() * (0.25 + (1e4 * x.abs().log()).atan() / (2 * math.pi))

    law = InverseCDF(cdf=heavy, dtype=float64)
    with pytest.raises(ValueError, match=r"the quantile should be finite but cdf gives -?inf at u = "):
        law.sample((100_000,))


@pytest.mark.parametrize("shape", [(2,), (60_000, 2)])
def test_quantiles_at_0_and_1_are_the_ends_of_the_support(shape):
    cases = {
        (-math.inf, math.inf): InverseCDF(cdf=torch.sigmoid),
        (0.0, math.inf): InverseCDF(cdf=lambda x: -torch.expm1(-x), support=constraints.positive),
        (0.0, 1.0): InverseCDF(cdf=lambda x: x**2, support=constraints.unit_interval),
    }
    for ends, law in cases.items():
        u = torch.tensor([0.0, 1.0]).expand(shape)
        assert (law.icdf(u) == torch.tensor(ends)).all()


def test_quantiles_at_0_and_1_need_no_gradient():
    scale = torch.tensor(2.0, dtype=float64, requires_grad=True)
    law = InverseCDF(cdf=lambda x: (x / scale).sigmoid(), dtype=float64)
    x = law.icdf(torch.tensor([0.0, 0.75, 1.0], dtype=float64))
    (gradient,) = torch.autograd.grad(x[1], scale)
    assert float(gradient) == pytest.approx(math.log(3), rel=1e-12)


def test_quantiles_under_vmap():
    u, shift = torch.tensor([[0.1, 1.0], [0.0, 0.4]], dtype=float64), torch.tensor([0.0, 1.0], dtype=float64)

    def quantile(u, shift):
        return InverseCDF(cdf=lambda x: (x - shift).sigmoid(), dtype=float64, validate_args=False).icdf(u)

    torch.testing.assert_close(torch.vmap(quantile)(u, shift), torch.logit(u) + shift[:, None])
