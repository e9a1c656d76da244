"""The pairwise engine: everything that needs all distances between points stands on these few functions.

Distances are taken after the samples are centred on their pooled mean, in float64, tile by tile, so that
memory is O(n · tile) and a common offset costs no accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_TILE_ELEMENTS = 2**20
_NEAR = 1e-6  # below this share of ‖x‖² + ‖y‖² the Gram expansion has fewer than nine digits


def centred(**samples: Tensor) -> tuple[Tensor, ...]:
    r"""Return the samples as float64 matrices (n, d), centred on their pooled mean.

    Args:
        samples: tensors of shape (n, \*event), named as in the error messages; events are flattened.

    Raises:
        TypeError: if the samples differ in dtype or device, or are not floating-point.
        ValueError: if the events differ in shape or have no coordinates, a sample is empty, or a value is
            not finite.

    >>> centred(x=torch.tensor([1.0, 3.0]), y=torch.tensor([5.0]))
    (tensor([[-2.], [ 0.]], dtype=torch.float64), tensor([[2.]], dtype=torch.float64))
    """
    check_alike(**samples)
    for name, sample in samples.items():
        if not torch.isfinite(sample).all():
            raise ValueError(f"{name} should be finite but holds NaN or infinite values")
    flat = [
        sample.detach().flatten(1) if sample.dim() > 1 else sample[:, None] for sample in samples.values()
    ]
    points = torch.cat(flat).double()
    points = points - points.mean(0)
    if not torch.isfinite(points.square().sum()):
        raise ValueError(
            f"{' and '.join(samples)} should lie close enough for their squared distances to be finite"
        )
    return points.split([len(sample) for sample in flat])


def check_alike(**samples: Tensor) -> None:
    """Raise unless the samples are floating-point, not empty, and alike in event, dtype and device."""
    (first_name, first), *others = samples.items()
    for name, sample in samples.items():
        if not sample.is_floating_point():
            raise TypeError(f"{name} should be a floating-point tensor but has dtype {sample.dtype}")
        if sample.dim() == 0 or sample.numel() == 0:
            raise ValueError(f"{name} should hold at least one point but has shape {tuple(sample.shape)}")
    for name, sample in others:
        if sample.shape[1:] != first.shape[1:]:
            raise ValueError(
                f"{first_name} and {name} should have the same event shape "
                f"but have {tuple(first.shape[1:])} and {tuple(sample.shape[1:])}"
            )
        for attribute in ("dtype", "device"):
            mine, theirs = getattr(first, attribute), getattr(sample, attribute)
            if mine != theirs:
                raise TypeError(
                    f"{first_name} and {name} should have the same {attribute} but have {mine} and {theirs}"
                )


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return ‖x_i − y_j‖², shape (n, m), by the Gram expansion: differentiable, and free of control flow.

    The error is of the order of the dtype's ε times ‖x_i‖² + ‖y_j‖², so centre the points first.
    """
    gram = torch.addmm(y.square().sum(1), x, y.T, alpha=-2)
    return (gram + x.square().sum(1, keepdim=True)).clamp_min(0)


def accurate_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return ‖x_i − y_j‖², shape (n, m), to nine digits for centred float64 points; equal points give 0.

    Pairs so near that the Gram expansion cancels are taken again by direct subtraction.
    """
    distances = squared_distances(x, y)
    scale = x.square().sum(1, keepdim=True) + y.square().sum(1)
    near = (distances <= _NEAR * scale).nonzero()
    for pairs in near.split(max(1, _TILE_ELEMENTS // x.shape[1])):
        i, j = pairs.unbind(1)
        distances[i, j] = (x[i] - y[j]).square().sum(1)
    return distances


def tiles(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, ‖x_rows − y‖²), block of rows after block of rows, for centred points."""
    size = _tile_rows(len(y))
    for start in range(0, len(x), size):
        rows = slice(start, min(start + size, len(x)))
        yield rows, accurate_squared_distances(x[rows], y)


@torch.no_grad()
def product(values: Callable[[Tensor], Tensor], points: Tensor, right: Tensor) -> Tensor:
    """Return K @ right, where K_ij = values(‖z_i − z_j‖²) off the diagonal and K_ii = 0.

    Only the blocks on and above the diagonal are computed.

    Args:
        values: maps squared distances (t, m) to kernel values (\\*kernels, t, m).
        points: centred points z, shape (n, d).
        right: shape (n, columns).

    Returns:
        shape (\\*kernels, n, columns).
    """
    n, size = len(points), _tile_rows(len(points))
    result: Tensor | None = None
    for start in range(0, n, size):
        stop = min(start + size, n)
        block = values(accurate_squared_distances(points[start:stop], points[start:]))
        block.diagonal(dim1=-2, dim2=-1).zero_()
        if result is None:
            result = right.new_zeros(*block.shape[:-2], *right.shape)
        result[..., start:stop, :] += block @ right[start:]
        result[..., stop:, :] += block[..., stop - start :].mT @ right[start:stop]
    assert result is not None
    return result


def nearest_squared_distances(x: Tensor, y: Tensor, neighbours: int) -> Tensor:
    """Return each x_i's squared distances to its nearest points in y, ascending, shape (n, neighbours)."""
    found = [block.topk(neighbours, dim=1, largest=False).values for _, block in tiles(x, y)]
    return torch.cat(found)


def _tile_rows(columns: int) -> int:
    return max(64, _TILE_ELEMENTS // columns)
