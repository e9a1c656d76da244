"""Points between codes, and steps from what some have to what others have."""

import math

import pytest
import torch

from probgen import evaluation


def test_an_arc_keeps_the_length_and_a_line_is_straight():
    gen = torch.Generator().manual_seed(0)
    start, end = (torch.nn.functional.normalize(torch.randn(3, 2, 16, generator=gen), dim=-1) for _ in "ab")
    arc, line = (evaluation.interpolate(start, end, steps=5, path=path) for path in ("spherical", "straight"))
    assert arc.shape == line.shape == (3, 2, 5, 16)
    for codes in (arc, line):
        torch.testing.assert_close(codes[..., 0, :], start)
        torch.testing.assert_close(codes[..., -1, :], end)
    torch.testing.assert_close(arc.norm(dim=-1), torch.ones(3, 2, 5))
    torch.testing.assert_close(line[..., 2, :], (start + end) / 2)
    angles = (arc[..., 1:, :] * arc[..., :-1, :]).sum(-1).clamp(-1, 1).acos()
    torch.testing.assert_close(angles, angles[..., :1].expand_as(angles), atol=1e-3, rtol=0)
    right = evaluation.interpolate(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0]), steps=3)
    torch.testing.assert_close(right[1], torch.full((2,), 3 * math.sqrt(0.5)))


def test_a_step_moves_the_mean_of_those_that_have_not_onto_those_that_have():
    codes, has = torch.randn(40, 3), torch.arange(40) % 3 == 0
    step = evaluation.step_between(codes, has)
    torch.testing.assert_close(codes[~has].mean(0) + step, codes[has].mean(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i, s: i(torch.ones(2), torch.ones(3), steps=3), r"one shape \(..., d\) but have \(2,\)"),
        (lambda i, s: i(torch.ones(2), torch.ones(2), steps=3, path="arc"), "or 'spherical' but is 'arc'"),
        (lambda i, s: i(torch.ones(2), torch.ones(2), steps=1), "steps should be at least 2"),
        (lambda i, s: i(torch.ones(2), -torch.ones(2), steps=3), "not be opposite"),
        (lambda i, s: s(torch.ones(2, 2), torch.ones(2)), r"go with booleans \(n,\)"),
        (lambda i, s: s(torch.ones(2, 2), torch.ones(2).bool()), "some not but 2 of 2 have"),
    ],
)  # fmt: skip
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(evaluation.interpolate, evaluation.step_between)
