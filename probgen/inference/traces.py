"""What the traces of a model/guide pair say: log-probabilities, divergences, and how many data they hold."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Delta, TorchDistribution
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from probgen.core import Pair, sample_sites


def reconstruction_and_kl(model_trace: Any, guide_trace: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sums over the batch of log p(x | z) and, by site, of the KL to the prior.

    The KL of a site is a vector, one number per latent coordinate, where both laws have independent
    coordinates and Pyro knows their divergence; else it is one number, shape (1,).
    """
    guide_sites = sample_sites(guide_trace)
    model_sites = sample_sites(model_trace)
    latent = [name for name, site in model_sites.items() if not site["is_observed"]]
    missing = [name for name in latent if name not in guide_sites]
    if missing:
        raise ValueError(f"every latent site of the model should be in the guide, which lacks {missing[0]!r}")
    mean_field = latent == [name for name in guide_sites if name in latent]

    observed = [_log_prob(site) for site in model_sites.values() if site["is_observed"]]
    if not observed:
        raise ValueError("the model should observe its data: pyro.sample(..., obs=x)")
    kl = {}
    for name, guide_site in guide_sites.items():
        if guide_site["infer"].get("_deterministic"):
            continue
        if name not in latent and not guide_site["infer"].get("is_auxiliary"):
            raise ValueError(
                f"guide site {name!r} should be a latent site of the model, or be marked as auxiliary with "
                "infer={'is_auxiliary': True}"
            )
        require_reparameterised(name, guide_site)
        if name in latent:
            kl[name] = _site_kl(name, guide_site, model_sites[name], analytic=mean_field)
        else:  # an auxiliary site or a factor of the guide
            kl[name] = _log_prob(guide_site).reshape(1)
    return torch.as_tensor(sum(observed)), kl


def require_reparameterised(name: str, site: Any) -> None:
    """Raise unless a guide site is observed or has pathwise gradients."""
    if not site["is_observed"] and not site["fn"].has_rsample:
        raise ValueError(
            f"guide site {name!r} should be reparameterised but {type(site['fn']).__name__} has no "
            "rsample: pass one of Pyro's ELBOs, such as Trace_ELBO() or TraceEnum_ELBO()"
        )


def _site_kl(name: str, guide_site: Any, model_site: Any, *, analytic: bool) -> Tensor:
    p, q = model_site["fn"], guide_site["fn"]
    fits = len(p.batch_shape) <= len(q.batch_shape) and all(
        size in (1, full) for size, full in zip(p.batch_shape[::-1], q.batch_shape[::-1], strict=False)
    )
    if p.event_shape != q.event_shape or not fits:
        shapes = " and ".join(f"{tuple(law.batch_shape)}, {tuple(law.event_shape)}" for law in (p, q))
        raise ValueError(
            f"site {name!r} should have the same batch and event shape in model and guide but has {shapes}"
        )
    same_weight = guide_site["scale"] is model_site["scale"] or (
        isinstance(guide_site["scale"], float | int) and guide_site["scale"] == model_site["scale"]
    )
    point = isinstance(q, Delta)  # Pyro's divergence from a point leaves its log-density out
    if analytic and not point and same_weight and guide_site["mask"] is model_site["mask"]:
        try:
            kl = _kl_of_coordinates(q, p)
        except NotImplementedError:
            pass
        else:
            return scale_and_mask(kl, guide_site["scale"], guide_site["mask"]).flatten(1).sum(1)
    return (_log_prob(guide_site) - _log_prob(model_site)).reshape(1)


def _kl_of_coordinates(q: TorchDistribution, p: TorchDistribution) -> Tensor:
    r"""Return the analytic KL, shape (coordinates, \*batch); one where coordinates depend."""
    independent = isinstance(q, Independent) and isinstance(p, Independent)
    if not independent or q.reinterpreted_batch_ndims != p.reinterpreted_batch_ndims:
        return kl_divergence(q, p).expand(q.batch_shape).unsqueeze(0)
    kl = kl_divergence(q.base_dist, p.base_dist)
    if kl.shape != q.batch_shape + q.event_shape:  # the base has events of its own
        return kl_divergence(q, p).expand(q.batch_shape).unsqueeze(0)
    return kl.flatten(len(q.batch_shape)).movedim(-1, 0)


def _log_prob(site: Any) -> Tensor:
    log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    return scale_and_mask(log_prob, site["scale"], site["mask"]).sum()


class Watch(Messenger):
    """Reads how many data the log-probabilities stand for; refuses parameters that are not the pair's.

    A batch of ``rows`` stands for the full size of the plate at -1 that holds it, or for itself.
    """

    def __init__(self, pair: Pair, rows: int) -> None:
        super().__init__()
        self.size = self._rows = rows
        self._own = {id(parameter) for parameter in pair.parameters()}

    def _pyro_post_sample(self, msg: Any) -> None:
        for frame in msg["cond_indep_stack"]:
            if frame.dim == -1 and frame.size == self._rows:
                self.size = max(self.size, frame.full_size or frame.size)

    def _pyro_post_param(self, msg: Any) -> None:
        value = msg["value"]
        if id(value.unconstrained() if hasattr(value, "unconstrained") else value) not in self._own:
            raise ValueError(
                f"parameter {msg['name']!r} should be in a module of the pair but is in Pyro's global store, "
                "where it is not trained: make it an nn.Parameter (PyroModules need "
                "pyro.settings.set(module_local_params=True) before they are made)"
            )
