r"""The MMD GAN: moment matching with a kernel that is learned, κ(φ(x), φ(y)).

The critic φ looks for features in which draws and data differ: it maximises the unbiased MMD² on φ less a
penalty, the model minimises it. The penalty holds the slope of the witness function
f(t) = mean_i κ(φ(x_i), φ(t)) − mean_j κ(φ(y_j), φ(t)) near 1, at points t between data and draws:
λ E (‖∇f(t)‖ − 1)².

Source: Li, Chang, Cheng, Yang and Póczos (2017), MMD GAN; Bińkowski, Sutherland, Arbel and Gretton (2018),
Demystifying MMD GANs, whose penalty and unbiased losses these are.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from probgen.core import GenerativeModel, Objective, Terms
from probgen.mmd import Kernel, mmd2_loss
from probgen.mmd.algebra import as_pair_kernel
from probgen.mmd.pairwise import squared_distances


class MMDGAN(Objective):
    r"""The game of a model and a critic in one scalar, so that one optimizer trains both.

    Each player's gradient is that of its own loss. Terms: ``mmd2`` on the critic's features, and ``slope``,
    the mean of ‖∇f‖. The losses of a game do not say how good its weights are, so they are not judged.

    Args:
        model: the generative model whose draws are matched.
        critic: φ, from samples of shape (n, \*event) to a few features (n, features); without batch
            normalisation, as the penalty takes the slope at each point by itself.
        kernel: κ on the features, such as ``mmd.RationalQuadratic(1.0, power=0.5)``.
        penalty: λ, 1 in the paper.

    Raises:
        ValueError: for a penalty that is negative or not finite.

    >>> from probgen import mmd, models, nets
    >>> objective = MMDGAN(models.GMMN(nets.MLP(4, 2), noise=4), nets.MLP(2, 8), mmd.RationalQuadratic(1.0))
    >>> _, terms = objective(torch.randn(20, 2))
    >>> list(terms)
    ['mmd2', 'slope']
    """

    least_rows = 2

    def __init__(
        self, model: GenerativeModel, critic: nn.Module, kernel: Kernel, *, penalty: float = 1.0
    ) -> None:
        super().__init__()
        if not 0 <= penalty < float("inf"):
            raise ValueError(f"penalty should be finite and not negative but got {penalty}")
        self.model = model
        self.critic = critic
        self.kernel = kernel
        self.penalty = penalty

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the sum of the players' losses and the terms."""
        x, *context = batch
        y = self.model.model(None, *context, n=len(x))
        frozen = {name: weight.detach() for name, weight in self.critic.named_parameters()}
        frozen |= {name: buffer.clone() for name, buffer in self.critic.named_buffers()}
        on_x, on_y = functional_call(self.critic, frozen, (torch.cat([x, y]),)).split(len(x))
        of_model = mmd2_loss(on_x, on_y, self.kernel)
        on_x, on_y = self.critic(torch.cat([x, y.detach()])).split(len(x))
        slopes = self._slopes(x, y.detach(), on_x, on_y)
        of_critic = self.penalty * (slopes - 1).square().mean() - mmd2_loss(on_x, on_y, self.kernel)
        return of_model + of_critic, {"mmd2": of_model.detach(), "slope": slopes.detach().mean()}

    def judge(self, terms: Mapping[str, float]) -> None:
        """Return None: a small MMD² on the critic's features may be a poor critic's."""

    def _slopes(self, x: Tensor, y: Tensor, on_x: Tensor, on_y: Tensor) -> Tensor:
        """Return ‖∇f(t)‖ at a point t between each datum and a draw, shape (n,)."""
        share = torch.rand(len(x), *[1] * (x.dim() - 1), dtype=x.dtype, device=x.device)
        between = (share * x + (1 - share) * y).requires_grad_()
        with torch.enable_grad():
            kernel = as_pair_kernel(self.kernel)
            u, v, t = kernel.features((on_x, on_y, self.critic(between)), on_x.dtype)
            witness = kernel.values(u, t, squared_distances) - kernel.values(v, t, squared_distances)
            (slope,) = torch.autograd.grad(witness.mean(0).sum(), between, create_graph=True)
        return slope.flatten(1).norm(dim=1)
