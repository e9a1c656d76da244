"""Modes of a log-density, climbed to from several points, as places to start chains from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen.core import Density, count_evaluations

CLIMBS = 4
"""Points from which a mode is sought."""
_STEPS = 100
_LENGTHS = 1.0, 0.1, 0.01
"""Of the first step; shorter ones are tried after a step to where the log-density is not finite."""


def modes(density: Density, starts: Tensor) -> Tensor:
    r"""Return where some 100 steps of L-BFGS lead from each of the starts, (n, \*batch, dim).

    The rows of a family climb together. A row that would end lower than it began stays.

    Source: Byrd, Lu, Nocedal and Zhu (1995), A limited memory algorithm for bound constrained optimization.
    """
    return torch.stack([_climbed(density, start) for start in starts])


def _climbed(density: Density, start: Tensor) -> Tensor:
    end = start
    for length in _LENGTHS:
        end, inside = _climb(density, end, length)
        if inside:
            break
    with torch.no_grad():
        heights = density.unconstrained_log_prob(torch.stack([start, end]))
    return torch.where((heights[1] >= heights[0]).unsqueeze(-1), end, start)


def _climb(density: Density, start: Tensor, length: float) -> tuple[Tensor, bool]:
    """Return where L-BFGS leads, and whether the log-density was finite at all that it looked at."""
    from scipy.optimize import minimize

    inside = True

    def position(units: Any) -> Tensor:
        return start + length * torch.as_tensor(units, dtype=start.dtype, device=start.device).view_as(start)

    def negative(units: Any) -> tuple[float, Any]:
        nonlocal inside
        here = position(units).requires_grad_()
        with torch.enable_grad():
            value = -density.unconstrained_log_prob(here[None]).sum()
            (slope,) = torch.autograd.grad(value, here)
        count_evaluations(0, gradients=1)
        if not (value.isfinite() and slope.isfinite().all()):
            inside = False
            return np.inf, np.zeros_like(units)
        return float(value.detach()), length * slope.flatten().cpu().numpy().astype(np.float64)

    first = np.zeros(start.numel())
    found = minimize(negative, first, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS})
    return position(found.x), inside
