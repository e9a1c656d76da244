import math

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.distributions import Gamma, Normal, constraints
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.sampling import InverseCDF
from probgen.sampling.exact.bisection import first_reaching
from probgen.sampling.uniforms import uniform
from tests import laws

float64 = torch.float64
INF = torch.tensor(torch.inf, dtype=float64)


def logistic(location, scale, **other):
    return InverseCDF(cdf=lambda x: ((x - location) / scale).sigmoid(), **other)


def laplace_icdf(location, scale, **other):
    def icdf(u):
        return location - scale * (u - 0.5).sign() * torch.log1p(-2 * (u - 0.5).abs())

    return InverseCDF(icdf=icdf, **other)


def test_uniforms_are_never_0_or_1(device, generator):
    u = uniform((1_000_000,), device=device, generator=generator)
    assert u.dtype == float64
    assert ((u * 2**53) % 2 == 1).all()  # odd multiples of 2⁻⁵³: symmetric, and 2⁻⁵³ from 0 and 1
    assert (u > 0).all()
    assert (u < 1).all()
    laws.check_goodness_of_fit(u, lambda x: x.clamp(0, 1))
    laws.assert_power(u, lambda x: x.clamp(0, 1), shift=0.02)


# The root finder.


@pytest.mark.parametrize("root", [0.0, 5e-324, -5e-324, 1e-300, -3.7, 1.0, math.pi, 1e18, -1e200, 1.7e308])
@pytest.mark.parametrize("level", [0.5, 1.0])
def test_bisection_finds_a_jump_to_the_last_bit(root, level):
    found = first_reaching(lambda x: (x >= root).double(), torch.tensor(level, dtype=float64), -INF, INF)
    assert found.item() == root


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-2.0, -1.0), (-1.0, 3.0), (0.0, math.inf)])
def test_bisection_stays_inside_its_bounds(low, high):
    seen = []

    def step(x):
        seen.append(x.clone())
        return (x >= low + 0.7).double()

    found = first_reaching(step, torch.tensor(0.5, dtype=float64), *torch.tensor([low, high], dtype=float64))
    assert found.item() == low + 0.7
    assert low < min(seen)
    assert max(seen) < high


def test_bisection_gives_the_upper_bound_where_nothing_reaches():
    level = torch.tensor(0.5, dtype=float64)
    assert first_reaching(torch.zeros_like, level, -INF, INF).item() == math.inf
    assert first_reaching(torch.zeros_like, level, -INF, torch.tensor(-1.0, dtype=float64)).item() == -1


def test_bisection_tells_nan():
    level = torch.tensor([0.1, 0.9], dtype=float64)
    found = first_reaching(lambda x: torch.where(x > 1, torch.nan, x.sigmoid()), level, -INF, INF)
    assert found.isnan().tolist() == [False, True]


def test_overflow_far_from_the_root_does_no_harm():
    law = InverseCDF(cdf=lambda x: x**3 / (1 + x**3), support=constraints.positive, dtype=float64)
    torch.testing.assert_close(law.icdf(torch.tensor(0.5)).item(), 1.0)


# The generalised inverse.


