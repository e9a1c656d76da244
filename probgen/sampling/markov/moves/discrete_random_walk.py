"""Random-walk Metropolis on whole numbers and labels."""

from __future__ import annotations

from torch import Tensor

from probgen.core import Density, Transition
from probgen.sampling.markov.moves.component_wise import component_wise


def discrete_random_walk(density: Density, *, scale: float | Tensor = 1.0) -> Transition:
    r"""Return a sweep over whole numbers or labels: k' = k ± (1 + ⌊s U⌋), kept with min(1, π(k') / π(k)).

    In a support of K values the walk goes round, and a share min(1, 20 / K) of the proposals is uniform on
    all K values: to one of few labels any other is as near. It is :func:`component_wise` where all sites are
    discrete.

    Args:
        density: the target, a probability up to a constant, as a function of int64 values.
        scale: s, the longest step less about one: a number or one per coordinate, (dim,) or (\*batch, dim).

    Raises:
        ValueError: for a density with a continuous site, or a scale that is not positive and finite.

    >>> import torch
    >>> from torch.distributions import constraints
    >>> weights = torch.tensor([1.0, 2.0, 3.0])
    >>> density = Density(lambda k: weights[k].log(), support=constraints.integer_interval(0, 2))
    >>> init, step = discrete_random_walk(density)
    >>> state, _ = step(init(torch.zeros(4, 1)), torch.Generator().manual_seed(0))
    >>> density.constrain(state.position)["x"].dtype
    torch.int64
    """
    if density.cells is None or density.cells[0].isnan().any():
        raise ValueError(
            "every site should be discrete for a discrete random walk but not all are: use component_wise"
        )
    return component_wise(density, scale=scale)
