"""A bound taken apart where discrete sites are enumerated: exact expectations over their values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from probgen.core import is_data, is_derived, is_factor
from probgen.core.summed_out import Cost, enumerated_dim, summed_out, tied_to, unmasked

ELEMENTS = 2**26
"""Of a cost at all values that it depends on, at most."""


class Expectations:
    """Expectations of costs over the sites that a guide enumerates, in sums over a batch.

    Sites of the model alone that are enumerated, ``over``, are summed out of what depends on them, ``tied``.

    Args:
        model_trace: of the model on the guide's draws.
        guide_sites: those of the guide, with the model's masks.
    """

    def __init__(self, model_trace: Any, guide_sites: Mapping[str, Any]) -> None:
        self._trace = model_trace
        again = one_dim_for_two(guide_sites)
        if again is not None:
            raise ValueError(
                f"guide site {again!r} should have a dimension of its own for its values but shares one, as "
                "sites in pyro.markov do: leave pyro.markov out of the guide"
            )
        self._enumerated = {
            dim: site for site in guide_sites.values() if (dim := enumerated_dim(site)) is not None
        }
        self._log_q = {
            dim: unmasked(site["fn"]).log_prob(site["value"]) for dim, site in self._enumerated.items()
        }
        self._sites = {
            n: s for n, s in model_trace.nodes.items() if s["type"] == "sample" and not is_derived(s)
        }
        self.over = [
            name
            for name, site in self._sites.items()
            if name not in guide_sites and enumerated_dim(site) is not None
        ]
        self.tied = tied_to(self.over, self._sites)
        self._scale = _one_scale([self._sites[name] for name in self.tied])

    def of(self, cost: Tensor, site: Any, *, leading: int = 0) -> Tensor:
        """Return a site's cost weighed by the probabilities of what the guide enumerates in its plates."""
        plates = frozenset(frame.name for frame in site["cond_indep_stack"])
        return self._weighed(Cost(cost, plates), site["name"], leading)

    def of_the_tied(self, ordered: list[str]) -> tuple[Tensor | None, dict[str, Tensor], Tensor | None]:
        r"""Return what depends on sites that are summed out, k, by the chain rule.

        log p(z_i | z_1, ..., z_{i−1}) for each latent site z_i in turn, log p(x | z), and what factors add,
        each the difference of two sums over k; None where there are none.
        """
        names: list[str] = list(self.over)
        before: Tensor | float = 0.0
        log_priors: dict[str, Tensor] = {}
        for name in ordered:
            names.append(name)
            after = self._summed(names)
            log_priors[name], before = after - before, after
        data, factors = None, None
        if any(is_data(self._sites[name]) for name in self.tied):
            names += [name for name in self.tied if is_data(self._sites[name])]
            after = self._summed(names)
            data, before = after - before, after
        if any(is_factor(self._sites[name]) for name in self.tied):
            factors = self._summed(self.tied) - before
        return data, log_priors, factors

    def _summed(self, names: list[str]) -> Tensor:
        """Return E[log Σ_k Π p] over the sites named."""
        sites = {name: self._sites[name] for name in self.tied if name in names}
        costs = summed_out(self._trace, sites, self.over)
        total = sum(self._weighed(cost, self.over[0], 0).sum() for cost in costs)
        return torch.as_tensor(total) * self._scale

    def _weighed(self, cost: Cost, name: str, leading: int) -> Tensor:
        log_prob = cost.log_prob
        shape = log_prob.shape[leading:]
        # The sites on which the cost depends, and those on which their own probabilities do.
        dims, waiting = set(), self._varying(shape)
        while waiting:
            dim = waiting.pop()
            dims.add(dim)
            waiting |= self._varying(self._log_q[dim].shape) - dims
        log_qs = [self._log_q[dim] for dim in sorted(dims)]
        for dim in dims:
            self._check_plates(cost, name, self._enumerated[dim])
        if math.prod(torch.broadcast_shapes(shape, *(x.shape for x in log_qs))) > ELEMENTS:
            sites = [self._enumerated[dim]["name"] for dim in sorted(dims)]
            raise ValueError(
                f"site {name!r} should depend on few values of discrete sites but depends on all "
                f"combinations of those of {sites}: give one of Pyro's bounds that draws them, such as "
                "Trace_ELBO()"
            )
        if not log_qs:
            return log_prob
        log_weight = torch.as_tensor(sum(log_qs))
        missing = max(0, log_weight.dim() - len(shape))
        log_prob = log_prob.reshape(log_prob.shape[:leading] + (1,) * missing + shape)
        return log_weight.exp() * torch.where(log_weight == -torch.inf, 0.0, log_prob)

    def _varying(self, shape: torch.Size) -> set[int]:
        """Return the dimensions of the guide's enumerated sites along which something varies."""
        return {dim for dim in self._enumerated if len(shape) >= -dim and shape[dim] > 1}

    def _check_plates(self, cost: Cost, name: str, site: Any) -> None:
        if not cost.plates >= {frame.name for frame in site["cond_indep_stack"] if frame.vectorized}:
            other = site["name"]
            raise ValueError(
                f"site {name!r} should stand in the plates of {other!r}, on which it depends, for "
                f"{other!r} to be enumerated: give the guide a law that can be reparameterised, or one "
                "of Pyro's bounds that draws, such as Trace_ELBO()"
            )


def one_dim_for_two(guide_sites: Mapping[str, Any]) -> str | None:
    """Return a site that is enumerated along the dimension of another one; None where there is none."""
    seen: set[int] = set()
    for name, site in guide_sites.items():
        dim = enumerated_dim(site)
        if dim in seen:
            return name
        seen |= set() if dim is None else {dim}
    return None


def _one_scale(sites: list[Any]) -> Any:
    scales = [site["scale"] for site in sites]
    for site in sites[1:]:
        if site["scale"] is not scales[0] and site["scale"] != scales[0]:
            raise ValueError(
                f"site {site['name']!r} should have the scale of {sites[0]['name']!r}, since a site "
                "that both depend on is summed out, but has another: put them in the same sub-sampled plates"
            )
    return scales[0] if scales else 1.0
