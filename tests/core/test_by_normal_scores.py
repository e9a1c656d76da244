"""Priors known by their quantiles alone: chains walk on normal scores z, x = Q(Φ(z)), and draw x."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

from probgen.core import Density
from probgen.sampling import InverseCDF, sample
from tests import laws

NORMAL = torch.distributions.Normal(0.0, 1.0)


def logistic_quantile(u):
    return u.log() - (-u).log1p()


def count_calls(icdf):
    calls = []

    def counted(u):
        calls.append(u.shape)
        return icdf(u)

    return counted, calls


def model_of(*priors, data=None, scale=1.0):
    def model():
        total = sum(pyro.sample(f"x{i}", prior) for i, prior in enumerate(priors))
        if data is not None:
            pyro.sample("y", dist.Normal(total, scale), obs=data)

    return model


def test_the_log_density_is_that_of_the_score():
    """At any z it is that of a standard normal law, and the likelihood's at x = Q(Φ(z)): to all digits."""
    law = InverseCDF(icdf=logistic_quantile, dtype=torch.float64)
    data = torch.tensor(0.7, dtype=torch.float64)
    density = Density.from_model(model_of(law, data=data))
    z = torch.linspace(-6, 6, 25, dtype=torch.float64)[:, None]
    x = density.constrain(z)["x0"]
    upper = torch.special.log_ndtr(z[:, 0]) - torch.special.log_ndtr(-z[:, 0])
    torch.testing.assert_close(x, upper, rtol=1e-7, atol=1e-9)
    far = torch.tensor([[-30.0]], dtype=torch.float64)
    torch.testing.assert_close(
        density.constrain(far)["x0"], torch.special.log_ndtr(far[:, 0]), rtol=1e-12, atol=0
    )
    expected = NORMAL.log_prob(z[:, 0]) + dist.Normal(x, 1.0).log_prob(data)
    torch.testing.assert_close(density.unconstrained_log_prob(z), expected, rtol=1e-12, atol=1e-12)
    # the density of values is still that of the law, and positions are found from values
    logistic = -upper - 2 * torch.nn.functional.softplus(-upper)
    joint = logistic + dist.Normal(x, 1.0).log_prob(data)
    torch.testing.assert_close(density.log_prob({"x0": x})[4:-4], joint[4:-4], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(density.unconstrain({"x0": x})[2:-2], z[2:-2], rtol=1e-6, atol=1e-6)


def test_a_gradient_evaluates_the_quantile_function_once():
    """Twelve such priors cost some three times twelve normals at most: none is inverted."""
    icdf, calls = count_calls(logistic_quantile)
    density = Density.from_model(model_of(InverseCDF(icdf=icdf), data=torch.tensor(0.7)))
    calls.clear()
    position = torch.zeros(8, 1).requires_grad_()
    density.unconstrained_log_prob(position).sum().backward()
    assert len(calls) == 1
    assert position.grad.abs().sum() > 0


def test_chains_draw_from_the_law():
    """Of a law on an interval with a hierarchical parameter, without data: its own law comes back."""
    half = constraints.interval(0.0, 4.0)

    def model():
        a = pyro.sample("a", dist.Gamma(20.0, 10.0))
        pyro.sample("x", InverseCDF(icdf=lambda u: 4 * u**a, support=half).expand([2]).to_event(1))

    chains = sample(
        Density.from_model(model),
        chains=512,
        warmup=200,
        draws=4,
        thin=10,
        generator=torch.Generator().manual_seed(1),
        progress=False,
    )
    assert chains["x"].shape == (512, 4, 2)
    a, last = chains["a"][:, -1], chains["x"][:, -1]
    laws.check_goodness_of_fit((last[:, 0] / 4) ** (1 / a), lambda u: u.clamp(0, 1))
    laws.check_goodness_of_fit(a, laws.of_scipy(__import__("scipy.stats").stats.gamma(20, scale=0.1)))
    laws.assert_power((last[:, 0] / 4) ** (1 / a), lambda u: u.clamp(0, 1), shift=0.5)


def test_atoms_of_a_quantile_function_are_drawn():
    """A prior with an atom at 0 has no density, but scores have one: the posterior's mass is exact."""
    law = InverseCDF(icdf=lambda u: torch.where(u < 0.5, 0.0, torch.special.ndtri(u)), validate_args=False)
    density = Density.from_model(model_of(law, data=torch.tensor(1.5)))
    z = torch.linspace(-9, 9, 20001, dtype=torch.float64)[:, None]
    mass = density.unconstrained_log_prob(z).exp()
    at_zero = mass[z[:, 0] < 0].sum() / mass.sum()
    half = torch.linspace(0, 12, 40001, dtype=torch.float64)
    likelihood = NORMAL.log_prob(1.5 - half.float()).double().exp()
    rest = torch.trapezoid(2 * NORMAL.log_prob(half.float()).double().exp() * likelihood, half)
    expected = likelihood[0] / (likelihood[0] + rest)
    assert at_zero.item() == pytest.approx(expected.item(), abs=2e-3)


@pytest.mark.parametrize("handler", ["scale", "mask"])
def test_a_prior_that_is_scaled_or_masked_keeps_its_meaning(handler):
    """p(x)^½ is a power of the density of x, which that of the score is not."""
    law = InverseCDF(icdf=logistic_quantile, dtype=torch.float64)
    known = InverseCDF(
        icdf=logistic_quantile,
        log_prob=lambda x: -x - 2 * torch.nn.functional.softplus(-x),
        dtype=torch.float64,
    )

    def changed(prior):
        def model():
            wrapped = pyro.poutine.scale(scale=0.5) if handler == "scale" else pyro.poutine.mask(mask=False)
            with wrapped:
                pyro.sample("x", prior)
            pyro.factor("proper", -(pyro.sample("w", dist.Normal(torch.tensor(0.0).double(), 1.0)) ** 2))

        return model

    ours, expected = (Density.from_model(changed(prior)) for prior in (law, known))
    values = {"x": torch.linspace(-3, 3, 7, dtype=torch.float64), "w": torch.zeros(7, dtype=torch.float64)}
    torch.testing.assert_close(ours.log_prob(values), expected.log_prob(values), rtol=1e-6, atol=1e-6)
    for density in (ours, expected):
        position = density.unconstrain(values)
        torch.testing.assert_close(density.constrain(position)["x"], values["x"], rtol=1e-6, atol=1e-6)
        # p(x) = p(position) |d position / dx|
        beside = [density.unconstrain(values | {"x": values["x"] + step}) for step in (-1e-4, 1e-4)]
        slope = ((beside[1] - beside[0]).abs().sum(-1) / 2e-4).log()
        found = density.unconstrained_log_prob(position) + slope
        torch.testing.assert_close(found, expected.log_prob(values), rtol=1e-5, atol=1e-5)


def test_the_prior_is_where_chains_may_start():
    density = Density.from_model(model_of(InverseCDF(icdf=logistic_quantile)))
    drawn = density.prior_positions(20_000, seed=1)[:, 0]
    laws.check_goodness_of_fit(drawn, torch.special.ndtr)
    values, _ = density.simulate(20_000, seed=1)
    laws.check_goodness_of_fit(values["x0"], torch.sigmoid)


def cut_prior(value):
    return value if value > 0 else -value  # a question to Python


def test_what_makes_chains_run_one_by_one_is_named(caplog):
    """By the line of the user's own, and with the cure."""

    def asks():
        x = pyro.sample("x", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(cut_prior(x), 1.0), obs=torch.tensor(0.3))

    density = Density.from_model(asks)
    assert not density.vectorised
    assert "test_by_normal_scores.py" in caplog.text
    assert "`return value if value > 0 else -value" in caplog.text
    assert "torch.where" in caplog.text
    assert "aten" not in caplog.text


def test_a_law_that_validates_is_named_with_its_cure(caplog):
    def asks():
        scale = pyro.sample("scale", dist.Gamma(2.0, 2.0))
        pyro.sample("x", InverseCDF(cdf=lambda x: torch.sigmoid(x / scale), validate_args=True))

    density = Density.from_model(asks)
    assert not density.vectorised
    assert "`pyro.sample(" in caplog.text
    assert "validate_args=False" in caplog.text
    assert "aten" not in caplog.text


def test_a_law_that_validates_where_it_is_scored_is_named_by_its_site(caplog):
    prior = InverseCDF(cdf=torch.sigmoid, validate_args=True)
    assert not Density.from_model(lambda: pyro.sample("slope", prior)).vectorised
    assert "'slope'" in caplog.text
    assert "validate_args=False" in caplog.text
    assert "aten" not in caplog.text


def test_after_a_discrete_site_chains_walk_on_the_value():
    """Quantiles may hang on what is summed out, of which x would then be another function for each value."""
    shift = torch.tensor([0.0, 2.0], dtype=torch.float64)

    def model():
        k = pyro.sample("k", dist.Bernoulli(torch.tensor(0.3, dtype=torch.float64))).long()
        law = InverseCDF(icdf=lambda u: logistic_quantile(u) + shift[k], dtype=torch.float64)
        pyro.sample("x", law)

    density = Density.from_model(model)
    x = torch.tensor([-1.0, 0.5, 3.0], dtype=torch.float64)

    def logistic(x):
        return (-x - 2 * torch.nn.functional.softplus(-x)).exp()

    expected = (0.7 * logistic(x) + 0.3 * logistic(x - 2)).log()
    torch.testing.assert_close(density.log_prob({"x": x}), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(density.unconstrained_log_prob(x[:, None]), expected, rtol=1e-6, atol=1e-6)
