"""Masks of latent sites: the model's say which rows and coordinates count, in model and guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.distributions import MaskedDistribution
from torch.distributions import Independent
from torch.fx.experimental.proxy_tensor import get_proxy_mode


def masked_as_in_model(model_sites: Mapping[str, Any], guide_sites: Mapping[str, Any]) -> dict[str, Any]:
    r"""Return the guide's sites with the masks of the model's: what a model masks adds nothing to a bound.

    Else log p(z) would be 0 where log q(z | x) is not: such a bound may lie above the evidence. No mask is
    compared with another, which a captured graph cannot do.

    Raises:
        ValueError: for a mask in the law of the model's site that the guide's law cannot take.
    """
    matched = dict(guide_sites)
    for name, site in guide_sites.items():
        if name not in model_sites or model_sites[name]["is_observed"]:
            continue
        other = model_sites[name]
        law = _masked_as(name, site["fn"], other["fn"]) if _is_masked(other["fn"], site["fn"]) else site["fn"]
        matched[name] = {**site, "fn": law, "mask": other["mask"]}
    return matched


def check_same_masks(model_sites: Mapping[str, Any], guide_sites: Mapping[str, Any]) -> None:
    """Raise where a latent site is masked otherwise in the guide, which Pyro's bounds do not see."""
    for name, site in guide_sites.items():
        if name not in model_sites or model_sites[name]["is_observed"]:
            continue
        mine, others = _masks(site), _masks(model_sites[name])
        if len(mine) != len(others) or any(_differ(*both) for both in zip(mine, others, strict=True)):
            raise ValueError(
                f"guide site {name!r} should have the mask that it has in the model, as Pyro's bounds need, "
                "but has another: mask it equally, or leave out elbo= for probgen's ELBO, in which the "
                "model's mask counts"
            )


def _is_masked(*laws: Any) -> bool:
    return any(_masks({"fn": law, "mask": None}) for law in laws)


def _masks(site: Any) -> list[Any]:
    """Return what masks a site: its own mask, and those in its law, from the outside."""
    masks, law = [] if site["mask"] is None else [site["mask"]], site["fn"]
    while isinstance(law, Independent | MaskedDistribution):
        masks += [law._mask] if isinstance(law, MaskedDistribution) else []
        law = law.base_dist
    return masks


def _differ(one: Any, other: Any) -> bool:
    """Compare two masks, but not in a graph that is being captured: an eager call has been by then."""
    if one is other or get_proxy_mode() is not None:
        return False
    masks = torch.broadcast_tensors(*(torch.as_tensor(mask) for mask in (one, other)))
    return bool((masks[0] != masks[1]).any())


def _masked_as(name: str, q: Any, p: Any) -> Any:
    """Return a guide's law without masks of its own, with those of the model's law."""
    if isinstance(q, MaskedDistribution):
        return _masked_as(name, q.base_dist, p)
    if isinstance(p, MaskedDistribution):
        return MaskedDistribution(_masked_as(name, q, p.base_dist), p._mask)
    if not _is_masked(p, q):
        return q
    if isinstance(q, Independent) and (
        not isinstance(p, Independent) or q.reinterpreted_batch_ndims == p.reinterpreted_batch_ndims
    ):
        inner = _masked_as(name, q.base_dist, p.base_dist if isinstance(p, Independent) else p)
        return type(q)(inner, q.reinterpreted_batch_ndims)
    raise ValueError(
        f"guide site {name!r} should be masked as in the model, by law.mask(...).to_event(...), but "
        f"{type(q).__name__} has no such coordinates: mask whole rows, by poutine.mask, or give it the form "
        "of the model's law"
    )
