"""Laws on finitely many values, drawn by the generalised inverse of their CDF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from probgen.sampling.uniforms import uniform


class _Steps(TorchDistribution):
    r"""A law whose CDF is a step function: a table of cumulative probabilities, \*batch x n, float64."""

    arg_constraints = {}  # noqa: RUF012
    _tables: tuple[str, ...]
    _cumulative: Tensor

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        shape = torch.empty(self.batch_shape, device="meta").expand(tuple(batch_shape)).shape
        for name in self._tables:
            table = self.__dict__[name]
            own = shape[len(shape) - (table.dim() - 1) :]
            new.__dict__[name] = table.expand(*own, -1).contiguous()
        super(_Steps, new).__init__(shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return self._value(self._index(uniform(shape, device=self._cumulative.device, generator=generator)))

    def icdf(self, value: Tensor) -> Tensor:
        """Return the generalised inverse F⁻(u) = inf{x : F(x) ≥ u} at u in [0, 1]."""
        if self._validate_args and not ((value >= 0) & (value <= 1)).all():
            place = float(value[~((value >= 0) & (value <= 1))][0])
            raise ValueError(f"u should be in [0, 1] but got {place}")
        u = value.to(torch.float64).expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        return self._value(self._index(u.clamp(min=torch.finfo(torch.float64).tiny)))

    def _index(self, u: Tensor) -> Tensor:
        return _search(self._cumulative, u)

    def _value(self, index: Tensor) -> Tensor:
        raise NotImplementedError


class Empirical(_Steps):
    r"""The law of a sample: F(x) = Σᵢ wᵢ 1[xᵢ ≤ x] / Σᵢ wᵢ, drawn by its generalised inverse.

    Every draw is one of the samples. Each column of ``samples`` is a law of its own, drawn independently of
    the others. ``log_prob`` is the log of the probability mass at a value, −∞ off the sample.

    Args:
        samples: finite numbers, shape (n, \*batch).
        weights: non-negative, shape (n,) or (n, \*batch); equal where not given.

    Raises:
        ValueError: for an empty or non-finite sample, and for weights that are not weights.

    See Devroye (1986), Non-Uniform Random Variate Generation, ch. III.

    >>> law = Empirical(torch.tensor([3.0, 1.0, 2.0, 2.0]))
    >>> law.icdf(torch.tensor([0.25, 0.26, 0.75, 1.0]))
    tensor([1., 2., 2., 3.])
    """

    _tables = ("_values", "_cumulative")

    def __init__(
        self, samples: Tensor, *, weights: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        if samples.dim() == 0 or len(samples) == 0:
            raise ValueError(f"samples should have shape (n, *batch), n ≥ 1, but have {tuple(samples.shape)}")
        if not samples.isfinite().all():
            raise ValueError("samples should be finite but hold nan or inf")
        columns = samples.movedim(0, -1).contiguous()
        if weights is None:
            n = len(samples)
            self._values = columns.sort(-1).values
            self._cumulative = torch.arange(1, n + 1, dtype=torch.float64, device=samples.device) / n
        else:
            if weights.shape not in (samples.shape[:1], samples.shape):
                raise ValueError(
                    f"weights should have the shape {tuple(samples.shape[:1])} or {tuple(samples.shape)} "
                    f"of the samples but have {tuple(weights.shape)}"
                )
            self._values, order = columns.sort(-1)
            spread = weights.movedim(0, -1).expand(columns.shape)
            self._cumulative = _cumulate(spread.gather(-1, order), "weights")
        super().__init__(samples.shape[1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        return constraints.real

    @property
    def mean(self) -> Tensor:
        return (self._mass * self._values).sum(-1).to(self._dtype).expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        mean = (self._mass * self._values).sum(-1, keepdim=True)
        return (self._mass * (self._values - mean) ** 2).sum(-1).to(self._dtype).expand(self.batch_shape)

    def cdf(self, value: Tensor) -> Tensor:
        """Return F at x."""
        return self._level(value, right=True).to(self._dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log of the probability mass at x."""
        mass = self._level(value, right=True) - self._level(value, right=False)
        return mass.log().to(self._dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return self._values.dtype if self._values.is_floating_point() else torch.get_default_dtype()

    @property
    def _mass(self) -> Tensor:
        return self._cumulative.diff(prepend=torch.zeros_like(self._cumulative[..., :1]))

    def _level(self, value: Tensor, *, right: bool) -> Tensor:
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        both = torch.promote_types(self._values.dtype, value.dtype)
        count = _search(self._values.to(both), value.to(both), right=right)
        cumulative = torch.cat([torch.zeros_like(self._cumulative[..., :1]), self._cumulative], -1)
        return _take(cumulative, count)

    def _value(self, index: Tensor) -> Tensor:
        return _take(self._values, index)


class DiscreteInverse(_Steps):
    r"""The law of 0, ..., K − 1 with given probabilities, drawn by the generalised inverse of its CDF.

    Sums and uniforms are float64: small probabilities count, K may exceed 2²⁴, and a category of
    probability zero is never drawn. A draw costs a binary search, O(log K).

    Args:
        probs: non-negative, shape (\*batch, K); divided by its sum over the last dimension.

    Raises:
        ValueError: where ``probs`` is negative, not finite, or sums to zero.

    See Devroye (1986), Non-Uniform Random Variate Generation, ch. III.

    >>> law = DiscreteInverse(torch.tensor([0.5, 0.0, 0.25, 0.25]))
    >>> law.icdf(torch.tensor([0.1, 0.5, 0.51, 0.9])), law.mean
    (tensor([0, 0, 2, 3]), tensor(1.2500))
    """

    _tables = ("probs", "_cumulative")
    has_enumerate_support = True

    def __init__(self, probs: Tensor, *, validate_args: bool | None = None) -> None:
        if probs.dim() == 0 or probs.shape[-1] == 0:
            raise ValueError(f"probs should have shape (*batch, K), K ≥ 1, but has {tuple(probs.shape)}")
        self._cumulative = _cumulate(probs.detach(), "probs")
        self.probs = probs / probs.sum(-1, keepdim=True)
        super().__init__(probs.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.probs.shape[-1] - 1)

    @property
    def mean(self) -> Tensor:
        return (self.probs * self._categories).sum(-1).expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        mean = (self.probs * self._categories).sum(-1, keepdim=True)
        return (self.probs * (self._categories - mean) ** 2).sum(-1).expand(self.batch_shape)

    def cdf(self, value: Tensor) -> Tensor:
        """Return F at x, any number."""
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        last = self.probs.shape[-1] - 1
        level = _take(self._cumulative, value.floor().long().clamp(0, last))
        return torch.where(value < 0, 0.0, level).to(self.probs.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of the category, with gradients to ``probs``."""
        if self._validate_args:
            self._validate_sample(value)
        index = value.long().expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        return _take(self.probs, index).log()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = torch.arange(self.probs.shape[-1], device=self.probs.device)
        values = values.reshape(-1, *[1] * len(self.batch_shape))
        return values.expand(-1, *self.batch_shape) if expand else values

    @property
    def _categories(self) -> Tensor:
        return torch.arange(self.probs.shape[-1], dtype=self.probs.dtype, device=self.probs.device)

    def _value(self, index: Tensor) -> Tensor:
        return index


def _cumulate(weights: Tensor, name: str) -> Tensor:
    """Return cumulative probabilities in float64; the last one is exactly 1."""
    weights = weights.to(torch.float64)
    wrong = ~(weights.isfinite() & (weights >= 0))
    if wrong.any():
        raise ValueError(f"{name} should be finite and at least 0 but hold {float(weights[wrong][0])}")
    sums = weights.cumsum(-1)
    if not (sums[..., -1] > 0).all():
        raise ValueError(f"{name} should have a positive sum but sum to 0")
    return sums / sums[..., -1:]


def _search(table: Tensor, values: Tensor, *, right: bool = False) -> Tensor:
    r"""Find where values (\*sample, \*batch) fall in a sorted table (\*own, n); batch ends with own."""
    if table.dim() == 1:
        return torch.searchsorted(table, values.contiguous(), right=right)
    own = table.shape[:-1]
    columns = values.reshape(-1, *own).movedim(0, -1).contiguous()
    return torch.searchsorted(table, columns, right=right).movedim(-1, 0).reshape(values.shape)


def _take(table: Tensor, index: Tensor) -> Tensor:
    r"""Return table[\*own, index] for indices (\*sample, \*batch)."""
    if table.dim() == 1:
        return table[index]
    own = table.shape[:-1]
    columns = index.reshape(-1, *own).movedim(0, -1)
    return table.gather(-1, columns).movedim(-1, 0).reshape(index.shape)
