"""Derivatives of elementwise functions, and draws made differentiable by the implicit function theorem."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core.density.mapped import in_transform


def slope(function: Callable[[Tensor], Tensor], x: Tensor, name: str) -> Tensor:
    """Return dF/dx elementwise, with a graph of its own where something needs a gradient."""
    if get_proxy_mode() is not None:
        raise RuntimeError(
            f"a law given by its {name} alone cannot be captured as a graph; give log_prob= too"
        )
    if in_transform():
        return torch.func.grad(lambda x: function(x).sum())(x)
    keep = torch.is_grad_enabled() and (x.requires_grad or function(x).requires_grad)
    with torch.enable_grad():
        x = x if x.requires_grad else x.detach().requires_grad_()
        y = function(x)
        if not y.requires_grad:
            raise ValueError(
                f"{name} should be differentiable by autograd, a step function is not; else give log_prob="
            )
        (result,) = torch.autograd.grad(y.sum(), x, create_graph=keep)
    return result


def implicit(x: Tensor, excess: Tensor, density: Tensor) -> Tensor:
    """Return x with the gradient of the root of F(x; θ) = u: one Newton step whose value is left out.

    ``excess`` is u − F(x; θ) at the detached x, with its gradient; ``density`` is f(x), without.
    """
    move = excess / density
    return x + (move - move.detach())
