"""Finance: forecasters against exact laws, no look ahead, the smallest path on prices of the user's own."""

import json
import math

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from probgen import applications, data
from probgen.applications.parts.finance import forecasters as return_forecasters
from probgen.applications.parts.finance import innovation_laws as laws
from probgen.applications.parts.finance.forecasters import (
    Bootstrap,
    Garch,
    Innovations,
    RollingGarch,
    StochasticVolatility,
    learned_garch,
)
from probgen.models import GJRGARCH, DeepMarkov
from probgen.objectives import MaximumLikelihood
from probgen.training import fit_lbfgs


def made(days=700, seed=0):
    """Return returns of a GJR law in percent, and the law."""
    garch = GJRGARCH().double().requires_grad_(False)
    return garch.sample(1, torch.tensor([days]), seed=seed)[0], garch


class Normal:
    """Independent standard normal innovations."""

    def states(self, innovations):
        return torch.zeros(len(innovations) + 1, 1)

    def after(self, states, innovations):
        return states

    def draw(self, states):
        return torch.randn(len(states), dtype=torch.float64)

    def log_prob(self, states, innovations):
        return torch.distributions.Normal(0.0, 1.0).log_prob(innovations)


def test_innovations_are_scaled_by_the_variance_and_so_is_their_density():
    returns, garch = made()
    found = Innovations(garch, Normal(), filtered=True).ahead(returns, 600, n=4000, seed=0)
    scale = garch.variances(returns[None])[0, 600:-1].sqrt()
    law = torch.distributions.Normal(garch.mean, scale)
    torch.testing.assert_close(found.log_prob, law.log_prob(returns[600:]))
    assert found.draws.shape == (4000, 100)
    assert ((found.draws.std(0) / scale - 1).abs() < 4.9 / math.sqrt(8000)).all()


def test_paths_of_innovations_follow_the_recursion():
    """E σ²_{T+2} = ω + (α + γ/2 + β) σ²_{T+1} for symmetric innovations of variance 1; 4.4 errors."""
    returns, garch = made()
    paths = Innovations(garch, Normal(), filtered=True).paths(returns, horizon=3, n=40_000, seed=1)
    _, omega, alpha, gamma, beta, _ = garch.coefficients()
    expected = garch.variances(returns[None])[0, -1]
    for step in range(3):
        apart = (paths[:, step] - garch.mean).square()
        assert (apart.mean() - expected).abs() < 4.4 * apart.std() / 200
        expected = omega + (alpha + gamma / 2 + beta) * expected
    flat = Innovations(garch, Normal(), filtered=False).paths(returns, horizon=2, n=40_000, seed=1)
    assert flat.var(0).sub(garch.log_variance.exp()).abs().max() < 0.05


@pytest.mark.parametrize("kind", ["vrnn", "gmmn", "gan"])
def test_states_go_on_as_they_are_read(kind):
    torch.manual_seed(0)
    law = {
        "vrnn": lambda: laws.Recurrent(laws.vrnn().eval()),
        "gmmn": lambda: laws.Implicit(laws.gmmn()),
        "gan": lambda: laws.Implicit(laws.gan().eval()),
    }[kind]()
    innovations = torch.randn(30, dtype=torch.float64)
    with torch.no_grad():
        states = law.states(innovations)
        torch.testing.assert_close(law.after(states[:-1], innovations), states[1:])
        assert law.draw(states).shape == (31,)
        changed = law.states(torch.cat([innovations[:20], torch.full((10,), 9.0, dtype=torch.float64)]))
    torch.testing.assert_close(changed[:21], states[:21])
    assert not torch.allclose(changed[21], states[21])


def test_the_density_of_a_vrnn_is_that_of_its_draws():
    torch.manual_seed(1)
    vrnn = laws.vrnn().eval()
    for part in vrnn.parameters():
        part.data.mul_(2)
    law, state = laws.Recurrent(vrnn), torch.randn(1, 16)
    edges = torch.linspace(-30, 30, 1501, dtype=torch.float64)
    with torch.no_grad():
        torch.manual_seed(2)
        densities = [law.log_prob(state.expand(len(edges), -1), edges).exp() for _ in range(4)]
        mass = torch.trapezoid(torch.stack(densities).mean(0), edges)
        draws = law.draw(state.expand(20_000, -1))
        share = torch.trapezoid(torch.stack(densities).mean(0) * (edges < 0.3), edges)
    assert float(mass) == pytest.approx(1, abs=0.02)
    assert float((draws < 0.3).double().mean()) == pytest.approx(float(share), abs=0.02)


def linear_gaussian():
    """A deep Markov model that is an autoregression seen with noise: z' = 0.9 z + 0.4 e, x = z + 0.5 e."""

    class Law(nn.Module):
        def __init__(self, slope, scale):
            super().__init__()
            self.slope, self.scale = slope, scale

        def forward(self, z):
            return dist.Normal(self.slope * z, self.scale).to_event(1)

    return DeepMarkov(Law(0.9, 0.4), Law(1.0, 0.5), reader=nn.Identity(), guide_step=nn.Identity(), latent=1)


