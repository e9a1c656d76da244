"""The sets that the values of laws are in: outside, a log-density is −∞, in a graph as well as eagerly."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MixtureSameFamily,
    TransformedDistribution,
    VonMises,
    constraints,
)
from torch.distributions import transforms as maps
from torch.distributions.constraints import Constraint

REAL = type(constraints.real)
INDEPENDENT = constraints.independent
BOOLEAN = type(constraints.boolean)
SIMPLEX = type(constraints.simplex)
MULTINOMIAL = constraints.multinomial
MIXTURE = constraints.MixtureSameFamilyConstraint
SYMMETRIC = type(constraints.symmetric)
DEFINITE = type(constraints.positive_definite)
SEMIDEFINITE = type(constraints.positive_semidefinite)


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
    if _hides(law) or _widens(law):
        inner = supported(law.base_dist)
        if inner is not law.base_dist:
            law = copy.copy(law)
            law.base_dist = inner
    support = None if _hides(law) else checked_support(law)
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


def named_support(law: Any) -> Constraint | None:
    """Return the support of a law, of a transformed one that of its values; None as by checked_support."""
    if not _widens(law):
        return checked_support(law)
    try:
        return support_of(law)
    except (AttributeError, NotImplementedError, ValueError):
        return None


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
        if isinstance(support, SEMIDEFINITE):
            return ~(symmetric & (torch.linalg.eigvalsh(value) >= 0).all(-1))
        return ~symmetric
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


def _widens(law: Any) -> bool:
    """Say whether a law is transformed, and its support that of the transforms, which may be wider."""
    if isinstance(law, Independent | ExpandedDistribution):
        return _widens(law.base_dist)
    return isinstance(law, TransformedDistribution) and type(law).support is TransformedDistribution.support


def support_of(law: Distribution) -> Constraint:
    """Return the set that a law's values are in: of angles one turn, of mixtures the hull of their parts'.

    Of a law that is transformed it is the image of the law's own support, where torch's is the transform's.

    Raises:
        ValueError: where it is not known.
    """
    if isinstance(law, Independent):
        return constraints.independent(support_of(law.base_dist), law.reinterpreted_batch_ndims)
    if isinstance(law, MaskedDistribution | ExpandedDistribution):
        return support_of(law.base_dist)
    if isinstance(law, MixtureSameFamily):
        parts = law.component_distribution
        return _hull(support_of(parts), parts.batch_shape + parts.event_shape, -1 - len(parts.event_shape))
    if isinstance(law, VonMises):
        return constraints.interval(-math.pi, math.pi)
    if _widens(law):
        return _of_transformed(law)
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


def elementary(transforms: Sequence[Any]) -> list[Any]:
    """Return the elementary transforms that transforms are made of, the first one applied first."""
    flat: list[Any] = []
    for transform in transforms:
        if isinstance(transform, maps.ComposeTransform):
            flat += elementary(transform.parts)
        elif isinstance(transform, maps.IndependentTransform):
            flat += elementary([transform.base_transform])
        else:
            flat.append(transform)
    return flat


def _of_transformed(law: Any) -> Constraint:
    """Return the image of a law's support under its transforms."""
    support = element_support(support_of(law.base_dist))
    if constraints.is_dependent(support):
        return law.support
    for transform in elementary(law.transforms):
        found = _image(support, transform)
        if found is None:
            raise ValueError(
                f"a transformed {type(law.base_dist).__name__} should have a support that is known, but that "
                f"of its values in {support} after {type(transform).__name__} is not: draw the value before "
                f"it and transform that, with pyro.deterministic for a name"
            )
        support = found
    dims = len(law.event_shape) - support.event_dim
    return constraints.independent(support, dims) if dims > 0 else support


def _image(support: Constraint, transform: Any) -> Constraint | None:
    """Return the image of the support of one element, or of one event, under a transform; None if unknown."""
    domain, codomain = element_support(transform.domain), element_support(transform.codomain)
    # The whole line, or the whole domain, goes to the whole codomain.
    same = type(support) is type(domain) and _ends(support) == (None, None)
    if same or isinstance(support, REAL):
        return codomain
    bounded = hasattr(support, "lower_bound") or hasattr(support, "upper_bound")
    elementwise = transform.domain.event_dim == 0 or isinstance(transform, maps.AffineTransform)
    if support.is_discrete or not bounded or not elementwise:
        return None
    (lower, upper), limits = _ends(support), _ends(codomain)
    first, last = _ends(domain)
    # Of an interval the ends are mapped; one at which the domain ends, too, goes to an end of the codomain,
    # to which one the sign of the derivative tells.
    whole = [end is None or _equal(end, limit) for end, limit in ((lower, first), (upper, last))]
    if all(whole):
        return codomain
    if not any(whole):
        images = [transform(torch.as_tensor(end, dtype=_dtype(end))) for end in (lower, upper)]
        return constraints.interval(torch.minimum(*images), torch.maximum(*images))
    try:
        sign = torch.as_tensor(transform.sign)
    except NotImplementedError:
        return None
    rises = bool((sign > 0).all())
    if not rises and not bool((sign < 0).all()):
        return None
    ends = [
        limits[(i == 0) != rises] if at_limit else transform(torch.as_tensor(end, dtype=_dtype(end)))
        for i, (end, at_limit) in enumerate(zip((lower, upper), whole, strict=True))
    ]
    return _between(*(ends if rises else ends[::-1]))


def _ends(support: Any) -> tuple[Any, Any]:
    """Return the ends of an interval or a half-line, None where there is none."""
    return getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)


def _equal(end: Any, limit: Any) -> bool:
    return limit is not None and bool((torch.as_tensor(end) == limit).all())


def _dtype(end: Any) -> torch.dtype:
    return end.dtype if isinstance(end, Tensor) else torch.get_default_dtype()


def _between(lower: Any, upper: Any) -> Constraint:
    if lower is None:
        return constraints.real if upper is None else constraints.less_than(upper)
    return constraints.greater_than(lower) if upper is None else constraints.interval(lower, upper)
