"""What the bounds of Pyro say term by term, also where discrete sites are enumerated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from probgen.core import Terms, is_factor, sample_sites
from probgen.objectives.elbo import terms_of
from probgen.objectives.masks import check_same_masks
from probgen.objectives.traced_pair import Parts, analytic_kl, by_coordinate, drawn_sites, log_prob_of

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

    The KL of a site is its expectation over the sites that the guide enumerates. What depends on a site that
    the model enumerates cannot be told apart and is left out: the KL of that site, and with it ``kl`` and
    ``reconstruction``. Where all is known, reconstruction = elbo + kl − factor.

    Args:
        elbo: the bound, per datum.
        guides, models: the traces of which it was made, in the same order.
        draws: data times particles, by which sums over the traces are divided.
    """
    totals: dict[str, dict[str, Tensor]] = {"kl": {}, "coordinates": {}, "factor": {}}
    complete = len(guides) == len(models) > 0
    for guide_trace, model_trace in zip(guides, models, strict=False):
        guide_sites, model_sites = sample_sites(guide_trace), sample_sites(model_trace)
        check_same_masks(model_sites, guide_sites)
        if any(_is_sampled_or_masked(site) for site in guide_sites.values()):
            return {"elbo": elbo}
        found, whole = _expectations(model_sites, guide_sites)
        complete = complete and whole
        for kind, values in found.items():
            for name, value in values.items():
                totals[kind][name] = totals[kind].get(name, 0.0) + value / draws
    kl, coordinates, factors = totals["kl"], totals["coordinates"], totals["factor"]
    if not complete:
        return {"elbo": elbo} | {f"kl/{name}": value.sum() for name, value in kl.items()}
    factor = torch.as_tensor(sum(factors.values())) if factors else None
    reconstruction = elbo + sum(value.sum() for value in kl.values()) - (0.0 if factor is None else factor)
    return terms_of(Parts(reconstruction, kl, coordinates, factor)) | {"elbo": elbo}


def _expectations(
    model_sites: Mapping[str, Any], guide_sites: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Tensor]], bool]:
    """Return the KL by site, that by coordinate, and the factors, and say whether nothing is left out."""
    in_model = [_enumerated_dim(site) for name, site in model_sites.items() if name not in guide_sites]
    drawn = drawn_sites(guide_sites)
    factors = {name: site for name, site in {**model_sites, **guide_sites}.items() if is_factor(site)}
    apart = {
        name
        for name in (*drawn, *factors)
        if name not in model_sites or not _varies(model_sites[name]["fn"].batch_shape, in_model)
    }

    def weigh(name: str, kl: Tensor) -> Tensor:
        return _expected(kl, guide_sites[name], guide_sites, leading=1)

    kl = {
        name: value for name, value in analytic_kl(model_sites, guide_sites, weigh).items() if name in apart
    }
    coordinates = by_coordinate(kl, guide_sites)
    for name in drawn.keys() & apart - kl.keys():
        log_ratio = log_prob_of(drawn[name])
        if name in model_sites:
            log_ratio = log_ratio - log_prob_of(model_sites[name])
        kl[name] = _expected(log_ratio, drawn[name], guide_sites).sum().reshape(1)
    added = {}
    for name in factors.keys() & apart:
        sign = 1 if name in model_sites else -1
        added[name] = sign * _expected(log_prob_of(factors[name]), factors[name], guide_sites).sum()
    ordered = {name: kl[name] for name in drawn if name in kl}
    whole = apart == drawn.keys() | factors.keys()
    return {"kl": ordered, "coordinates": coordinates, "factor": added}, whole


def _expected(cost: Tensor, site: Any, guide_sites: Mapping[str, Any], *, leading: int = 0) -> Tensor:
    """Weigh a site's cost by the probabilities of what the guide enumerates in the site's own plates."""
    log_weight = torch.zeros((), dtype=cost.dtype, device=cost.device)
    plates = {frame.name for frame in site["cond_indep_stack"]}
    for other in guide_sites.values():
        if _enumerated_dim(other) and plates >= {frame.name for frame in other["cond_indep_stack"]}:
            log_weight = log_weight + other["fn"].log_prob(other["value"])
    missing = max(0, log_weight.dim() - (cost.dim() - leading))
    cost = cost.reshape(cost.shape[:leading] + (1,) * missing + cost.shape[leading:])
    return torch.where(log_weight == -torch.inf, 0.0, log_weight.exp() * cost)


def _enumerated_dim(site: Any) -> int | None:
    return site["infer"].get("_enumerate_dim")


def _varies(shape: torch.Size, dims: list[int | None]) -> bool:
    return any(dim is not None and len(shape) >= -dim and shape[dim] > 1 for dim in dims)


def _is_sampled_or_masked(site: Any) -> bool:
    """Say whether a site is enumerated in another way than in parallel, over all its values, everywhere."""
    how = site["infer"]
    if how.get("enumerate") == "sequential" or how.get("num_samples") is not None:
        return True
    return _enumerated_dim(site) is not None and site["mask"] is not None
