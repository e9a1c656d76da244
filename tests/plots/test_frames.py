"""Strips of frames: each frame where it belongs, and nothing where there is none."""

import numpy as np
import pytest
import torch

from probgen import plots


def shown(axis):
    return np.asarray(axis.get_images()[0].get_array())


def test_frames_stand_in_their_order():
    film = torch.rand(5, 1, 4, 6)
    short = np.zeros((3, 4, 6))
    figure = plots.frames({"real": film, "model": short}, every=2)
    assert len(figure.axes) == 6
    for axis, frame in zip(figure.axes[:3], film[::2, 0], strict=True):
        np.testing.assert_array_equal(shown(axis), frame.numpy())
        assert axis.get_images()[0].get_clim() == (0, 1)
    assert [axis.get_title() for axis in figure.axes[:3]] == ["1", "3", "5"]
    assert [axis.axison for axis in figure.axes[3:]] == [True, True, False]
    assert [figure.axes[place].get_ylabel() for place in (0, 3)] == ["real", "model"]


@pytest.mark.parametrize(
    ("films", "said"),
    [
        ({}, "at least 1 entry"),
        ({"a": torch.zeros(2, 3, 4, 4)}, r"films\['a'\] should be of shape .* \(2, 3, 4, 4\)"),
        ({"a": torch.zeros(0, 4, 4)}, r"but has shape \(0, 4, 4\)"),
        ({"a": torch.full((2, 4, 4), 1.5)}, r"in \[0, 1\] but has 1.5 to 1.5"),
        ({"a": torch.full((2, 4, 4), torch.nan)}, "should be finite"),
        (
            {"a": torch.zeros(2, 4, 4), "b": torch.zeros(2, 4, 5)},
            r"of one size but have \[\(4, 4\), \(4, 5\)\]",
        ),
    ],
)
def test_what_is_wrong_is_said(films, said):
    with pytest.raises(ValueError, match=said):
        plots.frames(films)
