"""Laws given by their log-density alone and learned: gradients, graphs, priors and guides."""

import logging

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.distributions import constraints

from probgen.capture.captured_loss import CapturedLoss
from probgen.core import Objective
from probgen.sampling import InverseCDF
from tests import laws

float64 = torch.float64
LEVELS = torch.tensor([1e-12, 0.01, 0.4, 0.7, 1 - 1e-9], dtype=float64)


def gamma(shape, rate, **other):
    return InverseCDF(
        log_prob=lambda x: (shape - 1) * x.log() - rate * x,
        support=constraints.positive,
        dtype=float64,
        **other,
    )


def humps(gap, width, **other):
    def log_prob(x):
        return torch.logaddexp(-(((x - gap) / width) ** 2) / 2, -(((x + gap) / width) ** 2) / 2)

    return InverseCDF(log_prob=log_prob, dtype=float64, **other)


PARAMETERS = {"gamma(2.5)": (gamma, 2.5, 1.3), "gamma(0.3)": (gamma, 0.3, 2.0), "humps": (humps, 2.0, 0.7)}


def everything(law):
    x = torch.tensor([0.1, 1.0, 7.0], dtype=float64)
    quantiles = law.icdf(LEVELS).sinh().atan()  # tails on one scale
    draws = law.rsample((4,), generator=torch.Generator().manual_seed(5))
    moments = torch.stack([law.mean, law.variance, law.entropy()])
    return torch.cat([quantiles, draws, law.log_prob(x), law.cdf(x), moments])


@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_gradients_to_parameters(parameters):
    build, *values = parameters
    laws.check_gradient(lambda *p: everything(build(*p, validate_args=False)), *values)


def test_gradients_of_far_quantiles_are_exact():
    """Of an exponential law with rate r, ∂x/∂r = -x / r at every quantile."""
    rate = torch.tensor(0.7, dtype=float64, requires_grad=True)
    x = gamma(torch.tensor(1.0, dtype=float64), rate).icdf(torch.cat([LEVELS, 1 - 1e-15 * LEVELS[-1:]]))
    for quantile in x:
        (gradient,) = torch.autograd.grad(quantile, rate, retain_graph=True)
        torch.testing.assert_close(gradient, (-quantile / rate).detach(), rtol=1e-8, atol=0)


HEAVY = {"student(0.5)": 0.5, "cauchy": 1.0, "student(1.5)": 1.5, "student(2.5)": 2.5}
TAILS = torch.cat([torch.linspace(0.02, 0.5, 7, dtype=float64), torch.logspace(-27, -2, 60, dtype=float64)])


@pytest.mark.parametrize("df", HEAVY.values(), ids=HEAVY)
def test_gradients_of_heavy_tails_to_location_and_scale(df):
    """Of any location-scale law ∂x/∂m = 1 and ∂x/∂s = (x − m) / s, though ∂F/∂m falls faster than F.

    In the far tail ∂F/∂m is below the rounding of the normaliser: it is as good as x itself.
    """
    loc, scale = torch.tensor(0.3, dtype=float64), torch.tensor(1.5, dtype=float64)

    def upper_quantiles(loc, scale):
        law = InverseCDF(log_prob=lambda x: -(df + 1) / 2 * torch.log1p(((x - loc) / scale) ** 2 / df))
        return law.isf(TAILS)

    to_loc, to_scale = torch.autograd.functional.jacobian(upper_quantiles, (loc, scale))
    standard = (upper_quantiles(loc, scale) - loc) / scale
    assert ((to_loc - 1).abs() <= 1e-6 + 1e-13 * standard.abs()).all()
    torch.testing.assert_close(to_scale, standard, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [0.3, 1.0, 4.0])
def test_gradients_of_heavy_tails_to_shape(shape):
    """The Lomax quantile is s (t^(−1/a) − 1) at the upper tail probability t."""
    parameters = (torch.tensor(shape, dtype=float64), torch.tensor(2.0, dtype=float64))

    def upper_quantiles(shape, scale):
        law = InverseCDF(
            log_prob=lambda x: -(shape + 1) * torch.log1p(x / scale), support=constraints.positive
        )
        return law.isf(TAILS)

    def exact(shape, scale):
        return scale * torch.expm1(-TAILS.log() / shape)

    ours, theirs = (torch.autograd.functional.jacobian(f, parameters) for f in (upper_quantiles, exact))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)


