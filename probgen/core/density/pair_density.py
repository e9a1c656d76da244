"""The posterior of a pair's latent variables given data, which knows the likelihood and new data too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from probgen.core.density.density import Density
from probgen.core.density.mapped import Named, Values
from probgen.core.randomness import seed_of, seeded
from probgen.core.traces import evaluating, sample_sites, site_log_prob

_ELEMENTS = 2**24
"""Observed numbers in one pass over many draws: bounds memory, not the result."""


class PairDensity(Density):
    r"""log p(z, x) of a model/guide pair at data x, one target for each row: ``pair.posterior(x)``.

    Args:
        pair: whose ``model`` tells the story; run in evaluation mode.
        x, context: data and what else the model is given, (n, \*event).
        log_prob: log p(z, x) of the rows, as of :class:`Density`.
        observed, enumerates: see below.
        nesting: the number of batch dimensions of the model's sites.
        described: support, event shape, dtype and the like, as :class:`Density` takes them.

    Attributes:
        observed: the data by site.
        enumerates: whether discrete sites are summed out: ``log_likelihood``, ``log_prior`` and
            ``predict`` are not known then.
    """

    derived_names: tuple[str, ...] = ()

    def __init__(
        self,
        pair: Any,
        x: Tensor,
        context: tuple[Tensor, ...],
        log_prob: Callable[[Any], Tensor],
        *,
        observed: Mapping[str, Tensor],
        nesting: int,
        enumerates: bool = False,
        **described: Any,
    ) -> None:
        super().__init__(log_prob, batch_shape=x.shape[:1], **described)
        self.enumerates = enumerates
        self._pair, self._x, self._context, self._nesting = pair, x, context, nesting
        self.observed = dict(observed)
        self._chunk = max(1, _ELEMENTS // max(1, sum(value.numel() for value in observed.values())))

    def log_likelihood(self, values: Values) -> Named:
        r"""Return the log-probability of each row of the data, by site, (\*sample, n)."""
        self._refuse_enumeration("the log-likelihood of each row")
        return self._scored(values, lambda name, site: name in self.observed)

    def log_prior(self, values: Values) -> Named:
        r"""Return the log-prior of each row's latent values, by site, (\*sample, n)."""
        self._refuse_enumeration("the log-prior of each site")
        return self._scored(values, lambda name, site: name in self.names)

    def predict(
        self, values: Values, *, seed: int | None = None, generator: torch.Generator | None = None
    ) -> Named:
        r"""Draw new data given latent values, by site, (\*sample, n, \*event)."""

        self._refuse_enumeration("the law of new data")

        def drawn(given: Values) -> Named:
            model = poutine.condition(self._pair.model, data=self._left_of_plates(given))
            sites = sample_sites(self._trace(model, None, n=len(self._x)))
            return {name: sites[name]["value"] for name in self.observed}

        with seeded(seed_of(seed, generator)):
            return self._each(values, drawn)

    def simulate(
        self, n: int, *, seed: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Named, Named]:
        r"""Draw n times from p(z, x) of each row: latent values and data, by site, (n, rows, \*event)."""

        def story(*given: Any, **more: Any) -> Any:
            with pyro.plate("draws of the prior", n, dim=-1 - self._nesting):
                return self._pair.model(*given, **more)

        with seeded(seed_of(seed, generator)):
            sites = sample_sites(self._trace(story, None, n=len(self._x)))
        latent = {name: sites[name]["value"] for name in self.names}
        values = {name: z.reshape(n, len(self._x), *self.shapes[name]) for name, z in latent.items()}
        return values, {name: sites[name]["value"] for name in self.observed}

    def derived(self, values: Values) -> Named:
        """Return what ``pyro.deterministic`` names: of a pair nothing is kept."""
        return {}

    def _scored(self, values: Values, chosen: Callable[[str, Any], bool]) -> Named:
        def log_probs(given: Values) -> Named:
            model = poutine.condition(self._pair.model, data=self._left_of_plates(given))
            trace = self._trace(model, self._x)
            rows = len(self._x)
            return {
                name: site_log_prob(name, site, rows, nesting=self._nesting)
                for name, site in sample_sites(trace).items()
                if chosen(name, site)
            }

        return self._each(values, log_probs)

    @torch.no_grad()
    def _trace(self, model: Callable[..., Any], x: Tensor | None, **more: Any) -> Any:
        with evaluating(self._pair):
            return poutine.trace(model).get_trace(x, *self._context, **more)

    def _refuse_enumeration(self, what: str) -> None:
        if self.enumerates:
            raise ValueError(f"{what} is not known where discrete sites are summed out")

    def _each(self, values: Values, function: Callable[[Values], Named]) -> Named:
        """Apply a function to some draws at a time, all dimensions left of the rows taken together."""
        name = self.names[0]
        leading = values[name].shape[: values[name].dim() - 1 - len(self.shapes[name])]
        flat = {site: values[site].flatten(0, len(leading) - 1) for site in self.names}
        parts = [
            function({site: value[start : start + self._chunk] for site, value in flat.items()})
            for start in range(0, leading.numel(), self._chunk)
        ]
        return {
            site: torch.cat([part[site] for part in parts]).unflatten(0, tuple(leading)) for site in parts[0]
        }

    def _left_of_plates(self, values: Values) -> Named:
        """Put the dimension of draws left of those of the model's plates."""
        extra = [1] * (self._nesting - 1)
        return {name: value.reshape(len(value), *extra, *value.shape[1:]) for name, value in values.items()}
