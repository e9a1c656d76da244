"""The affine-invariant stretch move."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density, Transition
from probgen.sampling.markov.moves.ensemble import chosen, ensemble_kernel, taken
from probgen.sampling.markov.moves.metropolis import Kernel


def stretch(density: Density, *, a: float = 2.0) -> Transition:
    r"""Return the stretch move of an ensemble: y = x_j + z (x − x_j), kept with min(1, z^(dim−1) π(y)/π(x)).

    x_j is one of the other half of the chains, z has density ∝ 1/√z on [1/a, a]. All chains of the run are
    one ensemble, one for each member of the density's batch. The move knows no scale and no correlation:
    what it does to π it does to π after any affine map. It tires in many dimensions, from twenty or so.

    The chains of an ensemble are not independent of each other, so that R-hat and effective sample size,
    which take them to be, are too kind; two runs with other seeds are an honest check.

    Args:
        density: the target π.
        a: how far a move may stretch, above 1.

    Raises:
        ValueError: for an a that is not above 1; when run with fewer than 2 (dim + 1) chains, or from chains
            that lie on a line or a plane, which the move would never leave.

    See Goodman and Weare (2010), Ensemble samplers with affine invariance; Foreman-Mackey et al. (2013),
    emcee: the MCMC hammer, for the two halves.

    >>> density = Density(lambda x: -0.5 * x**2)
    >>> init, step = stretch(density)
    >>> state, info = step(init(torch.arange(6.0).unsqueeze(-1)), torch.Generator().manual_seed(0))
    >>> state.position.shape, info.acceptance.shape
    (torch.Size([6, 1]), torch.Size([6]))
    """
    if not 1 < a < torch.inf:
        raise ValueError(f"a should be above 1 and finite but got {a}")
    kernel, scale = stretch_kernel(density), torch.tensor(a - 1, dtype=density.dtype, device=density.device)
    return Transition(kernel.init, lambda state, generator: kernel.move(state, scale, generator))


def stretch_kernel(density: Density, *, wrap: Wrap = as_written) -> Kernel:
    """Return the stretch move with a − 1, its scale, open; ``wrap`` may compile the move."""

    def propose(position: Tensor, others: Tensor, scale: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        other = taken(others, chosen(noise[0], len(others)))
        z = ((scale * noise[1] + 1) ** 2 / (1 + scale)).to(position.dtype)
        return other + z.unsqueeze(-1) * (position - other), (density.dim - 1) * z.log()

    return ensemble_kernel(density, propose, numbers=2, target=0.45, scale=1.0, wrap=wrap)
