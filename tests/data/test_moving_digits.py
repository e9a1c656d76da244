"""Moving digits: how they move and turn, from which pictures they are, and that the seed decides."""

import pytest
import torch

from probgen.data import mnist, moving_digits
from probgen.data.files import SOURCES, find
from probgen.data.moving_digits import SPEED, paths, small_digits

here = pytest.mark.skipif(
    any(find("mnist", file) is None for file in SOURCES["mnist"].files), reason="MNIST is not on this machine"
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def reflected(rows, digits, steps):
    """Places without a loop over steps, where a wall turns a digit at once: unfolded and folded back."""
    own = seeded()
    place = torch.rand(rows, digits, 2, generator=own, dtype=torch.float64)
    angle = 2 * torch.pi * torch.rand(rows, digits, generator=own, dtype=torch.float64)
    speed = SPEED * torch.stack([angle.sin(), angle.cos()], -1)
    far = place[:, None] + torch.arange(steps)[:, None, None] * speed[:, None]
    return place, speed, far


def test_digits_move_straight_on_until_a_wall():
    found = paths(500, 2, 20, generator=seeded())
    assert found.shape == (500, 20, 2, 2)
    _, _, far = reflected(500, 2, 20)
    free = ((far >= 0) & (far <= 1)).long().cumprod(1).bool()  # no wall met so far, by coordinate
    assert torch.equal(found[free], (far * 18).long()[free])
    assert 0.3 < float(free.double().mean()) < 0.7  # and both happen often


def test_walls_turn_a_coordinate_round():
    place, speed, _ = reflected(500, 2, 20)
    found = paths(500, 2, 20, generator=seeded())
    assert int(found.min()) == 0
    assert int(found.max()) == 18
    for row in range(50):
        for axis in range(2):
            at, step = float(place[row, 0, axis]), float(speed[row, 0, axis])
            for t in range(20):
                assert int(found[row, t, 0, axis]) == int(at * 18)
                at += step
                if not 0 <= at <= 1:
                    at, step = min(max(at, 0.0), 1.0), -step


def test_starts_and_directions_are_uniform():
    found = paths(20_000, 1, 2, generator=seeded(1)).double()[:, :, 0]
    start, moved = found[:, 0], found[:, 1] - found[:, 0]
    counts = start.long().flatten().bincount(minlength=18)
    expected = 40_000 / 18
    assert float(((counts[:18] - expected) ** 2 / expected).sum()) < 45  # χ² of 17 degrees: one in 5,000
    middle = ((start > 4) & (start < 14)).all(1)
    mean, error = moved[middle].mean(0), 1.8 * 0.75 / int(middle.sum()) ** 0.5
    assert float(mean.abs().max()) < 4 * error  # rounding down adds less than a fifth of a pixel's variance


def test_redrawn_digits_leave_the_wall_they_met_at_another_angle():
    certain, drawn = (paths(2000, 1, 20, generator=seeded(), redrawn=r)[:, :, 0] for r in (False, True))
    assert torch.equal(certain[:, 0], drawn[:, 0])
    assert not torch.equal(certain, drawn)
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) <= 18
    at = drawn[:, 1:-2]
    touched = at.eq(18) & drawn[:, :-3].lt(18)  # put on the edge in this step
    after = drawn[:, 2:-1]
    assert float((after - at).double()[touched].mean()) < -0.8  # away from it: −1.8 · 2 / π but for rounding
    tangent = (after - at).double().flip(-1)[touched]
    assert float(tangent.std()) > 0.8  # along the wall any speed: 1.8 / √2 but for other walls


@here
def test_frames_hold_the_digit_where_it_is():
    films = moving_digits(30, generator=seeded(3), part="test", steps=7)
    assert (films.shape, films.dtype) == ((30, 7, 1, 32, 32), torch.float32)
    assert set(films.unique().tolist()) == {0.0, 1.0}
    own = seeded(3)
    which = torch.randint(10_000, (30, 1), generator=own)
    corners = paths(30, 1, 7, generator=own)
    stamps = small_digits(mnist().test[which[:, 0]])
    for film, stamp, path in zip(films, stamps, corners, strict=True):
        for frame, (top, left) in zip(film, path[:, 0].tolist(), strict=True):
            assert torch.equal(frame[0, top : top + 14, left : left + 14], stamp)
            assert frame.sum() == stamp.sum()


@here
def test_two_digits_are_laid_over_each_other():
    films = moving_digits(20, generator=seeded(3), digits=2, steps=5)
    own = seeded(3)
    stamps = small_digits(mnist().train[torch.randint(60_000, (20, 2), generator=own)])
    corners = paths(20, 2, 5, generator=own)
    for film, pair, path in zip(films, stamps, corners, strict=True):
        for frame, places in zip(film, path, strict=True):
            expected = torch.zeros(32, 32)
            for stamp, (top, left) in zip(pair, places.tolist(), strict=True):
                part = expected[top : top + 14, left : left + 14]
                part.copy_(torch.maximum(part, stamp))
            assert torch.equal(frame[0], expected)


@here
def test_the_parts_have_their_own_digits_and_the_seed_decides():
    first, again, other, test = (
        moving_digits(4, generator=seeded(seed), steps=3, part=part)
        for seed, part in ((0, "train"), (0, "train"), (1, "train"), (0, "test"))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, test)
    many = moving_digits(250, generator=seeded(), steps=3)  # more than are drawn at a time
    assert many[-50:].flatten(1).any(1).all()


def test_small_digits_are_means_of_four():
    grey = torch.zeros(28, 28)
    grey[2, 3] = grey[3, 2] = 0.81  # a mean of .405 in the pixel (1, 1)
    grey[10, 10] = 1.0  # of .25
    small = small_digits(grey.reshape(1, 784))
    assert small.nonzero().tolist() == [[0, 1, 1]]


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="part should be 'train' or 'test' but is 'valid'"):
        moving_digits(3, generator=seeded(), part="valid")
    with pytest.raises(ValueError, match="digits"):
        moving_digits(3, generator=seeded(), digits=0)
