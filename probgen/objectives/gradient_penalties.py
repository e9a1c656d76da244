r"""Penalties on the slope of a discriminator, ∇d, where data and draws are.

R1 = γ/2 E_p ‖∇d(x)‖² on data, R2 = γ/2 E_q ‖∇d(y)‖² on draws, and the slope penalty of WGAN-GP,
λ E (‖∇d(t)‖ − 1)², at points t between a datum and a draw. The norm is that over all coordinates of one
datum, or of one pack where data are judged in packs. x → c x makes of γ a γ c²: a γ is stated for data of
standard deviation 1.

Source: Mescheder, Geiger and Nowozin (2018), Which training methods for GANs do actually converge; Gulrajani,
Ahmed, Arjovsky, Dumoulin and Courville (2017), Improved training of Wasserstein GANs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def squared_slopes(on_points: Tensor, points: Sequence[Tensor]) -> Tensor:
    r"""Return ‖∇d‖² at each datum, shape (n,), with a graph of its own, so that it can be learned from.

    Args:
        on_points: d at the points, shape (n,), each of which depends on its own datum alone; so no batch
            normalisation.
        points: what d was computed from, each of shape (n, \*event); the norm is over all of them.

    >>> x = torch.tensor([[1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    >>> squared_slopes(x.square().sum(1), [x]).tolist()  # ‖2 x‖²
    [20.0, 0.0]
    """
    slopes = torch.autograd.grad(on_points.sum(), list(points), create_graph=True)
    return torch.stack([slope.flatten(1).square().sum(1) for slope in slopes]).sum(0)


def between(real: Sequence[Tensor], fake: Sequence[Tensor]) -> list[Tensor]:
    r"""Return points on the lines from data to draws: ε x + (1 − ε) y, one ε ~ U(0, 1) for each datum.

    Args:
        real, fake: parts of the data and the draws, of shape (n, \*event) each, that move together: x and z
            of pairs have the same ε.
    """
    rows = len(real[0])
    share = torch.rand(rows, dtype=real[0].dtype, device=real[0].device)
    return [
        torch.lerp(y, x, share.reshape(rows, *[1] * (x.dim() - 1))) for x, y in zip(real, fake, strict=True)
    ]


def norms(squared: Tensor) -> Tensor:
    """Return √ of squared norms, whose derivative at 0 is 0 and not NaN: there no direction is steepest."""
    zero = squared == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, squared).sqrt())
