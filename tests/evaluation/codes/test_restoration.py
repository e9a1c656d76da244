"""The peak signal-to-noise ratio."""

import math

import numpy as np
import pytest
import torch

from probgen.evaluation import psnr


def test_it_is_that_of_all_values_at_once():
    truth = np.array([[0.0, 0.5], [1.0, 0.25]])
    off = np.array([[0.1, 0.0], [0.0, -0.3]])
    expected = -10 * math.log10((0.01 + 0.09) / 4)
    assert psnr(truth + off, truth) == pytest.approx(expected)
    assert psnr(255 * (truth + off), 255 * truth, peak=255) == pytest.approx(expected)
    noise = 0.25 * torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    assert psnr(noise, torch.zeros(200_000)) == pytest.approx(-20 * math.log10(0.25), abs=0.05)


def test_bytes_do_not_wrap_round_and_nothing_lost_is_infinite():
    assert psnr(np.zeros(4, np.uint8), np.full(4, 255, np.uint8), peak=255) == 0
    assert psnr(torch.ones(3), torch.ones(3)) == math.inf


@pytest.mark.parametrize("error", [1e-200, 1e200])
def test_errors_whose_squares_have_no_room_are_ratios_of_peak_and_error(error):
    restored = torch.tensor([error, -error, error], dtype=torch.float64)
    assert psnr(restored, torch.zeros(3), peak=1.0) == pytest.approx(-20 * math.log10(error))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((torch.ones(3), torch.ones(3, 1)), r"shape of truth, \(3, 1\), but has \(3,\)"),
        ((torch.ones(3), torch.tensor([0.0, math.nan, 0.0])), "truth should be finite"),
        ((torch.ones(0), torch.ones(0)), "restored should hold numbers"),
    ],
)
def test_bad_input_is_named(given, sentence):
    with pytest.raises(ValueError, match=sentence):
        psnr(*given)
    with pytest.raises(ValueError, match="peak should be positive and finite but is 0"):
        psnr(torch.ones(3), torch.ones(3), peak=0)
    with pytest.raises(TypeError, match="restored should hold real numbers but is"):
        psnr(torch.ones(3, dtype=torch.complex64), torch.ones(3))
