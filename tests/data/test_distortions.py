"""Pictures turned, scaled and blurred: against exact turns, interpolation by hand, and SciPy."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from probgen import data

SHAPES = [(5, 5), (6, 6), (4, 7), (3, 4, 4)]


def pictures(shape, device, dtype, n=3):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, math.prod(shape), generator=generator, dtype=torch.float64).to(device, dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_changed_by_a_whole_turn_or_the_factor_one(shape, device, dtype):
    x = pictures(shape, device, dtype)
    for distortion in (data.Rotation(shape, 0), data.Rotation(shape, -720.0), data.Scaling(shape, 1)):
        assert torch.equal(distortion(x), x)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[-1] == shape[-2]])
@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_quarter_turns_are_exact(shape, quarters, device, dtype):
    x = pictures(shape, device, dtype)
    turned = torch.rot90(x.reshape(-1, *shape), quarters, dims=(-2, -1)).flatten(1)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(data.Rotation(shape, 90 * quarters)(x), turned, atol=tolerance, rtol=0)


def by_hand(picture, back):
    """Look up each pixel of one picture (H, W) bilinearly, 0 outside, by SciPy."""
    height, width = picture.shape
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    padded = np.pad(picture, 2)  # SciPy's own constant mode stops at the outermost pixels' centres
    matrix = np.array(back)
    offset = centre + 2 - matrix @ (centre + 2)
    return ndimage.affine_transform(padded, matrix, offset, order=1)[2:-2, 2:-2]


@pytest.mark.parametrize(("degrees", "factor"), [(30, 1), (-45, 1), (90, 1), (0, 0.8), (0, 1.2)])
def test_pixels_are_looked_up_in_pictures_that_are_not_square(degrees, factor):
    """In (row, column), SciPy's order, a picture that is turned was at (r cos + c sin, −r sin + c cos)."""
    shape = (6, 9)
    x = pictures(shape, "cpu", torch.float64)
    cos, sin = math.cos(math.radians(degrees)) / factor, math.sin(math.radians(degrees)) / factor
    expected = np.stack([by_hand(p, [[cos, sin], [-sin, cos]]) for p in x.reshape(-1, *shape).numpy()])
    distortion = data.Rotation(shape, degrees) if factor == 1 else data.Scaling(shape, factor)
    np.testing.assert_allclose(distortion(x).reshape(-1, *shape), expected, atol=1e-10)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_blur_is_scipys(shape, scale, device, dtype):
    x = pictures(shape, device, dtype)
    sigma = (0,) * (len(shape) - 1) + (scale, scale)
    stack = x.cpu().double().reshape(-1, *shape).numpy()
    expected = ndimage.gaussian_filter(stack, sigma, mode="nearest", truncate=4.0).reshape(len(x), -1)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(data.Blur(shape, scale)(x).cpu(), expected, atol=tolerance)


def test_pictures_may_have_several_leading_dimensions_and_gradients():
    x = torch.rand(2, 3, 20, dtype=torch.float64, requires_grad=True)
    for distortion in (data.Rotation((4, 5), 20), data.Scaling((4, 5), 0.9), data.Blur((4, 5), 1)):
        y = distortion(x)
        assert y.shape == x.shape
        torch.testing.assert_close(y[1, 2], distortion(x[1, 2]))
        (slope,) = torch.autograd.grad(y.sum(), x)
        assert bool(slope.abs().sum() > 0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: data.Rotation((4,), 10), r"image_shape should be \(H, W\) or \(C, H, W\) but got \(4,\)"),
        (lambda: data.Rotation((4, 4), math.nan), "degrees should be finite but got nan"),
        (lambda: data.Scaling((4, 4), 0), "factor should be above 0 and finite but got 0"),
        (lambda: data.Blur((4, 4), -1.0), "scale should be above 0 and finite but got -1.0"),
        (
            lambda: data.Blur((4, 4), 1.0)(torch.zeros(2, 15)),
            "x should be flat pictures of 16 pixels but has",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
