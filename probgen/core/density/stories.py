"""Runs of a Pyro model with values given to its sites: what :class:`ModelDensity` is made of."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor, nn
from torch.distributions import Transform
from torch.utils._pytree import tree_leaves

from probgen.core.density.handlers import (
    Bounded,
    Enumeration,
    Marked,
    Starter,
    Transport,
    Unobserved,
    bijector,
    check_sites,
    moving,
)
from probgen.core.density.mapped import Values
from probgen.core.density.normal_scores import FromScores
from probgen.core.faults import FaultFinder, NotFinite
from probgen.core.plain_words import plain_words
from probgen.core.summed_out import summed_out
from probgen.core.traces import (
    evaluating,
    is_data,
    is_derived,
    is_factor,
    plate_nesting,
    sample_sites,
)


class Start(NamedTuple):
    """A run from a random place: by latent site the position, the value and the bijector between them."""

    positions: dict[str, Tensor]
    values: dict[str, Tensor]
    transforms: dict[str, Transform]
    trace: Any


class Story:
    """A Pyro model with its arguments: its log-probabilities as functions of named values.

    ``values`` are those of the latent sites, ``data`` replace observations; both name sites.
    """

    def __init__(self, model: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._model, self._args, self._kwargs = model, args, kwargs
        self._discrete: frozenset[str] = frozenset()
        self._nesting = 1
        self._moving: frozenset[str] = frozenset()
        self.scored: frozenset[str] = frozenset()
        """The latent sites whose positions are normal scores."""

    def start(self, data: Values, *, gradients: bool = False) -> Start:
        """Run the model from a standard normal position, which it need not have a prior for."""
        starter = Starter(self._example(), gradients=gradients)
        trace = self._trace(starter, _given(data))
        self._discrete, self.scored = frozenset(starter.discrete), frozenset(starter.scored)
        self._nesting = plate_nesting(trace)
        self._moving = moving(trace, always=self.enumerates or not gradients)
        check_sites(trace, starter, self._moving)
        return Start(starter.positions, starter.values, starter.transforms, trace)

    @property
    def enumerates(self) -> bool:
        """Whether discrete sites are summed out."""
        return bool(self._discrete)

    def log_joint(self, values: Values, data: Values) -> Tensor:
        """Return log p(values, data), a scalar."""
        return self._log_prob(_given(values, data))

    def log_joint_at(self, positions: Values, data: Values) -> Tensor:
        """Return log p(values, data) + log |det| at unconstrained positions, a scalar."""
        transport = Transport(positions, self.scored)
        return self._log_prob(transport, _given(data)) + transport.log_volume

    def fault_at(self, positions: Values, data: Values) -> str | None:
        """Name the first site whose law, value or log-probability is not finite at unconstrained positions.

        Where discrete sites are summed out, one of their values may well be impossible, and is no fault.
        """
        try:
            transport = Transport(positions, self.scored)
            self._enumerated(FaultFinder(zero=not self.enumerates), transport, _given(data))
        except NotFinite as fault:
            return str(fault)
        return None

    def prior(self, data: Values) -> dict[str, Tensor]:
        """Draw the latent sites' positions from their laws; standard normal ones where a law is improper."""
        starter = Starter(self._example(), prior=True)
        self._trace(starter, _given(data))
        return starter.positions

    def values_at(self, positions: Values, data: Values) -> dict[str, Tensor]:
        """Return the values of the latent sites at unconstrained positions."""
        transport = Transport(positions, self.scored)
        self._enumerated(transport, _given(data))
        return transport.values

    def positions_of(self, values: Values, data: Values) -> dict[str, Tensor]:
        """Return the unconstrained positions of values."""
        trace = self._enumerated(_given(values, data))
        laws = {name: trace.nodes[name]["fn"] for name in values}
        maps = {n: FromScores(law) if n in self.scored else bijector(n, law) for n, law in laws.items()}
        return {name: maps[name].inv(x) for name, x in values.items()}

    def log_likelihood(self, values: Values, data: Values) -> dict[str, Tensor]:
        """Return the log-probability of each observation, by observed site, of its batch shape."""
        trace = self._trace(_given(values, data))
        observed = {
            name: site for name, site in sample_sites(trace).items() if name not in values and is_data(site)
        }
        with pyro.validation_enabled(False):
            trace.compute_log_prob(lambda name, site: name in observed)
        return {name: scale_and_mask(s["unscaled_log_prob"], 1.0, s["mask"]) for name, s in observed.items()}

    def log_prior(self, values: Values, data: Values) -> dict[str, Tensor]:
        """Return the log-probability of each latent value given those before it, by site."""
        trace = self._trace(_given(values, data))
        with pyro.validation_enabled(False):
            trace.compute_log_prob(lambda name, site: name in values)
        return {name: trace.nodes[name]["log_prob"] for name in values}

    def derived(self, values: Values, data: Values) -> dict[str, Tensor]:
        """Return what ``pyro.deterministic`` names."""
        sites = sample_sites(self._enumerated(_given(values, data)))
        return {name: site["value"] for name, site in sites.items() if is_derived(site)}

    def simulated(self, values: Values) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Draw all sites but those that are given; return latent values and observations."""
        sites = sample_sites(self._trace(_given(values), Unobserved()))
        drawn = {name: site for name, site in sites.items() if not is_derived(site) and not is_factor(site)}
        was = {name: site["infer"].get("was_observed", False) for name, site in drawn.items()}
        return (
            {name: site["value"] for name, site in drawn.items() if not was[name]},
            {name: site["value"] for name, site in drawn.items() if was[name]},
        )

    def _log_prob(self, *handlers: Any) -> Tensor:
        trace = self._enumerated(*handlers)
        for name, site in sample_sites(trace).items():
            if is_derived(site):
                trace.remove_node(name)
        with pyro.validation_enabled(False):
            if not self._discrete:
                return trace.log_prob_sum()
            costs = summed_out(trace, sample_sites(trace), self._discrete)
            return torch.as_tensor(sum(cost.log_prob.sum() for cost in costs))

    def _enumerated(self, *handlers: Any) -> Any:
        if not self._discrete:
            return self._trace(*handlers)
        return self._trace(Enumeration(-1 - self._nesting), *handlers, Marked(self._discrete))

    def _trace(self, *handlers: Any) -> Any:
        """Run the model inside handlers, the outermost first."""
        mode = evaluating(self._model) if isinstance(self._model, nn.Module) else plain_words()
        with mode, contextlib.ExitStack() as stack, pyro.validation_enabled(False):
            trace = stack.enter_context(poutine.trace()).trace
            for handler in (Bounded(self._moving), *handlers) if self._moving else handlers:
                stack.enter_context(handler)
            self._model(*self._args, **self._kwargs)
        return trace

    def _example(self) -> Tensor:
        """Return an empty tensor of the dtype and device of the model's data."""
        tensors = [x for x in tree_leaves((self._args, self._kwargs)) if isinstance(x, Tensor)]
        floating = [x for x in tensors if x.is_floating_point()]
        return torch.empty(0) if not floating else floating[0].new_empty(0)


def _given(*values: Values) -> Any:
    return poutine.condition(data={name: value for some in values for name, value in some.items()})
