"""Calibration tells right posteriors from planted wrong ones, at the declared false-alarm rate."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import Normal, constraints

from probgen.evaluation.posterior.calibration import geweke_test, simulation_based_calibration
from probgen.sampling import random_walk, sample

TRIES = 5


def model(y=None):
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    scale = pyro.sample("scale", dist.Gamma(4.0, 4.0))
    with pyro.plate("data", TRIES):
        return pyro.sample("y", dist.Normal(mu, scale), obs=y)


def conjugate(y=None):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("data", TRIES):
        return pyro.sample("y", dist.Normal(mu, 1.0).to_event(1), obs=y)


def exact(shift=0.0, widen=1.0, ignore=False):
    """The posterior of the conjugate model, as a guide would draw it, with a planted error."""

    def infer(density, data):
        y = data["y"]
        mean, sd = y.sum(1) / (TRIES + 1), 1 / math.sqrt(TRIES + 1)
        if ignore:
            return {"mu": torch.randn(99, *mean.shape)}
        return {"mu": Normal(mean + shift * sd, widen * sd).sample((99,))}

    return infer


def calibrated(infer, seed=0):
    return simulation_based_calibration(conjugate, infer=infer, observed=["y"], simulations=500, seed=seed)


def test_an_exact_posterior_is_calibrated():
    result = calibrated(exact())
    assert result.failures(alpha=1e-3) == []
    assert list(result.table.index) == ["mu[0]", "mu[1]", "log_joint"]
    assert (result.draws, result.ranks["mu"].shape) == (99, (500, 2))
    assert result.table.spread.sub(1).abs().max() < 0.2


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        ({"shift": 0.5}, "mu[0]: p = 5e-05; the posterior is too high"),
        ({"shift": -0.5}, "mu[1]: p = 5e-05; the posterior is too low"),
        ({"widen": 0.7}, "mu[0]: p = 5e-05; the posterior is too narrow"),
        ({"widen": 1.5}, "mu[0]: p = 5e-05; the posterior is too wide"),
        ({"ignore": True}, "log_joint: p = 5e-05"),
    ],
)
def test_planted_errors_are_found(planted, words):
    found = calibrated(exact(**planted)).failures(alpha=1e-3)
    assert any(words in finding for finding in found), found


def test_only_the_log_joint_sees_that_the_data_are_ignored():
    found = calibrated(exact(ignore=True)).failures(alpha=1e-3)
    assert [finding.split(":")[0] for finding in found] == ["log_joint"]


def test_the_false_alarm_rate_is_that_declared():
    """P-values of right posteriors are uniform: 150 of them, 30 % expected below 0.3, within 5 deviations."""
    p = torch.cat([torch.tensor(calibrated(exact(), seed=s).table.p_value.to_numpy()) for s in range(1, 11)])
    expected, sd = 0.3 * len(p), math.sqrt(len(p) * 0.3 * 0.7)
    assert abs(int((p < 0.3).sum()) - expected) < 5 * sd


def walks(density, data, chains=32):
    generator = torch.Generator().manual_seed(1)
    return sample(
        density, method="random_walk", chains=chains, warmup=300, draws=60, thin=2, generator=generator
    )


def test_a_sampler_is_calibrated_and_a_dropped_jacobian_is_found():
    y = torch.zeros(TRIES)
    right = simulation_based_calibration(model, y, infer=walks, simulations=300)
    assert right.failures(alpha=1e-3) == []

    def dropped(density, data):
        plain = density.unconstrained_log_prob
        density.unconstrained_log_prob = lambda u: plain(u) - u[..., 1]  # log |det| of exp
        return walks(density, data)

    wrong = simulation_based_calibration(model, y, infer=dropped, simulations=300)
    assert any(finding.startswith("scale") for finding in wrong.failures(alpha=1e-3))


def test_geweke():
    y = torch.zeros(TRIES)
    right = geweke_test(model, y, transition=lambda d: random_walk(d, scale=0.5), chains=1000)
    assert right.failures(alpha=1e-3) == []
    assert list(right.table.index) == ["mu", "scale", "log_joint"]

    def without_jacobian(density):
        plain = density.unconstrained_log_prob
        density.unconstrained_log_prob = lambda u: plain(u) - u[..., 1]
        return random_walk(density, scale=0.5)

    wrong = geweke_test(model, y, transition=without_jacobian, chains=1000)
    assert any(finding.startswith("scale") for finding in wrong.failures(alpha=1e-3))


def improper():
    m = pyro.sample("m", dist.ImproperUniform(constraints.real, (), ()))
    pyro.sample("y", dist.Normal(m, 1.0), obs=torch.zeros(()))


def test_what_cannot_be_calibrated():
    with pytest.raises(ValueError, match="simulations should be at least 20 but got 3"):
        simulation_based_calibration(conjugate, infer=exact(), observed=["y"], simulations=3)
    with pytest.raises(ValueError, match="observed should name sites of the model but names 'x'"):
        simulation_based_calibration(conjugate, infer=exact(), observed=["x"])
    with pytest.raises(ValueError, match="the model should have data"):
        simulation_based_calibration(conjugate, infer=exact())
    with pytest.raises(ValueError, match="every site should have a proper prior"):
        simulation_based_calibration(improper, infer=exact())
    with pytest.raises(ValueError, match="draws of site 'mu' should have shape"):
        calibrated(lambda density, data: {"mu": torch.randn(9, 500)})
    with pytest.raises(ValueError, match="alpha should be between 0 and 1 but got 2"):
        calibrated(exact()).failures(alpha=2)
    with pytest.raises(ValueError, match="rounds should be at least 1 but got 0"):
        geweke_test(conjugate, transition=random_walk, observed=["y"], rounds=0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("everywhere", [True, False])
def test_draws_that_are_not_finite_are_no_calibration(value, everywhere):
    """One of 99 draws is enough: its rank is none."""

    def infer(density, data):
        draws = exact()(density, data)
        draws["mu"][slice(None) if everywhere else 7, 3] = value
        return draws

    with pytest.raises(ValueError, match="the posterior's draws of site 'mu' should be finite but"):
        calibrated(infer)


def test_models_that_draw_nan_are_no_calibration():
    def data_are_nan(y=None):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(torch.where(mu > 0, mu, torch.nan), 1.0, validate_args=False))

    with (
        pyro.validation_enabled(False),
        pytest.raises(ValueError, match="the model's draws of site 'y' should be finite but"),
    ):
        simulation_based_calibration(data_are_nan, infer=exact(), observed=["y"], simulations=50)
    with (
        pyro.validation_enabled(False),
        pytest.raises(ValueError, match="the model's draws of site 'y' should be finite but"),
    ):
        geweke_test(data_are_nan, transition=random_walk, observed=["y"], chains=50)


def test_a_transition_that_makes_nan_is_no_joint_test():
    def broken(density):
        init, step = random_walk(density, scale=0.5)

        def away(state, generator):
            state, info = step(state, generator)
            return state._replace(position=state.position * math.nan), info

        return init, away

    with pytest.raises(ValueError, match="draws after the transition of site 'mu' should be finite"):
        geweke_test(conjugate, transition=broken, observed=["y"], chains=50)


def test_a_site_called_as_the_log_joint_is_ranked_too():
    def named(y=None):
        mean = pyro.sample("log_joint", dist.Normal(0.0, 1.0))
        return pyro.sample("y", dist.Normal(mean, 1.0), obs=y)

    def infer(density, data):
        return {"log_joint": Normal(data["y"] / 2 + 2, math.sqrt(0.5)).sample((20,))}

    result = simulation_based_calibration(named, infer=infer, observed=["y"], simulations=100)
    assert list(result.table.index) == ["log_joint", "log_joint_"]
    assert result.failures()[0].startswith("log_joint: p = 5e-05; the posterior is too high")
    transition = geweke_test(named, transition=lambda d: random_walk(d, scale=0.5), observed=["y"], chains=50)
    assert list(transition.table.index) == ["log_joint", "log_joint_"]


def test_unequal_numbers_of_draws_are_told():
    def infer(density, data):
        return {"mu": torch.zeros(3, 100), "scale": torch.ones(4, 100)}

    with pytest.raises(ValueError, match=r"same number of draws but have \{'mu': 3, 'scale': 4\}"):
        simulation_based_calibration(model, torch.zeros(TRIES), infer=infer, simulations=100)
