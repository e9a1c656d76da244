"""What lies between two codes: on a line, or on an arc."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def straight(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Return (1 − t) a + t b, which comes nearer to 0 than both."""
    return torch.lerp(start, end, shares)


def spherical(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Return a sin((1 − t)θ)/sin θ + b sin(tθ)/sin θ, θ the angle between, which keeps the length of equals.

    Raises ValueError where there is no angle: for a code that is 0, or two that are opposite.
    """
    lengths = start.norm(dim=1), end.norm(dim=1)
    for name, length in zip(("start", "end"), lengths, strict=True):
        if bool((length == 0).any()):
            raise ValueError(
                f"{name} should have no code that is 0, which has no direction, but code "
                f"{int(length.argmin())} is: take the straight path"
            )
    # θ = 2 atan2(|u − v|, |u + v|) of the unit vectors u and v, which keeps the digits of small angles.
    u, v = start / lengths[0][:, None], end / lengths[1][:, None]
    angle = 2 * torch.atan2((u - v).norm(dim=1), (u + v).norm(dim=1))[:, None]
    if bool((torch.pi - angle < 1e-3).any()):
        raise ValueError(
            f"start and end should not be opposite, as pair {int(angle.argmax())} is: no arc between them is "
            "the shortest; take the straight path"
        )
    # sin(tθ)/sin θ = t sinc(tθ)/sinc θ, which is t at the angle 0.
    one, part = _sinc(angle), shares * _sinc(shares * angle)
    rest = (1 - shares) * _sinc((1 - shares) * angle)
    return start * (rest / one) + end * (part / one)


def _sinc(angle: Tensor) -> Tensor:
    return torch.sinc(angle / torch.pi)


BETWEEN: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "straight": straight,
    "spherical": spherical,
}
"""Paths from codes (pairs, d) to others at shares t of the way, which broadcast with them, by name."""
