"""The laws of pixels: exact values and gradients, draws against densities, refused values."""

import math

import numpy as np
import pyro
import pytest
import torch
from scipy import stats

from probgen.nets.laws import ContinuousBernoulli, GreyLevels, StrictBernoulli, log_scale

LOGITS = [0.0, 1e-30, 1e-8, 1e-4, 0.005, 0.1, 0.4999, 0.5001, 1.0, 5.0, 20.0, 50.0, 300.0]
ALPHA = 1e-6


def log_density(x, logit):
    """l x - log((exp(l) - 1)/l) in Python's double precision."""
    size = abs(logit)
    if size < 1e-3:
        return logit * (x - 0.5) - logit**2 / 24 + logit**4 / 2880
    return logit * (x - (logit > 0)) - math.log(-math.expm1(-size) / size)


def mean(logit):
    if abs(logit) < 1e-2:
        return 0.5 + logit / 12 - logit**3 / 720 + logit**5 / 30240
    return 0.5 + 0.5 / math.tanh(logit / 2) - 1 / logit


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("logit", LOGITS)
def test_continuous_bernoulli_value_gradient_and_mean_are_exact(logit, sign, dtype, device):
    eps = torch.finfo(dtype).eps
    logits = torch.tensor(sign * logit, dtype=dtype, device=device, requires_grad=True)
    x = torch.tensor([0.0, 0.3, 1.0], dtype=dtype, device=device)
    law = ContinuousBernoulli(logits)
    log_p = law.log_prob(x)
    exact_logit = float(logits.detach())
    for i, value in enumerate(x.tolist()):
        truth = log_density(value, exact_logit)
        assert log_p[i].item() == pytest.approx(truth, rel=4 * eps, abs=4 * eps)
        (gradient,) = torch.autograd.grad(log_p[i], logits, retain_graph=True)
        assert gradient.item() == pytest.approx(value - mean(exact_logit), abs=16 * eps)
    assert law.mean.item() == pytest.approx(mean(exact_logit), abs=8 * eps)


def test_torchs_continuous_bernoulli_is_not_exact():
    # Why the law is our own: delete it when torch's passes the test above.
    logits = torch.tensor(20.0)
    theirs = torch.distributions.ContinuousBernoulli(logits=logits).log_prob(torch.tensor(0.7))
    assert abs(theirs.item() - log_density(0.7, 20.0)) > 0.1


def test_continuous_bernoulli_second_derivative_is_minus_the_variance(device):
    logits = torch.linspace(-3, 3, 61, dtype=torch.float64, device=device, requires_grad=True)
    law = ContinuousBernoulli(logits)
    (first,) = torch.autograd.grad(
        law.log_prob(torch.full_like(logits, 0.3)).sum(), logits, create_graph=True
    )
    (second,) = torch.autograd.grad(first.sum(), logits)
    torch.testing.assert_close(second, -law.variance.detach(), rtol=0, atol=1e-11)


def test_continuous_bernoulli_agrees_with_scipys_cut_exponential(device):
    logits = torch.tensor([-7.0, -1.0, -0.2], dtype=torch.float64, device=device)
    x = torch.linspace(0.01, 0.99, 9, dtype=torch.float64, device=device)[:, None]
    law, theirs = ContinuousBernoulli(logits), stats.truncexpon(b=-logits.cpu(), scale=-1 / logits.cpu())
    for ours, name in ((law.log_prob(x), "logpdf"), (law.cdf(x), "cdf")):
        np.testing.assert_allclose(ours.cpu(), getattr(theirs, name)(x.cpu().numpy()), rtol=1e-10)
    np.testing.assert_allclose(law.mean.cpu(), theirs.mean(), rtol=1e-10)
    np.testing.assert_allclose(law.variance.cpu(), theirs.var(), rtol=1e-10)


def dkw(uniforms):
    """P-value bound (Massart, 1990) that each column is uniform on (0, 1)."""
    n = len(uniforms)
    ordered = uniforms.sort(0).values
    ranks = torch.arange(n + 1, dtype=torch.float64, device=uniforms.device)[:, None] / n
    gap = torch.maximum(ranks[1:] - ordered, ordered - ranks[:-1]).amax(0)
    return 2 * (-2 * n * gap**2).exp()


