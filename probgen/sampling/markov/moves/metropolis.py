"""What the Metropolis–Hastings family shares: states, with gradients or without, acceptance, scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probgen.core import Density, Transition, count_evaluations
from probgen.sampling.markov.moves.cache_pieces import ByChain
from probgen.sampling.markov.moves.saved_states import saved


@saved
class State(NamedTuple):
    r"""Positions (\*chains, \*batch, dim) on the unconstrained scale and their log-density."""

    position: Tensor
    log_prob: Tensor


@saved
class GradientState(NamedTuple):
    r"""Positions (\*chains, \*batch, dim) on the unconstrained scale, their log-density and its gradient."""

    position: Tensor
    log_prob: Tensor
    gradient: Tensor


class Info(NamedTuple):
    r"""What became of each proposal, (\*chains, \*batch).

    The probability with which it was accepted, whether it was, and whether it was refused because its
    log-density is NaN or +∞.
    """

    acceptance: Tensor
    accepted: Tensor
    not_finite: Tensor


class Kernel(NamedTuple):
    """A transition whose scale is still open: what a warm-up tunes.

    ``move`` takes a state, a scale and a generator. ``target`` is the acceptance at which it moves farthest,
    ``scale`` a first guess where the target has unit scale.
    """

    init: Callable[[Tensor], Any]
    move: Callable[[Any, Tensor, torch.Generator], tuple[Any, Any]]
    target: float
    scale: float


def fixed(density: Density, kernel: Kernel, scale: float | Tensor) -> Transition:
    """Return the transition of a kernel at one scale, which is checked and never changes.

    The kernel moves each chain by itself.
    """
    factor = checked_scale(density, scale)
    return Transition(kernel.init, ByChain(lambda state, generator: kernel.move(state, factor, generator)))


def with_gradient(density: Density) -> Callable[[Tensor], GradientState]:
    """Return the function of positions that gives their log-density and its gradient, free of autograd."""

    def evaluate(position: Tensor) -> GradientState:
        with torch.enable_grad():
            position = position.detach().requires_grad_()
            log_prob = density.unconstrained_log_prob(position)
            (gradient,) = torch.autograd.grad(log_prob.sum(), position)
        count_evaluations(0, gradients=log_prob.numel())
        return GradientState(position.detach(), log_prob.detach(), gradient)

    return evaluate


def has_gradient(density: Density, position: Tensor) -> bool:
    """Say whether autograd finds a way from the positions to their log-density."""
    with torch.enable_grad():
        return density.unconstrained_log_prob(position.detach().requires_grad_()).requires_grad


def judge(log_ratio: Tensor, proposed: Tensor, uniform: Tensor) -> Info:
    r"""Accept proposals with min(1, ratio).

    A proposal whose log-density is −∞ is refused. One whose log-density is NaN or +∞, or whose ratio is NaN,
    is refused too, and marked.

    Args:
        log_ratio: log of π(y) q(y → x) / (π(x) q(x → y)).
        proposed: log π(y).
        uniform: random numbers in [0, 1).
    """
    outside = proposed == -torch.inf
    unknown = ~(
        (proposed + log_ratio).abs() <= torch.inf
    )  # isnan, which torch's compiler runs in a scalar loop
    not_finite = (unknown & ~outside) | (proposed == torch.inf)
    acceptance = torch.where(not_finite | outside, 0.0, log_ratio.clamp(max=0).exp())
    return Info(acceptance, uniform < acceptance, not_finite)


def choose(accepted: Tensor, proposal: Any, state: Any) -> Any:
    """Return the proposed state where it was accepted and the old one elsewhere."""
    rows = accepted.unsqueeze(-1)
    pairs = zip(proposal, state, strict=True)
    return type(state)(
        *(torch.where(rows if new.dim() == rows.dim() else accepted, new, old) for new, old in pairs)
    )


def standard_normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal numbers of a tensor's shape."""
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def standard_uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw float64 numbers, uniform in [0, 1), of a tensor's shape."""
    return torch.rand(like.shape, dtype=torch.float64, device=like.device, generator=generator)


def scaled(scale: Tensor, x: Tensor, batch: torch.Size, *, transposed: bool = False) -> Tensor:
    r"""Return S x (or Sᵀ x): S is a number, a diagonal (\*batch, dim) or a factor (\*batch, dim, dim)."""
    if scale.dim() < len(batch) + 2:
        return scale * x
    if not batch:
        return x @ scale if transposed else x @ scale.mT
    return torch.einsum("...ji,...j->...i" if transposed else "...ij,...j->...i", scale, x)


def checked_scale(density: Density, scale: float | Tensor) -> Tensor:
    r"""Return a scale as a tensor of the density's dtype and device.

    Raises:
        ValueError: unless it is a positive number, one per coordinate, (dim,) or (\*batch, dim), or a lower
            Cholesky factor, (\*batch, dim, dim).
    """
    scale = torch.as_tensor(scale, dtype=density.dtype, device=density.device)
    batch, dim = density.batch_shape, density.dim
    if scale.dim() == 0:
        positive = scale
    elif scale.dim() == len(batch) + 2 and scale.shape[-2:] == (dim, dim):
        positive = scale.diagonal(dim1=-2, dim2=-1)
        if scale.triu(1).any():
            raise ValueError("scale should be a lower Cholesky factor but has entries above its diagonal")
    elif scale.dim() in (1, len(batch) + 1) and scale.shape[-1] == dim:
        positive = scale
    else:
        raise ValueError(
            f"scale should be a number or have shape {(dim,)}, {(*batch, dim)} or {(*batch, dim, dim)} "
            f"but has {tuple(scale.shape)}"
        )
    wrong = ~((positive > 0) & positive.isfinite())
    if wrong.any():
        raise ValueError(f"scale should be positive and finite but got {float(positive[wrong].flatten()[0])}")
    return scale
