"""A net's last layer, made anew for a head that needs several numbers for each output."""

from __future__ import annotations

from torch import nn

from probgen.nets.checks import check_unshared


def widened(last: nn.Linear, outputs: int, factor: int) -> nn.Linear:
    """Return a fresh layer in the place of ``last`` that gives ``factor`` blocks of ``outputs`` numbers.

    Raises ValueError where ``last`` was made so already.
    """
    check_unshared(last.out_features, outputs)
    weight = last.weight
    return nn.Linear(last.in_features, factor * outputs, device=weight.device, dtype=weight.dtype)
