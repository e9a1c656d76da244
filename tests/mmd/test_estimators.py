"""MMD² against closed forms and double sums, its standard error against Monte Carlo, and its loss."""

import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.mmd import Energy, Gaussian, Polynomial, energy_distance, mmd2, mmd2_loss, mmd2_profile, pairwise
from probgen.mmd.spread import any_weights, centred_square_between, centred_square_within

FALSE_ALARM = 4.9  # standard normal quantile: 1e-6, two-sided
KERNELS = [Gaussian(1.0), Gaussian([0.3, 2.0]), Energy()]


def by_double_sums(x, y, kernel, estimator):
    x, y = x.double().flatten(1), y.double().flatten(1)
    n, m = len(x), len(y)
    xx, yy, xy = (kernel((a[:, None] - b).square().sum(-1)) for a, b in ((x, x), (y, y), (x, y)))
    if estimator == "biased":
        return float(xx.mean() + yy.mean() - 2 * xy.mean())
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def gaussian_mmd2(shift, scale, width, d):
    """MMD² of N(0, 1)^d and N(shift, scale²)^d under a Gaussian kernel."""

    def expected(variance, shift):
        return (
            width / math.sqrt(width**2 + variance) * math.exp(-(shift**2) / 2 / (width**2 + variance))
        ) ** d

    return expected(2, 0) + expected(2 * scale**2, 0) - 2 * expected(1 + scale**2, shift)


def normal_energy_distance(shift, scale):
    """The energy distance of N(0, 1) and N(shift, scale²)."""

    def expected(sd, shift):
        gauss = math.sqrt(2 / math.pi) * sd * math.exp(-(shift**2) / (2 * sd**2))
        return gauss + shift * math.erf(shift / (sd * math.sqrt(2)))

    return (
        2 * expected(math.hypot(1, scale), shift)
        - expected(math.sqrt(2), 0)
        - expected(math.sqrt(2) * scale, 0)
    )


def repeats(estimate, n, m, d, shift, scale, device, generator, count=400):
    found = []
    for _ in range(count):
        x = torch.randn(n, d, device=device, dtype=torch.float64, generator=generator)
        y = torch.randn(m, d, device=device, dtype=torch.float64, generator=generator) * scale + shift
        found.append(estimate(x, y))
    return torch.tensor(found, dtype=torch.float64).T


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
@pytest.mark.parametrize("rows", [None, 7])
def test_equals_double_sums(kernel, estimator, rows, device, dtype, generator, monkeypatch):
    if rows:
        monkeypatch.setattr(pairwise, "_tile_rows", lambda columns, device: rows)
    x = torch.randn(20, 2, 3, device=device, dtype=dtype, generator=generator)
    y = torch.randn(33, 2, 3, device=device, dtype=dtype, generator=generator) + 0.3
    found = mmd2(x, y, kernel, estimator=estimator)
    assert found.value == pytest.approx(by_double_sums(x, y, kernel, estimator), rel=1e-9, abs=1e-12)
    swapped = mmd2(y, x, kernel, estimator=estimator)
    assert swapped == pytest.approx(found, rel=1e-9)


def test_gaussian_closed_form(device, generator):
    values, _ = repeats(lambda x, y: mmd2(x, y, Gaussian(0.8)), 30, 40, 2, 0.6, 1.3, device, generator)
    error = (values.mean() - gaussian_mmd2(0.6, 1.3, 0.8, 2)) / (values.std() / len(values) ** 0.5)
    assert abs(error) < FALSE_ALARM
    planted = (values.mean() - gaussian_mmd2(0.8, 1.3, 0.8, 2)) / (values.std() / len(values) ** 0.5)
    assert abs(planted) > FALSE_ALARM


def test_energy_closed_form(device, generator):
    values, _ = repeats(
        lambda x, y: energy_distance(x, y, scale=None), 30, 40, 1, 0.6, 1.3, device, generator
    )
    error = (values.mean() - normal_energy_distance(0.6, 1.3)) / (values.std() / len(values) ** 0.5)
    assert abs(error) < FALSE_ALARM
    planted = (values.mean() - normal_energy_distance(0.8, 1.3)) / (values.std() / len(values) ** 0.5)
    assert abs(planted) > FALSE_ALARM


