"""The pairwise engine: everything that needs all pairs of points stands on these few functions.

Points are centred, in float64, and pairs are taken tile by tile, so that memory is
O(n · tile) and a common offset costs no accuracy. Losses, with their gradients, are in ``sums``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from probgen.mmd.processes import summed, turns

_CPU_ELEMENTS, _ELEMENTS = 2**17, 2**22  # of a tile: on a CPU one that stays in the cache
_CPU_COLUMNS, _COLUMNS = 2**10, 2**14
_SOME = 100  # points of each sample, at least, among which a centre is found
_NEAR = 2e-6  # below this share of ‖x‖², then nearly ‖y‖², the Gram expansion has fewer than nine digits
_SMALLEST = 1e-140  # points nearer to their mean have squared distances without digits in float64


def centred(**samples: Tensor) -> tuple[Tensor, ...]:
    r"""Return the samples as float64 matrices (n, d), centred among their points.

    The centre is the median, by column, of some of the points: that of all of them, and their mean, cost more
    and are no better, and a mean is drawn away by one point very far off, which takes the others' digits.

    Args:
        samples: tensors of shape (n, \*event), named as in the error messages; events are flattened.

    Raises:
        TypeError: if the samples differ in dtype or device, or are not floating-point.
        ValueError: if the events differ in shape or have no coordinates, a sample is empty, or a value is
            not finite.

    >>> centred(x=torch.tensor([1.0, 3.0]), y=torch.tensor([5.0]))
    (tensor([[-2.], [ 0.]], dtype=torch.float64), tensor([[2.]], dtype=torch.float64))
    """
    check_finite(**samples)
    flat = [sample.detach().reshape(len(sample), -1).double() for sample in samples.values()]
    some = torch.cat([matrix[:: max(1, len(matrix) // _SOME)] for matrix in flat])
    centre = some.sort(0).values[len(some) // 2]
    points = tuple(matrix - centre for matrix in flat)
    check_near(points, " and ".join(samples))
    return points


def check_near(points: Sequence[Tensor], name: str) -> None:
    """Raise unless squared distances between centred points are finite, and have their digits."""
    if not all(torch.isfinite(matrix.square().sum()) for matrix in points):
        raise ValueError(
            f"{name} should lie close enough for their squared distances to be finite: write them in other "
            "units"
        )
    farthest = max(float(matrix.abs().max()) for matrix in points)
    if points[0].dtype == torch.float64 and 0 < farthest < _SMALLEST:
        raise ValueError(
            f"{name} should lie far enough apart for their squared distances to have digits but are within "
            f"{farthest:.2g} of their mean: write them in other units"
        )


def centred_matrices(*samples: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return points (n, *event) as matrices (n, d) of a dtype, less the mean of all."""
    flat = [sample.reshape(len(sample), -1).to(dtype) for sample in samples]
    centre = torch.cat([matrix.detach() for matrix in flat]).mean(0)
    return tuple(matrix - centre for matrix in flat)


def check_finite(**samples: Tensor) -> None:
    """Raise unless the samples are alike (see :func:`check_alike`) and finite."""
    check_alike(**samples)
    for name, sample in samples.items():
        if not torch.isfinite(sample).all():
            row = int((~torch.isfinite(sample.reshape(len(sample), -1))).any(1).nonzero()[0])
            raise ValueError(f"{name} should be finite but holds NaN or infinite values in row {row}")


