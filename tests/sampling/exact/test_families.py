import math

import numpy as np
import pyro
import pytest
import scipy.special
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import probgen as pg
from probgen.sampling.exact.families import Beta, Chi2, Gamma, StudentT, VonMises, with_quantiles
from probgen.sampling.exact.tables.quantile_table import COARSE
from probgen.sampling.exact.tails.tail_operators import log_tails, quantile
from tests import laws

float64 = torch.float64
SHAPES = [0.05, 0.3, 1.0, 2.5, 40.0, 1e4]
LEVELS = [1e-300, 1e-100, 1e-20, 1e-6, 0.01, 0.3, 0.5, 0.8, 1 - 1e-6]


def tensor(*values):
    return torch.tensor(values, dtype=float64)


def close(found, expected, rtol=1e-12):
    expected = torch.as_tensor(np.asarray(expected))
    kept = (expected.abs() > 1e-300) & expected.isfinite()  # SciPy's are subnormal or overflow elsewhere
    assert kept.any()
    torch.testing.assert_close(found[kept], expected[kept], rtol=rtol, atol=0)


# Values, against SciPy's special functions.


@pytest.mark.parametrize("a", SHAPES)
def test_gamma_and_chi2(a):
    u, law = tensor(*LEVELS), Gamma(tensor(a), tensor(2.0))
    close(law.icdf(u), scipy.special.gammaincinv(a, u.numpy()) / 2)
    close(law.isf(u), scipy.special.gammainccinv(a, u.numpy()) / 2)
    x = Gamma(tensor(a), tensor(1.0)).isf(tensor(1e-100, 0.01, 0.6, 0.99))
    close(law.cdf(x / 2), scipy.special.gammainc(a, x.numpy()), rtol=1e-11)
    close(law.sf(x / 2), scipy.special.gammaincc(a, x.numpy()), rtol=1e-10)
    close(Chi2(tensor(2 * a)).isf(u), scipy.special.chdtri(2 * a, u.numpy()))


@pytest.mark.parametrize("a", SHAPES)
@pytest.mark.parametrize("b", SHAPES)
def test_beta(a, b):
    u, law = tensor(*LEVELS), Beta(tensor(a), tensor(b))
    x = law.icdf(u)
    near_one = x > 0.99
    close(
        torch.where(near_one, 1.0, x),
        np.where(near_one.numpy(), 1.0, scipy.special.betaincinv(a, b, u.numpy())),
    )
    y = scipy.special.betainccinv(a, b, u.numpy())
    close(torch.where(tensor(*y) > 0.99, 1.0, law.isf(u)), np.where(y > 0.99, 1.0, y))
    x = x[(x > 1e-300) & (x < 1)]
    close(law.cdf(x), scipy.special.betainc(a, b, x.numpy()), rtol=1e-11)


@pytest.mark.parametrize("df", SHAPES[1:])
def test_student_t(df):
    law = StudentT(tensor(df), tensor(1.0), tensor(2.0))
    u = tensor(*(level for level in LEVELS if level > 1e-100**df))
    x = torch.from_numpy(scipy.special.stdtrit(df, u.numpy()))
    close(law.icdf(u), 1 + 2 * x, rtol=1e-10)
    close(law.isf(u), 1 - 2 * x, rtol=1e-10)
    close(law.cdf(law.icdf(u)), u, rtol=1e-10)


@pytest.mark.parametrize("df", [1.0, 2.0])
def test_student_t_in_closed_form(df):
    u = tensor(*LEVELS)
    exact = -1 / (math.pi * u).tan() if df == 1 else (2 * u - 1) / (2 * u * (1 - u)).sqrt()
    near = (u < 0.4) | (u == 0.8)
    close(StudentT(tensor(df)).icdf(u)[:, None][near], exact[:, None][near])


