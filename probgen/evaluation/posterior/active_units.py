"""Which latent coordinates tell anything of x: active units, at every site of a guide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from probgen.core import Pair, check_count, evaluating, sample_sites, seed_of, seeded, takes_missing
from probgen.data import source
from probgen.evaluation.likelihood.importance import batches_in_order, check_pair
from probgen.evaluation.posterior.independent_draws import numbers
from probgen.objectives.particles import forget, traces_of

if TYPE_CHECKING:
    import pandas as pd


@torch.no_grad()
def active_units(
    pair: Pair,
    x: Any,
    *context: Any,
    draws: int = 20,
    threshold: float = 0.01,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    r"""Return the variance over data of each latent coordinate's posterior mean, Var_x(E_q[z_j | x]).

    A coordinate is active where that is above the threshold: else the guide says the same of it for every x,
    and the model makes no use of it. Every continuous site of the guide is looked at, in whatever order it
    visits them. Where the law of a site depends on draws of others, its mean given x is the average over
    them; the variance that is left in that average is taken off, so that the estimate has no bias and may
    be a little below 0.

    Args:
        pair: the model/guide pair, run in evaluation mode and left in its own.
        x: data, shape (n, \*event), n >= 2, or in another form that :func:`probgen.fit` takes; ``context``
            what else the guide is given.
        draws: of the guide, for each row.
        threshold: in squared units of z.
        seed, generator: of the draws, one at most; seed 0 where not given.

    Returns:
        a row per coordinate, such as ``z[0]``, with its ``site``, ``variance`` and whether it is ``active``;
        ``table.groupby("site").active.sum()`` counts them.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders.
    """

    import pandas as pd

    check_pair(pair)
    check_count("draws", draws)
    if draws < 2:
        raise ValueError(f"draws should be at least 2 but got {draws}")
    data = source((x, *context) if context else x, name="x", missing=takes_missing(pair))
    forget(pair)
    means: dict[str, list[Tensor]] = {}
    noise: dict[str, list[Tensor]] = {}
    with seeded(seed_of(seed, generator, default=0)), evaluating(pair):
        for batch in batches_in_order(pair, data, draws):
            for name, found in _means(pair, batch, draws).items():
                means.setdefault(name, []).append(found.mean(0))
                noise.setdefault(name, []).append(found.var(0) / draws)
    rows = {}
    for site, parts in means.items():
        if sum(map(len, parts)) < 2:
            raise ValueError("x should have at least 2 rows, over which means vary, but has 1")
        variance = torch.cat(parts).var(0) - torch.cat(noise[site]).mean(0)
        for label, value in numbers(site, variance.unsqueeze(0)):
            rows[label] = {"site": site, "variance": float(value), "active": float(value) > threshold}
    return pd.DataFrame.from_dict(rows, orient="index")


def _means(pair: Pair, batch: tuple[Tensor, ...], draws: int) -> dict[str, Tensor]:
    r"""Return by site the mean of z given x and the draws before it, (draws, n, \*event), or z itself."""
    parts: dict[str, list[Tensor]] = {}
    for traces in traces_of(pair, draws, *batch, guided=False):
        shape = (traces.particles, len(batch[0]))
        for name, site in sample_sites(traces.guide).items():
            law = site["fn"]
            if site["is_observed"] or not site["value"].is_floating_point() or law.support.is_discrete:
                continue
            try:
                mean = law.mean
            except NotImplementedError:
                mean = site["value"]
            whole = mean.double().expand(site["value"].shape).reshape(*shape, -1, *law.event_shape)
            parts.setdefault(name, []).append(whole.squeeze(2) if whole.shape[2] == 1 else whole)
    return {name: torch.cat(part) for name, part in parts.items()}
