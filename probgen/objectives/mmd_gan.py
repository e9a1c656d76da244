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

from probgen.core import GenerativeModel, Objective, Terms, check_count
from probgen.mmd import Energy, Kernel, mmd2_loss
from probgen.mmd.algebra import as_pair_kernel
from probgen.mmd.pairwise import squared_distances
from probgen.objectives.adversarial import PENALISED, as_it_stands, lazy_turns


class MMDGAN(Objective):
    r"""The game of a model and a critic in one scalar, so that one optimizer trains both.

    Each player's gradient is that of its own loss. Terms: ``mmd2`` on the critic's features, and ``slope``,
    the mean of ‖∇f‖. These do not say how good the weights are. In evaluation mode the loss, and the term
    ``energy``, is the unbiased squared energy distance of the batch from as many draws, by which weights are
    judged on validation data.

    Args:
        model: the generative model whose draws are matched.
        critic: φ, from samples of shape (n, \*event) to a few features (n, features); without batch
            normalisation, as the penalty takes the slope at each point by itself.
        kernel: κ on the features, such as ``mmd.RationalQuadratic(1.0, power=0.5)``.
        penalty: λ, 1 in the paper.
        penalty_every: the penalty is computed in each k-th step of the critic only, times k
            (:func:`lazy_turns`), which ``slope`` is then the mean of; 1 in the paper.
        critic_steps: steps of the critic for each of the model, 5 in the paper; with None both move at once.

    Raises:
        ValueError: for a penalty that is negative or not finite, and counts below 1.

    >>> from probgen import mmd, models, nets
    >>> objective = MMDGAN(models.GMMN(nets.MLP(4, 2), noise=4), nets.MLP(2, 8), mmd.RationalQuadratic(1.0))
    >>> _, terms = objective(torch.randn(20, 2))
    >>> list(terms)
    ['mmd2', 'slope']
    """

    least_rows = 2
    is_game = True

    def __init__(
        self,
        model: GenerativeModel,
        critic: nn.Module,
        kernel: Kernel,
        *,
        penalty: float = 1.0,
        penalty_every: int = 1,
        critic_steps: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= penalty < float("inf"):
            raise ValueError(f"penalty should be finite and not negative but got {penalty}")
        self.model = model
        self.critic = critic
        self.kernel = kernel
        self.penalty = penalty
        self.penalty_every = check_count("penalty_every", penalty_every)
        if critic_steps is not None:
            self.turns = ("critic",) * check_count("critic_steps", critic_steps) + ("model",)
        self.turns = lazy_turns(self.turns, player=self.turns[0], every=self.penalty_every)

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the losses of who moves, and the terms; in evaluation mode, the energy distance."""
        x, *context = batch
        y = self.model.model(None, *context, n=len(x))
        if not self.training:
            distance = mmd2_loss(x.double(), y.double(), Energy()).to(y.dtype)
            return distance, {"energy": distance.detach()}
        losses, terms = [], {}
        player = self.turn.removesuffix(PENALISED)
        if player != "critic":
            on_x, on_y = as_it_stands(self.critic, torch.cat([x, y])).split(len(x))
            of_model = mmd2_loss(on_x, on_y, self.kernel)
            losses.append(of_model)
            terms["mmd2"] = of_model.detach()
        if player != "model":
            y = y.detach()
            on_x, on_y = self.critic(torch.cat([x, y])).split(len(x))
            if self.penalty_every == 1 or player != self.turn:
                slopes = self._slopes(x, y, on_x, on_y)
                losses.append(self.penalty_every * self.penalty * (slopes - 1).square().mean())
                terms["slope"] = slopes.detach().mean()
            losses.append(-mmd2_loss(on_x, on_y, self.kernel))
        return torch.stack(losses).sum(), terms

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return the energy distance to held-out data; None in training, where MMD² is the critic's view."""
        return terms.get("energy")

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
