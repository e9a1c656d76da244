"""Laws on finitely many values: the empirical law of a sample, and the categories 0, ..., K − 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from probgen.core.descriptions import described
from probgen.sampling.exact.smoothed import SmoothedEmpirical
from probgen.sampling.exact.tables.step_laws import StepLaw, cumulated, search, shares, take


class Empirical(StepLaw):
    r"""The law of a sample: F(x) = Σᵢ wᵢ 1[xᵢ ≤ x] / Σᵢ wᵢ, the bootstrap's.

    Every draw is one of the samples. Each column of ``samples`` is a law of its own, drawn independently of
    the others. ``log_prob`` is the log of the probability mass at a value, −∞ off the sample; ``icdf`` is the
    generalised inverse. :meth:`smoothed` puts a normal kernel around each sample.

    Args:
        samples: finite numbers, shape (n, \*batch).
        weights: non-negative, shape (n,) or (n, \*batch); equal where not given.

    Raises:
        ValueError: for an empty or non-finite sample, and for weights that are not weights.

    See Devroye (1986), Non-Uniform Random Variate Generation, ch. III; Efron (1979), Bootstrap Methods.

    >>> law = Empirical(torch.tensor([3.0, 1.0, 2.0, 2.0]))
    >>> law.icdf(torch.tensor([0.25, 0.26, 0.75, 1.0]))
    tensor([1., 2., 2., 3.])
    """

    _tables = ("_values", "mass", "_tied", "_cumulative")

    def __init__(
        self, samples: Tensor, *, weights: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        if samples.dim() == 0 or len(samples) == 0:
            raise ValueError(f"samples should have shape (n, *batch), n ≥ 1, but have {tuple(samples.shape)}")
        if not samples.isfinite().all():
            raise ValueError("samples should be finite but hold nan or inf")
        n = len(samples)
        self._values, order = samples.movedim(0, -1).contiguous().sort(-1)
        self._equal = weights is None
        if weights is None:
            self._cumulative = torch.arange(1, n + 1, dtype=torch.float64, device=samples.device) / n
            self.mass = self._tied = torch.full_like(self._cumulative, 1 / n)
        else:
            if weights.shape not in (samples.shape[:1], samples.shape):
                raise ValueError(
                    f"weights should have the shape {tuple(samples.shape[:1])} or {tuple(samples.shape)} "
                    f"of the samples but have {tuple(weights.shape)}"
                )
            spread = weights.detach().movedim(0, -1).expand(self._values.shape)
            self.mass = shares(spread.gather(-1, order), "weights")
            self._tied = self._sums_of_ties()
            self._cumulative = cumulated(self.mass)
        super().__init__(samples.shape[1:], validate_args=validate_args)

    def __repr__(self) -> str:
        return described(self, f"{self.mass.shape[-1]} values")

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        return constraints.real

    @property
    def values(self) -> Tensor:
        r"""The samples in increasing order, shape (\*batch, n)."""
        return self._values.expand(*self.batch_shape, -1)

    @property
    def mean(self) -> Tensor:
        return (self.mass * self._values).sum(-1).to(self._dtype).expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        mean = (self.mass * self._values).sum(-1, keepdim=True)
        return (self.mass * (self._values - mean) ** 2).sum(-1).to(self._dtype).expand(self.batch_shape)

    @property
    def mode(self) -> Tensor:
        """The value of the largest mass, the least of them where several are."""
        mass = self._mass_of_values()
        largest = mass >= mass.amax(-1, keepdim=True) - 2.0**-40  # but for rounding
        return take(self._values, largest.to(torch.uint8).argmax(-1))

    def entropy(self) -> Tensor:
        """Return −Σ P log P in nats over the distinct values."""
        terms = torch.where(self.mass > 0, -self.mass * self._mass_of_values().log(), 0.0)
        return terms.sum(-1).to(self._dtype).expand(self.batch_shape)

    def cdf(self, value: Tensor) -> Tensor:
        """Return F at x."""
        if self._validate_args:
            self._validate_sample(value)
        return self._level(value, right=True).to(torch.promote_types(self._dtype, value.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log of the probability mass at x."""
        if self._validate_args:
            self._validate_sample(value)
        return self._mass(value).log().to(torch.promote_types(self._dtype, value.dtype))

    def smoothed(self, bandwidth: Tensor | float | None = None) -> SmoothedEmpirical:
        """Return the law of X + bandwidth · ε, ε standard normal; see :class:`SmoothedEmpirical`."""
        return SmoothedEmpirical(self, bandwidth=bandwidth, validate_args=self._validate_args)

    @property
    def _dtype(self) -> torch.dtype:
        return self._values.dtype if self._values.is_floating_point() else torch.get_default_dtype()

    def _mass(self, value: Tensor) -> Tensor:
        """Return the mass at x; a difference of sums would lose what is small beside 1."""
        below, to_here = (self._count(value, right=right) for right in (False, True))
        if self._equal:
            return (to_here - below).to(torch.float64) / self._values.shape[-1]
        mass = take(self._tied, below.clamp(max=self._values.shape[-1] - 1))
        return torch.where(to_here > below, mass, 0.0)

    def _sums_of_ties(self) -> Tensor:
        """Return the mass at each of the sorted samples, in the shape of the samples."""
        places = self._values.movedim(-1, 0)
        least = search(self._values, places, right=False).movedim(0, -1)
        return torch.zeros_like(self.mass).scatter_add(-1, least, self.mass).gather(-1, least)

    def _mass_of_values(self) -> Tensor:
        r"""Return the mass at each of the sorted samples, \*batch x n."""
        return self._mass(self.values.movedim(-1, 0)).movedim(0, -1)

    def _level(self, value: Tensor, *, right: bool) -> Tensor:
        return take(torch.nn.functional.pad(self._cumulative, (1, 0)), self._count(value, right=right))

    def _count(self, value: Tensor, *, right: bool) -> Tensor:
        """Return how many samples are below x, or with ``right`` at x or below."""
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        both = torch.promote_types(self._values.dtype, value.dtype)
        return search(self._values.to(both), value.to(both), right=right)

    def _place(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        if not self._equal:
            return super()._place(shape, generator)
        return torch.randint(len(self.mass), shape, generator=generator, device=self.mass.device)

    def _value(self, place: Tensor) -> Tensor:
        return take(self._values, place)


class DiscreteInverse(StepLaw):
    r"""The law of 0, ..., K − 1 with given probabilities; ``icdf`` is the generalised inverse of its CDF.

    Sums are float64 and the probabilities of a draw exact to 2⁻⁵²: small probabilities count, K may exceed
    2²⁴, and a category of probability zero is never drawn. Many draws come from an alias table of whole
    numbers, at a cost that does not depend on K; calls of fewer than K / 2 draws invert the CDF by search.
    ``icdf`` searches with the help of a guide table where 8 K quantiles or more are asked for at once.

    Args:
        probs: non-negative, shape (\*batch, K); divided by its sum over the last dimension.

    Raises:
        ValueError: where ``probs`` is negative, not finite, or sums to zero.

    See Devroye (1986), Non-Uniform Random Variate Generation, ch. III.

    >>> law = DiscreteInverse(torch.tensor([0.5, 0.0, 0.25, 0.25]))
    >>> law.icdf(torch.tensor([0.1, 0.5, 0.51, 0.9])), law.mean
    (tensor([0, 0, 2, 3]), tensor(1.2500))
    """

    _tables = ("probs", "_shares", "mass", "_cumulative")
    has_enumerate_support = True

    def __init__(self, probs: Tensor, *, validate_args: bool | None = None) -> None:
        if probs.dim() == 0 or probs.shape[-1] == 0:
            raise ValueError(f"probs should have shape (*batch, K), K ≥ 1, but has {tuple(probs.shape)}")
        self._shares = shares(probs, "probs")
        self.mass = self._shares.detach()
        self._cumulative = cumulated(self.mass)
        self.probs = self._shares.to(probs.dtype if probs.is_floating_point() else torch.get_default_dtype())
        super().__init__(probs.shape[:-1], validate_args=validate_args)

    def __repr__(self) -> str:
        return described(self, f"{self.mass.shape[-1]} values")

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.probs.shape[-1] - 1)

    @property
    def mean(self) -> Tensor:
        return self._mean(self._categories)

    @property
    def variance(self) -> Tensor:
        distance = self._categories - (self._shares * self._categories).sum(-1, keepdim=True)
        return self._mean(distance**2)

    @property
    def mode(self) -> Tensor:
        """The most probable category, the first of them where several are."""
        return self.mass.argmax(-1).expand(self.batch_shape)

    def entropy(self) -> Tensor:
        """Return −Σ p log p in nats, with gradients to ``probs``; what is impossible adds nothing."""
        terms = torch.special.entr(torch.where(self._shares > 0, self._shares, 1.0))
        return terms.sum(-1).to(self.probs.dtype).expand(self.batch_shape)

    def cdf(self, value: Tensor) -> Tensor:
        """Return F at x, any number."""
        if self._validate_args and value.isnan().any():
            raise ValueError("cdf needs a number but got nan")
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        level = take(self._cumulative, value.clamp(0, self.probs.shape[-1] - 1).long())
        return torch.where(value < 0, 0.0, level).to(torch.promote_types(self.probs.dtype, value.dtype))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of the category, with gradients to ``probs``; −∞ of what is none."""
        if self._validate_args:
            self._validate_sample(value)
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        index = value.long().clamp(0, self.probs.shape[-1] - 1)
        share = torch.where(index == value, take(self._shares, index), 0.0)
        return share.log().to(self.probs.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = torch.arange(self.probs.shape[-1], device=self.probs.device)
        values = values.reshape(-1, *[1] * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    @property
    def _categories(self) -> Tensor:
        return torch.arange(self.probs.shape[-1], dtype=torch.float64, device=self.probs.device)

    def _mean(self, values: Tensor) -> Tensor:
        return (self._shares * values).sum(-1).to(self.probs.dtype).expand(self.batch_shape)

    def _value(self, place: Tensor) -> Tensor:
        return place
