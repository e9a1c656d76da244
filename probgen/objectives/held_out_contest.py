"""What held-out data say of a contest beside the distance of its draws: whether the game is sound."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 512
"""Of so many data and draws at most, as distances between all pairs are computed."""


def spread(x: Tensor, y: Tensor) -> Tensor:
    r"""Return how varied draws are beside data, E‖y − y'‖ / E‖x − x'‖, a scalar.

    It is 1 where the laws agree, and 0 where all draws are one point.

    Args:
        x, y: data and draws, shape (n, \*event) each, n at least 2, not all data the same; the first 512 of
            each are compared.

    >>> x = torch.tensor([0.0, 1.0, 5.0])
    >>> round(float(spread(x, x / 4)), 6)
    0.25
    """
    flat = (side[:ROWS].detach().double().reshape(min(ROWS, len(side)), -1) for side in (y, x))
    of_draws, of_data = (torch.pdist(side).mean() for side in flat)
    return of_draws / of_data


def gradient_at_draws(loss: Tensor, draws: Tensor) -> Tensor:
    r"""Return the mean length of what a generator is told of each draw, ‖∂(n L)/∂y_i‖, a scalar.

    Args:
        loss: the generator's, a mean over draws.
        draws: y, shape (n, \*event), that the loss was computed from.

    >>> y = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    >>> float(gradient_at_draws(y.square().sum(1).mean(), y))  # of lengths 10 and 0
    5.0
    """
    (found,) = torch.autograd.grad(loss, draws)
    return len(draws) * found.flatten(1).norm(dim=1).mean()
