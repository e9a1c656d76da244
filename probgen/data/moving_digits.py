"""Films of digits that move: drawn from MNIST."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.data.images import mnist

SIDE, DIGIT = 32, 14
"""Height and width of a frame and of a digit, in pixels."""

SPEED = 0.1
"""What a digit moves from frame to frame, in units of the 18 pixels that it has room for."""

AT_ONCE = 200
"""Films that are drawn at a time, so that room is needed for few."""


def moving_digits(
    rows: int,
    *,
    generator: torch.Generator,
    part: Literal["train", "test"] = "train",
    digits: int = 1,
    steps: int = 20,
    redrawn: bool = False,
) -> Tensor:
    r"""Draw films of one or more digits that move straight on and bounce off the walls.

    Protocol: digits are those of MNIST, of "train" its training pictures and of "test" its test pictures,
    drawn with replacement, made half as large by means of four pixels and black and white at a grey level of
    0.4. The place of each digit starts uniform in the square of places that keep it whole, its direction
    uniform; it moves by 0.1 of that square's side (1.8 pixels) a frame, and a coordinate that would leave the
    square is put on its edge and turned round. With ``redrawn`` a digit at an edge has a new direction,
    uniform but that it leads away from it: then the future is not certain. Where digits overlap, a pixel is 1
    if any of them is. Places are rounded down to whole pixels.

    Args:
        rows: n, how many films.
        generator: of digits, places and directions, on the CPU.
        part: which digits.
        digits: in a film.
        steps: frames of a film.
        redrawn: whether digits leave the walls in any direction.

    Returns:
        shape (n, steps, 1, 32, 32), float32, a pixel 0 or 1.

    Raises:
        ValueError: for a number below 1 and for another part.

    Source: Srivastava, Mansimov and Salakhutdinov (2015), Unsupervised learning of video representations
    using LSTMs, there at twice the size; Denton and Fergus (2018), Stochastic video generation with a learned
    prior, for directions that are drawn anew.
    """
    rows, digits, steps = (
        check_count("rows", rows),
        check_count("digits", digits),
        check_count("steps", steps),
    )
    if part not in ("train", "test"):
        raise ValueError(f"part should be 'train' or 'test' but is {part!r}")
    images = mnist()
    grey = images.train if part == "train" else images.test
    which = torch.randint(len(grey), (rows, digits), generator=generator)
    places = paths(rows, digits, steps, generator=generator, redrawn=redrawn)
    films = torch.zeros(rows, steps, 1, SIDE, SIDE)
    for start in range(0, rows, AT_ONCE):
        some = slice(start, start + AT_ONCE)
        films[some] = _drawn(small_digits(grey[which[some]]), places[some])
    return films


def small_digits(grey: Tensor) -> Tensor:
    r"""Return pictures (\*batch, 784) at half their size, black and white, float (\*batch, 14, 14)."""
    means = grey.reshape(*grey.shape[:-1], DIGIT, 2, DIGIT, 2).mean((-3, -1))
    return (means > 0.4).float()


def paths(rows: int, digits: int, steps: int, *, generator: torch.Generator, redrawn: bool = False) -> Tensor:
    """Return rows and columns of the upper left corners of digits, int64 (rows, steps, digits, 2)."""

    def directions() -> Tensor:
        angle = 2 * math.pi * torch.rand(rows, digits, generator=generator, dtype=torch.float64)
        return SPEED * torch.stack([angle.sin(), angle.cos()], -1)

    place = torch.rand(rows, digits, 2, generator=generator, dtype=torch.float64)
    speed, places = directions(), []
    for _ in range(steps):
        places.append(place)
        after = place + speed
        inward = (after < 0).double() - (after > 1).double()  # 1, −1, or 0 where no wall is met
        place = after.clamp(0, 1)
        if redrawn:
            speed = torch.where(inward.any(-1, keepdim=True), directions(), speed)
        speed = torch.where(inward == 0, speed, inward * speed.abs())
    return (torch.stack(places, 1) * (SIDE - DIGIT)).long()


def _drawn(stamps: Tensor, corners: Tensor) -> Tensor:
    """Return frames (n, steps, 1, 32, 32) of digits (n, digits, 14, 14) at corners (n, steps, digits, 2)."""
    inside = torch.arange(DIGIT)
    within = (inside[:, None] * SIDE + inside).flatten()  # of the pixels of a digit, from its corner
    where = (corners[..., :1] * SIDE + corners[..., 1:] + within).flatten(2)
    ink = stamps.flatten(1)[:, None].expand(where.shape)
    blank = torch.zeros(*where.shape[:2], SIDE * SIDE)
    return blank.scatter_reduce_(2, where, ink, "amax").unflatten(2, (1, SIDE, SIDE))