@pytest.mark.parametrize("kappa", [1e-3, 0.5, 1.6, 20.0, 1e4])
def test_von_mises(kappa):
    nodes, weights = np.polynomial.legendre.leggauss(400)

    def mass(angle):
        low = max(-math.pi, -12 / math.sqrt(kappa))
        x = low + (angle - low) * (nodes + 1) / 2
        return (weights * np.exp(-2 * kappa * np.sin(x / 2) ** 2)).sum() * (angle - low) / 2

    levels = [1e-9, 0.01, 0.3, 0.5, 0.9]
    law = VonMises(tensor(2.0), tensor(kappa))
    for level, x in zip(levels, law.icdf(tensor(*levels)).tolist(), strict=True):
        assert mass(x - 2.0) / (2 * mass(0.0)) == pytest.approx(level, rel=1e-10)
    close(law.isf(tensor(*levels)), 4 - law.icdf(tensor(*levels)))
    exact = -2 * kappa * math.sin(0.35) ** 2 - math.log(2 * math.pi * scipy.special.i0e(kappa))
    assert law.log_prob(torch.tensor(2.7, dtype=float64)).item() == pytest.approx(exact, rel=1e-13)


def test_angles_are_counted_in_one_turn():
    law = VonMises(tensor(3.0), tensor(2.0))
    x = tensor(0.5, 2.0, 5.5)
    torch.testing.assert_close(law.cdf(x - 2 * math.pi), law.cdf(x))
    assert (law.sample((500,)) - 3).abs().max() <= math.pi


@pytest.mark.parametrize("shape", [1e-6, 1e-3, 0.05, 1.0, 1e6, 1e9])
def test_both_tails_go_on_beyond_float64(shape):
    """log F and log (1 − F) are inverted, to 1e-11, where F itself is 0 or 1."""
    for law in (Gamma(tensor(shape), tensor(1.0)), Beta(tensor(shape), tensor(3.0)), StudentT(tensor(shape))):
        for log_tail in tensor(-1e4, -800.0, -50.0, -0.8, -0.1).split(1):
            far = torch.log1p(-log_tail.exp())
            for logs in ((log_tail, far), (far, log_tail)):
                family = law._family()
                back = log_tails(family, quantile(family, *logs))
                near = min(logs)
                torch.testing.assert_close(min(back), near, rtol=1e-11, atol=1e-11 * math.sqrt(1 + shape))


# Gradients.

LAWS = {
    "Gamma": (Gamma, [(0.3, 2.0), (4.0, 0.5), (300.0, 7.0)]),
    "Chi2": (Chi2, [(0.6,), (9.0,)]),
    "Beta": (Beta, [(0.4, 0.6), (3.0, 0.8), (60.0, 9.0)]),
    "StudentT": (StudentT, [(0.9, 0.5, 2.0), (12.0, -1.0, 0.1)]),
    "VonMises": (VonMises, [(0.3, 0.4), (-1.0, 3.0), (2.0, 90.0)]),
}
CASES = [(name, index) for name, (_, cases) in LAWS.items() for index in range(len(cases))]


def differences(function, values, k):
    """Return the derivative to one argument by central differences of the fourth order."""
    results = []
    for step in (1e-4, -1e-4, 2e-4, -2e-4):
        moved = list(values)
        moved[k] = moved[k] * (1 + step)
        results.append(function(*moved))
    return (8 * (results[0] - results[1]) - (results[2] - results[3])) / (12e-4 * values[k])


@pytest.mark.parametrize("method", ["icdf", "isf", "log_cdf", "log_sf", "log_prob"])
@pytest.mark.parametrize(("name", "case"), CASES)
def test_gradients(name, case, method):
    build, cases = LAWS[name]
    u = tensor(0.01, 0.1, 0.45, 0.8, 0.95)
    parameters = [torch.full((5,), value, dtype=float64) for value in cases[case]]
    argument = u if method in ("icdf", "isf") else build(*parameters).icdf(u)

    def value(*inputs):
        return getattr(build(*inputs[:-1], validate_args=False), method)(inputs[-1])

    inputs = [value.clone().requires_grad_() for value in (*parameters, argument)]
    gradients = torch.autograd.grad(value(*inputs).sum(), inputs)
    for k, gradient in enumerate(gradients):
        expected = differences(value, [v.detach() for v in inputs], k)
        size = expected.abs().max() if method == "log_prob" else expected.abs()
        assert ((gradient - expected).abs() <= 1e-6 * (size + 1e-3)).all(), (k, gradient, expected)


