"""Laws whose CDF is a step function: what the discrete and the empirical law share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core.density.mapped import is_mapped
from probgen.sampling.exact.tables.alias_table import AliasTable
from probgen.sampling.exact.tables.guide_table import GuideTable, guide_pays
from probgen.sampling.uniforms import uniform


class StepLaw(TorchDistribution):
    r"""A law on n places in increasing order: tables of ``mass`` and its sums, float64, \*own x n.

    Draws come from an alias table, whose cost does not depend on n and which is built at the first call that
    draws at least n / 2 numbers of each law; smaller calls search the cumulative table, O(log n) a draw.
    Quantiles are searched for, from the first call with 8 n or more of each law on with the help of a guide
    table, which makes them two to seven times as fast from a thousand places on. It needs 16 cells for one of
    the alias table's and knows probabilities to 2⁻⁵² in place of 2⁻⁶², so that it does not serve ``sample``.
    """

    arg_constraints = {}  # noqa: RUF012
    _tables: tuple[str, ...]
    mass: Tensor
    _cumulative: Tensor
    _alias: AliasTable | None = None
    _guide: GuideTable | None = None

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        new = self._get_checked_instance(type(self), _instance)
        new.__dict__.update(self.__dict__)
        shape = torch.empty(self.batch_shape, device="meta").expand(tuple(batch_shape)).shape
        for name in self._tables:
            table = self.__dict__[name]
            own = shape[len(shape) - (table.dim() - 1) :]
            if own != table.shape[:-1]:
                new.__dict__[name] = table.expand(*own, -1).contiguous()
                new._alias = new._guide = None
        super(StepLaw, new).__init__(shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: Sequence[int] = (), *, generator: torch.Generator | None = None) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            return self._value(self._place(shape, generator))

    def icdf(self, value: Tensor) -> Tensor:
        """Return the generalised inverse F⁻(u) = inf{x : F(x) ≥ u} at u in [0, 1].

        Values that are no whole numbers are float64 where u or they are.
        """
        return self.placed(value, value.dtype)

    def placed(self, value: Tensor, least: torch.dtype) -> Tensor:
        """Return F⁻(u), of whole numbers or in a dtype with the digits of ``least`` at the least."""
        if self._validate_args and not ((value >= 0) & (value <= 1)).all():
            place = float(value[~((value >= 0) & (value <= 1))][0])
            raise ValueError(f"u should be in [0, 1] but got {place}")
        u = value.to(torch.float64).expand(torch.broadcast_shapes(value.shape, self.batch_shape))
        x = self._value(self._inverted(u.clamp(min=torch.finfo(torch.float64).tiny)))
        return x.to(torch.promote_types(x.dtype, least)) if x.is_floating_point() else x

    def _inverted(self, u: Tensor) -> Tensor:
        """Return the places at which the CDF reaches u."""
        table = self._cumulative
        rows, places = table[..., 0].numel(), table.shape[-1]
        if get_proxy_mode() is not None or not rows:
            return search(table, u)
        if self._guide is None and guide_pays(u.numel() // rows, rows, places):
            self._guide = GuideTable(table.reshape(rows, places))
        if self._guide is None:
            return search(table, u)
        return self._guide.find(u.reshape(-1, rows).T).T.reshape(u.shape)

    def _place(self, shape: torch.Size, generator: torch.Generator | None) -> Tensor:
        table = self._cumulative
        if 2 * shape.numel() <= table.numel():
            return search(table, uniform(shape, device=table.device, generator=generator))
        rows = table[..., 0].numel()
        if self._alias is None:
            self._alias = AliasTable(self.mass.reshape(rows, -1))
        return self._alias.draw(shape.numel() // rows, generator=generator).reshape(shape)

    def _value(self, place: Tensor) -> Tensor:
        raise NotImplementedError


def shares(weights: Tensor, name: str) -> Tensor:
    """Return weights as probabilities along the last dimension, in float64, with gradients."""
    weights = weights.to(torch.float64)
    largest = weights.detach().amax(-1, keepdim=True)
    if not is_mapped(weights):
        wrong = ~(weights.isfinite() & (weights >= 0))
        if wrong.any():
            raise ValueError(f"{name} should be finite and at least 0 but hold {float(weights[wrong][0])}")
        if not (largest > 0).all():
            raise ValueError(f"{name} should have a positive sum but sum to 0")
    weights = weights / largest
    return weights / weights.sum(-1, keepdim=True)


def cumulated(probs: Tensor) -> Tensor:
    """Return cumulative probabilities; the last one is exactly 1."""
    sums = probs.cumsum(-1)
    return sums / sums[..., -1:]


def search(table: Tensor, values: Tensor, *, right: bool = False) -> Tensor:
    r"""Find where values (\*sample, \*batch) fall in a sorted table (\*own, n); batch ends with own."""
    if table.dim() == 1:
        return torch.searchsorted(table, values.contiguous(), right=right)
    own = table.shape[:-1]
    columns = values.reshape(-1, own.numel()).T.contiguous()
    found = torch.searchsorted(table.reshape(own.numel(), -1), columns, right=right)
    return found.T.reshape(values.shape)


def take(table: Tensor, index: Tensor) -> Tensor:
    r"""Return table[\*own, index] for indices (\*sample, \*batch); batch ends with own."""
    own, n = table.shape[:-1], table.shape[-1]
    if own.numel() > 1:
        index = index + n * torch.arange(own.numel(), device=index.device).reshape(own)
    return table.reshape(-1).index_select(0, index.reshape(-1)).reshape(index.shape)
