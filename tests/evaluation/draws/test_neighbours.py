"""Nearest-neighbour metrics against brute force, closed forms and cases with a known answer."""

import math

import pytest
import torch

from probgen.evaluation import density_coverage, nearest_neighbour_ratio, precision_recall
from probgen.mmd import pairwise


def normal(n, d, device, dtype, generator):
    return torch.randn(n, d, device=device, dtype=dtype, generator=generator)


def radii(points, k):
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").sort(1).values[:, k]


@pytest.fixture(params=["one tile", "many tiles"])
def _tiling(request, monkeypatch):
    if request.param == "many tiles":
        monkeypatch.setattr(pairwise, "_tile_rows", lambda columns, device: 7)


@pytest.mark.usefixtures("_tiling")
@pytest.mark.parametrize("k", [1, 4])
def test_equals_brute_force(k, device, generator):
    real, generated = (
        normal(60, 3, device, torch.float64, generator),
        normal(45, 3, device, torch.float64, generator),
    )
    generated[:5] = real[:5]
    apart = torch.cdist(real, generated, compute_mode="donot_use_mm_for_euclid_dist")
    in_real, in_generated = apart <= radii(real, k)[:, None], apart <= radii(generated, k)
    expected = float(in_real.any(0).double().mean()), float(in_generated.any(1).double().mean())
    assert precision_recall(real, generated, neighbours=k, scale=None) == pytest.approx(expected)
    expected = float(in_real.sum()) / k / 45, float(in_real.any(1).double().mean())
    assert density_coverage(real, generated, neighbours=k, scale=None) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m", "k"), [(30, 40, 3), (50, 20, 5)])
def test_density_and_coverage_of_equal_laws_have_their_closed_forms(n, m, k, device, dtype, generator):
    repeats = [
        density_coverage(
            normal(n, 2, device, dtype, generator), normal(m, 2, device, dtype, generator), neighbours=k
        )
        for _ in range(300)
    ]
    missed = math.prod((n - i) / (n + m - i) for i in range(1, k + 1))
    for values, expected in zip(zip(*repeats, strict=True), (1, 1 - missed), strict=True):
        values = torch.tensor(values, dtype=torch.float64)
        stderr = values.std() / len(values) ** 0.5
        assert abs(values.mean() - expected) < 4.9 * stderr  # false alarm 1e-6
        assert stderr < 0.02  # so that a coverage or density off by 0.1 is seen


def test_copies_of_the_real_points(device, dtype, generator):
    real = normal(200, 30, device, dtype, generator) + 1e3
    assert precision_recall(real, real.flip(0)) == (1, 1)
    assert density_coverage(real, real.flip(0)) == (pytest.approx(6 / 5), 1)
    assert nearest_neighbour_ratio(real, real, normal(50, 30, device, dtype, generator) + 1e3) == 0


def test_repeated_points_have_balls_of_radius_zero(device, dtype, generator):
    real = normal(10, 2, device, dtype, generator).repeat(5, 1)
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 1e-3) == (0, 0)


def test_lost_modes_cost_recall_and_invented_ones_precision(device, dtype, generator):
    one, other = normal(200, 2, device, dtype, generator), normal(200, 2, device, dtype, generator) + 50
    both = torch.cat([one, other])
    fresh = normal(400, 2, device, dtype, generator)
    lost = precision_recall(both, fresh)
    assert lost.precision > 0.9
    assert lost.recall == pytest.approx(0.5, abs=0.05)
    invented = precision_recall(one, torch.cat([fresh[:200], fresh[200:] + 50]))
    assert invented.precision == pytest.approx(0.5, abs=0.05)
    assert invented.recall > 0.9
    assert density_coverage(both, fresh).coverage == pytest.approx(0.5, abs=0.05)


def test_the_neighbour_ratio(device, generator):
    train, held_out, draws = (normal(n, 4, device, torch.float64, generator) for n in (200, 100, 150))
    nearest = lambda x: torch.cdist(x, train).min(1).values.mean()  # noqa: E731
    expected = float(nearest(draws) / nearest(held_out))
    assert nearest_neighbour_ratio(draws, train, held_out, scale=None) == pytest.approx(expected)
    assert expected == pytest.approx(1, abs=0.15)
    noisy = train[:100] + 0.01 * held_out
    assert nearest_neighbour_ratio(noisy, train, held_out) < 0.1


@pytest.mark.parametrize(
    "metric",
    [
        lambda x, y, **scale: precision_recall(x, y, **scale),
        lambda x, y, **scale: density_coverage(x, y, **scale),
        lambda x, y, **scale: [nearest_neighbour_ratio(x, y, y[:20] + x[:20], **scale)],
    ],
    ids=["precision and recall", "density and coverage", "neighbour ratio"],
)
def test_columns_have_no_units(metric, device, generator):
    x, y = (normal(50, 3, device, torch.float64, generator) for _ in range(2))
    units = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64, device=device)
    assert metric(units * x, units * y) == pytest.approx(metric(x, y))
    assert metric(units * x, units * y, scale=units) == pytest.approx(metric(x, y, scale=None))
    assert metric(units * x, units * y, scale=None) != pytest.approx(metric(x, y))
    image = units.expand(2, 3, 3)
    x, y = (z[:, None, None] * image for z in (x, y))
    assert metric(x, y) == pytest.approx(metric(x, y, scale=None))


def test_images(device, dtype, generator):
    images = torch.rand(3, 20, 4, 5, device=device, dtype=dtype, generator=generator)
    flat = images.flatten(2)
    assert precision_recall(*images[:2]) == precision_recall(*flat[:2])
    assert nearest_neighbour_ratio(*images) == nearest_neighbour_ratio(*flat)


X = torch.arange(12.0).reshape(6, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: precision_recall(X, X, neighbours=0),
            "neighbours should be at least 1 but got 0",
        ),
        (lambda: precision_recall(X, X[:3]), "less than the 3 points of generated but got 3"),
        (lambda: density_coverage(X, X, neighbours=6), "less than the 6 points of real but got 6"),
        (lambda: density_coverage(X, X[:, :1]), "real and generated should have the same event shape"),
        (lambda: precision_recall(X, X / 0), "generated should be finite"),
        (lambda: nearest_neighbour_ratio(X, X[:0], X), "train should hold at least one point"),
        (
            lambda: nearest_neighbour_ratio(X, X, X[:2]),
            "held_out should hold points that are not in train but holds none",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("far", [1e12, 1e20, 1e30])
def test_one_draw_very_far_away_does_not_take_the_digits_of_the_others(far):
    """As far as 1000 it is no real point's neighbour and no real point is in its ball; farther alike."""
    real, draws, train = torch.randn(3, 60, 2, generator=torch.Generator().manual_seed(0)).double()
    units = torch.ones(2)

    def measured(distance):
        drawn = torch.cat([draws[1:], draws.new_full((1, 2), distance)])
        copies = torch.cat([train[1:], train.new_full((1, 2), distance)])
        return (
            density_coverage(real, drawn, scale=units),
            precision_recall(real, drawn, scale=units),
            nearest_neighbour_ratio(draws, copies, real, scale=units),
        )

    (near_density, near, near_ratio), (density, precision, ratio) = measured(1e3), measured(far)
    assert density == near_density
    assert precision.precision == near.precision
    assert ratio == pytest.approx(near_ratio, rel=1e-6)
