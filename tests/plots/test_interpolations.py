"""Interpolations show what is decoded on the line and on the arc between two codes, and no other codes."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from probgen import plots

A, B = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 3.0], [0.0, 5.0]])


def rows_of(figure, steps):
    """Return the images of a figure, of two pixels each, as (rows, steps, 2), and the labels of rows."""
    (axis,) = figure.axes
    board = np.asarray(axis.images[0].get_array())[::2]
    rows = np.stack([board[:, 3 * i : 3 * i + 2] for i in range(steps)], 1)
    return rows, [label.get_text() for label in axis.get_yticklabels()]


@pytest.mark.parametrize("as_law", [False, True])
def test_a_pair_has_its_line_and_its_arc_one_below_the_other(as_law):
    def decode(z):
        return Normal(z, 1.0) if as_law else z

    rows, labels = rows_of(plots.interpolations(decode, A, B, image_shape=(1, 2), steps=3), 3)
    half = 3 * math.sqrt(0.5)
    line, arc = [[3, 0], [1.5, 1.5], [0, 3]], [[3, 0], [half, half], [0, 3]]
    same = [[0, 2], [0, 3.5], [0, 5]]  # of one direction: the arc is the line
    assert labels == ["straight", "spherical"] * 2
    np.testing.assert_allclose(rows, [line, arc, same, same], atol=1e-6)


def test_an_arc_keeps_the_length_and_goes_at_an_even_pace():
    gen = torch.Generator().manual_seed(1)
    start, end = torch.nn.functional.normalize(torch.randn(2, 50, 4, generator=gen).double(), dim=2)
    seen = []
    plots.interpolations(
        lambda z: seen.append(z) or z, start, end, image_shape=(2, 2), paths=["spherical"], steps=7
    )
    path = seen[0].reshape(50, 7, 4)
    torch.testing.assert_close(path.norm(dim=2), torch.ones(50, 7).double())
    turns = (path[:, 1:] * path[:, :-1]).sum(2).acos()
    whole = (start * end).sum(1).acos()
    torch.testing.assert_close(turns, whole[:, None].expand(-1, 6) / 6, atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("start", "end", "options", "sentence"),
    [
        (A, B[:1], {}, r"one shape .* \(2, 2\) and \(1, 2\)"),
        (A[0], B[0], {}, r"one shape \(pairs, d\)"),
        (A, B, {"paths": ["round"]}, r"'straight' and 'spherical' but are \['round'\]"),
        (A, B, {"paths": []}, "paths should be some of"),
        (A, B, {"steps": 1}, "steps should be at least 2"),
        (A, torch.zeros(2, 2), {}, "end should have no code that is 0"),
        (A, -A, {}, "not be opposite, as pair 0 is"),
        (A, B, {"image_shape": (1, 3)}, "images should have shape"),
    ],
)
def test_what_does_not_fit_is_said(start, end, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        plots.interpolations(lambda z: z, start, end, **{"image_shape": (1, 2)} | options)


def test_a_line_goes_through_opposite_codes():
    rows, _ = rows_of(
        plots.interpolations(lambda z: z, A, -A, image_shape=(1, 2), paths=["straight"], steps=3), 3
    )
    np.testing.assert_array_equal(rows[:, 1], np.zeros((2, 2)))
