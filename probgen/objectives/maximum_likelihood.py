"""Maximum likelihood of a law that a module returns: a density on codes, a prior learned from draws."""

from __future__ import annotations

from torch import Tensor, nn

from probgen.core import Objective, Terms


class MaximumLikelihood(Objective):
    r"""The mean of −log p(x | context) over a batch, in nats, of a conditional: a mixture, a flow, a head.

    Args:
        law: a module that returns the law of x from the context, such as a prior of ``priors``.

    >>> import torch
    >>> from probgen.priors import GaussianMixture
    >>> loss, _ = MaximumLikelihood(GaussianMixture(2, 3))(torch.zeros(5, 2))
    """

    def __init__(self, law: nn.Module) -> None:
        super().__init__()
        self.law = law

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss per datum; it has no other terms."""
        x, *context = batch
        return -self.law(*context).log_prob(x).mean(), {}
