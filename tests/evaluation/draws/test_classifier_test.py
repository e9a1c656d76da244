"""The classifier test: its level where the laws agree, its power against several kinds of difference."""

import pytest
import torch
from scipy import stats
from sklearn.datasets import load_digits

from probgen.evaluation import classifier_two_sample


def normal(n, d, device, dtype, generator):
    return torch.randn(n, d, device=device, dtype=dtype, generator=generator)


def checkerboard(n, device, dtype, generator):
    u, v = torch.rand(2, n, device=device, dtype=dtype, generator=generator)
    cell = torch.randint(2, (n,), device=device, generator=generator)
    across = 4 * u - 2
    return 2 * torch.stack([across, v - 2 * cell + across.floor() % 2], 1)


@pytest.mark.parametrize(("n", "d"), [(30, 1), (60, 3)])
def test_the_level_holds(n, d, device, dtype, generator):
    p_values = [
        classifier_two_sample(
            normal(n, d, device, dtype, generator), normal(n, d, device, dtype, generator), seed=seed
        ).p_value
        for seed in range(25)
    ]
    assert sum(p <= 0.1 for p in p_values) <= stats.binom.isf(1e-5, 25, 0.1)
    assert sum(p <= 0.5 for p in p_values) >= stats.binom.ppf(1e-5, 25, 0.5)  # and they are not all large


def shifted(device, dtype, generator):
    return normal(400, 20, device, dtype, generator), normal(400, 20, device, dtype, generator) + 0.3


def scaled(device, dtype, generator):
    return normal(400, 20, device, dtype, generator), normal(400, 20, device, dtype, generator) * 1.3


def correlated(device, dtype, generator):
    x = normal(400, 2, device, dtype, generator)
    return normal(400, 2, device, dtype, generator), torch.stack([x[:, 0], 0.8 * x[:, 0] + 0.6 * x[:, 1]], 1)


def chequered(device, dtype, generator):
    uniform = 8 * torch.rand(400, 2, device=device, dtype=dtype, generator=generator) - 4
    return checkerboard(400, device, dtype, generator), uniform


def independent_pixels(device, dtype, generator):
    images = torch.as_tensor(load_digits().images / 16, device=device, dtype=dtype)
    rows = torch.randint(len(images), (400, 64), device=device, generator=generator)
    pixels = images.flatten(1).gather(0, rows).reshape(400, 8, 8)
    return images[torch.randperm(len(images), device=device, generator=generator)[:400]], pixels


def atoms(device, dtype, generator):
    x = normal(400, 5, device, dtype, generator).clamp_min(0)
    return x, normal(400, 5, device, dtype, generator).clamp_min(0) + 0.01


@pytest.mark.parametrize(
    ("pair", "least"),
    [
        (shifted, 0.7),
        (scaled, 0.7),
        (correlated, 0.6),
        (chequered, 0.6),
        (independent_pixels, 0.95),
        (atoms, 0.9),
    ],
)
def test_power(pair, least, device, dtype, generator):
    result = classifier_two_sample(*pair(device, dtype, generator))
    assert result.accuracy > least
    assert result.p_value < 1e-3


def test_the_error_and_p_value_are_those_of_the_accuracy(device, dtype, generator):
    x, y = normal(50, 2, device, dtype, generator), normal(80, 2, device, dtype, generator) + 0.5
    accuracy, stderr, p_value = classifier_two_sample(x, y, folds=4)
    assert stderr == pytest.approx((accuracy * (1 - accuracy) / 100 * (1 + 4 / 3)) ** 0.5)
    assert p_value == pytest.approx(stats.norm.sf((accuracy - 0.5) / (0.25 / 100 * (1 + 4 / 3)) ** 0.5))


def test_classes_are_balanced(device, dtype, generator):
    x, y = normal(400, 2, device, dtype, generator), normal(40, 2, device, dtype, generator)
    assert classifier_two_sample(x, y).accuracy < 0.75  # a classifier that always says x would have 0.91


def test_the_units_and_a_constant_coordinate_do_not_matter(device, generator):
    x, y = (normal(60, 3, device, torch.float64, generator) for _ in range(2))
    units = torch.tensor([1.0, 2.0**20, 0.0], device=device, dtype=torch.float64)
    plain, scaled = (classifier_two_sample(x * unit, y * unit) for unit in (units.clamp(max=1), units))
    assert scaled == plain


def test_the_seed_decides(device, dtype, generator):
    x, y = normal(60, 2, device, dtype, generator), normal(60, 2, device, dtype, generator) + 0.5
    assert classifier_two_sample(x, y, seed=3) == classifier_two_sample(x, y, seed=3)
    assert len({classifier_two_sample(x, y, seed=seed).accuracy for seed in range(5)}) > 1


X = torch.arange(20.0).reshape(10, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: classifier_two_sample(X, X, folds=1),
            "folds should be between 2 and the 10 points of a class but got 1",
        ),
        (
            lambda: classifier_two_sample(X, X[:4]),
            "folds should be between 2 and the 4 points of a class but got 5",
        ),
        (lambda: classifier_two_sample(X, X * torch.nan), "y should be finite"),
        (lambda: classifier_two_sample(X, X[:, :1]), "x and y should have the same event shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