def test_energy_distance_in_one_dimension_is_the_area_between_the_distribution_functions(generator):
    x = torch.randn(50, dtype=torch.float64, generator=generator)
    y = torch.randn(80, dtype=torch.float64, generator=generator) + 1
    grid = torch.cat([x, y]).sort().values
    f, g = (torch.searchsorted(s.sort().values, grid, right=True) / len(s) for s in (x, y))
    expected = 2 * float(((f - g).square()[:-1] * grid.diff()).sum())
    assert mmd2(x, y, Energy(), estimator="biased").value == pytest.approx(expected, rel=1e-6)


# The standard deviation of 400 repeats is itself known to about 4 %, more where the tails are heavy.
SPREADS = [
    pytest.param(30, 50, 2, 1.0, 1.0, Gaussian(1.0), "unbiased", id="laws differ"),
    pytest.param(30, 50, 2, 1.0, 1.0, Gaussian(1.0), "biased", id="laws differ, biased"),
    pytest.param(8, 6, 2, 1.5, 0.5, Gaussian(1.0), "biased", id="few points, biased"),
    pytest.param(15, 120, 3, 0.0, 2.0, Energy(), "unbiased", id="scales differ, unequal sizes"),
    pytest.param(120, 15, 3, 0.0, 2.0, Energy(), "unbiased", id="scales differ, unequal the other way"),
]


@pytest.mark.parametrize(("n", "m", "d", "shift", "scale", "kernel", "estimator"), SPREADS)
def test_the_standard_error_is_the_spread_of_repeats(
    n, m, d, shift, scale, kernel, estimator, device, generator
):
    values, errors = repeats(
        lambda x, y: mmd2(x, y, kernel, estimator=estimator), n, m, d, shift, scale, device, generator
    )
    assert float(errors.square().mean().sqrt() / values.std()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    ("d", "kernel"), [(2, Gaussian(1.0)), (20, Gaussian(5.0)), (1, Gaussian(10.0)), (2, Energy())]
)
def test_the_standard_error_is_honest_where_the_laws_agree(d, kernel, device, generator):
    values, errors = repeats(lambda x, y: mmd2(x, y, kernel), 30, 50, d, 0.0, 1.0, device, generator)
    ratio = float(errors.square().mean().sqrt() / values.std())
    assert (
        0.9 < ratio < 1.6
    )  # a negative first-order variance is taken as zero: never too small, at most √2 too large
    assert (values < 0).double().mean() > 0.4  # signed: the unbiased estimate is not clipped


@pytest.mark.parametrize(
    ("shift", "kernel"), [(1.0, Gaussian(1.0)), (0.0, Gaussian(1.0)), (1.0, Energy())], ids=str
)
def test_the_standard_error_of_weighted_samples(shift, kernel, device, generator):
    """Importance weights from N(0, 1.3²) to N(shift, 1), both in the estimate and in its error."""
    values, errors = [], []
    for _ in range(400):
        x = torch.randn(150, 1, device=device, dtype=torch.float64, generator=generator) * 1.3
        y = torch.randn(80, 1, device=device, dtype=torch.float64, generator=generator)
        weights = torch.exp(-0.5 * (x - shift) ** 2 + 0.5 * (x / 1.3) ** 2)[:, 0]
        value, stderr = mmd2(x, y, kernel, weights_x=weights)
        values.append(value)
        errors.append(stderr)
    values, errors = torch.tensor(values), torch.tensor(errors)
    ratio = float(errors.square().mean().sqrt() / values.std())
    assert 0.85 < ratio < (1.15 if shift else 1.6)
    truth = (
        gaussian_mmd2(shift, 1.0, 1.0, 1)
        if isinstance(kernel, Gaussian)
        else normal_energy_distance(shift, 1.0)
    )
    bias = float(values.mean()) - truth
    assert abs(bias) < 4.9 * float(values.std()) / 20 + 0.02 * max(truth, 0.05)  # O(1 / n_eff)