def check_alike(**samples: Tensor) -> None:
    """Raise unless the samples are floating-point, not empty, and alike in event, dtype and device."""
    (first_name, first), *others = samples.items()
    for name, sample in samples.items():
        if not isinstance(sample, Tensor):
            raise TypeError(f"{name} should be a tensor but is a {type(sample).__name__}")
        if sample.layout is not torch.strided:
            raise TypeError(f"{name} should be a dense tensor but is {sample.layout}: take .to_dense() of it")
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

    The error is of the order of the dtype's ε times ‖x_i‖² + ‖y_j‖², so centre the points first. What is
    below that error is 0: its digits would be noise, which the slope of √d² would blow up.
    """
    of_x, of_y = x.square().sum(1, keepdim=True), y.square().sum(1)
    distances = torch.addmm(of_y, x, y.T, alpha=-2).add_(of_x)
    noise = 16 * torch.finfo(x.dtype).eps * of_x.detach()  # ‖y‖² is nearly ‖x‖² where it matters
    return distances.mul_((distances.detach() - noise).gt_(0))


def accurate_squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Return ‖x_i − y_j‖², shape (n, m), to nine digits for centred float64 points; equal points give 0.

    Pairs so near that the Gram expansion cancels are taken again by direct subtraction.
    """
    of_x, of_y = x.square().sum(1, keepdim=True), y.square().sum(1)
    distances = torch.addmm(of_y, x, y.T, alpha=-2).add_(of_x)
    near = (distances <= _NEAR * of_x).nonzero()
    for pairs in near.split(max(1, _ELEMENTS // x.shape[1])):
        i, j = pairs.unbind(1)
        distances[i, j] = (x[i] - y[j]).square().sum(1)
    return distances


def row_spans(n: int, columns: int, device: torch.device) -> Iterator[slice]:
    """Yield slices of n rows such that a tile with so many columns fits."""
    size = _tile_rows(columns, device)
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


@torch.no_grad()
def by_rows(function: Callable[[slice, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Return function(rows, ‖x_rows − y‖²), rows on the first dimension, for centred points, tile by tile."""
    one = function(slice(0, 1), accurate_squared_distances(x[:1], y))
    result = one.new_zeros(len(x), *one.shape[1:])
    for rows in turns(row_spans(len(x), len(y), x.device)):
        result[rows] = function(rows, accurate_squared_distances(x[rows], y))
    return summed(result)


def product(values: Callable[[Tensor], Tensor], points: Tensor, right: Tensor) -> Tensor:
    """Return K @ right, where K_ij = values(‖z_i − z_j‖²) off the diagonal and K_ii = 0.

    Args:
        values: maps squared distances (t, m) to kernel values (\\*kernels, t, m).
        points: centred points z, shape (n, d).
        right: shape (n, columns).

    Returns:
        shape (\\*kernels, n, columns).
    """

    def block(rows: slice, columns: slice) -> Tensor:
        return values(accurate_squared_distances(points[rows], points[columns]))

    return symmetric_product(block, right)


@torch.no_grad()
def symmetric_product(
    block: Callable[[slice, slice], Tensor], right: Tensor, *, diagonal: bool = False
) -> Tensor:
    """Return K @ right for a symmetric matrix K, of which only tiles on and above the diagonal are computed.

    Args:
        block: returns K[rows, columns], shape (\\*kernels, t, m); several kernels take one pass.
        right: shape (n, columns).
        diagonal: whether K_ii counts; else it is taken as 0.

    Returns:
        shape (\\*kernels, n, columns).
    """
    n = len(right)
    form = block(slice(0, 1), slice(0, 1)).shape[:-2]
    result = right.new_zeros(*form, *right.shape)
    for rows, columns in turns(_upper_tiles(n, right.device)):
        values = block(rows, columns)
        on_diagonal = columns.start == rows.start
        if on_diagonal and not diagonal:
            values.diagonal(dim1=-2, dim2=-1).zero_()
        result[..., rows, :] += values @ right[columns]
        beyond = slice(rows.stop, columns.stop) if on_diagonal else columns
        skipped = beyond.start - columns.start
        result[..., beyond, :] += values[..., skipped:].mT @ right[rows]
    return summed(result)


@torch.no_grad()
def quadratic_forms(block: Callable[[slice, slice], Tensor], right: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return Σ_{i≠j} r_i r_j K_ij for each column r of a matrix, and the row sums Σ_{j≠i} K_ij.

    That is half the work of a product with K, and memory is that of a tile and its product.

    Args:
        block: returns K[rows, columns] of a symmetric matrix, shape (\*kernels, t, m).
        right: shape (n, columns).

    Returns:
        shapes (\*kernels, columns) and (\*kernels, n).
    """
    n = len(right)
    form = block(slice(0, 1), slice(0, 1)).shape[:-2]
    forms, row_sums = right.new_zeros(*form, right.shape[1]), right.new_zeros(*form, n)
    for rows, columns in turns(_upper_tiles(n, right.device)):
        values = block(rows, columns)
        inner = rows.stop - columns.start if columns.start == rows.start else 0  # of the diagonal's square
        values[..., :inner].diagonal(dim1=-2, dim2=-1).zero_()
        row_sums[..., rows] += values.sum(-1)
        row_sums[..., columns.start + inner : columns.stop] += values[..., inner:].sum(-2)
        values[..., inner:] *= 2  # these pairs stand for their mirror images too
        forms += ((values @ right[columns]) * right[rows]).sum(-2)
    return summed(forms), summed(row_sums)


def _upper_tiles(n: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Yield tiles that cover each pair i ≤ j once; those on the diagonal hold some pairs i > j too."""
    width = _CPU_COLUMNS if device.type == "cpu" else _COLUMNS
    for rows in row_spans(n, min(n, width), device):
        for start in range(rows.start, n, width):
            yield rows, slice(start, min(start + width, n))


def nearest_squared_distances(x: Tensor, y: Tensor, neighbours: int) -> Tensor:
    """Return each x_i's squared distances to its nearest points in y, ascending, shape (n, neighbours)."""
    return by_rows(lambda _, block: block.topk(neighbours, dim=1, largest=False).values, x, y)


def log_mean_exp(x: Tensor, y: Tensor, scales: Sequence[float]) -> Tensor:
    """Return log mean_j exp(scale · ‖x_i − y_j‖²), shape (n, scales): the heart of a Parzen window."""

    def of_block(_: slice, block: Tensor) -> Tensor:
        return torch.stack([(block * scale).logsumexp(1) for scale in scales], 1)

    return by_rows(of_block, x, y) - math.log(len(y))


def _tile_rows(columns: int, device: torch.device) -> int:
    return max(64, (_CPU_ELEMENTS if device.type == "cpu" else _ELEMENTS) // columns)
