"""MMD² as a loss: differentiable with respect to the points and what made them."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.mmd import sums
from probgen.mmd.algebra import Features, Kernel, PairKernel, as_pair_kernel
from probgen.mmd.estimators import Estimator, inner_weight
from probgen.mmd.pairwise import check_alike
from probgen.mmd.pooled import share


def mmd2_loss(
    x: Tensor,
    y: Tensor,
    kernel: Kernel,
    *,
    estimator: Estimator = "unbiased",
    weights_x: Tensor | None = None,
    weights_y: Tensor | None = None,
) -> Tensor:
    r"""Return MMD² between two batches as a differentiable scalar, in the dtype of the batches.

    Memory is O(n + m) times the coordinates, forwards and backwards. Kernels of the distance give their
    gradient in the same pass as their value; other kernels, and gradients that are differentiated again, cost
    a second pass. There is no control flow that depends on values, and no check of them: a NaN in a batch is
    a NaN in the loss. Distances are computed in the dtype of the batches, which are centred first: where a
    cluster is 10⁴ times narrower than the whole, float32 no longer tells its points apart. Under autocast the
    kernel is computed in the wider dtype of the two batches, at least float32.

    Args:
        x, y: batches of shape (n, \*event) and (m, \*event), n and m at least 2; gradients flow to both.
        kernel: say ``Gaussian(bandwidth_grid(data, data))``.
        estimator: "unbiased", or "biased", which is never negative and so may be square-rooted.
        weights_x, weights_y: of the points, shapes (n,) and (m,), not negative; they need not sum to 1.
            Equal ones by default. Gradients flow to them too.

    Raises:
        TypeError, ValueError: for batches that are too small or not alike, and weights of a wrong shape.

    Source: Li, Swersky and Zemel (2015); Dziugaite, Roy and Ghahramani (2015).

    >>> from probgen.mmd import Energy
    >>> x = torch.tensor([0.0, 1.0], requires_grad=True)
    >>> mmd2_loss(x, torch.tensor([0.0, 2.0]), Energy()).backward()
    >>> x.grad
    tensor([ 0.5000, -1.0000])
    """
    if torch.is_autocast_enabled(x.device.type):  # what a network returns then has fewer digits than data
        common = torch.promote_types(x.dtype, y.dtype)
        x, y = x.to(common), y.to(common)
    check_alike(x=x, y=y)
    for name, batch in (("x", x), ("y", y)):
        if len(batch) < 2:
            raise ValueError(f"{name} should hold at least 2 points but has {len(batch)}")
    pair_kernel = as_pair_kernel(kernel)
    dtype = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        u, v = pair_kernel.features((x, y), dtype)
    a, b = share("weights_x", weights_x, x), share("weights_y", weights_y, y)
    between = sums.between(pair_kernel, u, v, a, b)
    if a is None:
        between = between / len(x)
    if b is None:
        between = between / len(y)
    within = _within(pair_kernel, u, a, estimator) + _within(pair_kernel, v, b, estimator)
    return (within - 2 * between).to(x.dtype)


def _within(kernel: PairKernel, x: Features, share: Tensor | None, estimator: Estimator) -> Tensor:
    n = len(x[0])
    weight = inner_weight(estimator, n if share is None else 1 / share.square().sum())
    if share is None:
        same = kernel.diagonal(x).mean(dtype=torch.float64)
        different = sums.within(kernel, x, None) / (n * (n - 1))
    else:
        squares = share.square()
        same = (kernel.diagonal(x) * squares).sum(dtype=torch.float64) / squares.sum()
        different = sums.within(kernel, x, share) / (1 - squares.sum())
    return weight * different + (1 - weight) * same
