"""A head that guesses a code of classes and numbers, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import check_count
from probgen.nets.concatenated import Concatenated
from probgen.nets.heads import Head


class CodeHead(Head):
    r"""Classes as one-hot vectors and then real numbers, independent given the context.

    The net gives the log-odds of the classes and the means of the numbers, which are normal of standard
    deviation 1: where it is learned, a code that a draw tells without error has an unbounded density.

    Args:
        net: with Σ categories + continuous outputs.
        categories: the number of classes of each categorical code, at least 2.
        continuous: how many numbers.

    Raises:
        ValueError: for a code of one class, no code at all, and a net of another number of outputs.

    Source: Chen, Duan, Houthooft, Schulman, Sutskever and Abbeel (2016), InfoGAN, appendix C.

    >>> from probgen.nets import MLP
    >>> law = CodeHead(MLP(64, 12), categories=10, continuous=2)(torch.zeros(5, 64))
    >>> law.batch_shape, law.event_shape
    (torch.Size([5]), torch.Size([12]))
    """

    def __init__(self, net: nn.Module, *, categories: int | Sequence[int] = (), continuous: int = 0) -> None:
        super().__init__(net, 1)
        counts = (categories,) if isinstance(categories, int) else tuple(categories)
        self.categories = tuple(check_count("categories", count, least=2) for count in counts)
        self.continuous = check_count("continuous", continuous, least=0)
        if not self.size:
            raise ValueError("a code should have categories or continuous numbers but has neither")

    @property
    def size(self) -> int:
        """The number of coordinates of the code."""
        return sum(self.categories) + self.continuous

    def forward(self, *context: Tensor) -> Concatenated:
        numbers = self.blocks(*context).squeeze(-2)
        if numbers.shape[-1] != self.size:
            raise ValueError(
                f"the net of a CodeHead should have {self.size} outputs, log-odds of {self.categories} "
                f"classes and {self.continuous} means, but has {numbers.shape[-1]}"
            )
        *odds, means = numbers.split([*self.categories, self.continuous], -1)
        parts: list[dist.TorchDistribution] = [dist.OneHotCategorical(logits=part) for part in odds]
        if self.continuous:
            parts.append(dist.Normal(means, torch.ones_like(means)).to_event(1))
        return Concatenated(parts)