def test_the_weighted_variance_is_that_of_dense_matrices(device, generator):
    """4 Σ a_i² (h_i − h̄)² less the noise in h_i, and 2 Σ a_i² a_j² k̃_ij² and its like."""
    x, y = (torch.randn(n, 1, device=device, dtype=torch.float64, generator=generator) for n in (12, 9))
    a, b = (torch.rand(n, device=device, dtype=torch.float64, generator=generator) for n in (12, 9))
    a, b = a / a.sum(), b / b.sum()
    kernel = Gaussian(1.0)
    xx, yy, xy = (kernel((u[:, None] - v).square().sum(-1)) for u, v in ((x, x), (y, y), (x, y)))
    first, second = 0.0, 0.0
    q_xy = a.square() @ (xy - (xy @ b)[:, None] - a @ xy + a @ xy @ b).square() @ b.square()
    for within, between, w, v in ((xx, xy, a, b), (yy, xy.T, b, a)):
        within = within - within.diagonal().diag()
        mu = within @ w / (1 - w)
        centred = (within - mu[:, None] - mu + w @ mu).fill_diagonal_(0)
        q = w.square() @ centred.square() @ w.square()
        h = mu - between @ v
        scatter = (w.square() * (h - w @ h).square()).sum() / (1 - w @ w)
        first, second = first + 4 * (scatter - q - q_xy), second + 2 * q
    for shift in (0.0, 3.0):  # of the kernel, which changes nothing
        right = torch.zeros(21, 4, device=device, dtype=torch.float64)
        right[:12, 0], right[12:, 1], right[:12, 2], right[12:, 3] = a, b, a.square(), b.square()
        values = torch.cat([torch.cat([xx, xy], 1), torch.cat([xy.T, yy], 1)]) + shift
        values.fill_diagonal_(0)
        found = any_weights(values @ right, values.square() @ right[:, 2:], a, b)
        assert float(found) == pytest.approx(max(float(first), 0) + float(second + 4 * q_xy), rel=1e-9)
    assert first > 0


def test_equal_weights_are_no_weights(device, generator):
    x, y = (torch.randn(n, 2, device=device, generator=generator) for n in (200, 150))
    for estimator in ("unbiased", "biased"):
        plain = mmd2(x, y, Energy(), estimator=estimator)
        found = mmd2(x, y, Energy(), estimator=estimator, weights_x=torch.full((200,), 7.0, device=device))
        assert found.value == pytest.approx(plain.value, rel=1e-9)
        assert found.stderr == pytest.approx(plain.stderr, rel=0.02)


def test_whole_weights_are_repeated_points(device, generator):
    x, y = (torch.randn(n, 2, device=device, generator=generator) for n in (20, 15))
    counts = torch.arange(20, device=device) % 4
    expected = mmd2(x.repeat_interleave(counts, 0), y, Energy(), estimator="biased").value
    found = mmd2(x, y, Energy(), estimator="biased", weights_x=counts.float()).value
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_profile_is_that_of_each_kernel(device, dtype, generator):
    x, y = (torch.randn(n, 2, device=device, dtype=dtype, generator=generator) for n in (30, 20))
    radial = [Gaussian(0.1), Gaussian(10.0), Energy()]
    for kernels in (radial, [*radial, Polynomial(2)]):
        profile = mmd2_profile(x, y, kernels)
        for kernel, found in zip(kernels, profile, strict=True):
            assert found == pytest.approx(mmd2(x, y, kernel), rel=1e-9)


def test_intervals_cover_the_closed_form(device, generator):
    """95 % intervals where the laws differ: 400 repeats cover at least 366 with probability 1 − 1e-3."""
    values, errors = repeats(lambda x, y: mmd2(x, y, Gaussian(1.0)), 100, 80, 2, 1.0, 1.0, device, generator)
    covered = ((values - gaussian_mmd2(1.0, 1.0, 1.0, 2)).abs() <= 1.96 * errors).sum()
    assert covered >= 366
    assert ((values - gaussian_mmd2(1.0, 1.0, 1.0, 2)).abs() <= 1.96 * errors / 1.3).sum() < 366  # power


def test_the_mean_squares_of_the_centred_kernel_are_unbiased(generator):
    """Under k(x, y) = xy, with X ~ N(3, 1) and Y ~ N(1, 4), E k̃(X, X')² = 1 and E k̃(X, Y)² = 4."""
    within, between = [], []
    for _ in range(3000):
        x = torch.randn(5, dtype=torch.float64, generator=generator) + 3
        y = torch.randn(4, dtype=torch.float64, generator=generator) * 2 + 1
        xx, xy = x.outer(x).fill_diagonal_(0), x.outer(y)
        within.append(centred_square_within(xx.sum(1), xx.square().sum(1)))
        between.append(centred_square_between(xy.sum(1), xy.sum(0), xy.square().sum(1)))
    for values, expected in ((torch.stack(within), 1), (torch.stack(between), 4)):
        stderr = values.std() / len(values) ** 0.5
        assert abs(values.mean() - expected) < FALSE_ALARM * stderr
        assert stderr < 0.04 * expected


