"""A conditional of its first argument alone, where a model hands a context to all its conditionals."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Distribution


class WithoutContext(nn.Module):
    r"""A conditional that leaves its context out: the law of x given z, whatever the context.

    So the decoder of an identifiable VAE is not told u, while its prior and its encoder are:
    ``VAE(encoder, WithoutContext(decoder), prior)``.

    Args:
        conditional: a module that returns the law given its first argument.

    >>> import torch
    >>> from probgen.nets import MLP, NormalHead
    >>> WithoutContext(NormalHead(MLP(2, 3)))(torch.zeros(5, 2), torch.arange(5)).event_shape
    torch.Size([3])
    """

    def __init__(self, conditional: nn.Module) -> None:
        super().__init__()
        self.conditional = conditional

    def forward(self, z: Tensor, *context: Tensor) -> Distribution:
        """Return the law given z."""
        return self.conditional(z)
