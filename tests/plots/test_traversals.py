"""Traversals show the images of the codes that they say, conditional grids the images of their contexts."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from probgen import plots


def board_of(figure):
    (axis,) = figure.axes
    return axis, axis.images[0].get_array()


@pytest.mark.parametrize("as_law", [False, True])
def test_each_row_moves_its_own_coordinate_from_left_to_right(as_law):
    # A pixel is a coordinate of the code: row 0 moves pixel 2, row 1 pixel 0; the others stay.
    def decode(z):
        return Normal(z, 1.0) if as_law else z

    code = torch.tensor([5.0, 6.0, 7.0])
    figure = plots.traversals(decode, code, image_shape=(1, 3), coordinates=[2, 0], span=(-1.0, 1.0), steps=3)
    axis, board = board_of(figure)
    first = [[5, 6, -1], [5, 6, 0], [5, 6, 1]]
    second = [[-1, 6, 7], [0, 6, 7], [1, 6, 7]]
    for row, images in enumerate((first, second)):
        for column, image in enumerate(images):
            np.testing.assert_array_equal(board[2 * row, 4 * column : 4 * column + 3], image)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["$z_{3}$", "$z_{1}$"]
    assert axis.get_yticks().tolist() == [0, 2]
    assert axis.get_xlabel() == "-1 → 1"
    assert torch.equal(code, torch.tensor([5.0, 6.0, 7.0]))


def test_a_grid_has_a_row_for_each_context():
    images = torch.arange(12.0).reshape(6, 2)
    axis, board = board_of(plots.conditional_grid(images, image_shape=(1, 2), contexts=[3, 8]))
    np.testing.assert_array_equal(board[2, 0:2], images[3])
    np.testing.assert_array_equal(board[0, 6:8], images[2])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["3", "8"]


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: plots.traversals(lambda z: z, torch.zeros(1, 2), image_shape=(1, 2)), r"code .* \(1, 2\)"),
        (
            lambda: plots.traversals(lambda z: z, torch.zeros(2), image_shape=(1, 2), coordinates=[2]),
            r"coordinates should be some of 0 to 1 but are \[2\]",
        ),
        (
            lambda: plots.traversals(lambda z: z, torch.zeros(2), image_shape=(1, 3)),
            "images should have shape",
        ),
        (
            lambda: plots.conditional_grid(torch.zeros(5, 2), image_shape=(1, 2), contexts=[0, 1]),
            "equally many for each of 2 contexts but are 5",
        ),
    ],
)
def test_what_does_not_fit_is_said(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
