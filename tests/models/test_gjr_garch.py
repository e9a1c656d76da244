"""GARCH and GJR: the recursion written out, padding, draws against density, forecasts, recovery, arch."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from probgen import fit
from probgen.models import GJRGARCH
from probgen.objectives import MaximumLikelihood
from probgen.training import fit_lbfgs

LENGTHS = torch.tensor([40, 1, 23])


def made(asymmetric=True, *, persistence=2.5):
    garch = GJRGARCH(asymmetric=asymmetric).double()
    with torch.no_grad():
        garch.mean.fill_(0.05)
        garch.log_variance.fill_(0.4)
        garch.persistence.fill_(persistence)
        garch.shares.copy_(torch.tensor([2.0, -1.0, 0.7] if asymmetric else [2.0, 0.3]))
        garch.log_freedom.fill_(math.log(3.0))
    return garch


def numbers(garch):
    return [float(part.detach()) for part in garch.coefficients()]


def written_out(garch, x):
    """σ_t² and log p(r_t | past) of one series, step by step, with SciPy's Student-t."""
    mean, omega, alpha, gamma, beta, freedom = numbers(garch)
    variance = omega / (1 - alpha - gamma / 2 - beta)
    variances = [variance]
    for value in x.tolist():
        apart = value - mean
        variance = omega + (alpha + gamma * (apart < 0)) * apart**2 + beta * variance
        variances.append(variance)
    scale = np.sqrt(np.array(variances[:-1]) * (freedom - 2) / freedom)
    logs = stats.t.logpdf(x.numpy(), freedom, mean, scale)
    return torch.tensor(variances).double(), torch.from_numpy(logs)


