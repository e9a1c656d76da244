"""Tests take samples as users have them, and chains by blocks; their results are sentences."""

import numpy as np
import pandas as pd
import pytest
import torch

from probgen.core import Density
from probgen.mmd import ksd_test, mmd_test, relative_mmd_test
from probgen.mmd.result import TestResult
from probgen.mmd.samples import as_points
from probgen.sampling import Chains


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def walks(chains, draws, generator, *, rho=0.9, dim=2):
    """Stationary autoregressive chains with standard normal law, (chains, draws, dim)."""
    noise = torch.randn(chains, draws, dim, generator=generator, dtype=torch.float64)
    x, rows = noise[:, 0], [noise[:, 0]]
    for t in range(1, draws):
        x = rho * x + (1 - rho**2) ** 0.5 * noise[:, t]
        rows.append(x)
    return torch.stack(rows, 1)


X = torch.randn(60, 3, generator=rng(), dtype=torch.float64)
Y = torch.randn(50, 3, generator=rng(1), dtype=torch.float64) + 0.3
FORMS = {
    "arrays": lambda z: z.numpy(),
    "frames": lambda z: pd.DataFrame(z.numpy(), columns=["a", "b", "c"]),
    "mappings": lambda z: {"ab": z[:, :2], "c": z[:, 2]},
    "mappings of arrays": lambda z: {"c": z[:, 2].numpy(), "ab": z[:, :2].numpy()},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_sample_gives_the_same_result(form):
    convert, settings = FORMS[form], {"permutations": 99}
    expected = mmd_test(X, Y, generator=rng(), **settings)
    found = mmd_test(convert(X), convert(Y), generator=rng(), **settings)
    assert found.p_value == expected.p_value
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9)
    relative = relative_mmd_test(convert(X), convert(Y), convert(X + Y.mean(0)))
    assert relative.p_value == pytest.approx(relative_mmd_test(X, Y, X + Y.mean(0)).p_value, rel=1e-9)


def test_sites_are_matched_by_name_not_by_place():
    one = {"a": X[:, :1], "b": 5 + X[:, 1:]}
    other = {"b": 5 + X[:, 1:], "a": X[:, :1]}
    assert mmd_test(one, other, permutations=99, generator=rng()).p_value == 1.0
    points = as_points(x=one, y=other)
    assert torch.equal(points.tensors["x"], points.tensors["y"])


def test_chains_are_tested_by_blocks():
    draws = walks(30, 40, rng())
    chains = Chains.from_arrays({"w": draws})
    points = torch.randn(200, 2, generator=rng(2), dtype=torch.float64)
    expected = mmd_test(draws, points, method="block", generator=rng())
    for found in (
        mmd_test(chains, {"w": points}, generator=rng()),
        mmd_test({"w": points.numpy()}, chains, generator=rng()),
        mmd_test(chains, points.numpy(), generator=rng()),
    ):
        assert found.p_value == expected.p_value
    assert "signs of blocks of chains" in str(found)
    normal = Density(
        lambda z: -(z**2).sum(-1) / 2,
        support=torch.distributions.constraints.real_vector, event_shape=(2,), name="w", dtype=torch.float64,
    )  # fmt: skip
    blocks = ksd_test(draws, normal, method="block", generator=rng())
    assert ksd_test(chains, normal, generator=rng()).p_value == blocks.p_value
    assert ksd_test(chains, lambda z: -z, generator=rng()).p_value == pytest.approx(blocks.p_value, abs=0.01)
    assert ksd_test(points.numpy(), normal, generator=rng()).p_value > 0.01
    frame = pd.DataFrame(points.numpy(), columns=["u", "v"])
    assert ksd_test(frame, normal, generator=rng()).p_value > 0.01
    with pytest.raises(ValueError, match="method should be 'block', or left out, for Chains"):
        mmd_test(chains, points, method="permutation")
    with pytest.raises(ValueError, match="for Chains but is 'independent'"):
        ksd_test(chains, normal, method="independent")


def test_the_level_of_the_relative_test_holds_for_chains():
    """Draws taken for points would say that one of two equal laws is farther in a third of all cases."""
    alarms = {"chains": 0, "points": 0}
    generator = rng(5)
    for x, y, reference in walks(60 * 3 * 25, 10, generator, rho=0.95, dim=1).unflatten(0, (60, 3, 25)):
        as_chains = [Chains.from_arrays(z) for z in (x, y, reference)]
        alarms["chains"] += relative_mmd_test(*as_chains).p_value <= 0.05
        alarms["points"] += relative_mmd_test(*(z.flatten(0, 1) for z in (x, y, reference))).p_value <= 0.05
    assert alarms["chains"] <= 9  # P(Binomial(60, 0.05) > 9) = 7e-4
    assert alarms["points"] > 9
    x, y, reference = (
        Chains.from_arrays(walks(25, 20, generator, dim=1) + shift) for shift in (2.0, 0.0, 0.0)
    )
    assert relative_mmd_test(x, y, reference).p_value < 0.01
    assert relative_mmd_test(y, x, reference).p_value > 0.5


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        ({"a": X}, {"b": Y}, ValueError, r"differs in \['a', 'b'\]"),
        (pd.DataFrame({"a": ["u", "v"]}), X, ValueError, "x should hold numbers but its column 'a'"),
        ("draws.csv", Y, TypeError, "x should be a tensor but is a str"),
        ({"a": [1.0]}, Y, TypeError, "'a' of x should be a tensor or an array"),
        ({}, Y, ValueError, "a site at least"),
    ],
)
def test_what_is_no_sample_is_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        mmd_test(x, y)


def test_a_result_is_a_sentence():
    found = mmd_test(X, Y, permutations=99, generator=rng())
    assert str(found).startswith(
        "Tested that samples of 60 and 50 points come from one law, by MMD² and permutations: the statistic"
    )
    assert str(found).endswith(
        f"p = {found.p_value:.3g}, {'' if found.rejects() else 'not '}rejected at the level 0.05."
    )
    assert "draws come from the density, by KSD²" in str(ksd_test(X, lambda z: -z, generator=rng()))
    unable = TestResult(1.0, 0.5, torch.zeros(1), 0.5)
    assert "cannot be rejected at the level 0.05: no p is below 0.5" in str(unable)
    assert np.isfinite(found.statistic)


@pytest.mark.parametrize("names", [["a", "a"], [1, "1"]])
def test_columns_of_one_name_are_not_taken_for_one(names):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=names)
    with pytest.raises(ValueError, match=rf"x should have columns of different names but has '{names[0]}'"):
        mmd_test(frame, frame)


def test_sites_of_other_numbers_of_draws_are_said():
    x, few = torch.randn(2, 20), torch.randn(5)
    with pytest.raises(ValueError, match=r"y should hold as many draws of 'b' as of 'a' but has \(5,\)"):
        mmd_test({"a": x[0], "b": x[1]}, {"a": x[0], "b": few})


def test_units_may_be_an_array_and_a_number_is_refused():
    x, y = torch.randn(2, 20, 3)
    one, other = (mmd_test(x, y, scale=units, seed=0) for units in (np.full(3, 2.0), torch.full((3,), 2.0)))
    assert (one.p_value, one.statistic) == (other.p_value, other.statistic)
    with pytest.raises(ValueError, match=r"scale should be 'auto', 'pooled', a tensor or None but got \[1"):
        mmd_test(x, y, scale=[1.0, 1.0, 1.0])
