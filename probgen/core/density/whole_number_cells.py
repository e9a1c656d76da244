"""Whole numbers on the real line, each with the cell of length 1 around it."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform

_FROM_THE_END = 2.0
"""Where position 0 lies in a support with one end."""


class Cells(Transform):
    """The value of a position u is the whole number k in whose cell it lies: k − ½ ≤ u + centre < k + ½.

    A density on whole numbers so becomes one on the line that is constant in each cell, and log-volumes are
    0. Position 0 is in the middle of a support with two ends, and near the end where there is one.

    Args:
        support: a constraint on whole numbers.

    Raises:
        ValueError: for a support that is not made of whole numbers.
    """

    domain = constraints.real
    bijective = True
    sign = 1

    def __init__(self, support: Constraint) -> None:
        super().__init__()
        self.codomain = support
        lower, upper = (torch.as_tensor(end, dtype=torch.float64) for end in _bounds(support))
        near_lower = torch.where(lower.isfinite(), lower + _FROM_THE_END, 0.0)
        near_end = torch.where(upper.isfinite(), upper - _FROM_THE_END, near_lower)
        both = lower.isfinite() & upper.isfinite()
        centre = torch.where(both, (lower + upper) / 2, near_end)
        self._ends = lower - centre - 0.5, upper - centre + 0.5
        self._centre = centre if centre.dim() else float(centre)

    def ends(self) -> tuple[Tensor, Tensor]:
        """Return where the first cell begins and the last one ends, on the scale of positions."""
        return self._ends

    def _call(self, x: Tensor) -> Tensor:
        return (x + (self._centre + 0.5)).floor().to(torch.int64)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.to(torch.float64) - self._centre

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.zeros_like(x)


def _bounds(support: Any) -> tuple[float | Tensor, float | Tensor]:
    if isinstance(support, constraints.independent):
        return _bounds(support.base_constraint)
    if support is constraints.boolean:
        return 0, 1
    if support is constraints.integer:
        return -math.inf, math.inf
    lower, upper = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if support.event_dim or lower is upper is None:
        raise ValueError(
            f"a discrete support should hold whole numbers but is {support}: write the site as one, say the "
            f"index of a category"
        )
    return -math.inf if lower is None else lower, math.inf if upper is None else upper