@pytest.mark.parametrize("method", ["icdf", "log_cdf", "log_sf", "log_prob"])
@pytest.mark.parametrize(("name", "case"), CASES)
def test_second_derivatives(name, case, method):
    """Each of them, mixed ones too, against differences of the first; also where the tails meet, at loc."""
    build, cases = LAWS[name]
    u = tensor(0.01, 0.3, 0.5, 0.95)
    parameters = [torch.full((4,), value, dtype=float64) for value in cases[case]]
    argument = u if method == "icdf" else build(*parameters).icdf(u)
    if method != "icdf" and name in ("StudentT", "VonMises"):
        argument[2] = parameters[name == "StudentT"][2]

    def first(*inputs, keep=False):
        inputs = [x if keep else x.detach().requires_grad_() for x in inputs]
        value = getattr(build(*inputs[:-1], validate_args=False), method)(inputs[-1])
        return torch.stack(torch.autograd.grad(value.sum(), inputs, create_graph=keep))

    inputs = [value.clone().requires_grad_() for value in (*parameters, argument)]
    gradients = first(*inputs, keep=True)
    expected = torch.stack([differences(first, [x.detach() for x in inputs], k) for k in range(len(inputs))])
    found = torch.stack(
        [
            torch.stack(torch.autograd.grad(g.sum(), inputs, retain_graph=True, materialize_grads=True))
            for g in gradients
        ],
        1,
    )
    size = expected.abs().amax((0, 1))
    assert ((found - expected).abs() <= 1e-6 * (expected.abs() + 1e-2 * size)).all(), (found, expected)


def test_third_derivatives():
    """−log u / rate is the upper quantile of the exponential law."""
    rate, s = torch.tensor(2.0, dtype=float64, requires_grad=True), tensor(1e-12, 0.3)
    x = Gamma(tensor(1.0), rate[None]).isf(s.requires_grad_()).sum()
    for order in (1, 2, 3):
        x = torch.autograd.grad(x, s, create_graph=True)[0].sum()
        expected = (-1) ** order * math.factorial(order - 1) / s.detach() ** order / 2
        assert x.item() == pytest.approx(expected.sum().item(), rel=1e-9)


def test_gradients_in_closed_form_in_far_tails():
    a = torch.full((4,), 0.07, dtype=float64, requires_grad=True)
    u = tensor(1e-15, 1e-9, 0.2, 0.999)
    (gradient,) = torch.autograd.grad(Beta(a, torch.ones_like(a)).icdf(u).sum(), a)
    close(gradient, -u.log() / 0.07**2 * u ** (1 / 0.07), rtol=1e-11)
    rate = torch.ones(3, dtype=float64, requires_grad=True)
    s = tensor(1e-300, 1e-30, 0.5)
    (gradient,) = torch.autograd.grad(Gamma(torch.ones_like(rate), rate).isf(s).sum(), rate)
    close(gradient, s.log())


def test_pathwise_gradients_of_torch_agree():
    a = tensor(0.2, 1.5, 30.0).requires_grad_()
    law = Gamma(a, torch.ones_like(a))
    x = law.icdf(tensor(0.3, 0.6, 0.9))
    (gradient,) = torch.autograd.grad(x.sum(), a)
    torch.testing.assert_close(
        gradient, torch._standard_gamma_grad(a.detach(), x.detach()), rtol=1e-3, atol=0
    )


# Shapes, dtypes, devices.


