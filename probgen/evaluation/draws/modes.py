"""Draws of a law whose modes are known: which of them were found, how well, and in which shares."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.special import gammainc, xlogy

from probgen.core import taking_arrays
from probgen.mmd.pairwise import accurate_squared_distances, by_rows, centred, check_finite

RADIUS = 3.0
"""Standard deviations from a centre within which a draw is of high quality."""

LEAST = 0.25
"""The share of its expected mass from which on a mode is found."""


class ModeCoverage(NamedTuple):
    """How many modes were found, the share of draws near one, and KL(found ‖ true) of the modes' shares."""

    found: int
    high_quality: float
    kl: float


@taking_arrays("draws", "centres", "weights")
def mode_coverage(
    draws: Tensor, centres: Tensor, sd: float, *, weights: Tensor | None = None
) -> ModeCoverage:
    r"""Judge draws of a mixture of separate round modes, whose centres, spread and weights are known.

    A draw is of high quality within 3 standard deviations, in Euclidean distance, of a centre. An exact one
    is with probability c = P(χ²_d ≤ 9) in d dimensions, 0.9973 in one and 0.9889 in two: no law scores more
    but one that is too narrow. A mode of weight w is found where its draws of high quality number at least a
    quarter of the n w c that are expected, so that a stray draw finds none; with 50 expected, exact draws
    miss a mode with probability 1e-10. The divergence Σ_k s_k log(s_k / w_k), in nats, is that of the shares
    s_k of all n draws, each at its nearest centre; for exact draws its mean is about (K − 1) / 2n.

    Args:
        draws: shape (n, \*event); events are flattened.
        centres: of the K modes, shape (K, \*event), more than 6 ``sd`` apart.
        sd: the standard deviation of a mode, in each coordinate.
        weights: of the modes, shape (K,), positive; they need not sum to 1. Equal where not given.

    Raises:
        TypeError, ValueError: for draws and centres that are not finite or not alike in event, centres so
            near that a draw could belong to two, and more than 9 coordinates, where 3 standard deviations
            hold less than half of a mode.

    Source: Srivastava, Valkov, Russell, Gutmann and Sutton (2017), who find a mode by one draw.

    >>> from probgen.data import target
    >>> ring = target("ring")
    >>> mode_coverage(ring.modes[[0, 0, 1]], ring.modes, ring.mode_scale).found
    2
    """
    check_finite(draws=draws)
    check_finite(centres=centres)
    points, places = centred(draws=draws.double(), centres=centres.to(draws.device).double())
    inside = _share_inside(points.shape[1])
    _check_apart(places, sd)
    expected = _shares(weights, places)

    def nearest(_: slice, block: Tensor) -> Tensor:
        distance, mode = block.min(1)
        return torch.stack([distance, mode.to(distance)], 1)

    distance, mode = by_rows(nearest, points, places).T
    near, modes = distance <= (RADIUS * sd) ** 2, mode.long()
    of_quality = torch.bincount(modes[near], minlength=len(places))
    shares = torch.bincount(modes, minlength=len(places)).double() / len(points)
    return ModeCoverage(
        found=int((of_quality >= LEAST * len(points) * inside * expected).sum()),
        high_quality=float(near.double().mean()),
        kl=float(xlogy(shares, shares / expected).sum()),
    )


def _share_inside(d: int) -> float:
    """Return P(χ²_d ≤ 9), the mass of a mode within 3 standard deviations."""
    inside = float(gammainc(torch.tensor(d / 2).double(), torch.tensor(RADIUS**2 / 2).double()))
    if inside < 0.5:
        raise ValueError(
            f"draws should have at most 9 coordinates, of which 3 sd hold half of a mode, but have {d}: "
            "compare fewer coordinates"
        )
    return inside


def _check_apart(places: Tensor, sd: float) -> None:
    """Raise unless the balls around the centres are disjoint."""
    if not 0 < sd < math.inf:
        raise ValueError(f"sd should be positive and finite but got {sd}")
    squared = accurate_squared_distances(places, places).fill_diagonal_(math.inf)
    least = int(squared.argmin())
    nearest = float(squared.flatten()[least]) ** 0.5
    if nearest <= 2 * RADIUS * sd:
        one, other = divmod(least, len(places))
        raise ValueError(
            f"centres should be more than 6 sd, {6 * sd:.4g}, apart, so that a draw belongs to one mode, but "
            f"{one} and {other} are {nearest:.4g} apart: name one of them"
        )


def _shares(weights: Tensor | None, places: Tensor) -> Tensor:
    """Return the modes' weights, which sum to 1."""
    if weights is None:
        return places.new_full((len(places),), 1 / len(places))
    if not isinstance(weights, Tensor):
        raise TypeError(f"weights should be a tensor but are of type {type(weights).__name__}")
    if weights.shape != (len(places),):
        raise ValueError(
            f"weights should have shape ({len(places)},), one a mode, but have shape {tuple(weights.shape)}"
        )
    if not ((weights > 0) & weights.isfinite()).all():
        raise ValueError("weights should be positive and finite: leave out modes that have none")
    found = weights.to(places)
    return found / found.sum()
