r"""The generative moment-matching network.

Generative story: u ~ U(−1, 1)^k, x = g(u), a network. There is no likelihood and no guide.
Loss: the MMD between a batch of data and as many draws, √MMD²_V, with
MMD²_V = mean k(x, x′) + mean k(y, y′) − 2 mean k(x, y) ≥ 0, ``MomentMatching(gmmn, kernel)``; or MMD² without
bias.

Source: Li, Swersky and Zemel (2015), Generative moment matching networks; Dziugaite, Roy and Ghahramani
(2015).
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import GenerativeModel, Objective, Terms
from probgen.mmd import Kernel, mmd2_loss
from probgen.mmd.algebra import as_pair_kernel
from probgen.mmd.kernels import distance
from probgen.mmd.pairwise import squared_distances


class GMMN(GenerativeModel):
    r"""A network that maps uniform noise to data.

    Args:
        generator: the network g, from noise of shape (\*batch, noise), and the context if there is one, to x
            of shape (\*batch, \*event).
        noise: k, the number of uniform coordinates.

    >>> from probgen import nets
    >>> GMMN(nets.MLP(10, 64), noise=10).sample(3, seed=0).shape
    torch.Size([3, 64])
    """

    low: Tensor

    def __init__(self, generator: nn.Module, *, noise: int) -> None:
        super().__init__()
        if noise < 1:
            raise ValueError(f"noise should be at least 1 but got {noise}")
        self.generator = generator
        self.register_buffer("low", -torch.ones(noise), persistent=False)

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw uniform noise and map it; a given x only says how many to draw, as there is no likelihood."""
        with pyro.plate("data", n if x is None else len(x)):
            u = pyro.sample("u", dist.Uniform(self.low, -self.low).to_event(1))
            return self.generator(u, *context)


class MomentMatching(Objective):
    r"""√MMD²_V between a batch of data and as many fresh draws of a model, or MMD² without bias.

    The root has slopes that do not vanish as the laws come near. Where MMD²_V is 0 to rounding, as it can be
    between batches of a few distinct points, its slope is taken to be 0. Of a model with context it is the
    law of x that is matched, over all contexts together:
    :class:`probgen.models.ConditionalMomentMatching` matches it at each.

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
