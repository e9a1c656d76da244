"""What the bounds of Pyro say term by term."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from probgen.core import Terms, sample_sites
from probgen.objectives.elbo import terms_of
from probgen.objectives.enumeration import one_dim_for_two
from probgen.objectives.masks_of_latent_sites import check_same_masks
from probgen.objectives.traced_pair import Parts, parts_of

Story = Callable[..., Any]


def recorded(story: Story, traces: list[Any]) -> Story:
    """Return a model or a guide that appends its trace to ``traces`` whenever it is run."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with poutine.trace() as tracer:
            value = story(*args, **kwargs)
        traces.append(tracer.trace)
        return value

    return run


@torch.no_grad()
def terms_of_pyro(elbo: Tensor, guides: list[Any], models: list[Any], *, draws: int) -> Terms:
    """Return the terms of one of Pyro's bounds, per datum.

    They are those of :class:`ELBO`, on the traces that the bound was made of. Where the guide's sites are
    enumerated one value after the other, by several draws, or in ``pyro.markov``, only ``elbo`` is.

    Raises:
        ValueError: for a guide that is masked otherwise than the model.

    Args:
        elbo: the bound, per datum.
        guides, models: the traces of which it was made, in the same order.
        draws: data times particles, by which sums over the traces are divided.
    """
    total: Parts | None = None
    for guide_trace, model_trace in zip(guides, models, strict=False):
        guide_sites, model_sites = sample_sites(guide_trace), sample_sites(model_trace)
        check_same_masks(model_sites, guide_sites)
        if any(map(_is_sampled, guide_sites.values())) or one_dim_for_two(guide_sites):
            return {"elbo": elbo}
        parts = parts_of(model_trace, guide_trace, reparameterised=False)
        total = parts if total is None else total + parts
    if total is None or len(guides) != len(models):
        return {"elbo": elbo}
    parts = total.per_datum(draws)
    rest = elbo if parts.factor is None else elbo - parts.factor
    reconstruction = rest + sum(kl.sum() for kl in parts.kl.values())  # by the bound's own draws of log q
    terms = terms_of(parts._replace(reconstruction=reconstruction))
    return terms | {"log_joint" if parts.points else "elbo": elbo}


def _is_sampled(site: Any) -> bool:
    """Say whether a site is enumerated in another way than in parallel, over all its values."""
    how = site["infer"]
    return how.get("enumerate") == "sequential" or how.get("num_samples") is not None
