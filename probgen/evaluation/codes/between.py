"""Points between codes, and steps in their space from what some have to what others have."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.core.between import BETWEEN


def interpolate(start: Tensor, end: Tensor, *, steps: int, path: str = "spherical") -> Tensor:
    r"""Return codes on the way from one to another, both ends counted, shape (\*pairs, steps, d).

    At the share t of the way from a to b the straight path has (1 − t) a + t b, which comes nearer to 0 than
    both; the spherical one a sin((1 − t)θ)/sin θ + b sin(tθ)/sin θ, θ the angle between them, which keeps the
    length where a and b have the same, as draws of N(0, I) of many coordinates nearly have.

    Args:
        start, end: codes, shape (\*pairs, d).
        steps: codes on the way, 2 or more.
        path: "spherical" or "straight".

    Raises:
        ValueError: for shapes that differ, another path, or no angle for the spherical one.

    Source: Shoemake (1985), Animating rotation with quaternion curves; White (2016), Sampling generative
    networks.

    >>> interpolate(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), steps=3)
    tensor([[1.0000, 0.0000],
            [0.7071, 0.7071],
            [0.0000, 1.0000]])
    """
    steps = check_count("steps", steps, least=2)
    if start.dim() < 1 or start.shape != end.shape or not start.numel():
        raise ValueError(
            "start and end should have one shape (..., d) but have "
            f"{tuple(start.shape)} and {tuple(end.shape)}"
        )
    if path not in BETWEEN:
        raise ValueError(f"path should be {' or '.join(map(repr, BETWEEN))} but is {path!r}")
    shares = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[:, None, None]
    first, last = (codes.reshape(-1, codes.shape[-1]) for codes in (start, end))
    codes = BETWEEN[path](first, last, shares).transpose(0, 1)
    return codes.reshape(*start.shape[:-1], steps, start.shape[-1])


def step_between(codes: Tensor, has: Tensor) -> Tensor:
    r"""Return the mean code of those that have something less that of those that have not, shape (d,).

    Added to a code, it is to give what is decoded this property, and taken off, to take it away:
    ``vae.decode(z + step)``. Whether it does has to be looked at.

    Args:
        codes: shape (n, d).
        has: which have it, boolean (n,).

    Raises:
        ValueError: where none or all have it, or shapes do not fit.

    Source: White (2016); Larsen and others (2016), who call such steps attribute vectors.

    >>> step_between(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([False, True]))
    tensor([2., 0.])
    """
    if codes.dim() != 2 or has.dtype != torch.bool or has.shape != codes.shape[:1]:
        raise ValueError(
            "codes (n, d) should go with booleans (n,) but have shape "
            f"{tuple(codes.shape)} with {has.dtype} of {tuple(has.shape)}"
        )
    if bool(has.all()) or not bool(has.any()):
        raise ValueError(f"some codes should have it and some not but {int(has.sum())} of {len(has)} have")
    return codes[has].mean(0) - codes[~has].mean(0)