def test_continuous_bernoulli_draws_follow_their_cdf(device, dtype):
    logits = torch.tensor([-40.0, -1.0, -1e-9, 0.0, 1e-4, 0.6, 40.0], device=device, dtype=dtype)
    law = ContinuousBernoulli(logits)
    draws = law.sample((20000,))
    assert ((draws >= 0) & (draws <= 1)).all()
    exact = ContinuousBernoulli(logits.double())
    assert (dkw(exact.cdf(draws.double())) > ALPHA / len(logits)).all()
    wrong = ContinuousBernoulli(logits.double() + 0.3)
    assert (dkw(wrong.cdf(draws.double()))[1:6] < ALPHA).all()  # the power: a logit off by 0.3


def test_grey_levels_follow_their_probabilities(device, dtype):
    logits = torch.randn(3, 5, device=device, dtype=dtype)
    law = GreyLevels(logits)
    draws = law.sample((20000,))
    assert draws.dtype == dtype
    counts = torch.stack([(draws == level).sum(0) for level in law.grid], -1).cpu().double()
    probs = law.log_prob(law.grid[:, None]).T.exp().cpu().double()
    torch.testing.assert_close(probs.sum(-1), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-6)
    for row, p in zip(counts, probs, strict=True):
        p = p / p.sum()
        assert stats.chisquare(row, 20000 * p).pvalue > ALPHA
        assert stats.chisquare(row, 20000 * p.roll(1)).pvalue < ALPHA
    torch.testing.assert_close(law.mean.cpu().double(), probs @ law.grid.cpu().double())
    second = probs @ law.grid.cpu().double() ** 2
    torch.testing.assert_close(law.variance.cpu().double(), second - law.mean.cpu().double() ** 2)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_every_float32_grey_level_is_on_the_grid(levels, device):
    logits = torch.randn(levels, device=device, dtype=torch.float64)
    levels_in_float32 = torch.arange(levels, device=device).float() / (levels - 1)
    torch.testing.assert_close(GreyLevels(logits).log_prob(levels_in_float32), logits.log_softmax(-1))


@pytest.mark.parametrize(
    "make", [ContinuousBernoulli, lambda y: GreyLevels(y[..., None] * torch.arange(3.0))]
)
def test_expand_and_plates(make):
    law = make(torch.randn(4)).to_event(1)
    wide = law.expand([3])
    x = wide.sample()
    assert (wide.batch_shape, wide.event_shape, x.shape) == ((3,), (4,), (3, 4))
    torch.testing.assert_close(wide.log_prob(x), law.log_prob(x))
    assert law.log_prob(wide.sample((7,))).shape == (7, 3)
    with pyro.plate("data", 6):
        assert pyro.sample("x", law).shape == (6, 4)


def test_log_scale_is_exact_near_zero_and_finite_far_away():
    s = torch.tensor([-1e7, -100.0, -1e-3, 0.0, 1e-3, 100.0, 1e7])
    scale = log_scale(s).exp()
    assert scale.isfinite().all()
    assert (scale > 0).all()
    assert (scale.diff() > 0).all()
    torch.testing.assert_close(log_scale(torch.tensor(1e-3)), torch.tensor(1e-3))


@pytest.mark.parametrize(
    ("law", "value", "message"),
    [
        (
            StrictBernoulli,
            0.25,
            r"a Bernoulli needs values 0 or 1 but got 0.25: train on data.Binarised\(x\)",
        ),
        (StrictBernoulli, math.nan, "a Bernoulli needs values 0 or 1 but got nan"),
        (ContinuousBernoulli, 1.5, r"a continuous Bernoulli needs values in \[0, 1\] but got 1.5"),
        (ContinuousBernoulli, math.nan, r"values in \[0, 1\] but got nan"),
        (GreyLevels, 0.25, r"a law of 4 grey levels needs values 0, 1/3, ..., 1 but got 0.25"),
        (GreyLevels, 4 / 3, r"a law of 4 grey levels needs values 0, 1/3, ..., 1 but got 1.33333"),
        (GreyLevels, math.nan, "needs values 0, 1/3, ..., 1 but got nan"),
    ],
)
def test_refused_values(law, value, message):
    logits = torch.zeros(3, 4)
    values = torch.zeros(3) if law is GreyLevels else torch.zeros(3, 4)
    values[1] = value
    with pytest.raises(ValueError, match=message):
        law(logits=logits).to_event(1).log_prob(values)
