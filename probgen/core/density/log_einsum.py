"""A backend of opt_einsum that sums products of exponentials in logs, with no more error than logsumexp.

Pyro's own shifts each factor by its largest element, so that factors that are large in different places
underflow to zero, and cannot be run under ``torch.vmap``.
"""

from __future__ import annotations

import torch
from pyro.ops.einsum.util import Tensordot
from pyro.ops.rings import LogRing
from torch import Tensor


class ExactLogRing(LogRing):
    """Pyro's ring of sums and products in logs, on this backend."""

    _backend = __name__


def transpose(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return x.permute(axes)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """Return log Σ exp(sum of the operands), over the letters that the output lacks."""
    inputs, output = equation.split("->")
    summed = sorted(set(inputs) - set(output) - {","})
    order = [*output, *summed]
    total: Tensor | float = 0.0
    for dims, x in zip(inputs.split(","), operands, strict=True):
        x = x.permute([dims.index(d) for d in order if d in dims])
        total = total + x[tuple(slice(None) if d in dims else None for d in order)]
    assert isinstance(total, Tensor)
    if not summed:
        return total
    last = tuple(range(len(output), len(order)))
    shift = total.detach().amax(last, keepdim=True).clamp(min=torch.finfo(total.dtype).min)
    mass = (total - shift).exp().sum(last)
    log_mass = torch.where(mass > 0, mass, 1.0).log() + torch.where(mass > 0, 0.0, -torch.inf)
    return log_mass + shift.reshape(mass.shape)


tensordot = Tensordot(einsum)
