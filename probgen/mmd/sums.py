r"""Sums of a kernel over pairs, Σ_ij a_i b_j k(x_i, y_j), with their gradients, in O(n · tile) memory.

Kernels of the distance have their slope s = dk/dd² in closed form: value and gradients come from one pass,
∂/∂x_i = Σ_j 2 a_i b_j s_ij (x_i − y_j). For other kernels each tile is computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from probgen.mmd.algebra import Features, PairKernel, Radial
from probgen.mmd.pairwise import squared_distances
from probgen.mmd.processes import is_shared, shared_input, summed, summed_with_gradient, turns

_CPU_SIDE, _SIDE = 512, 4096  # of square tiles: on a CPU one that stays in the cache


def between(kernel: PairKernel, x: Features, y: Features, a: Tensor | None, b: Tensor | None) -> Tensor:
    """Return Σ_ij a_i b_j k(x_i, y_j) in float64; weights that are None are 1."""
    return _total(kernel, x, y, a, b, within=False)


def within(kernel: PairKernel, x: Features, a: Tensor | None) -> Tensor:
    """Return Σ_{i≠j} a_i a_j k(x_i, x_j) in float64; weights that are None are 1."""
    return _total(kernel, x, x, a, a, within=True)


def _total(
    kernel: PairKernel, x: Features, y: Features, a: Tensor | None, b: Tensor | None, *, within: bool
) -> Tensor:
    learning = torch.is_grad_enabled() and any(points.requires_grad for points in (*x, *y))
    weights_learn = any(weight is not None and weight.requires_grad for weight in (a, b))
    kernel_learns = _learns(kernel, x)
    if learning and not weights_learn and not kernel_learns and isinstance(kernel, Radial):
        return _RadialTotal.apply(x[0], y[0], a, b, kernel, within)
    if kernel_learns and is_shared():
        raise ValueError(
            "kernel should learn through a network, as Deep does, where processes share the work, "
            "but has parameters of its own"
        )
    return _recomputed(kernel, x, y, a, b, within)


def _learns(kernel: PairKernel, x: Features) -> bool:
    """Say whether a kernel's values have gradients of their own, apart from those through its features."""
    if not torch.is_grad_enabled():
        return False
    return kernel.diagonal(tuple(matrix[:1].detach() for matrix in x)).requires_grad


def _tiles(n: int, m: int, *, within: bool, device: torch.device) -> Iterator[tuple[int, int]]:
    """Yield the numbers (i, j) of the row and column chunks of tiles; within one sample only i ≤ j."""
    side = _side(device)
    for i in range(-(-n // side)):
        for j in range(i if within else 0, -(-m // side)):
            yield i, j


def _side(device: torch.device) -> int:
    return _CPU_SIDE if device.type == "cpu" else _SIDE


class _RadialTotal(torch.autograd.Function):
    """The sum for a kernel of the distance, its gradients found in the same pass."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, a: Tensor | None, b: Tensor | None, kernel: Radial, within: bool
    ) -> Tensor:
        needs_x, needs_y = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        slope_x, slope_y = torch.zeros_like(x), torch.zeros_like(x if within else y)
        side = _side(x.device)
        with torch.autocast(x.device.type, enabled=False):
            for i, j in turns(_tiles(len(x), len(y), within=within, device=x.device)):
                rows, columns = (slice(k * side, (k + 1) * side) for k in (i, j))
                here, there = x[rows], y[columns]
                value, slope = kernel.value_and_slope(squared_distances(here, there))
                if a is not None:
                    value, slope = (tile * a[rows, None].to(x.dtype) for tile in (value, slope))
                if b is not None:
                    value, slope = (tile * b[columns].to(x.dtype) for tile in (value, slope))
                if within and i == j:
                    value, slope = (tile.fill_diagonal_(0) for tile in (value, slope))
                sum_ = value.sum(dtype=torch.float64)
                total += 2 * sum_ if within and i != j else sum_
                if needs_x:
                    slope_x[rows] += slope.sum(1, keepdim=True) * here - slope @ there
                if needs_y and not (within and i == j):
                    (slope_x if within else slope_y)[columns] += (
                        slope.sum(0)[:, None] * there - slope.T @ here
                    )
        for partial in (total, slope_x, slope_y):
            summed(partial)
        # Within a sample x and y are one tensor, and each pair counts from both ends.
        ctx.save_for_backward(x, y, (4 if within else 2) * slope_x, 2 * slope_y)
        ctx.rest = a, b, kernel, within
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, slope_x, slope_y = ctx.saved_tensors
        a, b, kernel, within = ctx.rest
        if torch.is_grad_enabled():  # a gradient that will be differentiated
            total = _recomputed(kernel, (x,), (x if within else y,), a, b, within)
            inputs = (x,) if within else tuple(z for z in (x, y) if z.requires_grad)
            found = iter(torch.autograd.grad(total, inputs, gradient, create_graph=True))
            return (
                next(found) if x.requires_grad else None,
                (next(found) if y.requires_grad and not within else None),
                None,
                None,
                None,
                None,
            )
        scale = gradient.to(x.dtype)
        return scale * slope_x, None if within else scale * slope_y, None, None, None, None


def _recomputed(
    kernel: PairKernel, x: Features, y: Features, a: Tensor | None, b: Tensor | None, within: bool
) -> Tensor:
    """The sum for any kernel: autograd keeps no tile but computes each again."""
    side, device = _side(x[0].device), x[0].device

    def tile(i: int, j: int, here: Features, there: Features, a: Tensor | None, b: Tensor | None) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            values = kernel.values(here, there, squared_distances)
            if a is not None:
                values = values * a[:, None].to(values.dtype)
            if b is not None:
                values = values * b.to(values.dtype)
            if not within:
                return values.sum(dtype=torch.float64)
            if i == j:
                values = values - torch.diag_embed(values.diagonal())
            return values.sum(dtype=torch.float64) * (1 if i == j else 2)

    n, m = len(x[0]), len(y[0])
    chunks_x, chunks_y, chunks_a, chunks_b = (_chunks(part, side) for part in (x, y, a, b))
    total = torch.zeros((), dtype=torch.float64, device=device)
    for i, j in turns(_tiles(n, m, within=within, device=device)):
        given = (i, j, chunks_x[i], chunks_y[j], chunks_a[i], chunks_b[j])
        if torch.is_grad_enabled():
            total = total + checkpoint(tile, *given, use_reentrant=False, preserve_rng_state=False)
        else:
            total = total + tile(*given)
    return summed_with_gradient(total)


def _chunks(points: Features | Tensor | None, side: int) -> Any:
    """Return chunks of rows, of which each process has its share of the gradient."""
    if points is None:
        return _Nones()
    if isinstance(points, Tensor):
        return shared_input(points).split(side)
    return list(zip(*(shared_input(matrix).split(side) for matrix in points), strict=True))


class _Nones:
    def __getitem__(self, index: int) -> None:
        return None
