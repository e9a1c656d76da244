"""Columns in units of their own: a test sees what differs in a narrow column, and keeps its level."""

import math

import pytest
import torch
from torch import Tensor

from probgen import mmd
from probgen.mmd import (
    Energy,
    Gaussian,
    deep_kernel_test,
    energy_distance,
    ksd2,
    ksd_test,
    mmd2,
    mmd_test,
    most_different,
    relative_mmd_test,
    witness,
)
from probgen.mmd.scaling import pooled_scale, scaled

KIDIQ = torch.tensor([15.0, 14.0, 0.15, 0.16, 0.6])  # standard deviations of a posterior of coefficients
DECADES = torch.logspace(-3, 3, 5)
METHODS = ["permutation", "aggregated", "fuse", "gamma", "spectral"]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def posterior(n: int, generator: torch.Generator, off: float = 0.0) -> Tensor:
    """Draws of five coefficients, of which a narrow one is off by some of its standard deviations."""
    return (torch.randn(n, 5, generator=generator) + off * torch.eye(5)[2]) * KIDIQ


@pytest.mark.parametrize("method", METHODS)
def test_a_narrow_coefficient_off_by_one_deviation_is_seen(method: str) -> None:
    generator = rng(1)
    x, y = posterior(400, generator), posterior(400, generator, off=1.0)
    found = mmd_test(x, y, method=method, permutations=999, generator=generator)
    assert found.p_value <= 0.001
    assert found.scale == "pooled"


def test_distances_as_they_are_do_not_see_it() -> None:
    generator = rng(1)
    x, y = posterior(300, generator), posterior(300, generator, off=1.0)
    blind = mmd_test(x, y, permutations=200, scale=None, generator=generator)
    assert blind.p_value > 0.05
    assert blind.scale is None


def p_values(x: Tensor, y: Tensor, generator: torch.Generator) -> dict[str, float]:
    options = {"permutations": 19, "generator": generator}
    found = {method: mmd_test(x, y, method=method, **options).p_value for method in METHODS}
    found["energy"] = mmd_test(x, y, kernels=Energy(), scale="pooled", **options).p_value
    found["block"] = mmd_test(x[:, None], y[:, None], method="block", **options).p_value
    return found


def test_levels_hold_whatever_the_units() -> None:
    """Of 120 tests at 20 %, 44 reject or more with probability 2e-5, were the level as it is said."""
    generator, repeats = rng(2), 120
    rejected: dict[str, int] = {}
    for _ in range(repeats):
        x, y = torch.randn(2, 24, 5, generator=generator) * DECADES
        for name, p in p_values(x, y[:20], generator).items():
            rejected[name] = rejected.get(name, 0) + (p <= 0.2)
    assert max(rejected.values()) < 44
    assert min(rejected.values()) >= 8  # nor is one that never rejects a test


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: mmd_test(x, y, permutations=50, generator=rng()).null,
        lambda x, y: mmd_test(x[:, None], y, method="block", permutations=50, generator=rng()).null,
        lambda x, y: deep_kernel_test(x, y, steps=3, permutations=20, generator=rng()).null,
        lambda x, y: torch.tensor(relative_mmd_test(x, y, x - y)[:3]),
        lambda x, y: torch.tensor(mmd2(x, y)),
        lambda x, y: torch.tensor(energy_distance(x, y)),
        lambda x, y: witness(x, y),
        lambda x, y: witness(x, y, at=x + y),
        lambda x, y: most_different(x, y, number=3).values_x,
    ],
    ids=["test", "block", "deep", "relative", "mmd2", "energy", "witness", "witness at", "most different"],
)
def test_columns_have_no_units(call) -> None:
    x, y = torch.randn(2, 40, 5, dtype=torch.float64, generator=rng(3))
    torch.testing.assert_close(call(x * KIDIQ, y * KIDIQ), call(x, y), rtol=1e-6, atol=1e-9)


def test_a_stein_discrepancy_has_no_units_either() -> None:
    """The draws x = u z of the density of u Z, whose score is s(x / u) / u, say what z says."""
    z = torch.randn(60, 5, dtype=torch.float64, generator=rng(4)) + 0.2
    units = KIDIQ.double()

    def score(x: Tensor) -> Tensor:
        return -x / units**2

    plain, wide = ksd2(z, torch.neg), ksd2(units * z, score)
    assert wide == pytest.approx(plain, rel=1e-6)
    tests = [ksd_test(x, s, generator=rng()) for x, s in ((z, torch.neg), (units * z, score))]
    assert tests[0].p_value == tests[1].p_value
    assert tests[0].scale == "pooled"
    assert ksd2(units * z, score, scale=None).value != pytest.approx(plain.value, rel=0.1)
    given = ksd2(units * z, score, Gaussian(1.0), scale=units)
    assert given == pytest.approx(ksd2(z, torch.neg, Gaussian(1.0)), rel=1e-6)


