"""A log-density together with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import Density, count_evaluations
from probgen.sampling.markov.moves.saved_states import saved


@saved
class GradientState(NamedTuple):
    r"""Positions (\*chains, \*batch, dim) on the unconstrained scale, their log-density and its gradient."""

    position: Tensor
    log_prob: Tensor
    gradient: Tensor


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