def returns(rows=3, steps=40, seed=1):
    return torch.randn(rows, steps, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 1.3


@pytest.mark.parametrize("asymmetric", [False, True])
def test_variances_and_density_are_those_of_the_recursion(asymmetric):
    garch, x = made(asymmetric), returns()
    variances, logs = zip(*(written_out(garch, row) for row in x), strict=True)
    torch.testing.assert_close(garch.variances(x), torch.stack(variances))
    torch.testing.assert_close(garch.log_prob(x), torch.stack(logs).sum(1))
    inside = torch.arange(40) < LENGTHS[:, None]
    cut = torch.where(inside, torch.stack(logs), 0.0).sum(1)
    torch.testing.assert_close(garch.log_prob(x, LENGTHS), cut)
    torch.testing.assert_close(
        garch.step_laws(x).log_prob(torch.cat([x, x[:, :1]], 1))[:, :40], torch.stack(logs)
    )
    dirty = torch.where(inside, x, math.inf)
    torch.testing.assert_close(garch.log_prob(dirty, LENGTHS), cut)
    assert numbers(garch)[3] == 0 or asymmetric


def test_padding_has_no_gradient():
    garch, x = made(), returns().requires_grad_()
    (slope,) = torch.autograd.grad(garch.log_prob(x, LENGTHS).sum(), x)
    inside = torch.arange(40) < LENGTHS[:, None]
    assert not slope[~inside].any()
    assert slope[inside].all()
    slopes = torch.autograd.grad(garch.log_prob(x).sum(), list(garch.parameters()))
    assert all(bool(part.isfinite().all()) and bool(part.any()) for part in slopes)


def test_long_series_at_the_edge_of_stationarity_keep_their_digits():
    garch, x = made(persistence=9.0), returns(1, 3000)
    torch.testing.assert_close(garch.variances(x)[0], written_out(garch, x[0])[0], rtol=1e-6, atol=0)


def test_draws_follow_the_density():
    """Transforms by each law of a step are uniform and independent; the mean variance is σ_1²."""
    garch = made()
    n = 20_000
    x = garch.sample(n, torch.full((n,), 3), seed=0)
    laws = garch.step_laws(x[:, :2])
    place = stats.t.cdf(*(part.numpy(force=True) for part in (x, laws.df, laws.loc, laws.scale)))
    for column in place.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    assert abs(stats.spearmanr(abs(place[:, 1] - 0.5), abs(place[:, 2] - 0.5)).statistic) < 4.4 / n**0.5
    wrong = stats.t.cdf(
        x[:, 2].numpy(), *(part.numpy(force=True)[:, 0] for part in (laws.df, laws.loc, laws.scale))
    )
    moved = abs(x[:, 1] - 0.05).numpy() > 3
    assert stats.kstest(wrong[moved], "uniform").pvalue < 1e-4
    ragged = garch.sample(3, LENGTHS, seed=1)
    assert not ragged[1, 1:].any()
    assert torch.equal(ragged, garch.sample(3, LENGTHS, seed=1))


def test_forecasts_follow_the_law_of_the_next_steps():
    garch, x = made(), returns(2, 30)
    drawn = garch.forecast(x, horizon=3, n=20_000, seed=0)
    assert drawn.shape == (20_000, 2, 3)
    laws = garch.step_laws(x)
    for row in range(2):
        next_law = stats.t(5.0, 0.05, float(laws.scale[row, -1].detach()))
        assert stats.kstest(drawn[:, row, 0].numpy(), next_law.cdf).pvalue > 1e-4
    # E σ²_{T+2} is known: ω + (α + γ / 2 + β) σ²_{T+1}.
    _, omega, alpha, gamma, beta, _ = garch.coefficients()
    expected = omega + (alpha + gamma / 2 + beta) * garch.variances(x)[:, -1]
    apart = (drawn[..., 1] - 0.05).square()
    assert ((apart.mean(0) - expected).abs() < 4.9 * apart.std(0) / 20_000**0.5).all()
    assert (apart.std(0) / 20_000**0.5 < 0.1 * expected).all()
    assert torch.equal(drawn, garch.forecast(x, horizon=3, n=20_000, seed=0))


def test_filtered_historical_simulation_draws_residuals():
    garch, x = made(), returns(2, 30)
    residuals = garch.residuals(x)
    torch.testing.assert_close(residuals * garch.variances(x)[:, :-1].sqrt() + garch.mean, x)
    drawn = garch.forecast(x, horizon=1, n=500, innovations=residuals[0], seed=0)
    found = (drawn[..., 0] - garch.mean) / garch.variances(x)[:, -1].sqrt()
    assert torch.cdist(found.reshape(-1, 1), residuals[0, :, None]).amin(1).max() < 1e-9
    assert len(found[:, 0].mul(1e6).round().unique()) == 30


def test_numbers_are_found_again():
    """4.4 standard errors, those of 16 other seeds: μ, ω, α, γ, β, ν of 4 series of 2,500 steps."""
    truth = made()
    x = truth.sample(4, torch.full((4,), 2500), seed=2)
    garch = GJRGARCH().double()
    garch.start_at(x)
    loss = fit_lbfgs(MaximumLikelihood(garch), x)
    assert loss < float(-truth.log_prob(x).detach().mean())
    errors = [0.009, 0.0082, 0.013, 0.035, 0.015, 0.21]
    for found, true, error in zip(numbers(garch), numbers(truth), errors, strict=True):
        assert abs(found - true) < 4.4 * error


def test_steps_of_fit_lower_the_loss():
    x = returns(8, 30)
    garch = GJRGARCH(asymmetric=False).double()
    history = fit(MaximumLikelihood(garch), x, steps=200, batch_size=8, seed=0, progress=False)
    losses = history.frame.query("term == 'loss' and split == 'train'")["value"].tolist()
    assert losses[-1] < losses[0]


def test_the_likelihood_is_that_of_arch():
    arch = pytest.importorskip("arch")
    x = returns(1, 400)[0].numpy()
    for asymmetric in (False, True):
        garch = made(asymmetric)
        mean, omega, alpha, gamma, beta, freedom = numbers(garch)
        theirs = arch.arch_model(x, mean="Constant", vol="GARCH", p=1, o=int(asymmetric), q=1, dist="t")
        weights = [omega, alpha, gamma, beta] if asymmetric else [omega, alpha, beta]
        variances = theirs.volatility.compute_variance(
            np.array(weights),
            x - mean,
            np.empty(400),
            float(garch.log_variance.exp().detach()),
            np.ones((400, 2)) * [0, 1e9],
        )
        log_prob = theirs.distribution.loglikelihood(np.array([freedom]), x - mean, variances)
        assert float(garch.log_prob(torch.from_numpy(x[None])).detach()) == pytest.approx(
            float(log_prob), rel=1e-9
        )


def test_what_is_wrong_is_said():
    garch = made()
    with pytest.raises(
        ValueError, match=r"real returns of shape \(n, T\) but is torch.float64 of \(3, 4, 1\)"
    ):
        garch.variances(torch.zeros(3, 4, 1).double())
    with pytest.raises(ValueError, match="lengths of the sequences to be drawn"):
        garch.sample(3)
    with pytest.raises(ValueError, match="x should be finite but a return is NaN or infinite"):
        GJRGARCH().start_at(torch.tensor([[0.5, torch.nan, 1.0]]))
    with pytest.raises(ValueError, match="x should vary but all 8 returns are 1"):
        garch.start_at(torch.ones(2, 4).double())
    with pytest.raises(ValueError, match="horizon should be at least 1 but got 0"):
        garch.forecast(returns(), horizon=0, n=3)
    with pytest.raises(
        ValueError, match=r"the loss should have no slope at its end but one is .* after 2 steps"
    ):
        fit_lbfgs(MaximumLikelihood(garch), returns(), steps=2)
