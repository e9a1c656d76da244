"""Which site of a Pyro model is not finite, and what of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from probgen.core.plain_words import laws_on
from probgen.core.supports import element_support, named_support, outside

OUTSIDE = "outside of its law's support"
"""What is said of a value that a law makes impossible, whatever its parameters."""

FOR_NOW = "outside of its law's present support"
"""What is said where the ends of the support are tensors, which may be learned."""


class NotFinite(Exception):
    """Ends the run at the first site that is not finite, which it names."""


class FaultFinder(Messenger):
    """Looks at each site when it is drawn or observed, and ends the run at the first that is not finite.

    Of a site it looks at the parameters of its law, at its value, at whether the parameters are what they
    should be and the value is in the law's support, and at its log-probability, in this order.

    Args:
        zero: whether a probability of 0 is a fault.

    Attributes:
        story: what stands before a site's name.
        site: the last site that was looked at.
    """

    def __init__(self, *, zero: bool = True) -> None:
        super().__init__()
        self._zero = zero
        self.story = ""
        self.site = ""

    def _pyro_post_sample(self, msg: Any) -> None:
        law, value = msg["fn"], msg["value"]
        if not isinstance(law, Distribution):  # the indices of a plate
            return
        self.site = f"{self.story} site {msg['name']!r}".strip()
        log_prob = scale_and_mask(law.log_prob(value, *msg["args"], **msg["kwargs"]), 1.0, msg["mask"])
        impossible = ~log_prob.isfinite() if self._zero else log_prob.isnan() | (log_prob == torch.inf)
        unknown = ~value.isfinite()
        if getattr(named_support(law), "missing", False):
            unknown = value.isinf()
        if not unknown.any() and not impossible.any():
            return
        given = [(name, tensor, _event_dim(tensor, law), rule) for name, tensor, rule in _parameters(law)]
        found = [(name, tensor, dim, ~tensor.isfinite(), "") for name, tensor, dim, _ in given]
        found += [("value", value, len(law.event_shape), unknown, "")]
        found += [
            (name, tensor, dim, _outside(tensor, rule), f", not in {rule}")
            for name, tensor, dim, rule in given
        ]
        found += _outside_support(law, value, impossible, drawn=not msg["is_observed"])
        found += [("log_prob", log_prob, 0, impossible, "")]
        for name, tensor, event_dim, wrong, rule in found:
            if wrong.any():
                fault = getattr(named_support(law), "fault", lambda value: None)(value)
                if name == "value" and fault:
                    raise NotFinite(f"{self.site}: {fault}")
                raise NotFinite(
                    f"{self.site}: its {name} is {_first(tensor.detach(), wrong, event_dim)}{rule}"
                )


def _parameters(law: Any) -> Iterator[tuple[str, Tensor, Constraint]]:
    """Yield the parameters that a law, or the laws of which it is made, were given, and what they should be.

    A point has only its value.
    """
    for name, rule in () if isinstance(law, Delta) else law.arg_constraints.items():
        value = law.__dict__.get(name)
        if isinstance(value, Tensor):
            yield name, value, rule
    for inner in ("base_dist", "_mixture_distribution", "_component_distribution"):
        if isinstance(law.__dict__.get(inner), Distribution):
            yield from _parameters(law.__dict__[inner])


def _outside(parameter: Tensor, rule: Constraint) -> Tensor:
    """Say of each number whether it belongs to a parameter that is not what it should be."""
    if constraints.is_dependent(rule):
        return torch.zeros_like(parameter, dtype=torch.bool)
    right = rule.check(parameter)
    return ~right.reshape(right.shape + (1,) * (parameter.dim() - right.dim())).expand_as(parameter)


def _outside_support(law: Any, value: Tensor, impossible: Tensor, *, drawn: bool) -> list[Any]:
    """Return the numbers of a value that lie outside of its law's support, where its probability is 0.

    Of a value that a guide has drawn it is said which laws have that support.
    """
    support = named_support(law)
    if support is None:
        return []
    support = element_support(support)
    dims = len(law.event_shape)
    wrong = outside(support, value)
    wrong = wrong.reshape(wrong.shape + (1,) * (value.dim() - wrong.dim()))
    wrong = wrong & impossible.reshape(impossible.shape + (1,) * dims)
    rule, moves = str(support), any(isinstance(end, Tensor) for end in vars(support).values())
    if len(rule) > 80:
        rule = rule.partition("(")[0]
    wrong, values = torch.broadcast_tensors(wrong, value)
    laws = laws_on(support) if drawn else ""
    advice = f": draw it in the guide from a law on that support, such as {laws}" if laws else ""
    return [("value", values, dims, wrong, f", {FOR_NOW if moves else OUTSIDE}, {rule}{advice}")]


def _event_dim(parameter: Tensor, law: Distribution) -> int | None:
    """Return the number of a parameter's dimensions to the right of the batch's, if it has the batch's."""
    dims = len(law.batch_shape)
    return parameter.dim() - dims if parameter.shape[:dims] == law.batch_shape else None


def _first(tensor: Tensor, wrong: Tensor, event_dim: int | None) -> str:
    """Return the first of the elements that are wrong, and the datum that it belongs to."""
    first = wrong.nonzero()[0]
    value = float(tensor[tuple(first)])
    if event_dim is None or tensor.dim() <= event_dim:
        return str(value)
    return f"{value} at row {int(first[tensor.dim() - 1 - event_dim])}"