def test_a_stein_test_sees_a_wide_column() -> None:
    """Its score is small where those of narrow columns are large."""
    units, generator = torch.tensor([0.001, 1000.0]), rng(5)
    x = torch.randn(200, 2, generator=generator) * units + torch.tensor([0.0, 600.0])
    score = lambda x: -x / units**2  # noqa: E731
    assert ksd_test(x, score, generator=generator).p_value < 0.01
    assert ksd_test(x, score, scale=None, generator=generator).p_value > 0.05


def test_kernels_that_are_given_are_in_the_units_of_the_samples() -> None:
    x, y = torch.randn(2, 30, 2, dtype=torch.float64, generator=rng(6)) * torch.tensor([1.0, 50.0])
    kernel = Gaussian(3.0)
    found = mmd_test(x, y, kernels=kernel, permutations=9, generator=rng())
    assert found.statistic == pytest.approx(mmd2(x, y, kernel).value)
    assert found.scale is None
    units = pooled_scale(x, y)
    for scale in ("pooled", units):
        other = mmd_test(x, y, kernels=kernel, scale=scale, permutations=9, generator=rng())
        assert other.statistic == pytest.approx(mmd2(x / units, y / units, kernel).value)
    assert other.scale == "given"


def test_images_have_one_unit() -> None:
    x, y = torch.randn(2, 30, 1, 2, 2, generator=rng(7)) * torch.tensor([1.0, 50.0])
    assert mmd_test(x, y, permutations=9, generator=rng()).scale is None
    assert mmd2(x, y) == mmd2(x.flatten(1), y.flatten(1), scale=None)
    assert mmd2(x, y, scale="pooled") == mmd2(x.flatten(1), y.flatten(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3])
def test_a_constant_column_tells_nothing(value: float, dtype: torch.dtype) -> None:
    x, y = torch.randn(2, 40, 2, dtype=dtype, generator=rng(8))
    column = torch.full((40, 1), value, dtype=dtype)
    with_it = mmd2(torch.cat([x, column], 1), torch.cat([y, column], 1))
    assert with_it == pytest.approx(mmd2(x, y), rel=1e-5)
    rounded = column * (1 + torch.finfo(dtype).eps)  # the same, to rounding
    assert mmd2(torch.cat([x, column], 1), torch.cat([y, rounded], 1)) == pytest.approx(mmd2(x, y), rel=1e-5)


def test_a_column_that_varies_in_one_sample_has_a_unit() -> None:
    generator = rng(9)
    x, y = torch.randn(2, 60, 2, generator=generator)
    x[:, 1], y[:, 1] = 5.0, 5.0 + 1e-3 * y[:, 1]
    assert mmd_test(x, y, permutations=199, generator=generator).p_value < 0.01
    assert scaled("pooled", x=x, y=y)[0][1][:, 1].std() == pytest.approx(math.sqrt(2), rel=0.1)


def test_float32_keeps_its_digits_far_from_the_origin() -> None:
    x, y = torch.randint(0, 8, (2, 50, 2), generator=rng(10)).float()
    for offset in (0.0, 1e6):
        assert mmd2(x + offset, y + offset).value == pytest.approx(mmd2(x, y).value, rel=1e-9)


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        ("columns", "scale should be 'auto', 'pooled', a tensor or None but got 'columns'"),
        (2.0, "scale should be 'auto', 'pooled', a tensor or None but got 2.0"),
        (torch.ones(3), r"scale should broadcast to an event, shape \(2,\), but has shape \(3,\)"),
        (torch.tensor([1.0, 0.0]), "scale should be positive and finite but has the smallest 0"),
        (torch.tensor([1.0, math.nan]), "scale should be positive and finite"),
    ],
)
def test_bad_scales(scale: object, message: str) -> None:
    x = torch.randn(2, 10, 2, generator=rng())
    for call in (mmd.mmd_test, mmd.mmd2, mmd.witness, mmd.deep_kernel_test):
        with pytest.raises(ValueError, match=message):
            call(*x, scale=scale)
