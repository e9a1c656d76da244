"""Whether chains lie on a line, a plane, or a hyperplane."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import Density

_ROUNDINGS = 8.0
"""Distances from a hyperplane, in errors of rounding, that count as none."""


def rank(position: Tensor) -> Tensor:
    r"""Return in how many directions chains lie apart, of each member of a batch, (\*batch).

    It is the rank of their differences, each coordinate in units of its own spread: a direction in which
    they lie apart by no more than rounding makes them does not count.

    Args:
        position: shape (chains, \*batch, dim).

    >>> rank(torch.arange(6.0).unsqueeze(-1) * torch.tensor([1.0, 3.0]) + torch.tensor([0.5, 7.0]))
    tensor(1)
    """
    dim, eps = position.shape[-1], torch.finfo(position.dtype).eps
    x = position.detach().to(torch.float64)
    apart = x - x.mean(0)
    spread, rounding = apart.square().mean(0).sqrt(), eps * x.abs().amax(0)
    # A coordinate that is the same in all chains, to rounding, counts for nothing.
    same = spread <= rounding
    unit = torch.where(same, 0.0, apart / torch.where(same, 1.0, spread))
    relative = torch.where(same, 0.0, rounding / torch.where(same, 1.0, spread)).amax(-1)
    # Root mean squares along the principal axes, whose squares sum to the number of coordinates.
    axes = torch.linalg.svdvals(unit.movedim(0, -2).nan_to_num()) / len(x) ** 0.5
    noise = (relative * _ROUNDINGS * dim**0.5).clamp(min=dim * torch.finfo(torch.float64).eps)
    return (axes > noise.unsqueeze(-1)).sum(-1)


def require_full_rank(density: Density, position: Tensor) -> None:
    """Raise where the chains of an ensemble lie on a hyperplane, which they would never leave."""
    found, dim = rank(position), density.dim
    short = found < dim
    if short.any():
        place = tuple(short.nonzero()[0].tolist())
        row = f" in batch row {', '.join(map(str, place))}" if place else ""
        raise ValueError(
            f"an ensemble should start in all {dim} directions but its {len(position)} chains lie apart in "
            f"{int(found[place])} only{row}, and would never leave them: give init= with independent noise "
            f"in every coordinate"
        )


def of_ranks(density: Density | None, position: Tensor) -> list[str]:
    """Say whether the last positions of chains, enough to tell, lie on a hyperplane; of whole numbers not."""
    if density is not None and density.cells is not None:
        position = position[..., density.cells[0].isnan().flatten(0, -2).all(0)]
    dim = position.shape[-1]
    if dim < 2 or len(position) < dim + 2 or not position.isfinite().all():
        return []
    found = rank(position)
    short = (found < dim) & (found > 0)  # chains that are all at one place are said to be stuck
    if not short.any():
        return []
    members = f", in {int(short.sum())} of {short.numel()} targets of the batch" if short.dim() else ""
    return [
        f"The chains lie on a plane: their last positions differ in {int(found[short].min())} directions of "
        f"{dim}{members}. Chains of an ensemble that start so never leave it: give init= with independent "
        f"noise in every coordinate; else some numbers are functions of others, to rounding."
    ]
