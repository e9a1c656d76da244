"""log F, log (1 − F) and quantiles of families of two tails, as operators of torch with derivatives.

The first derivatives come from the quadrature that finds the values; those of quantiles are the implicit
ones, ∂w = −∂F / f. Second and higher ones are found, when they are asked for, by autograd through the
quadrature of the first. The operators can be captured in graphs and mapped by ``torch.vmap``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from probgen.core.density.mapped import needs_gradient
from probgen.sampling.exact.tables.quantile_table import COARSE, LOWEST, QuantileTable
from probgen.sampling.exact.tails.tail_families import (
    FAMILIES,
    Family,
    Whole,
    implicit_slopes,
    in_blocks,
    inverse,
    near_tail,
    whole,
)

_PRECISE = 5e-13
"""What a table of quantiles may be off, as a share of the tail."""


def log_tails(family: Family, w: Tensor) -> tuple[Tensor, Tensor]:
    """Return log F(w) and log (1 − F(w)), each to its relative precision."""
    inside = torch.where(w.isfinite(), w, 0.0)
    near = torch.ops.probgen.near_tail(type(family).__name__, list(family.parameters), inside)[0]
    near = torch.where(w.isinf(), -torch.inf, torch.where(w.isnan(), w, near))
    far = log1mexp(near)
    return torch.where(w <= 0, near, far), torch.where(w <= 0, far, near)


def quantile(family: Family, log_lower: Tensor, log_upper: Tensor) -> Tensor:
    """Return the w that has the given finite tails, whose sum is 1; NaN where none is found."""
    name, parameters = type(family).__name__, list(family.parameters)
    slopes = torch.is_grad_enabled() and needs_gradient(*parameters, log_lower, log_upper)
    return torch.ops.probgen.two_tailed_quantile(name, parameters, log_lower, log_upper, slopes)[0]


@torch.library.custom_op(
    "probgen::near_tail", mutates_args=(), schema="(str family, Tensor[] parameters, Tensor w) -> Tensor[]"
)
def _near_tail(family: str, parameters: list[Tensor], w: Tensor) -> list[Tensor]:
    """Return the log of the tail that w begins, and its derivatives to w and to the parameters."""
    law = FAMILIES[family](*parameters)
    return in_blocks(near_tail, law, whole(law), w)


@torch.library.custom_op(
    "probgen::two_tailed_quantile",
    mutates_args=(),
    schema="(str family, Tensor[] parameters, Tensor log_lower, Tensor log_upper, bool slopes) -> Tensor[]",
)
def _quantile(
    family: str, parameters: list[Tensor], log_lower: Tensor, log_upper: Tensor, slopes: bool
) -> list[Tensor]:
    """Return quantiles, and where wanted their derivatives to the two log-tails and to the parameters."""
    law = FAMILIES[family](*parameters)
    all_of_it = whole(law, scored=slopes)
    w = _found(law, all_of_it, log_lower, log_upper)
    return [w, *in_blocks(implicit_slopes, law, all_of_it, w)] if slopes else [w]


def _found(law: Family, all_of_it: Whole, log_lower: Tensor, log_upper: Tensor) -> Tensor:
    """Return quantiles; many of a single law on a CPU by polynomials between exact ones, where as good."""

    def exact(*logs: Tensor) -> Tensor:
        return in_blocks(inverse, law, all_of_it, *logs)[0]

    def of_tail(z: Tensor) -> Tensor:
        near, far = z.abs().log(), (-z.abs()).log1p()
        return exact(torch.where(z > 0, near, far), torch.where(z > 0, far, near))

    single = all(p.numel() == 1 for p in law.parameters)
    if not single or log_lower.device.type != "cpu" or log_lower.numel() < 2 * COARSE.cost:
        return exact(log_lower, log_upper)
    table = QuantileTable(of_tail, 1, COARSE, log_lower.device, allowed=(_PRECISE, _PRECISE), levels=0)
    z = torch.where(log_lower < log_upper, log_lower.exp(), -log_upper.exp())
    far = z.abs() < LOWEST
    w = table.look_up(torch.where(far, LOWEST, z))
    missing = w.isnan() | far
    if missing.any():
        w[missing] = exact(log_lower[missing], log_upper[missing])
    return w


@_near_tail.register_fake
def _(family: str, parameters: list[Tensor], w: Tensor) -> list[Tensor]:
    return _alike(2 + len(parameters), *parameters, w)


@_quantile.register_fake
def _(
    family: str, parameters: list[Tensor], log_lower: Tensor, log_upper: Tensor, slopes: bool
) -> list[Tensor]:
    return _alike(3 + len(parameters) if slopes else 1, *parameters, log_lower, log_upper)


def _alike(count: int, *tensors: Tensor) -> list[Tensor]:
    shape = torch.broadcast_shapes(*(t.shape for t in tensors))
    return [tensors[0].new_empty(shape) for _ in range(count)]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.family, parameters, *others = inputs
    ctx.counts = len(parameters), len(output)
    ctx.shapes = [x.shape for x in others if isinstance(x, Tensor)]
    ctx.save_for_backward(*parameters, *others[:1], *output)


def _tail_backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
    count = ctx.counts[0]
    parameters, w = ctx.saved_tensors[:count], ctx.saved_tensors[count]
    _, *slopes = ctx.saved_tensors[count + 1 :]
    to_w, *to_parameters = _through(near_tail, ctx.family, parameters, w, gradients[1:])
    if gradients[0] is not None:
        to_w, *to_parameters = (
            g + gradients[0] * slope for g, slope in zip((to_w, *to_parameters), slopes, strict=True)
        )
    return None, _summed(to_parameters, parameters), to_w.sum_to_size(w.shape)


def _quantile_backward(ctx: Any, gradients: list[Tensor | None]) -> tuple[Any, ...]:
    count = ctx.counts[0]
    if ctx.counts[1] == 1:
        raise RuntimeError("quantiles should be found with slopes to be differentiated")
    parameters = ctx.saved_tensors[:count]
    w, lower, upper, *slopes = ctx.saved_tensors[count + 1 :]
    to_w, *to_parameters = _through(implicit_slopes, ctx.family, parameters, w, gradients[1:])
    if gradients[0] is not None:
        to_w = to_w + gradients[0]
    to_parameters = [g + to_w * slope for g, slope in zip(to_parameters, slopes, strict=True)]
    to_lower, to_upper = (
        (to_w * slope).sum_to_size(shape) for slope, shape in zip((lower, upper), ctx.shapes, strict=True)
    )
    return None, _summed(to_parameters, parameters), to_lower, to_upper, None


def _through(
    function: Callable[..., tuple[Tensor, ...]],
    family: str,
    parameters: Sequence[Tensor],
    w: Tensor,
    gradients: Sequence[Tensor | None],
) -> tuple[Tensor, ...]:
    """Return what gradients to a function's last values, themselves derivatives, say of w and parameters."""
    given = [(g, k) for k, g in enumerate(gradients) if g is not None]
    if not given:
        return tuple(torch.zeros_like(w) for _ in (w, *parameters))
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [x.view_as(x) if x.requires_grad else x.detach().requires_grad_() for x in (w, *parameters)]
        law = FAMILIES[family](*inputs[1:])
        values = function(law, whole(law), inputs[0])[-len(gradients) :]
        total = torch.stack([(values[k] * g).sum() for g, k in given]).sum()
        return torch.autograd.grad(total, inputs, create_graph=keep, materialize_grads=True)


