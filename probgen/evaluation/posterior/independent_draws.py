"""Draws of a batch of posteriors, number by number and about independent."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from probgen.sampling.markov.diagnosis import autocorrelation


def numbers(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    r"""Return each number of a site, (draws,), with its label, as ArviZ writes it; value (draws, \*shape)."""
    if value.dim() == 1:
        return [(name, value)]
    places = np.ndindex(*value.shape[1:])
    return [(f"{name}[{', '.join(map(str, place))}]", value[(slice(None), *place)]) for place in places]


def thinned(sites: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
    r"""Return every so many draws, the last ones among them, of all chains, (draws, batch, \*shape)."""
    return {name: draws.flip(1)[:, ::step].flatten(0, 1) for name, draws in sites.items()}


def integrated_time(draws: Tensor) -> int:
    r"""Return 1 + 2 Σ ρ_k, up to the first ρ_k below 0.05, of the slowest number, the batch pooled.

    The draws have shape (chains, draws, batch, \*shape).
    """
    length = draws.shape[1]
    slowest = 1.0
    apart = draws.double() - draws.double().mean((0, 1))
    pooled = apart.movedim(2, 1).flatten(0, 1).unsqueeze(-1).flatten(2)
    for coordinate in pooled.unbind(-1):
        rho = autocorrelation(coordinate)
        last = int((rho < 0.05).nonzero()[0]) if (rho < 0.05).any() else length
        slowest = max(slowest, 1 + 2 * float(rho[1:last].sum()))
    return min(length, math.ceil(slowest))
