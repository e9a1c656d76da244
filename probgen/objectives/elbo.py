r"""Evidence lower bounds of a model/guide pair, taken apart term by term."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from probgen.core import Pair, Terms
from probgen.objectives.particles import room_for, traces_of
from probgen.objectives.traced_pair import Parts, Watch, parts_of

ACTIVE = 0.01
"""Nats of KL per datum above which a latent coordinate counts as active."""


class Bound(nn.Module, ABC):
    """A lower bound on log p(x), or a weighted one: what :class:`SVI` maximises.

    Args:
        particles: draws of z per datum, in one batched pass, in a plate left of all the pair's own, so that
            nets see shape (particles, n, ...). Where a net computes something else from that, as those do
            that take dimension 0 for the batch, there is a pass for each draw, as with one: batch statistics
            are then those of n rows.
    """

    def __init__(self, *, particles: int = 1) -> None:
        super().__init__()
        if particles < 1:
            raise ValueError(f"particles should be at least 1 but got {particles}")
        self.particles = particles

    @abstractmethod
    def forward(self, pair: Pair, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return minus the bound, per datum in nats, and its terms."""


class ELBO(Bound):
    r"""The evidence lower bound, E_q[log p(x | z)] − KL(q(z | x) ‖ p(z)), per datum.

    The KL of a site is analytic where Pyro knows it and the guide visits it after all those that the model
    visits before it (then no parent of z in the model descends from z in the guide); otherwise, and where the
    guide is a point (Delta), it is the Monte Carlo average of log q − log p. Guide sites must be
    reparameterised, since their gradient is the pathwise one, or have finitely many values.

    Discrete sites of finitely many values are found and enumerated: those of the guide are weighed by their
    probabilities, and those that the guide leaves out are summed out of the model. Bound, terms and gradient
    are then exact expectations over them. Latent sites count where the model does not mask them
    (``poutine.mask``, ``law.mask``, ``obs_mask``), whatever the guide's mask; see
    :func:`probgen.data.observed` for labels of which some are missing.

    Where the guide of a continuous site is a point (Delta), as in MAP estimation, the loss is minus the log
    joint density at that point, log p(x, z): no bound on log p(x), and of a size that depends on the units of
    z. So the term ``elbo`` is called ``log_joint`` then, and the "KL" of the site is −log p(z).
    ``log_likelihood`` and importance-weighted bounds refuse such a guide.

    Terms, in nats per datum: ``elbo``, ``reconstruction`` = E_q[log p(x | z)], ``kl`` and, with several
    latent sites, ``kl/SITE``. Where there are sites of ``pyro.factor``, ``factor`` is what they add to the
    bound, the model's less the guide's, never weighted: elbo = reconstruction − kl + factor. Where the KL is
    known coordinate by coordinate, ``active`` and ``inactive`` count the latent coordinates whose KL is above
    and below 0.01 nats; with several sites ``active/SITE`` counts those of a site of which it is known.

    Source: Kingma and Welling (2014), Auto-encoding variational Bayes.
    """

    def forward(self, pair: Pair, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return minus the bound, per datum, and its terms."""
        with Watch(pair, len(batch[0])) as watch:
            first, *others = traces_of(pair, self.particles, *batch)
        with room_for(first.discrete):
            parts = parts_of(first.model, first.guide)
            for traces in others:
                parts += parts_of(traces.model, traces.guide)
        parts = parts.per_datum(watch.size * self.particles)
        loss = self._weigh(parts.kl) - parts.reconstruction if parts.kl else -parts.reconstruction
        return (loss if parts.factor is None else loss - parts.factor), terms_of(parts)

    def _weigh(self, kl: dict[str, Tensor]) -> Tensor:
        """Return the KL that the loss counts, from the KL by site and coordinate."""
        return torch.cat(list(kl.values())).sum()


class BetaELBO(ELBO):
    r"""The bound with its KL weighted: E_q[log p(x | z)] − Σ_site β_site KL(q(z | x) ‖ p(z)).

    Each β is a buffer, so that ``fit(..., schedules={"elbo.beta": schedules.linear(0, 1, steps=1000)})``
    anneals it without a new capture. The unweighted ``elbo`` is logged beside the weighted loss.

    Args:
        beta: one weight for all latent sites, the buffer ``beta``; or a weight per site, the buffers
            ``beta_SITE``, the sites left out having weight 1.
        particles: draws of z per datum.

    Source: Higgins and others (2017), beta-VAE; Bowman and others (2016) for annealing.
    """

    def __init__(self, beta: float | Mapping[str, float] = 1.0, *, particles: int = 1) -> None:
        super().__init__(particles=particles)
        weights = {f"beta_{s}": b for s, b in beta.items()} if isinstance(beta, Mapping) else {"beta": beta}
        self._sites = tuple(beta) if isinstance(beta, Mapping) else None
        for name, value in weights.items():
            if not value >= 0:
                raise ValueError(f"{name} should be at least 0 but got {value}")
            self.register_buffer(name, torch.tensor(float(value)))

    def _weigh(self, kl: dict[str, Tensor]) -> Tensor:
        if self._sites is None:
            return self.get_buffer("beta") * super()._weigh(kl)
        unknown = [site for site in self._sites if site not in kl]
        if unknown:
            raise ValueError(f"beta should name latent sites, {list(kl)}, but names {unknown[0]!r}")
        weights = {site: self.get_buffer(f"beta_{site}") for site in self._sites}
        return super()._weigh({site: weights.get(site, 1.0) * value for site, value in kl.items()})


class FreeBits(ELBO):
    r"""The bound with its KL free of charge up to λ: E_q[log p(x | z)] − Σ_j max(λ, KL_j).

    KL_j is the mean over the batch of the KL of coordinate (or site) j, so that nothing is gained by pushing
    it below λ. The unweighted ``elbo`` is logged beside the loss.

    Args:
        nats: λ, in nats per datum.
        per: "coordinate" or "site". A site whose KL is known only as a whole counts as one coordinate.
        particles: draws of z per datum.

    Source: Kingma and others (2016), Improving variational inference with inverse autoregressive flow.
    """

    def __init__(
        self, nats: float, *, per: Literal["coordinate", "site"] = "coordinate", particles: int = 1
    ) -> None:
        super().__init__(particles=particles)
        if not nats >= 0:
            raise ValueError(f"nats should be at least 0 but got {nats}")
        if per not in ("coordinate", "site"):
            raise ValueError(f"per should be 'coordinate' or 'site' but got {per!r}")
        self.per = per
        self.register_buffer("nats", torch.tensor(float(nats)))

    def _weigh(self, kl: dict[str, Tensor]) -> Tensor:
        parts = list(kl.values()) if self.per == "coordinate" else [v.sum().reshape(1) for v in kl.values()]
        return torch.maximum(torch.cat(parts), self.get_buffer("nats")).sum()


class Capacity(ELBO):
    r"""The bound with its KL drawn to a capacity C: E_q[log p(x | z)] − γ |KL(q(z | x) ‖ p(z)) − C|.

    The KL is the mean over the batch, of all latent sites together. The capacity is the buffer ``capacity``,
    so that ``fit(..., schedules={"elbo.capacity": schedules.linear(0, 25, steps=10_000)})`` lets the code
    carry more as training goes on. The unweighted ``elbo`` is logged beside the loss.

    Args:
        nats: C, in nats per datum.
        weight: γ.
        particles: draws of z per datum.

    Source: Burgess and others (2018), Understanding disentangling in beta-VAE.
    """

    def __init__(self, nats: float, *, weight: float = 1000.0, particles: int = 1) -> None:
        super().__init__(particles=particles)
        for name, value in (("nats", nats), ("weight", weight)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} should be at least 0 and finite but got {value}")
        self.register_buffer("capacity", torch.tensor(float(nats)))
        self.register_buffer("weight", torch.tensor(float(weight)))

    def _weigh(self, kl: dict[str, Tensor]) -> Tensor:
        return self.get_buffer("weight") * (super()._weigh(kl) - self.get_buffer("capacity")).abs()


def terms_of(parts: Parts) -> Terms:
    """Return what a bound reports, from its parts per datum."""
    reconstruction = parts.reconstruction.detach()
    by_site = {site: value.detach().sum() for site, value in parts.kl.items()}
    kl = torch.as_tensor(sum(by_site.values())) if by_site else torch.zeros_like(reconstruction)
    terms = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
    if len(by_site) > 1:
        terms |= {f"kl/{site}": value for site, value in by_site.items()}
    if parts.factor is not None:
        terms["factor"] = parts.factor.detach()
        terms["elbo"] = terms["elbo"] + terms["factor"]
    is_active = {site: value.detach() > ACTIVE for site, value in parts.coordinates.items()}
    if is_active and not parts.unknown:
        together = torch.cat(list(is_active.values()))
        active = together.sum(dtype=kl.dtype)
        terms |= {"active": active, "inactive": len(together) - active}
    if len(by_site) > 1:
        terms |= {f"active/{site}": active.sum().to(kl) for site, active in is_active.items()}
    if parts.points:
        terms["log_joint"] = terms.pop("elbo")
    return terms
