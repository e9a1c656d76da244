import math

import pyro
import pytest
import scipy.stats
import torch
from torch.distributions import Gamma, Normal, constraints

from probgen.sampling.exact.rejection.transformed_rejection import TransformedDensityRejection
from tests import laws
from tests.gallery import GALLERY
from tests.laws import of_scipy

float64 = torch.float64
N = 400_000

real, positive = constraints.real, constraints.positive
LAWS = {
    "normal": (lambda x: -(x**2) / 2 + 7, real, scipy.stats.norm(), 7 + math.log(2 * math.pi) / 2),
    "narrow and far": (lambda x: -(((x - 1000) / 1e-6) ** 2) / 2, real, scipy.stats.norm(1000, 1e-6), None),
    "exponential": (lambda x: -x * 1e-20, constraints.nonnegative, scipy.stats.expon(scale=1e20), None),
    "gamma 1.01": (lambda x: 0.01 * x.log() - x, positive, scipy.stats.gamma(1.01), math.lgamma(1.01)),
    "gamma 10,000": (lambda x: 9999 * x.log() - x, positive, scipy.stats.gamma(1e4), math.lgamma(1e4)),
    "beta": (
        lambda x: x.log() + (1 - x).log(),
        constraints.unit_interval,
        scipy.stats.beta(2, 2),
        -math.log(6),
    ),
    "cauchy": (
        lambda x: -torch.log1p((x - 5) ** 2 / 9),
        real,
        scipy.stats.cauchy(5, 3),
        math.log(3 * math.pi),
    ),
    "laplace": (lambda x: -(x - 1.2345).abs(), real, scipy.stats.laplace(1.2345), math.log(2)),
    "gumbel": (lambda x: -x - (-x).exp(), real, scipy.stats.gumbel_r(), 0.0),
    "tail": (lambda x: -(x**2) / 2, constraints.greater_than(8.0), scipy.stats.truncnorm(8, math.inf), None),
    "uniform": (lambda x: 0 * x, constraints.interval(-3.0, 5.0), scipy.stats.uniform(-3, 8), math.log(8)),
    "cut": (lambda x: torch.where(x > 0.3, -x, -torch.inf), real, scipy.stats.expon(0.3), -0.3),
    "cliff": (
        lambda x: torch.where(x < 0.3, -1e6 * (0.3 - x), 0.3 - x),
        real,
        None,
        math.log(1 + 1e-6),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_laws(name, device):
    log_prob, support, exact, log_normaliser = LAWS[name]
    law = TransformedDensityRejection(log_prob, support=support, dtype=float64, device=device)
    draws = law.sample((N,)).cpu()
    report = law.report()
    if exact is not None:
        cdf = of_scipy(exact)
        laws.check_goodness_of_fit(draws, cdf)
        laws.assert_power(draws, cdf, shift=0.02)
        for share in (1e-3, 1e-4):
            spread = 5.5 * math.sqrt(N * share) + 5.5
            assert abs(int((draws < exact.ppf(share)).sum()) - N * share) < spread
            assert abs(int((draws > exact.isf(share)).sum()) - N * share) < spread
    assert report.log_normaliser.stderr < (1e-4 if name == "cliff" else 1e-7)
    if log_normaliser is not None:
        assert abs(report.log_normaliser.value - log_normaliser) < report.log_normaliser.stderr
    spread = math.sqrt(report.expected_acceptance * (1 - report.expected_acceptance) / N)
    assert abs(report.acceptance - report.expected_acceptance) < 5.5 * spread + 1e-12
    assert report.squeezed <= report.expected_acceptance + 1e-12
    assert report.squeezed >= 0.996 / 1.02


def test_log_prob_is_evaluated_for_few_draws():
    count = 0

    def log_prob(x):
        nonlocal count
        count += x.numel()
        return -(x**2) / 2

    TransformedDensityRejection(log_prob, validate_args=False)
    assert count < 5_000
    count = 0
    law = TransformedDensityRejection(log_prob)
    assert count < 10_000 + 5 * 2**15
    count = 0
    law.sample((N,))
    assert 0.0039 * N < count < 0.028 * N
    tight = TransformedDensityRejection(log_prob, ratio=1.002)
    assert tight.report().cells > 2 * law.report().cells
    assert tight.report().squeezed > 0.996 / 1.002


SHAPES = (1.0, 1.5, 7.0, 300.0)


def test_a_batch_is_its_laws(device, dtype):
    shapes = torch.tensor([SHAPES, SHAPES], dtype=dtype, device=device) * torch.tensor(
        [[1.0], [2.0]], device=device
    )
    law = TransformedDensityRejection(lambda x: (shapes - 1) * x.log() - x, support=positive)
    assert law.batch_shape == (2, 4)
    n = 50_000
    draws = law.sample((n,)).cpu()
    assert draws.dtype == dtype
    assert (draws > 0).all()
    torch.testing.assert_close(
        law.report().log_normaliser.value, torch.lgamma(shapes.double()).cpu(), rtol=0, atol=1e-7
    )
    for i in range(2):
        for j in range(4):
            shape = float(shapes[i, j])
            cdf = of_scipy(scipy.stats.gamma(shape))
            laws.check_goodness_of_fit(draws[:, i, j], cdf)
            laws.assert_power(draws[:, i, j], cdf, shift=0.06)
            alone = TransformedDensityRejection(
                lambda x, shape=shape: (shape - 1) * x.log() - x, support=positive, device=device
            )
            value = draws[:1, i, j, None].double().to(device)
            torch.testing.assert_close(
                law.log_prob(value)[i, j], alone.log_prob(value)[0, 0], rtol=0, atol=1e-6
            )
    correlation = torch.corrcoef(draws.reshape(n, 8).T.double()).fill_diagonal_(0)
    assert correlation.abs().max() < 5.5 / math.sqrt(n)
    torch.testing.assert_close(
        law.log_prob(draws[:9].double().to(device)).cpu(),
        Gamma(shapes.double().cpu(), torch.ones((), dtype=float64)).log_prob(draws[:9].double()),
        rtol=1e-6,
        atol=1e-6,
    )


def test_supports_of_a_batch():
    low = torch.tensor([0.0, 3.0, 8.0], dtype=float64)
    law = TransformedDensityRejection(lambda x: -(x**2) / 2, support=constraints.greater_than(low))
    draws = law.sample((20_000,))
    for k, end in enumerate(low.tolist()):
        laws.check_goodness_of_fit(draws[:, k], of_scipy(scipy.stats.truncnorm(end, math.inf)))


def test_copies_are_independent():
    law = TransformedDensityRejection(lambda x: -((x - torch.tensor([[0.0], [50.0]])) ** 2) / 2)
    draws = law.expand([3, 2, 4]).sample((500,))
    assert draws.shape == (500, 3, 2, 4)
    assert (draws[:, :, 0] < 20).all()
    assert (draws[:, :, 1] > 30).all()
    assert len(draws.unique()) > 0.99 * draws.numel()
    assert law.sample((0,)).shape == (0, 2, 1)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_draws_stay_in_the_support_after_rounding(shape):
    """Of the float32 numbers, the nearest to some draws are 1 + 10 · 2⁻²³ and 1, both outside."""
    length = torch.tensor(1.15e-6, dtype=float64).expand(shape)
    length = length * torch.linspace(1, 0.9, 2)[: max(1, len(shape) * 2)].reshape(shape)
    law = TransformedDensityRejection(
        lambda x: 0 * x, support=constraints.half_open_interval(1.0, 1.0 + length)
    )
    draws = law.sample((1000,))
    assert draws.dtype == torch.float32
    assert ((draws >= 1) & (draws.double() < 1 + length)).all()
    above = TransformedDensityRejection(
        lambda x: -(x - 1) * 1e6, support=constraints.greater_than((1 + 0 * length).float())
    )
    assert (above.sample((1000,)) > 1).all()


def test_gradients_include_the_normaliser(device):
    place = torch.tensor(0.7, dtype=float64, device=device, requires_grad=True)
    scale = torch.tensor([0.5, 2.0], dtype=float64, device=device, requires_grad=True)
    law = TransformedDensityRejection(lambda x: -(((x - place) / scale) ** 2) / 2)
    x = torch.tensor([[0.3, 0.3], [2.0, -9.0]], dtype=float64, device=device, requires_grad=True)
    values = law.log_prob(x)
    exact = Normal(place, scale).log_prob(x)
    torch.testing.assert_close(values, exact, rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(
        torch.autograd.grad(values.exp().sum(), (place, scale, x)),
        torch.autograd.grad(exact.exp().sum(), (place, scale, x)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)
    assert not law.sample((3,)).requires_grad


def test_as_a_prior_in_pyro():
    law = TransformedDensityRejection(lambda x: -(x**2) / 2).expand([2]).to_event(1)

    def model():
        with pyro.plate("data", 5):
            return pyro.sample("z", law)

    trace = pyro.poutine.trace(model).get_trace()
    value = trace.nodes["z"]["value"]
    assert value.shape == (5, 2)
    torch.testing.assert_close(trace.log_prob_sum(), Normal(0.0, 1.0).log_prob(value).sum())


def student(freedom):
    return lambda x: -(freedom + 1) / 2 * torch.log1p(x**2 / freedom)


NOT_CONCAVE = r"1 / √density convex\) but at x = \S+ it is \S+ times what its values beside it ask for"


@pytest.mark.parametrize(
    ("log_prob", "support", "message"),
    [
        (lambda x: torch.logaddexp(-((x - 2) ** 2) / 2, -((x + 2) ** 2) / 2), real, NOT_CONCAVE),
        (lambda x: torch.logaddexp(-50 * (x - 5) ** 2, -50 * (x + 3) ** 2), real, NOT_CONCAVE),
        (lambda x: torch.logaddexp(-(x**2) / 2, -(((x - 0.7) / 1e-3) ** 2) / 2 - 4), real, NOT_CONCAVE),
        (student(0.5), real, NOT_CONCAVE),
        (lambda x: torch.where((x > 1) & (x < 1.5), -torch.inf, -(x**2)), real, NOT_CONCAVE),
        (lambda x: torch.where((x > 1) & (x < 9), -torch.inf, -x.abs() / 9), real, NOT_CONCAVE),
        (lambda x: torch.where(x < 0.5, -1 - x**2, -(x**2)), real, NOT_CONCAVE),
        (lambda x: -torch.log1p(x.abs()), real, NOT_CONCAVE),
        (lambda x: -x.log(), positive, r"should be bounded, .* but it changes by 4\.\d+ over 64 of them"),
        (lambda x: -0.5 * x.log() - x, positive, r"should be bounded, .* changes by 2\.\d+ over 64 of them"),
        (
            lambda x: -0.5 * x.abs().log() - x.abs(),
            real,
            r"should be a number below \+inf but is inf at x = 0",
        ),
        (lambda x: -(((x - 1000) / 1e-14) ** 2), real, "its peak wide for the float64 numbers there"),
        (lambda x: 0 * x, real, "log_prob should fall towards infinity but is largest at x = -1e|-1.2"),
        (lambda x: x, real, r"log_prob should fall towards infinity but is largest at x = 1\.26"),
        (lambda x: torch.where(x > 3, torch.nan, -(x**2)), real, r"below \+inf but is nan at x = 4$"),
        (lambda x: -torch.inf + 0 * x, real, "should be above -inf somewhere but is -inf at all 803 places"),
        (lambda x: -(x**2).sum(), real, r"log_prob should return shape \(803,\) but returned \(\)"),
        (lambda x: -(x**2), constraints.interval(1.0, 1.0), "lower end below the upper one"),
        (lambda x: -(x**2), constraints.interval(2.0, 1.0), "lower end below the upper one"),
        (
            lambda x: -(x**2),
            constraints.simplex,
            "support should be an interval of the real line but got Simplex",
        ),
    ],
)
def test_what_cannot_be_drawn_raises(log_prob, support, message):
    with pytest.raises(ValueError, match=message):
        TransformedDensityRejection(log_prob, support=support)


def test_a_batch_names_the_row():
    gap = torch.tensor([0.0, 0.5, 4.0])
    with pytest.raises(ValueError, match=r"in batch row \(2,\) it is"):
        TransformedDensityRejection(lambda x: torch.logaddexp(-((x - gap) ** 2) / 2, -((x + gap) ** 2) / 2))


@pytest.mark.parametrize(("height", "bound"), [(0.5, "hat"), (-0.5, "squeeze")])
def test_every_value_computed_while_drawing_is_checked(height, bound):
    """The density changes behind the law's back."""
    change = torch.zeros(())
    law = TransformedDensityRejection(lambda x: -(x**2) / 2 + torch.where(x.abs() < 0.5, change, 0.0))
    law.sample((1000,))
    change.fill_(height)
    with pytest.raises(ValueError, match=rf"T-concave .* at x = -?0\.[0-4]\d* it is \S+ times its {bound}$"):
        law.sample((100_000,))


def test_the_check_at_set_up_sees_between_the_strips():
    """A dent with one part in 2,000 of the mass; without validation the ends of strips miss it."""
    dent = lambda x: -(x**2) / 2 - torch.where((x - 0.0123).abs() < 6e-4, 0.1, 0.0)  # noqa: E731
    with pytest.raises(ValueError, match=r"at x = 0\.01\d* it is 0\.90\d+ times"):
        TransformedDensityRejection(dent)


def test_the_check_at_set_up_sees_a_spike():
    """Half of the mass within 6e-6 of 0.3: less than any strip is wide."""
    spike = lambda x: torch.logaddexp(0 * x, -(((x - 0.3) / 1e-6) ** 2) / 2 + 12.9)  # noqa: E731
    with pytest.raises(ValueError, match=r"at x = 0\.(29999|30000)\d+ it is \S+ times its hat"):
        TransformedDensityRejection(spike, support=constraints.unit_interval, dtype=float64)


def test_the_check_at_set_up_sees_a_narrow_bump_far_away():
    """Where the hat of the other is 0: 0.3 N(-1000, 0.001) + 0.7 N(20,000, 5)."""
    bumps = lambda x: torch.logaddexp(  # noqa: E731
        -(((x + 1e3) / 1e-3) ** 2) / 2 + 7.7, -(((x - 2e4) / 5) ** 2) / 2
    )
    with pytest.raises(ValueError, match="1 / √density convex"):
        TransformedDensityRejection(bumps, dtype=float64)


def test_a_spike_whose_place_is_named_is_seen():
    """Half of the mass within 6e-9 of 0.3, where the hat has less than one part in 10⁸ of its area."""
    spike = GALLERY["spike of 1e-9, named"]
    with pytest.raises(ValueError, match=r"T-concave .* at x = 0\.(2999|3000)\d+ it is \S+ times what"):
        TransformedDensityRejection(spike.log_prob, points=spike.points, dtype=torch.float64)
    law = TransformedDensityRejection(lambda x: -(x**2) / 2, points=torch.tensor([0.3, -1.0]))
    laws.check_goodness_of_fit(law.sample((10_000,)), torch.special.ndtr)


@pytest.mark.parametrize("ratio", [1.0, 0.5, math.nan])
def test_bad_ratios(ratio):
    with pytest.raises(ValueError, match=f"ratio should be above 1 but got {ratio}"):
        TransformedDensityRejection(lambda x: -(x**2), ratio=ratio)


def test_a_ratio_out_of_reach():
    with pytest.raises(
        ValueError, match=r"ratio should be within reach of 16384 strips: 1\.0001 was asked for"
    ):
        TransformedDensityRejection(lambda x: -(((x + 1e8) / 1e-3) ** 2), ratio=1.0001)


def test_draws_cannot_be_captured():
    law = TransformedDensityRejection(lambda x: -(x**2))
    with pytest.raises(RuntimeError, match="draws by rejection cannot be captured as a graph"):
        torch.fx.experimental.proxy_tensor.make_fx(lambda x: x + law.sample())(torch.zeros(()))
