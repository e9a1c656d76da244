"""A mixture of laws of any kinds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from probgen.core.density.bijectors import bijector_of
from probgen.core.supports import element_support, support_of
from probgen.sampling.exact.laws_from_uniforms import same_support
from probgen.sampling.exact.verification import bounds


class Mixture(TorchDistribution):
    r"""The law that is one of several with given probabilities: Σ_k w_k p_k(x), each p_k of any family.

    ``torch.distributions.MixtureSameFamily`` is for many components of one family; here a normal, a Student
    and a law of one's own may stand side by side.

    Args:
        laws: continuous ones of one event shape, their batch shapes broadcast.
        weights: w, (K) or (\*batch, K), not negative; they are divided by their sum.

    Raises:
        ValueError: for other numbers of weights than laws, weights that are negative or all 0, laws of
            different event shapes, discrete ones, and supports that are neither alike nor intervals.

    >>> from torch.distributions import Cauchy, Normal
    >>> robust = Mixture([Normal(0.0, 1.0), Cauchy(0.0, 5.0)], [0.9, 0.1])
    >>> robust.log_prob(torch.tensor(0.0)).exp(), robust.cdf(torch.tensor(0.0))
    (tensor(0.3654), tensor(0.5000))
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(
        self,
        laws: Sequence[Distribution],
        weights: Sequence[float] | Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        if not laws:
            raise ValueError("laws should be one at least but are none")
        event = laws[0].event_shape
        for law in laws[1:]:
            if law.event_shape != event:
                raise ValueError(
                    f"laws should have one event shape but have {tuple(event)} and {tuple(law.event_shape)}"
                )
        self._support = _common([support_of(law) for law in laws])
        given = (
            weights if isinstance(weights, Tensor) else torch.tensor(weights, dtype=torch.get_default_dtype())
        )
        if given.shape[-1:] != (len(laws),):
            raise ValueError(
                f"weights should be one for each of {len(laws)} laws but are {tuple(given.shape)}"
            )
        total = given.sum(-1)
        if validate_args is not False and not ((given >= 0).all() and ((total > 0) & total.isfinite()).all()):
            raise ValueError(f"weights should be finite, at least 0, not all 0, but are {given.tolist()}")
        shape = torch.broadcast_shapes(given.shape[:-1], *(law.batch_shape for law in laws))
        self.laws = [law.expand(shape) for law in laws]
        self.weights = (given / given.sum(-1, keepdim=True)).expand(*shape, len(laws))
        super().__init__(shape, event, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Constraint:
        return self._support

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Mixture:
        new = self._get_checked_instance(Mixture, _instance)
        new._support = self._support
        new.laws = [law.expand(torch.Size(batch_shape)) for law in self.laws]
        new.weights = self.weights.expand(*batch_shape, len(self.laws))
        super(Mixture, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw without gradient."""
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            chosen = torch.distributions.Categorical(self.weights).sample(shape)
            chosen = chosen[(..., *[None] * len(self.event_shape))]
            draws = [law.sample(shape) for law in self.laws]
            result = draws[0]
            for k, other in enumerate(draws[1:], 1):
                result = torch.where(chosen == k, other, result)
            return result

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, of each law −inf where its support does not reach."""
        if self._validate_args:
            self._validate_sample(value)
        each = []
        for law, inside, safe in self._inside(value):
            log_prob = law.log_prob(safe)
            each.append(log_prob if inside is None else torch.where(inside, log_prob, -torch.inf))
        return (torch.stack(each, -1) + self.weights.log()).logsumexp(-1)

    def cdf(self, value: Tensor) -> Tensor:
        """Return F(x), for laws on the line that each have a CDF."""
        each = []
        for law, inside, safe in self._inside(value):
            level = law.cdf(safe)
            each.append(
                level if inside is None else torch.where(inside, level, (value > safe).to(level.dtype))
            )
        return (torch.stack(each, -1) * self.weights).sum(-1)

    @property
    def mean(self) -> Tensor:
        return self._averaged([law.mean for law in self.laws])

    @property
    def variance(self) -> Tensor:
        mean = self.mean
        return self._averaged([law.variance + (law.mean - mean) ** 2 for law in self.laws])

    def _inside(self, value: Tensor) -> Iterator[tuple[Distribution, Tensor | None, Tensor]]:
        """Give for each law whether x is in its support, None for all x, and x or else a value there."""
        for law in self.laws:
            own = support_of(law)
            if self.event_shape or same_support(own, self._support):
                yield law, None, value
            else:
                inside = own.check(value)
                yield law, inside, torch.where(inside, value, bijector_of(own)(torch.zeros_like(value)))

    def _averaged(self, each: Sequence[Tensor]) -> Tensor:
        weights = self.weights.reshape(*self.batch_shape, *[1] * len(self.event_shape), len(self.laws))
        return (torch.stack(tuple(each), -1) * weights).sum(-1)


def _common(supports: Sequence[Constraint]) -> Constraint:
    """Return the support of a mixture: that of all laws, or the interval that holds theirs."""
    if any(support.is_discrete for support in supports):
        raise ValueError(f"laws should be continuous but one has the support {supports}")
    elements = [element_support(support) for support in supports]
    if all(same_support(elements[0], other) for other in elements[1:]):
        return supports[0]
    if any(support.event_dim for support in supports):
        raise ValueError(f"laws of vectors should have one support but have {supports}")
    ends = [bounds(support) for support in supports]
    low, high = min(float(end.min()) for end, _ in ends), max(float(end.max()) for _, end in ends)
    if low == -torch.inf:
        return constraints.real if high == torch.inf else constraints.less_than(high)
    return constraints.greater_than(low) if high == torch.inf else constraints.interval(low, high)