def _summed(gradients: Sequence[Tensor], like: Sequence[Tensor]) -> list[Tensor]:
    return [g.sum_to_size(x.shape) for g, x in zip(gradients, like, strict=True)]


def _mapped(operator: Callable[..., list[Tensor]]) -> Callable[..., tuple[list[Tensor], list[int]]]:
    """Return the rule of an elementwise operator for ``torch.vmap``."""

    def rule(info: Any, in_dims: tuple[Any, ...], family: str, *args: Any) -> tuple[list[Tensor], list[int]]:
        flat, spec = tree_flatten(args)
        dims = [
            dim
            for dim, arg in zip(in_dims[1:], args, strict=True)
            for dim in (dim if isinstance(arg, list) else [dim])
        ]
        rank = max(
            x.dim() - (d is not None) for x, d in zip(flat, dims, strict=True) if isinstance(x, Tensor)
        )
        moved = [
            _leading(x, d, rank) if isinstance(x, Tensor) else x for x, d in zip(flat, dims, strict=True)
        ]
        output = operator(family, *tree_unflatten(moved, spec))
        return output, [0] * len(output)

    return rule


def _leading(x: Tensor, dim: int | None, rank: int) -> Tensor:
    """Put the mapped dimension first, before ``rank`` others; a tensor that is not mapped stays."""
    if dim is None:
        return x
    x = x.movedim(dim, 0)
    return x.reshape(len(x), *[1] * (rank + 1 - x.dim()), *x.shape[1:])


for _operator, _backward in ((_near_tail, _tail_backward), (_quantile, _quantile_backward)):
    _operator.register_autograd(_backward, setup_context=_keep)
    _operator.register_vmap(_mapped(_operator))


def log1mexp(x: Tensor) -> Tensor:
    """Return log(1 − exp(x)) at x ≤ 0."""
    small = x > -0.6931471805599453
    inner = torch.where(small, x, -1.0)
    return torch.where(small, (-inner.expm1()).log(), (-torch.where(small, -1.0, x).exp()).log1p())
