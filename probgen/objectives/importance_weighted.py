r"""Bounds from importance weights w_k = p(x, z_k) / q(z_k | x), z_1, ..., z_K ~ q(z | x)."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from pyro.distributions.util import detach
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd

from probgen.core import (
    Pair,
    Terms,
    is_data,
    is_derived,
    is_factor,
    log_joint_prob,
    sample_sites,
    site_log_prob,
)
from probgen.objectives.elbo import Bound, terms_of
from probgen.objectives.masks_of_latent_sites import masked_as_in_model
from probgen.objectives.particles import Traces, trace_at, traces_of
from probgen.objectives.traced_pair import (
    Parts,
    Watch,
    analytic_kl,
    by_coordinate,
    check_sites,
    drawn_sites,
    not_by_coordinate,
    parts_of,
    refuse_points,
)


class IWAE(Bound):
    r"""The importance-weighted bound, E[log (1/K) Σ_k w_k], per datum: the ELBO at K = 1, tighter with K.

    Terms: ``iwae``, the bound; ``ess``, the effective number of draws (Σ w)² / Σ w², from 1 to K; and those
    of :class:`ELBO`, averaged over the same draws. Masks count, scales do not: a weighted bound would bound
    nothing. A ``pyro.factor`` of the model is part of p(x, z); one of the guide is added to the loss.
    Discrete sites of the model that the guide leaves out are summed out.

    Args:
        particles: K.
        gradient: "dreg", the doubly reparameterised gradient, −Σ w̃ ∂_θ log w for the model and
            −Σ w̃² ∂_z log w ∂_φ z for the guide, w̃ = w / Σ w, whose signal for the guide does not vanish as
            K grows. It takes a second pass through the model and, of several latent sites, through the
            guide: nothing but z may be drawn there, such as dropout. "plain" is the pathwise gradient.

    Source: Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders; Tucker, Lawson, Gu and
    Maddison (2019), Doubly reparameterized gradient estimators for Monte Carlo objectives.
    """

    def __init__(self, particles: int = 5, *, gradient: Literal["dreg", "plain"] = "dreg") -> None:
        super().__init__(particles=particles)
        if gradient not in ("dreg", "plain"):
            raise ValueError(f"gradient should be 'dreg' or 'plain' but got {gradient!r}")
        self.gradient = gradient

    def forward(self, pair: Pair, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return minus the bound, per datum, and its terms."""
        draws = _draws(self, pair, *batch, gradients=self.gradient == "plain")
        bound = (draws.log_weights.logsumexp(0) - math.log(self.particles)).mean()
        loss, terms = draws.loss(bound), draws.terms("iwae", bound)
        if self.gradient == "plain" or not torch.is_grad_enabled():
            return loss, terms
        surrogate = self._doubly_reparameterised(pair, draws, *batch)
        return surrogate - surrogate.detach() + loss, terms

    def _doubly_reparameterised(self, pair: Pair, draws: Draws, *batch: Tensor) -> Tensor:
        """Return a scalar that has the doubly reparameterised gradient."""
        _refuse_dropout(pair)
        rows, surrogates = len(batch[0]), []
        possible = draws.log_weights.amax(0) > -torch.inf  # else the loss is infinite, and has no weights
        log_weights = torch.where(possible, draws.log_weights, 0)
        each = log_weights.softmax(0).split([traces.particles for traces in draws.traces])
        for traces, weights in zip(draws.traces, each, strict=True):
            # The same z, its gradient times the weight: that of the guide has the weight squared.
            sites = sample_sites(traces.guide)
            values = {
                name: self._weighted(site["value"], weights, traces, len(site["fn"].event_shape))
                for name, site in sites.items()
                if not site["is_observed"]
            }
            model = trace_at(pair.model, traces, values, *batch)
            surrogate = (weights * log_joint_prob(model, rows, nesting=traces.nesting)).sum()
            for name, slope in _slopes(pair, traces, model, values, weights, *batch).items():
                surrogate = surrogate - (slope * values[name]).sum()
            surrogates.append(-surrogate / rows)
        return torch.as_tensor(sum(surrogates))

    def _weighted(self, z: Tensor, weights: Tensor, traces: Traces, event_dim: int) -> Tensor:
        """Return z with its gradient, where it is real and has one, times its draw's weight."""
        if self.particles == 1 or not z.is_floating_point():
            return z
        plates = (traces.particles, *[1] * (traces.nesting - 1)) if traces.particles > 1 else ()
        scale = weights.reshape(*plates, weights.shape[-1], *[1] * event_dim)
        return z.detach() + scale * (z - z.detach())


