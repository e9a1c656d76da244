"""Chains that run until they agree and are then thinned until draws are nearly independent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from probgen import sampling
from probgen.core import Density, Transition
from probgen.sampling.markov.sample import METHODS

if TYPE_CHECKING:
    import pandas as pd

CHAINS = 256
"""Chains that warm up, are diagnosed, and then go on, so far between draws that these are independent."""

WARM_UP, DRAWS = 1000, 400
LONGER = (1, 4, 16)
"""Steps of tuning, draws a chain by which they are diagnosed, and how much longer they run until they agree:
steps between these draws, times ``WALKING`` where a method has no gradients."""

WALKING = 4
AGREED = 1.01
"""R-hat up to which chains agree."""

APART = 2
"""Autocorrelation times between two draws that are given away."""


class ThinnedChains(NamedTuple):
    """What draws n points, (n, ...), under a seed; notes for a report; and what is wrong, a sentence each."""

    draw: Callable[[int, int], Tensor]
    notes: dict[str, str | float]
    findings: list[str]


def thinned_chains(
    density: Density, method: str, *, generator: torch.Generator, **options: Any
) -> ThinnedChains:
    """Warm up by a method of :func:`probgen.sampling.sample` and run until the chains' diagnosis is good.

    Draws then go on from the last of these, two autocorrelation times apart where the chains agree, by the
    least of all bulk and tail effective sample sizes.
    """
    settings = {"chains": CHAINS, "warmup": WARM_UP, "compile": "graph", **options}
    first = sampling.sample(density, method=method, draws=1, generator=generator, progress=False, **settings)
    # Chains run, four times as long each time, until R-hat and the effective sample sizes are in order.
    transition, state, seconds = cast(Transition, first.transition), first.state, math.nan
    for longer in LONGER:
        thin = longer * (1 if METHODS[method].gradient else WALKING)
        begun = time.perf_counter()
        chains = sampling.run(transition, state, draws=DRAWS, thin=thin, density=density, generator=generator)
        seconds = time.perf_counter() - begun
        summary, state = chains.summary(), chains.state
        if summary.r_hat.max() <= AGREED:
            break
    chains.target_acceptance = first.target_acceptance
    many = chains.shape[0]
    effective = float(summary[["ess_bulk", "ess_tail"]].min(axis=1).min())
    # Chains that disagree stay correlated however far apart their draws are: these are marked, not thinned.
    agreed = summary.r_hat.max() <= AGREED
    apart = thin * (min(DRAWS, math.ceil(APART * many * DRAWS / effective)) if agreed else 1)

    def draw(n: int, seed: int) -> Tensor:
        found = sampling.run(
            transition,
            chains.state,
            draws=-(-n // many),
            thin=apart,
            density=density,
            generator=torch.Generator(density.device).manual_seed(seed),
        )
        return side_by_side(density, {name: found[name].transpose(0, 1) for name in density.names}, n)

    notes = _notes(chains, first, summary, effective, apart / thin, seconds) | {
        "steps between draws": float(apart)
    }
    return ThinnedChains(draw, notes, chains.diagnose())


def side_by_side(density: Density, values: dict[str, Tensor], n: int) -> Tensor:
    r"""Return n draws of one site, (n, \*event), or the numbers of several side by side, (n, numbers).

    ``values`` have two dimensions of draws before their event.
    """
    rows = {name: x.flatten(0, 1)[:n].to(density.dtype) for name, x in values.items()}
    if len(rows) == 1:
        return rows[density.names[0]]
    return torch.cat([x.reshape(n, -1) for x in rows.values()], 1)


def by_site(density: Density, draws: Tensor) -> dict[str, Tensor]:
    """Undo :func:`side_by_side`."""
    sizes = [shape.numel() for shape in density.shapes.values()]
    parts = draws.to(density.dtype).reshape(len(draws), -1).split(sizes, 1)
    pairs = zip(density.shapes.items(), parts, strict=True)
    return {name: part.reshape(len(draws), *shape) for (name, shape), part in pairs}


def _notes(
    chains: sampling.Chains,
    first: sampling.Chains,
    summary: pd.DataFrame,
    effective: float,
    apart: float,
    seconds: float,
) -> dict[str, str | float]:
    """Return what the diagnosis found and what a draw costs; ``apart`` counts the run's own draws."""
    counted = {
        name: float(chains.statistics[name].double().mean())
        for name in ("evaluations", "gradients")
        if name in chains.statistics
    }
    many = chains.shape.numel()
    notes: dict[str, str | float] = {
        "acceptance": float(chains.statistics["acceptance"].double().mean()),
        "largest R-hat": float(summary.r_hat.max()),
        "least effective sample size": effective,
    }
    if "divergent" in chains.statistics:
        notes["divergences"] = float(chains.statistics["divergent"].sum())
    if "evaluations" in counted:
        notes["log-densities a draw"] = counted["evaluations"] * apart
        notes["log-densities of the warm-up, a chain"] = first.warm_up.log_probs / chains.shape[0]
        notes["effective draws a log-density"] = effective / (counted["evaluations"] * many)
    if "gradients" in counted:
        notes["gradients a draw"] = counted["gradients"] * apart
        notes["effective draws a gradient"] = effective / (counted["gradients"] * many)
    notes["effective draws a second"] = effective / seconds
    return notes
