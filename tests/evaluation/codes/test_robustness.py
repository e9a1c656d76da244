"""Robustness against what noise and masks do in closed form; the probe and the decoder learn nothing anew."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import ndtr

from probgen import data, models, nets
from probgen.evaluation import distortions, robustness


def classes(n, seed, dim=16):
    """Two classes N(±e₁, 0.5² I) about ½: the best accuracy is Φ(2), and under noise σ Φ(1 / √(¼ + σ²))."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.5 * torch.randn(n, dim, generator=generator)
    x[:, 0] += 2.0 * y - 1
    return x + 0.5, y


class First:
    """The code is the first coordinate, and all that is restored."""

    def encode(self, x, *context):
        return torch.distributions.Normal(x[:, :1], 1.0)

    def decode(self, z, *context):
        return torch.distributions.Normal(torch.cat([z, 0.5 + z.new_zeros(len(z), 15)], 1), 1.0)


@pytest.fixture(scope="module")
def found():
    (x, y), (test, y_test) = classes(2000, 0), classes(4000, 1)
    table = robustness({"first": First()}, x, y, test, y_test, components=1)
    return table.set_index(["distortion", "level", "codes"]).sort_index()


@pytest.mark.parametrize("scale", [0.0, 0.1, 0.25, 0.5])
def test_noise_costs_what_it_costs_the_best_classifier(found, scale):
    expected = ndtr(1 / math.sqrt(0.25 + scale**2))
    error = 4.4 * math.sqrt(expected * (1 - expected) / 4000)
    for codes in ("first", "principal components"):
        assert found.accuracy["noise", scale, codes] == pytest.approx(expected, abs=error + 0.003)
    assert ndtr(2) - ndtr(1 / math.sqrt(0.5)) > 2 * error  # it would be noticed


@pytest.mark.parametrize("scale", [0.1, 0.25, 0.5])
def test_errors_are_those_of_the_noise(found, scale):
    """raw: σ² d to the clean row, 0 to the seen; first: σ² + ¼ (d − 1), and (¼ + σ²) (d − 1)."""
    rows = found.loc["noise", scale]
    expected = {
        ("raw", "to_clean"): 16 * scale**2,
        ("first", "to_clean"): scale**2 + 15 * 0.25,
        ("first", "to_seen"): 15 * (0.25 + scale**2),
    }
    for (codes, column), value in expected.items():
        assert rows[column][codes] == pytest.approx(value, abs=4.4 * rows[f"{column}_stderr"][codes])
        assert rows[f"{column}_stderr"][codes] < 0.03 * value
    assert rows.to_seen["raw"] == 0


def test_changes_are_paired_with_the_clean_rows(found):
    clean = found.xs(0.0, level="level")
    assert (clean.change == 0).all()
    assert (clean.change_stderr == 0).all()
    np.testing.assert_allclose(clean.to_clean, clean.to_seen)
    change = found.accuracy["noise", 0.5, "first"] - found.accuracy["noise", 0.0, "first"]
    assert found.change["noise", 0.5, "first"] == pytest.approx(change)
    unpaired = math.sqrt(2) * found.accuracy_stderr["noise", 0.5, "first"]
    assert 0 < found.change_stderr["noise", 0.5, "first"] < unpaired


def test_pictures_are_turned_scaled_and_blurred_and_own_distortions_taken():
    (x, y), (test, y_test) = classes(200, 2), classes(100, 3)
    vae = models.VAE(nets.NormalHead(nets.MLP(16, 3)), nets.NormalHead(nets.MLP(3, 16)))
    table = robustness({"vae": vae}, x, y, test.numpy(), y_test.numpy(), image_shape=(4, 4), components=2)
    found = {name: rows["level"].unique().tolist() for name, rows in table.groupby("distortion")}
    assert found == {
        "noise": [0, 0.1, 0.25, 0.5],
        "missing": [0, 0.1, 0.25, 0.5],
        "blur": [0, 0.5, 1, 2],
        "rotation": [0, 15, 30, 45],
        "scale": [0.8, 0.9, 1, 1.1, 1.2],
    }
    raw = table.set_index(["distortion", "level", "codes"]).sort_index().to_clean
    error = float((data.Rotation((4, 4), 30)(test) - test).square().sum(1).mean())
    assert raw["rotation", 30, "raw"] == pytest.approx(error, rel=1e-5)
    again = robustness({"vae": vae}, x, y, test, y_test, image_shape=(4, 4), components=2)
    pd.testing.assert_frame_equal(again, table)
    halves = {"less": {1.0: None, 2.0: lambda x: x / 2}}
    own = robustness({}, x, y, test, y_test, distorted=halves, components=2)
    assert own.level.tolist() == [1.0, 1.0, 2.0, 2.0]
    assert vae.training


def test_a_row_of_each_kind_is_there_without_a_picture():
    assert list(distortions()) == ["noise", "missing"]


X, Y = classes(20, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": Y[:5]}, r"labels should have shape \(20,\)"),
        ({"test": X[:, :4]}, r"train and test should be alike but are \(20, 16\) and \(20, 4\)"),
        ({"train": X * math.nan}, "train should be finite but holds"),
        (
            {"train": X.reshape(20, 4, 4)},
            r"train should be flat rows of real numbers, .* but is \(20, 4, 4\)",
        ),
        ({"models": {"raw": First()}}, "models should have names of their own, but 'raw' is a row"),
        ({"image_shape": (5, 5)}, "x should be flat pictures of 25 pixels but has shape"),
        ({"distorted": {"a": {1.0: lambda x: x[:3]}}}, r"distortion 'a' at 1.0 should give finite rows of"),
        ({"distorted": {"a": {1.0: lambda x: x / 0}}}, "some not finite"),
        ({"labels": 0 * Y}, "labels should be of at least 2 classes but are of 1"),
    ],
)
def test_bad_input_is_named(change, words):
    given = {"models": {}, "train": X, "labels": Y, "test": X, "test_labels": Y, "components": 2} | change
    with pytest.raises(ValueError, match=words):
        robustness(**given)


def test_a_model_without_codes_is_named():
    with pytest.raises(TypeError, match="model should have encode and decode but is object"):
        robustness({"a": object()}, X, Y, X, Y, components=2)