def _slopes(
    pair: Pair, traces: Traces, model: Any, values: dict[str, Tensor], weights: Tensor, *batch: Tensor
) -> dict[str, Tensor]:
    """Return the derivative of Σ w̃ log q(z | x) by each z, the others and the guide's weights held fixed."""
    held = {n: value.detach().requires_grad_() for n, value in values.items() if value.is_floating_point()}
    if not held:  # all is summed out, or points on whole numbers
        return {}
    if len(values) == 1:  # whose law does not depend on it
        (name,) = held
        site = {**traces.guide.nodes[name], "value": held[name]}
        sites = {name: {**site, "fn": detach(site["fn"])}}
    else:
        sites = sample_sites(trace_at(pair.guide, traces, values | held, *batch))
    sites = masked_as_in_model(sample_sites(model), {name: sites[name] for name in held})
    log_q = sum(site_log_prob(n, s, len(batch[0]), nesting=traces.nesting) for n, s in sites.items())
    slopes = torch.autograd.grad((weights * log_q).sum(), list(held.values()), materialize_grads=True)
    return dict(zip(held, slopes, strict=True))


def _refuse_dropout(pair: Pair) -> None:
    """Raise for a module whose second pass is another than its first."""
    for name, module in pair.named_modules():
        if isinstance(module, _DropoutNd) and module.training and module.p > 0:
            raise ValueError(
                f"gradient='dreg' should have no dropout but {name} draws it, anew in the second "
                "pass: give gradient='plain'"
            )


