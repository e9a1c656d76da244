"""What held-out data say of a contest beside the distance of its draws: whether the game is sound."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ROWS = 512
"""Of so many data and draws at most, as distances between all pairs are computed."""


def spread(x: Tensor, y: Tensor, *context: Tensor) -> Tensor | None:
    r"""Return how varied draws are beside data, E‖y − y'‖ / E‖x − x'‖, a scalar.

    It is 1 where the laws agree, and 0 where all draws are one point. Given contexts, such as labels, of
    which some are the same, pairs of the same context are compared: so a generator that ignores its noise is
    seen to. None where data, of the same context, do not differ.

    Args:
        x, y: data and draws, shape (n, \*event) each, n at least 2; the first 512 of each are compared.
        context: what both have in common, shape (n, \*event).

    >>> x = torch.tensor([0.0, 1.0, 5.0])
    >>> round(float(spread(x, x / 4)), 6)
    0.25
    >>> points = torch.tensor([7.0, 7.0, 2.0])  # one of each label
    >>> float(spread(x, points, torch.tensor([0, 0, 1])))
    0.0
    """
    of_draws, of_data = (_apart(side[:ROWS].detach(), [part[:ROWS] for part in context]) for side in (y, x))
    return of_draws / of_data if of_data > 0 else None


def _apart(x: Tensor, context: Sequence[Tensor]) -> Tensor:
    """Return the mean distance of two rows, of the same context where there are such."""
    distances = torch.pdist(x.double().reshape(len(x), -1))
    alike = torch.ones_like(distances, dtype=torch.bool)
    for part in context:
        flat = part.reshape(len(x), -1).double()
        alike &= torch.pdist(flat) == 0
    return distances[alike].mean() if context and alike.any() else distances.mean()


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
