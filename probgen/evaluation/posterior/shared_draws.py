"""Draws of a guide with sites that all data share: one posterior of all sites, not one for each row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from probgen.core import Pair, sample_sites
from probgen.objectives.discrete_sites import discrete_sites
from probgen.objectives.masks_of_latent_sites import masked_as_in_model
from probgen.objectives.particles import alone, traces_of
from probgen.objectives.traced_pair import check_sites, drawn_sites, log_prob_of, refuse_points


def shares_sites(pair: Pair, batch: tuple[Tensor, ...]) -> bool:
    """Say whether some latent site of a pair stands outside of the plate of the data."""
    traces = alone(pair, *batch)
    proposed = drawn_sites(sample_sites(traces.guide))
    return any(not _in_plate_of(site, len(batch[0])) for site in proposed.values())


def jointly_weighted_draws(
    pair: Pair, batch: tuple[Tensor, ...], particles: int
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    r"""Draw all sites of the guide, by site (particles, \*shape), and log p(x, z) and log q (particles, 1).

    Raises:
        ValueError: for discrete sites, and a plate that holds more data than are given.
    """
    discrete = discrete_sites(pair, batch)
    if discrete.guided or discrete.summed:
        named = sorted(discrete.guided | discrete.summed)[0]
        raise ValueError(
            f"a pair with sites that all data share should have continuous ones alone but has {named!r}: "
            "look at the chains of its Density"
        )
    draws: dict[str, list[Tensor]] = {}
    log_p, log_q = [], []
    for traces in traces_of(pair, particles, *batch):
        model_sites, guide_sites = sample_sites(traces.model), sample_sites(traces.guide)
        latent = check_sites(model_sites, guide_sites, reparameterised=False)
        refuse_points(model_sites, guide_sites)
        proposed = drawn_sites(masked_as_in_model(model_sites, guide_sites))
        log_p.append(_total(model_sites, traces.particles, traces.nesting))
        log_q.append(_total(proposed, traces.particles, traces.nesting))
        for name in latent:
            value = _own(guide_sites[name], traces.particles, traces.nesting)
            draws.setdefault(name, []).append(value)
    return {name: torch.cat(parts) for name, parts in draws.items()}, torch.cat(log_p), torch.cat(log_q)


def _in_plate_of(site: Any, rows: int) -> bool:
    return any(frame.dim == -1 and frame.size == rows for frame in site["cond_indep_stack"])


def _total(sites: dict[str, Any], particles: int, nesting: int) -> Tensor:
    """Return the log-probability of all sites together, for each draw, shape (particles, 1)."""
    total = torch.zeros(())
    for name, site in sites.items():
        if any(frame.full_size not in (None, frame.size) for frame in site["cond_indep_stack"]):
            raise ValueError(
                f"x should be all the data of the plate that holds {name!r} but is a part of them"
            )
        log_prob = log_prob_of(site)
        own = log_prob.flatten(1).sum(1) if particles > 1 and log_prob.dim() > nesting else log_prob.sum()
        total = total.to(log_prob) + own
    return total.expand(particles)[:, None]


def _own(site: Any, particles: int, nesting: int) -> Tensor:
    """Return the draws of a site, (particles, *plates, *event), without dimensions that hold no plate."""
    law, value = site["fn"], site["value"]
    plates = {frame.dim for frame in site["cond_indep_stack"] if frame.vectorized}
    batch = law.batch_shape[-nesting:] if law.batch_shape else ()
    kept = [size for dim, size in enumerate(batch, -len(batch)) if dim in plates or size > 1]
    return value.reshape(particles, *kept, *law.event_shape)