class Renyi(Bound):
    r"""The variational Rényi bound, E[log (1/K) Σ_k w_k^(1−α)] / (1 − α), per datum.

    α = 1 is the ELBO and α = 0 the importance-weighted bound; for α < 0 it may exceed log p(x). Its gradient
    is the pathwise one. Terms: ``renyi``, the bound, and the others as in :class:`IWAE`.

    Args:
        alpha: the order, other than 1.
        particles: K.

    Source: Li and Turner (2016), Rényi divergence variational inference.
    """

    def __init__(self, alpha: float, *, particles: int = 5) -> None:
        super().__init__(particles=particles)
        if alpha == 1 or not math.isfinite(alpha):
            raise ValueError(f"alpha should be finite and other than 1, which is ELBO(), but got {alpha}")
        self.alpha = alpha

    def forward(self, pair: Pair, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return minus the bound, per datum, and its terms."""
        draws = _draws(self, pair, *batch)
        power = 1 - self.alpha
        bound = ((power * draws.log_weights).logsumexp(0) - math.log(self.particles)).mean() / power
        return draws.loss(bound), draws.terms("renyi", bound)


class Draws(NamedTuple):
    """Weighted draws of z, and what they say beside their weights."""

    traces: list[Traces]  # those of the guide with gradient
    log_weights: Tensor  # log w, shape (K, n)
    penalty: Tensor | None  # the guide's factors, per datum, where it has any
    parts: Parts  # per datum

    def loss(self, bound: Tensor) -> Tensor:
        """Return minus a bound made of the weights, with the guide's factors."""
        return -bound if self.penalty is None else self.penalty - bound

    def terms(self, name: str, bound: Tensor) -> Terms:
        """Return what a bound made of the weights reports."""
        log_weights = self.log_weights.detach()
        elbo = -self.loss(log_weights.mean()).detach()  # that of the parts, to the bits of the weights
        ess = 1 / log_weights.softmax(0).square().sum(0)
        return terms_of(self.parts) | {"elbo": elbo, name: bound.detach(), "ess": ess.mean()}


def _draws(bound: Bound, pair: Pair, *batch: Tensor, gradients: bool = True) -> Draws:
    """Draw z from the guide and weigh it by p(x, z) / q(z | x), with gradients or only those of z."""
    rows = len(batch[0])
    with Watch(pair, rows) as watch:
        found = traces_of(pair, bound.particles, *batch, model_gradients=gradients, guided=False)
    with torch.set_grad_enabled(torch.is_grad_enabled() and gradients):
        each = [_scored(traces, rows, watch.size) for traces in found]
    log_weights = torch.cat([scored.log_weights for scored in each])
    if len(each) == 1:
        return Draws(found, log_weights, each[0].penalty, each[0].parts)
    parts = sum((scored.parts for scored in each[1:]), start=each[0].parts)
    penalties = [scored.penalty for scored in each if scored.penalty is not None]
    return Draws(
        found,
        log_weights,
        torch.stack(penalties).mean() if penalties else None,
        Parts(*(_divided(part, len(each)) for part in parts[:4]))._replace(unknown=parts.unknown),
    )


def _scored(traces: Traces, rows: int, size: int) -> Draws:
    """Return the log-weights of draws, shape (particles, n), and the parts of the bound that they tell."""
    model_sites, guide_sites = sample_sites(traces.model), sample_sites(traces.guide)
    latent = check_sites(model_sites, guide_sites)
    guide_sites = masked_as_in_model(model_sites, guide_sites)
    refuse_points(model_sites, guide_sites)

    def log_probs(sites: dict[str, Any]) -> dict[str, Tensor]:
        return {name: site_log_prob(name, site, rows, nesting=traces.nesting) for name, site in sites.items()}

    log_q = log_probs(drawn_sites(guide_sites))
    with torch.enable_grad():
        factors = log_probs({name: site for name, site in guide_sites.items() if is_factor(site)})
        penalty = torch.as_tensor(sum(value.mean() for value in factors.values())) if factors else None
    if traces.discrete.summed:
        log_p = log_joint_prob(traces.model, rows, nesting=traces.nesting)
        with torch.no_grad():
            parts = parts_of(traces.model, traces.guide).per_datum(size * traces.particles)
        log_weights = log_p - sum(log_q.values())
        return Draws([traces], log_weights.expand(traces.particles, rows), penalty, parts)
    by_site = log_probs({n: s for n, s in model_sites.items() if not is_derived(s)})
    log_weights = torch.as_tensor(sum(by_site.values()) - sum(log_q.values()))

    with torch.no_grad():
        data = [by_site[name].mean() for name, site in model_sites.items() if is_data(site)]
        kl = {n: (q - (by_site[n] if n in latent else 0.0)).mean().reshape(1) for n, q in log_q.items()}
        added = [by_site[name].mean() for name, site in model_sites.items() if is_factor(site)]
        added += [-penalty.detach()] if penalty is not None else []
        coordinates = by_coordinate(analytic_kl(model_sites, guide_sites), guide_sites)
        parts = Parts(
            torch.as_tensor(sum(data)) if data else added[0].new_zeros(()),
            kl,
            {name: value / (size * traces.particles) for name, value in coordinates.items()},
            torch.as_tensor(sum(added)) if added else None,
            unknown=not_by_coordinate(coordinates, guide_sites),
        )
    return Draws([traces], log_weights.expand(traces.particles, rows), penalty, parts)


def _divided(part: Any, count: int) -> Any:
    if isinstance(part, dict):
        return {name: value / count for name, value in part.items()}
    return None if part is None else part / count