def test_the_particle_filter_forecasts_as_kalman_does(monkeypatch):
    monkeypatch.setattr(return_forecasters, "PARTICLES", 30_000)
    returns = torch.from_numpy(np.random.default_rng(0).normal(size=120))
    garch = GJRGARCH().double().requires_grad_(False)  # mean 0, variance 1: it changes no unit
    model = StochasticVolatility(linear_gaussian(), garch)
    mean, variance, exact, means = 0.0, 0.0, [], []
    for came in returns.tolist():
        mean, variance = 0.9 * mean, 0.81 * variance + 0.16
        law = torch.distributions.Normal(mean, math.sqrt(variance + 0.25))
        exact.append(law.log_prob(torch.tensor(came)))
        means.append(mean)
        gain = variance / (variance + 0.25)
        mean, variance = mean + gain * (came - mean), (1 - gain) * variance
    found = model.ahead(returns, 100, n=2000, seed=0)
    torch.testing.assert_close(found.log_prob, torch.stack(exact[100:]).double(), atol=0.05, rtol=0)
    torch.testing.assert_close(found.draws.mean(0), torch.tensor(means[100:]).double(), atol=0.1, rtol=0)
    paths = model.paths(returns, horizon=2, n=5000, seed=0)
    torch.testing.assert_close(paths.mean(0), torch.tensor([0.9, 0.81]).double() * mean, atol=0.05, rtol=0)


def test_draws_are_as_many_as_are_asked_for_however_few_particles_there_are(monkeypatch):
    monkeypatch.setattr(return_forecasters, "PARTICLES", 10)
    returns, garch = made(650)
    found = StochasticVolatility(linear_gaussian(), garch).ahead(returns, 648, n=200, seed=0)
    assert len(found.draws[:, 0].unique()) == 200


@pytest.mark.parametrize("kind", ["GJR-t", "filtered", "bootstrap", "network", "particles"])
def test_no_forecast_has_seen_what_came(kind):
    returns, garch = made(650)
    train = returns[:600]
    forecaster = {
        "GJR-t": lambda: Garch(garch, None),
        "filtered": lambda: Garch(garch, train),
        "bootstrap": lambda: Bootstrap(train),
        "network": lambda: Innovations(garch, laws.Recurrent(laws.vrnn().eval()), filtered=True),
        "particles": lambda: StochasticVolatility(linear_gaussian(), garch),
    }[kind]()
    other = returns.clone()
    other[620:] = 7.0
    one, two = (forecaster.ahead(x, 600, n=50, seed=3).draws for x in (returns, other))
    torch.testing.assert_close(one[:, :21], two[:, :21])
    assert not torch.equal(one[:, 21:], two[:, 21:])


@pytest.mark.parametrize("kind", ["uniform", "small"])
def test_returns_whose_likelihood_has_no_highest_point_have_a_law(kind):
    """Without heavy tails the degrees of freedom grow on, without clusters of volatility a share does."""
    source = torch.Generator().manual_seed(0)
    returns = {
        "uniform": 4 * torch.rand(400, generator=source, dtype=torch.float64) - 2,
        "small": 1e-3 * torch.randn(400, generator=source, dtype=torch.float64),
    }[kind]
    plain = GJRGARCH().double()
    plain.start_at(returns[None])
    with pytest.raises(ValueError, match=r"should have no slope|to satisfy the constraint"):
        fit_lbfgs(MaximumLikelihood(plain), returns[None], tolerance=1e-5)
    garch, held = learned_garch(returns)
    assert held
    ahead = garch.variances(returns[None])[0, 100:]
    assert (ahead / returns.var()).log().abs().max() < math.log(1.5), "volatility stands still"
    freedom = garch.coefficients()[-1].item()
    assert freedom > 20
    assert garch.mean.item() == pytest.approx(returns.mean().item(), abs=0.2 * returns.std().item())


def test_a_rolling_fit_is_that_of_the_days_before_it():
    returns, _ = made(650)
    rolling = RollingGarch(returns, first=600, every=20, window=500)
    found = rolling.ahead(returns, 610, n=30, seed=3)
    known = [
        Garch(learned_garch(returns[fit - 500 : fit]).garch, None)
        .ahead(returns[fit - 500 : end], start - fit + 500, n=2, seed=0)
        .log_prob
        for fit, start, end in ((600, 610, 620), (620, 620, 640), (640, 640, 650))
    ]
    torch.testing.assert_close(found.log_prob, torch.cat(known))
    assert found.draws.shape == (30, 40)
    other = returns.clone()
    other[620:] = 7.0
    changed = RollingGarch(other, first=600, every=20, window=500).ahead(other, 610, n=30, seed=3).draws
    torch.testing.assert_close(changed[:, :11], found.draws[:, :11])
    again = rolling.paths(returns[:625], horizon=3, n=2, seed=1)
    expected = Garch(learned_garch(returns[120:620]).garch, None).paths(
        returns[120:625], horizon=3, n=2, seed=1
    )
    torch.testing.assert_close(again, expected)


