"""Corruptions: their laws, afresh at each look, from the generator they are given; pictures made smaller."""

import pytest
import torch

from probgen import data
from probgen.data.fingerprint import changed, fingerprint
from probgen.data.sources import source

X = torch.rand(4000, 6, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
CORRUPTIONS = {
    "noise": data.GaussianNoise(0.5),
    "masking": data.Masking(0.3),
    "salt and pepper": data.SaltAndPepper(0.4, low=-1.0, high=2.0),
}


def corrupted(name, seed=1):
    return CORRUPTIONS[name](X, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_generator_decides_and_the_type_stays(name):
    assert torch.equal(corrupted(name), corrupted(name))
    assert not torch.equal(corrupted(name), corrupted(name, seed=2))
    assert corrupted(name).dtype == X.dtype
    assert CORRUPTIONS[name](X.double()).dtype == torch.float64
    with pytest.raises(TypeError, match=r"should be floating point but is torch\.int64"):
        CORRUPTIONS[name](torch.zeros(3, 2, dtype=torch.int64))


def test_noise_is_normal_and_independent():
    """At 4 standard errors of 24,000 numbers; a scale off by 2 % would be noticed."""
    noise = (corrupted("noise") - X).double() / 0.5
    n = noise.numel()
    assert abs(float(noise.mean())) < 4 / n**0.5
    assert abs(float(noise.square().mean()) - 1) < 4 * (2 / n) ** 0.5
    assert abs(float((noise[:, 0] * noise[:, 1]).mean())) < 4 / 4000**0.5
    assert abs(float((noise * (X - 0.5)).mean())) < 4 * 0.15 / n**0.5


def test_masks_and_salt_and_pepper_have_their_shares():
    """At 4 standard errors: shares off by 0.013 would be noticed."""
    n = X.numel()
    masked = corrupted("masking")
    assert torch.equal(masked[masked != 0], X[masked != 0])
    assert abs(float((masked == 0).float().mean()) - 0.3) < 4 * (0.21 / n) ** 0.5
    salted = corrupted("salt and pepper")
    low, high = (salted == -1), (salted == 2)
    assert torch.equal(salted[~(low | high)], X[~(low | high)])
    for places in (low, high):
        assert abs(float(places.float().mean()) - 0.2) < 4 * (0.16 / n) ** 0.5
        assert abs(float((places[:, 0] & places[:, 1]).float().mean()) - 0.04) < 4 * (0.04 / 4000) ** 0.5


def test_data_are_corrupted_afresh_beside_what_they_were():
    rows = data.Corrupted(X, CORRUPTIONS["noise"])
    index = torch.tensor([5, 0, 5])
    seen, clean = rows[index]
    assert torch.equal(clean, X[index])
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(rows[index][0], seen)
    assert len(rows) == 4000
    for seen, clean in data.batches(rows, 1000):
        assert seen.shape == clean.shape == (1000, 6)
    seen, clean = data.Corrupted(data.Binarised(X), CORRUPTIONS["masking"])[index]
    assert bool(((clean == 0) | (clean == 1)).all())
    assert torch.equal(seen[seen != 0], clean[seen != 0])


def test_corrupted_data_are_told_from_others_by_what_they_were():
    first, other = (fingerprint(source(data.Corrupted(x, CORRUPTIONS["noise"]))) for x in (X, X.flip(0)))
    assert changed(first, fingerprint(source(data.Corrupted(X, CORRUPTIONS["masking"])))) is None
    assert "other numbers in row 0" in str(changed(first, other))


def test_pooled_pixels_are_means_of_squares():
    picture = torch.arange(24.0).reshape(1, 4, 6)
    pool = data.Pooling((4, 6), 2)
    assert (pool.size, pool.small_shape) == (6, (2, 3))
    expected = picture.reshape(1, 2, 2, 3, 2).mean((2, 4)).flatten(1)
    torch.testing.assert_close(pool(picture.flatten(1)), expected)
    colours = data.Pooling((3, 4, 4), 4)
    x = torch.rand(2, 5, 48)
    torch.testing.assert_close(colours(x), x.reshape(2, 5, 3, 16).mean(-1))


BAD = {
    lambda: data.GaussianNoise(0.0): r"scale should be above 0 and finite but got 0\.0",
    lambda: data.GaussianNoise(float("nan")): "scale should be above 0 and finite but got nan",
    lambda: data.Masking(1.0): r"share should be a probability above 0 and below 1 but got 1\.0",
    lambda: data.SaltAndPepper(-0.1): r"share should be a probability above 0 and below 1 but got -0\.1",
    lambda: data.SaltAndPepper(0.1, low=1.0): "low should be below high",
    lambda: data.Pooling((27, 9), 2): r"27 x 9 pixels .* by 2: factors 3, 9 can, or crop them to 26 x 8",
    lambda: data.Pooling((1, 8), 2): r"1 x 8 pixels cannot be made smaller by 2: they are too small$",
    lambda: data.Pooling((7, 8), 2): r"7 x 8 pixels .* by 2: no factor can, or crop them to 6 x 8",
    lambda: data.Pooling((8,), 2): r"image_shape should be \(H, W\) or \(C, H, W\) but got \(8,\)",
    lambda: data.Pooling((8, 8), 1): "factor should be at least 2 but got 1",
    lambda: data.Pooling((8, 8), 2)(torch.zeros(3, 49)): r"64 pixels but has shape \(3, 49\)",
}


@pytest.mark.parametrize("call", BAD, ids=BAD.values())
def test_bad_input_is_named(call):
    with pytest.raises(ValueError, match=BAD[call]) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_is_no_corruption_is_refused():
    with pytest.raises(TypeError, match=r"corruption should be a function of data, .* but is a float"):
        data.Corrupted(X, 0.5)
    with pytest.raises(TypeError, match=r"x should give one tensor .* but gave a tuple"):
        data.Corrupted(data.Corrupted(X, data.Masking(0.5)), data.Masking(0.5))[torch.tensor([0])]
