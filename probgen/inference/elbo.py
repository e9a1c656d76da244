r"""The evidence lower bound of a model/guide pair, taken apart term by term."""

from __future__ import annotations

from typing import Any

import pyro.infer
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import kl_divergence

from probgen.core import Objective, Pair, Terms, sample_sites


class ELBO(nn.Module):
    r"""The evidence lower bound, E_q[log p(x | z)] − KL(q(z | x) ‖ p(z)), per datum.

    The KL of a site is analytic where Pyro knows it and guide and model visit their sites in the same order
    (then no parent of z in the model descends from z in the guide); otherwise, and where the guide is a
    point (Delta), it is the Monte Carlo average of log q − log p. Guide sites must be reparameterised, since
    their gradient is the pathwise one.

    Terms: ``elbo``, ``reconstruction`` = E_q[log p(x | z)], ``kl`` and, with several latent sites,
    ``kl/SITE``; all in nats per datum.

    Args:
        particles: draws of z per datum, in one batched pass.

    Source: Kingma and Welling (2014), Auto-encoding variational Bayes.
    """

    def __init__(self, *, particles: int = 1) -> None:
        super().__init__()
        if particles < 1:
            raise ValueError(f"particles should be at least 1 but got {particles}")
        self.particles = particles

    def forward(self, pair: Pair, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return minus the bound, per datum, and its terms."""
        model_trace, guide_trace, size = self._traces(pair, *batch)
        reconstruction, kl = _reconstruction_and_kl(model_trace, guide_trace)
        size *= self.particles
        return self._loss(reconstruction / size, {site: value / size for site, value in kl.items()})

    def _loss(self, reconstruction: Tensor, kl: dict[str, Tensor]) -> tuple[Tensor, Terms]:
        total = torch.as_tensor(sum(kl.values()))
        return total - reconstruction, _terms(reconstruction, total, kl)

    def _traces(self, pair: Pair, *batch: Tensor) -> tuple[Any, Any, int]:
        def run(story: Any) -> Any:
            if self.particles == 1:
                return poutine.trace(story).get_trace(*batch)
            with pyro.plate("particles", self.particles, dim=-2):
                return poutine.trace(story).get_trace(*batch)

        with _Watch(pair, len(batch[0])) as watch:
            guide_trace = run(pair.guide)
            model_trace = run(poutine.replay(pair.model, trace=guide_trace))
        return model_trace, guide_trace, watch.size


class BetaELBO(ELBO):
    r"""The bound with its KL weighted: E_q[log p(x | z)] − β KL(q(z | x) ‖ p(z)).

    β is a buffer, so that ``fit(..., schedules={"elbo.beta": schedules.linear(0, 1, steps=1000)})`` anneals
    it without a new capture. The unweighted ``elbo`` is logged beside the weighted loss.

    Source: Higgins and others (2017), beta-VAE.
    """

    beta: Tensor

    def __init__(self, beta: float = 1.0, *, particles: int = 1) -> None:
        super().__init__(particles=particles)
        if beta < 0:
            raise ValueError(f"beta should be at least 0 but got {beta}")
        self.register_buffer("beta", torch.tensor(float(beta)))

    def _loss(self, reconstruction: Tensor, kl: dict[str, Tensor]) -> tuple[Tensor, Terms]:
        total = torch.as_tensor(sum(kl.values()))
        return self.beta * total - reconstruction, _terms(reconstruction, total, kl)


class SVI(Objective):
    r"""Stochastic variational inference of a pair: the objective that ``fit`` minimises.

    The loss is minus the evidence lower bound, per datum in nats, whatever the batch size, sub-sampling
    or plate scale.

    Args:
        pair: the model/guide pair. Its parameters live in its modules, never in Pyro's global store.
        elbo: the bound; :class:`ELBO` by default. Any Pyro ELBO with a differentiable loss
            (``pyro.infer.Trace_ELBO()``, ``TraceEnum_ELBO(max_plate_nesting=1)``) serves too; it reports
            the term ``elbo`` alone and runs eagerly.
    """

    def __init__(self, pair: Pair, elbo: ELBO | pyro.infer.ELBO | None = None) -> None:
        super().__init__()
        if not isinstance(pair, Pair):
            raise TypeError(f"pair should be a probgen.Pair but is a {type(pair).__name__}")
        if not (elbo is None or isinstance(elbo, ELBO) or hasattr(elbo, "differentiable_loss")):
            raise TypeError(f"elbo should have a differentiable loss but {type(elbo).__name__} has none")
        self.pair = pair
        self.elbo: Any = ELBO() if elbo is None else elbo

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return minus the bound, per datum, and its terms."""
        if isinstance(self.elbo, ELBO):
            return self.elbo(self.pair, *batch)
        with _Watch(self.pair, len(batch[0])) as watch:
            total = self.elbo.differentiable_loss(self.pair.model, self.pair.guide, *batch)
        loss = total / watch.size
        return loss, {"elbo": -loss.detach()}


def _terms(reconstruction: Tensor, total: Tensor, kl: dict[str, Tensor]) -> Terms:
    terms = {"elbo": reconstruction - total, "reconstruction": reconstruction, "kl": total}
    if len(kl) > 1:
        terms |= {f"kl/{site}": value for site, value in kl.items()}
    return {name: value.detach() for name, value in terms.items()}


def _reconstruction_and_kl(model_trace: Any, guide_trace: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the sums over the batch of log p(x | z) and, by site, of the KL to the prior."""
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
        if not guide_site["is_observed"] and not guide_site["fn"].has_rsample:
            raise ValueError(
                f"guide site {name!r} should be reparameterised but {type(guide_site['fn']).__name__} has no "
                "rsample: pass one of Pyro's ELBOs, such as Trace_ELBO() or TraceEnum_ELBO()"
            )
        if name in latent:
            kl[name] = _site_kl(name, guide_site, model_sites[name], analytic=mean_field)
        else:  # an auxiliary site or a factor of the guide
            kl[name] = _log_prob(guide_site)
    return torch.as_tensor(sum(observed)), kl


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
            kl = kl_divergence(q, p)
        except NotImplementedError:
            pass
        else:
            return scale_and_mask(kl, guide_site["scale"], guide_site["mask"]).sum()
    return _log_prob(guide_site) - _log_prob(model_site)


def _log_prob(site: Any) -> Tensor:
    log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    return scale_and_mask(log_prob, site["scale"], site["mask"]).sum()


class _Watch(Messenger):
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
