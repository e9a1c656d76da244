"""The sets that the values of laws are in: outside, a log-density is −∞, in a graph as well as eagerly."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from pyro.distributions import MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily, VonMises, constraints
from torch.distributions.constraints import Constraint

REAL = type(constraints.real)
INDEPENDENT = constraints.independent
BOOLEAN = type(constraints.boolean)
SIMPLEX = type(constraints.simplex)
MULTINOMIAL = constraints.multinomial
MIXTURE = constraints.MixtureSameFamilyConstraint
SYMMETRIC = type(constraints.symmetric)
DEFINITE = type(constraints.positive_definite)


class Supported(Messenger):
    """Gives each value that a story is handed, data above all, log-density −∞ where its law has none.

    Laws check their values themselves only where Pyro's validation is on, by a question that a captured
    graph cannot hold. What is enumerated is in its support.
    """

    def _pyro_sample(self, msg: Any) -> None:
        given = msg["value"] is not None and msg["infer"].get("_enumerate_dim") is None
        if given and isinstance(msg["fn"], Distribution):  # and not the indices of a plate
            msg["fn"] = supported(msg["fn"])


def supported(law: Any) -> Any:
    r"""Return a law whose ``log_prob`` is −∞ outside of its support, and to the bit the law's own within.

    It is the law itself where all numbers are in the support, and a copy else. What a mask hides is not
    looked at.

    >>> law = supported(torch.distributions.Poisson(torch.tensor(2.0), validate_args=False))
    >>> law.log_prob(torch.tensor([1.0, 1.5]))
    tensor([-1.3069,    -inf])
    """
    if _hides(law):
        inner = supported(law.base_dist)
        if inner is law.base_dist:
            return law
        masked = copy.copy(law)
        masked.base_dist = inner
        return masked
    support = checked_support(law)
    if support is None:
        return law
    if isinstance(law, MixtureSameFamily):
        parts, law = supported(law.component_distribution), copy.copy(law)
        law._component_distribution = parts  # a value may be in the supports of some of them alone
    whole, base = law.log_prob, element_support(support)
    bounded = hasattr(base, "lower_bound") and hasattr(base, "upper_bound")
    is_index = bounded and base.is_discrete and not _validates(law)

    def log_prob(value: Any, *args: Any, **kwargs: Any) -> Tensor:
        value = torch.as_tensor(value)
        impossible = outside(support, value)
        if is_index:  # which, outside, would be read from beyond a table
            value = torch.where(base.check(value), value, base.lower_bound)
        return whole(value, *args, **kwargs).masked_fill(impossible, -torch.inf)

    guarded = copy.copy(law)
    guarded.log_prob = log_prob
    return guarded


def checked_support(law: Any) -> Constraint | None:
    """Return the support of a law; None where it holds all numbers, or cannot be asked."""
    try:
        support = law.support
    except (AttributeError, NotImplementedError):
        return None
    inner = support
    while hasattr(inner, "base_constraint"):
        inner = inner.base_constraint
    if inner is None or constraints.is_dependent(inner) or type(inner).check is Constraint.check:
        return None
    return None if isinstance(inner, REAL) else support


def outside(support: Constraint, value: Tensor) -> Tensor:
    r"""Say of each event whether it is outside of a support, shape (\*batch), by no question to Python.

    As the constraint's own ``check``; but counts of a multinomial are integers, a sum of n probabilities may
    be off by the rounding of n numbers, of a matrix all is looked at, and a mixture has the supports of all
    of its components.
    """
    if isinstance(support, INDEPENDENT):
        base, dims = support.base_constraint, support.reinterpreted_batch_ndims
        if isinstance(base, BOOLEAN) and value.is_floating_point() and dims:
            # x = x² for 0 and 1 alone; on a CPU arithmetic takes a fifth of the time of comparisons
            return torch.addcmul(value, value, value, value=-1).abs().sum(tuple(range(-dims, 0))) != 0
        each = outside(base, value)
        return each.flatten(each.dim() - dims).any(-1) if dims else each
    if isinstance(support, MIXTURE):
        return outside(support.base_constraint, value.unsqueeze(-1 - support.event_dim)).all(-1)
    if isinstance(support, SIMPLEX):
        tolerance = 1e-6 + value.shape[-1] * torch.finfo(value.dtype).eps
        return ~((value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < tolerance))
    if isinstance(support, MULTINOMIAL):
        return ~(support.check(value) & (value % 1 == 0).all(-1))
    if isinstance(support, SYMMETRIC):
        symmetric = torch.isclose(value, value.mT, atol=1e-6).flatten(-2).all(-1)
        if isinstance(support, DEFINITE):
            return ~(symmetric & (torch.linalg.cholesky_ex(value).info == 0))
        return ~(symmetric & (torch.linalg.eigvalsh(value) >= 0).all(-1))
    return ~support.check(value)


def element_support(support: Constraint) -> Any:
    """Return the support of one element, of a support of several that are independent."""
    while isinstance(support, INDEPENDENT):
        support = support.base_constraint
    return support


def _validates(law: Any) -> bool:
    """Say whether a law looks at its values itself, and says in its own words what is wrong with them."""
    return _validates(law.base_dist) if isinstance(law, Independent) else law._validate_args


def _hides(law: Any) -> bool:
    """Say whether a mask lies within a law, which hides values from it."""
    if isinstance(law, Independent | ExpandedDistribution):
        return _hides(law.base_dist)
    return isinstance(law, MaskedDistribution)


def support_of(law: Distribution) -> Constraint:
    """Return the set that a law's values are in: of angles one turn, of mixtures the hull of their parts'."""
    if isinstance(law, Independent):
        return constraints.independent(support_of(law.base_dist), law.reinterpreted_batch_ndims)
    if isinstance(law, MaskedDistribution | ExpandedDistribution):
        return support_of(law.base_dist)
    if isinstance(law, MixtureSameFamily):
        parts = law.component_distribution
        return _hull(support_of(parts), parts.batch_shape + parts.event_shape, -1 - len(parts.event_shape))
    if isinstance(law, VonMises):
        return constraints.interval(-math.pi, math.pi)
    if law.support is None:
        raise ValueError(f"{type(law).__name__} should have a support but has none")
    return law.support


def _hull(support: Constraint, shape: torch.Size, dim: int) -> Constraint:
    """Return the least interval that holds those of all components, which lie along a dimension."""
    if isinstance(support, INDEPENDENT):
        return constraints.independent(_hull(support.base_constraint, shape, dim), -1 - dim)
    hull = copy.copy(support)
    for name, outermost in (("lower_bound", Tensor.amin), ("upper_bound", Tensor.amax)):
        end = getattr(support, name, None)
        if isinstance(end, Tensor) and end.dim():
            setattr(hull, name, outermost(end.expand(shape), dim))
    return hull
