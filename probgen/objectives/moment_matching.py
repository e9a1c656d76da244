r"""Moment matching: the MMD between a batch of data and as many draws of a model.

√MMD²_V, with MMD²_V = mean k(x, x′) + mean k(y, y′) − 2 mean k(x, y) ≥ 0; or MMD² without bias.

Source: Li, Swersky and Zemel (2015), Generative moment matching networks; Dziugaite, Roy and Ghahramani
(2015).
"""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import GenerativeModel, Objective, Terms
from probgen.mmd import Kernel, mmd2_loss
from probgen.mmd.algebra import as_pair_kernel
from probgen.mmd.kernels import distance
from probgen.mmd.pairwise import squared_distances


class MomentMatching(Objective):
    r"""√MMD²_V between a batch of data and as many fresh draws of a model, or MMD² without bias.

    The root has slopes that do not vanish as the laws come near. Where MMD²_V is 0 to rounding, as it can be
    between batches of a few distinct points, its slope is taken to be 0. Of a model with context it is the
    law of x that is matched, over all contexts together:
    :class:`probgen.objectives.ConditionalMomentMatching` matches it at each.

    Terms: ``mmd2``, the square of the loss, or the loss.

    Args:
        model: the generative model whose draws are matched.
        kernel: of the squared distance, such as ``mmd.Gaussian(mmd.bandwidth_grid(x, x))``.
        squared: minimise the unbiased MMD², which may be negative, in the place of √MMD²_V.
    """

    least_rows = 2

    def __init__(self, model: GenerativeModel, kernel: Kernel, *, squared: bool = False) -> None:
        super().__init__()
        self.model = model
        self.kernel = kernel
        self.squared = squared

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss and its term."""
        x, *context = batch
        y = self.model.model(None, *context, n=len(x))
        mmd2 = mmd2_loss(x, y, self.kernel, estimator="unbiased" if self.squared else "biased")
        return mmd2 if self.squared else self._root(mmd2, x, y), {"mmd2": mmd2.detach()}

    def _root(self, mmd2: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return √MMD², 0 where it is less than the rounding of kernel values; NaN where it is negative."""
        with torch.no_grad():
            kernel, dtype = as_pair_kernel(self.kernel), mmd2.dtype
            few = kernel.features((x[:32], y[:32]), torch.promote_types(dtype, torch.float32))
            of_x, of_y = (kernel.values(one, few[0], squared_distances).abs().mean() for one in few)
            noise = (torch.finfo(dtype).eps * (of_x + of_y)).to(dtype)
        return distance(torch.where(mmd2.abs() <= noise, 0, mmd2))
