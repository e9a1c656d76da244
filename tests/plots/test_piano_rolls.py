"""Piano rolls: what sounds is drawn where it sounds, and nothing else."""

import numpy as np
import pytest
import torch

from probgen import plots


def piece(*sounding, steps=8):
    roll = torch.zeros(steps, 88)
    for step, key in sounding:
        roll[step, key] = 1
    return roll


def drawn(axis):
    return {(round(bar.get_x()), round(bar.get_y() + 0.5)) for bar in axis.patches}


def test_keys_are_drawn_where_they_sound():
    one, other = piece((0, 39), (3, 51), (7, 42)), piece((1, 40), steps=4)
    figure = plots.piano_rolls({"real": [one, other], "model": [other]}, columns=2, steps=6)
    first, second, third, fourth = figure.axes
    assert drawn(first) == {(0, 39), (3, 51)}  # six steps are shown
    assert drawn(second) == drawn(third) == {(1, 40)}
    assert not fourth.axison
    assert [axis.get_title("left") for axis in (first, third)] == ["real", "model"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["C4", "C5"]  # keys 39 and 51
    assert all(axis.get_xlim() == (0, 6) for axis in (first, second, third))


def test_silence_is_drawn():
    figure = plots.piano_rolls({"rest": [np.zeros((3, 88))]})
    assert not figure.axes[0].patches


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ({}, "at least 1 entry"),
        ({"model": []}, "at least 1 piece in each"),
        ({"model": [torch.zeros(3, 12)]}, r"pieces\['model'\] should be of shape \(T, 88\) but one has .*12"),
        ({"model": [torch.full((3, 88), torch.nan)]}, "should be finite"),
    ],
)
def test_what_is_wrong_is_said(pieces, said):
    with pytest.raises(ValueError, match=said):
        plots.piano_rolls(pieces)