@pytest.mark.parametrize("method", ["log_prob", "cdf", "icdf"])
def test_gradients_to_values(method):
    law = gamma(2.5, 1.3)
    value = torch.tensor([0.2, 0.5, 0.9], dtype=float64, requires_grad=True)
    assert torch.autograd.gradcheck(getattr(law, method), value, eps=1e-6, atol=1e-6)


def test_a_density_far_away_does_not_spoil_gradients():
    """At the ends of the line x² overflows: 0 · inf must not enter the sum."""
    scale = torch.tensor(3.0, requires_grad=True)
    law = InverseCDF(log_prob=lambda x: -((x / scale) ** 2) / 2)
    (gradient,) = torch.autograd.grad(law.log_prob(torch.tensor(1.5)), scale)
    assert float(gradient) == pytest.approx(1.5**2 / 27 - 1 / 3, rel=1e-5)


def test_a_law_follows_its_parameters():
    gap = torch.nn.Parameter(torch.tensor(2.0, dtype=float64))
    law = humps(gap, 1.0)
    for value in (2.0, 2.5, 0.1, 400.0):
        with torch.no_grad():
            gap.fill_(value)
        with torch.no_grad():
            assert float(law.variance) == pytest.approx(1 + value**2, rel=1e-9)
        u = torch.tensor([0.1, 0.9], dtype=float64)
        torch.testing.assert_close(law.icdf(u).detach(), humps(value, 1.0).icdf(u))


# Graphs.


class Learned(Objective):
    """Draws and log-densities of a law with a parameter."""

    def __init__(self):
        super().__init__()
        self.gap = torch.nn.Parameter(torch.tensor(2.0, dtype=float64))

    def forward(self, x):
        law = humps(self.gap, 0.5).expand((3,))
        return law.rsample().square().sum() + law.log_prob(x).sum(), {}


def test_a_law_is_captured_wherever_its_parameters_go(caplog):
    """The graph finds the panels anew, a fixed number of them: it agrees with the law that is verified."""
    objective = Learned()
    captured = CapturedLoss(objective, "graph")
    x = torch.tensor([-1.0, 0.1, 2.0], dtype=float64)
    with caplog.at_level(logging.WARNING):
        for value in (2.0, 0.01, 1.3, 30.0):
            outcomes = []
            for loss_of in (captured, objective):
                with torch.no_grad():
                    objective.gap.fill_(value)
                torch.manual_seed(1)
                loss, _ = loss_of(x)
                (gradient,) = torch.autograd.grad(loss, objective.gap)
                outcomes.append((float(loss.detach()), float(gradient)))
            assert outcomes[0] == pytest.approx(outcomes[1], rel=1e-8)
    assert not caplog.records
    assert captured.mode == "graph"


class TwoModes(torch.nn.Module):
    """The prior of the README: any log-density, with a parameter to learn."""

    def __init__(self):
        super().__init__()
        self.gap = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self):
        def log_prob(z):
            return torch.logaddexp(-((z - self.gap) ** 2), -((z + self.gap) ** 2))

        return InverseCDF(log_prob=log_prob).expand([2]).to_event(1)


def test_prior_and_guide_in_pyro():
    prior, posterior, data = TwoModes(), TwoModes(), torch.randn(6, 2)

    def model():
        with pyro.plate("data", 6):
            z = pyro.sample("z", prior())
            pyro.sample("x", pyro.distributions.Normal(z, 1.0).to_event(1), obs=data)

    def guide():
        with pyro.plate("data", 6):
            pyro.sample("z", posterior())

    with pyro.plate("particles", 10, dim=-2):
        trace = pyro.poutine.trace(model).get_trace()
    assert trace.nodes["z"]["value"].shape == (10, 6, 2)
    Trace_ELBO().differentiable_loss(model, guide).backward()
    for law in (prior, posterior):
        assert law.gap.grad.isfinite()
        assert law.gap.grad != 0