@pytest.mark.parametrize("name", LAWS)
def test_many_quantiles_are_as_exact_as_few(name):
    """Those of a single law come from polynomials, on a CPU."""
    build, cases = LAWS[name]
    parameters = [torch.tensor(value, dtype=float64, requires_grad=True) for value in cases[0]]
    u = torch.cat([torch.rand(2 * COARSE.cost, dtype=float64), 10 ** (-200 * torch.rand(110, dtype=float64))])
    middle = build(*parameters).icdf(tensor(0.5)).detach() if name in ("StudentT", "VonMises") else 0.0
    for method in ("icdf", "isf"):
        many, few = (getattr(build(*parameters), method)(levels) for levels in (u, u[-300:]))
        torch.testing.assert_close(many[-300:] - middle, few - middle, rtol=2e-12, atol=1e-13)
        slopes, expected = (torch.autograd.grad(x[-300:-110].sum(), parameters) for x in (many, few))
        torch.testing.assert_close(slopes, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", LAWS)
def test_vmap_is_a_loop(name):
    build, cases = LAWS[name]
    columns = [tensor(*column) for column in zip(*cases, strict=True)]
    u = torch.rand(4, len(cases), dtype=float64)

    def both(u, *parameters):
        law = build(*parameters, validate_args=False)
        return law.log_sf(law.icdf(u))

    found = torch.vmap(both, (1, *[0] * len(columns)), 1)(u, *columns)
    torch.testing.assert_close(found, both(u, *columns), rtol=1e-12, atol=1e-15)
    found = torch.vmap(both, (0, *[None] * len(columns)))(u, *columns)
    torch.testing.assert_close(found, both(u, *columns), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", LAWS)
def test_a_batch_is_a_loop(name, dtype, device):
    build, cases = LAWS[name]
    columns = [torch.tensor(column, dtype=dtype, device=device) for column in zip(*cases, strict=True)]
    law = build(*columns)
    u = torch.rand(3000, 1, device=device)
    x = law.icdf(u)
    assert x.dtype == law.sample().dtype == dtype
    assert x.shape == (3000, len(cases))
    for k in range(len(cases)):
        alone = build(*(column[k] for column in columns))
        exact = {"rtol": 1e-12 if dtype == float64 else 1e-6, "atol": 1e-12}
        torch.testing.assert_close(alone.icdf(u[:, 0]), x[:, k], **exact)
        torch.testing.assert_close(alone.log_cdf(x[:, k]), law.log_cdf(x)[:, k], **exact)
    assert law.icdf(u[:0]).shape == (0, len(cases))


def test_draws_stay_inside_the_support(device):
    small = torch.tensor(0.01, device=device)
    x = Gamma(small, torch.ones_like(small)).sample((5000,))
    assert (x > 0).all()
    x = Beta(small, small).sample((5000,))
    assert ((x > 0) & (x < 1)).all()
    assert Beta(small, small).log_prob(x).isfinite().all()


def test_the_ends():
    zero_one = torch.tensor([0.0, 1.0])
    assert Gamma(torch.tensor(2.0), torch.tensor(1.0)).icdf(zero_one).tolist() == [0, math.inf]
    assert Beta(torch.tensor(2.0), torch.tensor(1.0)).isf(zero_one).tolist() == [1, 0]
    assert StudentT(torch.tensor(2.0)).icdf(zero_one).tolist() == [-math.inf, math.inf]
    law = Gamma(torch.tensor(2.0), torch.tensor(1.0))
    assert law.cdf(torch.tensor([0.0, 1e30])).tolist() == [0, 1]
    assert law.log_sf(torch.tensor(1e30)).item() == pytest.approx(-1e30)
    assert not law.icdf(zero_one.requires_grad_()).isnan().any()


def test_torchs_laws_are_recognised():
    one, two = torch.tensor(1.0), torch.tensor(2.0)
    for law, ours in [
        (torch.distributions.Gamma(two, one), Gamma(two, one)),
        (torch.distributions.Chi2(two), Chi2(two)),
        (pyro.distributions.Beta(two, one), Beta(two, one)),
        (torch.distributions.StudentT(two, one, two), StudentT(two, one, two)),
        (torch.distributions.VonMises(one, two), VonMises(one, two)),
    ]:
        u = torch.rand(5)
        assert torch.equal(with_quantiles(law).icdf(u), ours.icdf(u))
    assert with_quantiles(ours) is ours


# Bad input.


def test_bad_input():
    law = Gamma(torch.tensor(2.0), torch.tensor(1.0))
    for method in (law.icdf, law.isf):
        for wrong in (-0.1, 1.5, math.nan):
            with pytest.raises(ValueError, match=rf"u should be in \[0, 1\] but got {wrong}"):
                method(torch.tensor([0.5, wrong]))
    with pytest.raises(ValueError, match="within the support"):
        law.cdf(torch.tensor(-1.0))
    with pytest.raises(
        ValueError, match=r"StudentT should be finite in torch.float32 but is -inf at u = 1.*e-10"
    ):
        StudentT(torch.tensor(0.1)).icdf(torch.tensor([0.5, 1e-10]))
    silent = Gamma(torch.tensor(math.nan), torch.tensor(1.0), validate_args=False)
    assert silent.icdf(torch.tensor([0.1, 0.9])).isnan().all()
    assert silent.cdf(torch.tensor([0.1, 0.9])).isnan().all()


# In Pyro.


class PoissonGamma(pg.Pair):
    """λ ~ Gamma(3, 2), x | λ ~ Poisson(λ): the posterior is Gamma(3 + x, 3)."""

    def __init__(self):
        super().__init__()
        self.log_slope, self.log_base, self.log_rate = (nn.Parameter(torch.zeros(())) for _ in range(3))

    def model(self, x=None, *context, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            prior = Gamma(torch.tensor(3.0), torch.tensor(2.0), validate_args=False)
            return pyro.sample("x", pyro.distributions.Poisson(pyro.sample("z", prior)), obs=x)

    def guide(self, x=None, *context, n=1):
        with pyro.plate("data", len(x)):
            concentration = self.log_base.exp() + self.log_slope.exp() * x
            pyro.sample("z", Gamma(concentration, self.log_rate.exp(), validate_args=False))


def test_a_prior_and_a_guide_learn_a_conjugate_posterior():
    pair = PoissonGamma()
    x = pair.sample(60, seed=1)
    pg.fit(
        pg.SVI(pair),
        x,
        steps=100,
        optimizer=lambda p: torch.optim.Adam(p, 0.1),
        compile="graph",
        seed=1,
        progress=False,
    )
    found = [p.exp().item() for p in (pair.log_base, pair.log_slope, pair.log_rate)]
    assert found == pytest.approx([3, 1, 3], rel=0.2)


@pytest.mark.parametrize("name", ["Gamma", "Chi2", "Beta", "StudentT", "VonMises"])
def test_capture(name):
    """A law can be captured as a graph, draws and gradients."""
    build, cases = LAWS[name]

    def loss(u, *parameters):
        law = build(*parameters, validate_args=False)
        x = law.icdf(u)
        return (law.log_prob(x) + law.log_cdf(x)).sum()

    u = torch.rand(50, dtype=float64)
    parameters = [torch.tensor(value, dtype=float64, requires_grad=True) for value in cases[0]]
    captured = make_fx(loss, pre_dispatch=True)(u, *parameters)
    parameters = [torch.tensor(value, dtype=float64, requires_grad=True) for value in cases[-1]]
    expected = torch.autograd.grad(loss(u, *parameters), parameters)
    gradients = torch.autograd.grad(captured(u, *parameters), parameters)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other)


def test_a_shape_is_drawn_as_often_as_asked(generator):
    law = Gamma(torch.tensor(2.0), torch.tensor(1.0)).expand([3]).to_event(1)
    assert law.sample((2,)).shape == (2, 3)
    laws.check_gradient(
        lambda a: Gamma(a, torch.ones_like(a)).rsample((2,), generator=generator.manual_seed(1)), 2.0
    )