def test_blocks_of_a_bootstrap_are_days_that_followed_one_another():
    train = torch.arange(100.0)
    paths = Bootstrap(train).paths(train, horizon=50, n=30, seed=0)
    steps = paths.diff(dim=1)
    assert paths.shape == (30, 50)
    assert (steps[:, [k for k in range(49) if k % 20 != 19]] == 1).all()


def test_gjr_is_found_again_and_its_forecasts_are_calibrated():
    returns, truth = made(3000, seed=4)
    garch, held = learned_garch(returns[:2000])
    assert not held
    exact = Garch(truth, None).ahead(returns, 2000, n=2, seed=0).log_prob.mean()
    found = Garch(garch, None).ahead(returns, 2000, n=2, seed=0).log_prob.mean()
    assert exact - 0.03 < found < exact + 0.01


def written(path, *, days=640, column="close"):
    returns, _ = made(days)
    prices = 100 * (returns / 100).cumsum(0).exp()
    dates = pd.bdate_range("2010-01-01", periods=days).strftime("%Y-%m-%d")
    pd.DataFrame({"date": dates, column: prices.numpy()}).to_csv(path, index=False)
    return path


def test_prices_of_the_users_own_are_forecast_and_backtested(tmp_path):
    own = written(tmp_path / "own.csv")
    folder = applications.apply("finance", data=own, out=tmp_path / "here", size="tiny", progress=False)
    found = pd.read_csv(folder / "metrics.csv").pivot_table(index="method", columns="metric", values="value")
    assert len(found) == 9
    assert found.loc["GJR-t", "crps"] < 1.2
    assert found["log_score"].notna().sum() == 5, "draws have no density"
    tests = pd.read_csv(folder / "backtests.csv")
    assert set(tests["level"]) == {0.01, 0.025}
    assert tests["days"].unique().tolist() == [30]
    options = pd.read_csv(folder / "options.csv").set_index("method")
    assert options.loc["Brownian, by Monte Carlo", "call, strike 1"] == pytest.approx(
        options.loc["Black-Scholes", "call, strike 1"], rel=0.1
    )
    facts = json.loads((folder / "protocol.json").read_text())["facts"]
    assert "put-call parity holds to" in facts["options"]
    assert "fits of GJR" not in (folder / "report.html").read_text()
    scenarios = pd.read_csv(folder / "scenarios.csv")
    assert scenarios.shape == (1000, 21)
    for name in ("value-at-risk", "calibration", "fan", "stylised-facts", "smile"):
        assert (folder / f"{name}.png").exists()


def test_fits_without_a_highest_likelihood_are_told(tmp_path):
    """Uniform returns have no heavy tails; the made ones of the test above have, and nothing is said."""
    own, source = tmp_path / "own.csv", np.random.default_rng(0)
    frame = pd.read_csv(written(own))
    frame["close"] = 100 * np.exp(source.uniform(-0.01, 0.01, len(frame)).cumsum())
    frame.to_csv(own, index=False)
    told = []
    for _ in range(2):  # and where nothing is left to measure, the same
        folder = applications.apply("finance", data=own, out=tmp_path / "here", size="tiny", progress=False)
        told += [
            text
            for text in json.loads((folder / "protocol.json").read_text())["said"]
            if "fits of GJR" in text
        ]
    assert told[0].startswith("Of 2 fits of GJR 2 had no highest likelihood")
    assert told[1:] == told[:1]


def test_a_series_that_is_too_short_is_refused(tmp_path):
    with pytest.raises(ValueError, match="should have 601 prices at least but has 300"):
        applications.apply("finance", data=written(tmp_path / "own.csv", days=300), out=tmp_path / "here")


def test_prices_that_do_not_move_are_refused(tmp_path):
    own = tmp_path / "own.csv"
    frame = pd.read_csv(written(own))
    frame.assign(close=1.0).to_csv(own, index=False)
    with pytest.raises(ValueError, match="should move on half of the days at least but move on 0 of 639"):
        applications.apply("finance", data=own, out=tmp_path / "here", size="tiny", progress=False)


def test_a_price_that_jumps_tenfold_is_refused(tmp_path):
    own = tmp_path / "own.csv"
    frame = pd.read_csv(written(own))
    frame["close"] = frame["close"].where(frame.index < 300, 100 * frame["close"])
    frame.to_csv(own, index=False)
    said = (
        rf"should not grow or fall tenfold in a day but go from .* on {frame['date'][300]}: is that a split"
    )
    with pytest.raises(ValueError, match=said):
        applications.apply("finance", data=own, out=tmp_path / "here", size="tiny", progress=False)


def test_the_volatility_index_has_no_options(tmp_path, monkeypatch):
    try:
        vix = data.vix()
    except ConnectionError:
        pytest.skip("the file of the VIX is not here")
    monkeypatch.setattr(data, "vix", lambda: vix._replace(prices=vix.prices[-640:], days=vix.days[-640:]))
    folder = applications.apply("finance", data="vix", out=tmp_path / "here", size="tiny", progress=False)
    assert not (folder / "options.csv").exists()
    assert "No options are priced" in (folder / "report.html").read_text()
