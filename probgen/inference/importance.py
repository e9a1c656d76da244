r"""Bounds from importance weights w_k = p(x, z_k) / q(z_k | x), z_1, ..., z_K ~ q(z | x)."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.distributions.util import detach
from torch import Tensor

from probgen.core import Pair, Terms, log_joint_prob, sample_sites
from probgen.inference.elbo import Bound
from probgen.inference.traces import Watch, require_reparameterised


class IWAE(Bound):
    r"""The importance-weighted bound, E[log (1/K) Σ_k w_k], per datum: the ELBO at K = 1, tighter with K.

    Terms: ``iwae``, the bound; ``elbo``, E[log w], on the same draws; ``ess``, the effective number of draws
    (Σ w)² / Σ w², from 1 to K. Masks count, scales do not: a weighted bound would bound nothing.

    Args:
        particles: K.
        gradient: "dreg", the doubly reparameterised gradient, −Σ w̃ ∂_θ log w for the model and
            −Σ w̃² ∂_z log w ∂_φ z for the guide, w̃ = w / Σ w, whose signal for the guide does not vanish as
            K grows. It is for guides with one latent site and models without dropout, and takes a second
            pass through the model. "plain" is the pathwise gradient.

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
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.gradient == "plain"):
            guide_trace, log_weights = _log_weights(self, pair, *batch)
        bound = (log_weights.logsumexp(0) - math.log(self.particles)).mean()
        terms = _terms(log_weights, {"iwae": bound.detach()})
        if self.gradient == "plain" or not torch.is_grad_enabled():
            return -bound, terms
        surrogate = self._doubly_reparameterised(pair, guide_trace, log_weights.softmax(0), *batch)
        return surrogate - surrogate.detach() - bound, terms

    def _doubly_reparameterised(
        self, pair: Pair, guide_trace: Any, weights: Tensor, *batch: Tensor
    ) -> Tensor:
        """Return a scalar that has the doubly reparameterised gradient."""
        latent = [name for name, site in sample_sites(guide_trace).items() if not site["is_observed"]]
        if len(latent) != 1:
            raise ValueError(f"gradient='dreg' should have a guide with one latent site but it has {latent}")
        (name,) = latent
        law, z = guide_trace.nodes[name]["fn"], guide_trace.nodes[name]["value"]
        scale = weights.reshape(z.shape[: z.dim() - len(law.event_shape)] + (1,) * len(law.event_shape))
        z = z.detach() + scale * (z - z.detach())  # the same value, its gradient times w̃
        joint = log_joint_prob(self._trace(poutine.condition(pair.model, data={name: z}), *batch))
        return -(weights * (joint - detach(law).log_prob(z)).reshape(weights.shape)).sum(0).mean()


class Renyi(Bound):
    r"""The variational Rényi bound, E[log (1/K) Σ_k w_k^(1−α)] / (1 − α), per datum.

    α = 1 is the ELBO and α = 0 the importance-weighted bound; for α < 0 it may exceed log p(x). Its gradient
    is the pathwise one. Terms: ``renyi``, ``elbo`` and ``ess`` as in :class:`IWAE`.

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
        _, log_weights = _log_weights(self, pair, *batch)
        power = 1 - self.alpha
        bound = ((power * log_weights).logsumexp(0) - math.log(self.particles)).mean() / power
        return -bound, _terms(log_weights, {"renyi": bound.detach()})


def _log_weights(bound: Bound, pair: Pair, *batch: Tensor) -> tuple[Any, Tensor]:
    """Return the guide's trace, its draws with gradient, and log p(x, z) − log q(z | x), shape (K, n)."""
    with Watch(pair, len(batch[0])):
        with torch.enable_grad():
            guide_trace = bound._trace(pair.guide, *batch)
        model_trace = bound._trace(poutine.replay(pair.model, trace=guide_trace), *batch)
    for name, site in sample_sites(guide_trace).items():
        require_reparameterised(name, site)
    log_weights = log_joint_prob(model_trace) - log_joint_prob(guide_trace)
    return guide_trace, log_weights.expand(bound.particles, len(batch[0]))


def _terms(log_weights: Tensor, bound: Terms) -> Terms:
    log_weights = log_weights.detach()
    ess = 1 / log_weights.softmax(0).square().sum(0)
    return {"elbo": log_weights.mean(), **bound, "ess": ess.mean()}