def test_an_offset_and_nearly_constant_kernels_cost_no_accuracy(device, generator):
    x = torch.randn(40, 5, device=device, dtype=torch.float64, generator=generator)
    y = torch.randn(60, 5, device=device, dtype=torch.float64, generator=generator) + 1
    plain, moved = mmd2(x, y, Gaussian(1.0)), mmd2(x + 1e6, y + 1e6, Gaussian(1.0))
    assert moved == pytest.approx(plain, rel=1e-7)
    wide = mmd2(x, y, Gaussian(1e5))  # there MMD² is ‖E X − E Y‖² / σ²
    linear = (x.mean(0) - y.mean(0)).square().sum() - x.var(0).sum() / 40 - y.var(0).sum() / 60
    assert wide.value * 1e10 == pytest.approx(float(linear), rel=1e-4)
    assert mmd2(x, y, Gaussian(1e-12)).value == 0


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_the_loss_is_the_estimate(kernel, estimator, device, dtype, generator):
    x = torch.randn(20, 2, 3, device=device, dtype=dtype, generator=generator)
    y = torch.randn(33, 2, 3, device=device, dtype=dtype, generator=generator)
    loss = mmd2_loss(x + 1e3, y + 1e3, kernel, estimator=estimator)
    assert loss.dtype == dtype
    assert float(loss) == pytest.approx(mmd2(x, y, kernel, estimator=estimator).value, abs=1e-4)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_the_gradient_of_the_loss(kernel, estimator, device, generator):
    x = torch.randn(6, 2, device=device, dtype=torch.float64, generator=generator, requires_grad=True)
    y = torch.randn(5, 2, device=device, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y: mmd2_loss(x, y, kernel, estimator=estimator), (x, y))


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_equal_points_give_a_finite_gradient(kernel, device, dtype):
    x = torch.zeros(5, 3, device=device, dtype=dtype, requires_grad=True)
    mmd2_loss(x, torch.zeros(4, 3, device=device, dtype=dtype), kernel).backward()
    assert x.grad is not None
    assert (x.grad == 0).all()


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_the_loss_is_captured_and_differentiated(kernel, device, dtype, generator):
    def loss(x, y):
        return mmd2_loss(x, y, kernel)

    x, y, other_x, other_y = torch.randn(4, 6, 3, device=device, dtype=dtype, generator=generator).unbind()
    captured = make_fx(loss, pre_dispatch=True)(x, y)
    other_x.requires_grad_()
    torch.testing.assert_close(captured(other_x, other_y), loss(other_x, other_y))
    found, expected = (torch.autograd.grad(f(other_x, other_y), other_x) for f in (captured, loss))
    torch.testing.assert_close(found, expected)


X = torch.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mmd2(X[:3], X), "x should hold at least 4 points for a standard error but has 3"),
        (lambda: mmd2(X, X[:3]), "y should hold at least 4 points for a standard error but has 3"),
        (lambda: mmd2_loss(X, X[:1], Energy()), "y should hold at least 2 points but has 1"),
        (lambda: mmd2_loss(X, X[:, :1], Energy()), "x and y should have the same event shape"),
        (lambda: mmd2(X, X * torch.nan), "y should be finite but holds NaN or infinite values in row 0"),
        (
            lambda: mmd2(X, X, lambda d: d.sum()),
            r"kernel should map .* element by element but made shape \(\) of",
        ),
        (
            lambda: mmd2(X, X, lambda d: d * torch.nan),
            "kernel should return finite values but gave an MMD² of nan",
        ),
        (
            lambda: mmd2(X, X, Energy(), estimator="V"),
            "estimator should be 'unbiased' or 'biased' but got 'V'",
        ),
        (
            lambda: mmd2_loss(X, X, Energy(), estimator="V"),
            "estimator should be 'unbiased' or 'biased' but got 'V'",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