def test_flat_stretches_and_jumps():
    def mixed(x):
        return torch.where(x < 0, 0.0, 0.5 * x.clamp(0, 1) + 0.25 * (x >= 2) + 0.25 * (x >= 3))

    law = InverseCDF(cdf=mixed)
    u = torch.tensor([0.25, 0.5, 0.500001, 0.75, 0.750001, 1.0])
    assert law.icdf(u).tolist() == [0.5, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert law.report().u_error == 0


def test_an_atom_at_the_lower_end_of_the_support():
    law = InverseCDF(cdf=lambda x: 1 - 0.5 * (-x).exp(), support=constraints.nonnegative)
    assert law.icdf(torch.tensor([0.1, 0.5])).tolist() == [0.0, 0.0]
    assert (law.sample((10_000,)) == 0).double().mean().sub(0.5).abs() < 0.03


@pytest.mark.parametrize(
    ("scale", "location"), [(1.0, 0.0), (1e-8, 0.0), (1e8, 0.0), (1e-3, 1e3), (1e-200, 0.0), (1e150, 0.0)]
)
def test_any_scale_and_place(scale, location):
    law = logistic(location, scale, dtype=float64)
    u = torch.tensor([1e-12, 0.01, 0.5, 0.75, 1 - 1e-12], dtype=float64)
    expected = location + scale * torch.logit(u)
    torch.testing.assert_close(law.icdf(u), expected, rtol=1e-4, atol=1e-12 * scale)
    assert law.report().u_error < 1e-15


def test_a_family_of_laws(device):
    shape = torch.tensor([0.05, 0.5, 3.0, 1000.0], device=device)
    law = InverseCDF(
        cdf=Gamma(shape, torch.ones_like(shape)).cdf, support=constraints.positive, device=device
    )
    assert law.batch_shape == (4,)
    x = law.sample((2000,))
    assert (x > 0).all()  # also where the quantile is below the smallest float32
    z = (x[:, 1:].mean(0) - shape[1:]) / (shape[1:] / 2000).sqrt()
    assert z.abs().max() < 5.5


def test_dtype_and_device_are_those_of_the_parameters(device, dtype):
    law = laplace_icdf(*torch.tensor([[0.0, 1.0], [1.0, 2.0]], dtype=dtype, device=device))
    assert law.sample().dtype == dtype
    assert law.sample().device.type == device.type
    assert law.batch_shape == (2,)


# Densities, CDFs and their gradients.

PLACES = [-9.0, -1.0, 0.3, 2.0, 9.0]


@pytest.mark.parametrize(
    "law",
    [
        logistic(0.5, 2.0, dtype=float64),
        InverseCDF(icdf=lambda u: 0.5 + 2.0 * torch.logit(u), dtype=float64),
    ],
    ids=["cdf", "icdf"],
)
def test_density_and_cdf_of_the_logistic(law):
    x = torch.tensor(PLACES, dtype=float64)
    z = (x - 0.5) / 2
    torch.testing.assert_close(law.cdf(x), z.sigmoid(), rtol=1e-12, atol=0)
    torch.testing.assert_close(law.log_prob(x), -z - 2 * torch.nn.functional.softplus(-z) - math.log(2))
    assert not law.log_prob(x).requires_grad


def test_far_lower_tail_of_a_cdf():
    law = InverseCDF(cdf=torch.special.ndtr, dtype=float64)
    x = torch.tensor([-30.0, -10.0, 8.0, 12.0], dtype=float64)
    expected = Normal(*torch.tensor([0.0, 1.0], dtype=float64)).log_prob(x)
    torch.testing.assert_close(law.log_prob(x), expected, rtol=1e-6, atol=0)


def test_gaps_have_no_density():
    law = InverseCDF(icdf=lambda u: u + (u > 0.5), support=constraints.interval(0.0, 2.0), dtype=float64)
    x = torch.tensor([0.25, 0.75, 1.25, 1.75], dtype=float64)
    assert law.log_prob(x).tolist() == [0.0, -math.inf, -math.inf, 0.0]


def test_a_float32_draw_at_the_end_of_the_support_has_a_density():
    law = InverseCDF(icdf=lambda u: u, support=constraints.unit_interval)
    assert law.log_prob(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize("build", [logistic, laplace_icdf], ids=["cdf", "icdf"])
def test_gradients_of_draws(build):
    def draws(location, scale):
        law = build(location, scale, dtype=float64)
        return law.rsample((5,), generator=torch.Generator().manual_seed(3))

    laws.check_gradient(draws, 0.7, 1.9)


@pytest.mark.parametrize("x", [-2.0, 0.9, 5.0])
@pytest.mark.parametrize("method", ["log_prob", "cdf"])
@pytest.mark.parametrize("build", [logistic, laplace_icdf], ids=["cdf", "icdf"])
def test_gradients_at_a_value(build, method, x):
    def value(location, scale, x):
        return getattr(build(location, scale, dtype=float64), method)(x)

    laws.check_gradient(value, 0.7, 1.9, x)


def test_gradients_are_kept_apart_in_a_family():
    rate = torch.tensor([0.5, 2.0], requires_grad=True)
    law = InverseCDF(cdf=lambda x: -torch.expm1(-rate * x), support=constraints.positive)
    (gradient,) = torch.autograd.grad(law.log_prob(torch.tensor(1.3)).sum(), rate)
    torch.testing.assert_close(gradient, 1 / rate.detach() - 1.3)


def test_an_implicit_draw_needs_a_density():
    place = torch.tensor(0.5, requires_grad=True)
    law = InverseCDF(cdf=lambda x: 0.5 * (x >= 0).double() + 0.5 * (x - place).clamp(0, 1))
    with pytest.raises(ValueError, match="rsample needs a positive density but the cdf has slope 0"):
        law.rsample((50,))
    assert law.sample((50,)).isfinite().all()


# In Pyro.


class LearnedPrior(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self):
        return laplace_icdf(0.0, self.scale).expand([2]).to_event(1)


def test_prior_and_guide_in_pyro():
    prior, posterior, data = LearnedPrior(), LearnedPrior(), torch.randn(6, 2)

    def model():
        with pyro.plate("data", 6):
            z = pyro.sample("z", prior())
            pyro.sample("x", pyro.distributions.Normal(z, 1.0).to_event(1), obs=data)

    def guide():
        with pyro.plate("data", 6):
            pyro.sample("z", posterior())

    with pyro.plate("particles", 100, dim=-2):
        trace = pyro.poutine.trace(model).get_trace()
    assert trace.nodes["z"]["value"].shape == (100, 6, 2)
    Trace_ELBO().differentiable_loss(model, guide).backward()
    assert prior.scale.grad.isfinite()
    assert prior.scale.grad != 0
    assert posterior.scale.grad.isfinite()
    assert posterior.scale.grad != 0


@pytest.mark.parametrize("source", ["icdf", "cdf"])
def test_a_law_with_its_density_is_captured_as_a_graph(source):
    def loss(rate):
        functions = {
            "icdf": lambda u: -torch.log1p(-u) / rate,
            "cdf": lambda x: -torch.expm1(-rate * x),
        }
        law = InverseCDF(
            **{source: functions[source]},
            log_prob=lambda x: rate.log() - rate * x,
            support=constraints.positive,
            validate_args=False,
        )
        z = law.expand([5]).rsample()
        return law.log_prob(2 * z).sum()

    rate = torch.tensor(2.0, requires_grad=True)
    captured = make_fx(loss, pre_dispatch=True)(rate)
    for value in (2.0, 0.7):
        rate = torch.tensor(value, requires_grad=True)
        torch.manual_seed(1)
        (expected,) = torch.autograd.grad(loss(rate), rate)
        torch.manual_seed(1)
        (gradient,) = torch.autograd.grad(captured(rate), rate)
        torch.testing.assert_close(gradient, expected)


def test_a_derivative_by_autograd_refuses_capture():
    def density(x):
        return logistic(0.0, 1.0, validate_args=False).log_prob(x)

    with pytest.raises(RuntimeError, match="a law given by its cdf alone cannot be captured"):
        make_fx(density, pre_dispatch=True)(torch.zeros(2))


# Reports and bad input.


def test_report_measures_the_density():
    law = logistic(0.0, 1.0, log_prob=lambda x: -x - 2 * torch.nn.functional.softplus(-x))
    assert law.report().u_error < 1e-15
    assert law.report().density_error < 1e-9
    assert math.isnan(InverseCDF(icdf=torch.logit).report().u_error)


BAD = {
    "should be given a log_prob, a cdf or an icdf but got none": {},
    "should be given one of icdf and cdf but got both": {"cdf": torch.sigmoid, "icdf": torch.logit},
    "points should come with a log_prob": {"cdf": torch.sigmoid, "points": [0.0]},
    "support should go from a lower to a higher number but is Interval": {
        "cdf": torch.sigmoid, "support": constraints.interval(2.0, 1.0)
    },
    "support should be an interval of the real line": {"cdf": torch.sigmoid, "support": constraints.simplex},
    "cdf should not decrease but falls from 0.9999": {"cdf": lambda x: (-x).sigmoid()},
    r"cdf should not decrease but falls from 0\.\d+ to 0\.\d+ between x = 0\.": {
        "cdf": lambda x: x.sigmoid() - 0.3 * (-(((x - 1) / 0.3) ** 2)).exp()
    },
    r"cdf should be in \[0, 1\] but is": {"cdf": torch.sin},
    r"cdf should be in \[0, 1\] but is nan at x = -": {"cdf": lambda x: x.log().sigmoid()},
    r"cdf should go from 0 to 1, to 1e-05, but goes from 0 to 0\.9 over Real\(\); subtract": {
        "cdf": lambda x: 0.9 * x.sigmoid()
    },
    r"cdf should go from 0 to 1, to 1e-05, but goes from 2e-05 to 1 over Real\(\); subtract": {
        "cdf": lambda x: 2e-5 + (1 - 2e-5) * x.sigmoid()
    },
    r"the quantile should be finite but cdf gives inf at u = 0\.99": {  # log X is Cauchy
        "cdf": lambda x: 0.5 + x.log().atan() / math.pi, "support": constraints.positive
    },
    "icdf should not decrease but falls": {"icdf": lambda u: -u},
    "icdf should be a number everywhere but is nan for u = ": {"icdf": lambda u: (u - 0.5).log()},
    "icdf should stay in the support Interval": {
        "icdf": lambda u: 3 * u, "support": constraints.unit_interval
    },
    "the quantile should be finite but icdf gives inf": {"icdf": lambda u: 1 / (u > 0.5)},
    "log_prob should be the normalised density of the icdf but": {
        "icdf": torch.logit, "log_prob": lambda x: -(x**2) / 2
    },
    "log_prob should be the normalised density of the cdf but": {
        "cdf": torch.sigmoid, "log_prob": lambda x: 2.0 - x - 2 * torch.nn.functional.softplus(-x)
    },
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_bad_laws(message):
    with pytest.raises(ValueError, match=message):
        InverseCDF(**BAD[message])


def test_bad_values():
    law = InverseCDF(icdf=torch.special.ndtri)
    with pytest.raises(ValueError, match=r"u should be in \[0, 1\] but got 1\.5"):
        law.icdf(torch.tensor([0.5, 1.5]))
    with pytest.raises(
        ValueError, match=r"log_prob should be a number but is nan at x = 9\.5: float64 quantil"
    ):
        law.log_prob(torch.tensor([0.0, 9.5]))
    with pytest.raises(ValueError, match="cdf should be differentiable by autograd"):
        InverseCDF(cdf=lambda x: x.detach().sigmoid()).log_prob(torch.tensor(0.0))
    with pytest.raises(ValueError, match="within the support"):
        InverseCDF(icdf=lambda u: u, support=constraints.unit_interval).log_prob(torch.tensor(2.0))
    with pytest.raises(RuntimeError, match="expand"):
        laplace_icdf(torch.zeros(3), 1.0).expand([2])


def test_nothing_wrong_is_silent_without_validation():
    law = InverseCDF(icdf=torch.special.ndtri, validate_args=False)
    assert law.log_prob(torch.tensor([9.5, -41.0])).isnan().all()
    broken = InverseCDF(cdf=lambda x: torch.where(x > 0, torch.nan, x.sigmoid()), validate_args=False)
    assert broken.icdf(torch.tensor([0.1, 0.9])).isnan().tolist() == [False, True]


def test_quantiles_beyond_the_range_of_float32():
    law = InverseCDF(icdf=lambda u: torch.sinh(40 * torch.special.ndtri(u)))
    with pytest.raises(
        ValueError, match=r"finite in torch.float32 but -?\d.*e\+\d+ is not; give dtype=torch.float64"
    ):
        law.sample((10_000,))
    assert law.icdf(torch.tensor(0.5)) == 0


NARROW = {
    "a normal by density": lambda **o: InverseCDF(log_prob=lambda x: -((x - 1e8) ** 2) / 2, **o),
    "a normal by cdf": lambda **o: InverseCDF(cdf=lambda x: torch.special.ndtr(x - 1e8), **o),
    "a normal by icdf": lambda **o: InverseCDF(icdf=lambda u: 1e8 + torch.special.ndtri(u), **o),
    "a uniform": lambda **o: InverseCDF(
        log_prob=lambda x: 0 * x, support=constraints.interval(1e8, 1e8 + 10), **o
    ),
}


@pytest.mark.parametrize("name", NARROW)
def test_laws_too_narrow_for_their_dtype(name):
    with pytest.raises(
        ValueError, match=r"float32 near x = 10000000\d are 8 apart.*; give dtype=torch.float64"
    ):
        NARROW[name]()
    draws = NARROW[name](dtype=float64).sample((1000,))
    assert draws.unique().numel() > 990


def test_what_float32_can_tell_apart_is_drawn():
    InverseCDF(icdf=lambda u: 1e5 + torch.special.ndtri(u))
    InverseCDF(cdf=lambda x: (x >= 1e8 + 1).double())  # an atom
