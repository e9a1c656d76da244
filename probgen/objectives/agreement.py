"""Classes that stay the same where a picture moves."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from probgen.core import Objective, Terms


class Agreement(Objective):
    r"""−E log Σ_k q(k | x′) q(k | x″): how rarely classes drawn from two looks at the same x are the same.

    The classifier looks twice, and what is random in it is drawn afresh: ``nets.RandomAffine`` in front moves
    the picture, dropout leaves units out. The loss is 0 where both looks are sure of the same class, and so
    it is where all data have one class: what keeps classes in use is another part of a ``Sum``, a game of the
    classes with their prior or :class:`ClassBalance`.

    Term: ``same``, E Σ_k q(k | x′) q(k | x″). Weights are not judged by it: one class for all has the best.

    Args:
        model: its module ``classifier`` returns q(k | x), a ``Categorical``.

    Source: Hu, Miyato, Tokui, Matsumoto and Sugiyama (2017), Learning discrete representations via
    information maximizing self-augmented training, for the idea; theirs is a divergence.

    >>> from probgen import nets
    >>> model = nn.ModuleDict({"classifier": nets.ClassHead(nets.MLP(2, 4))})
    >>> loss, terms = Agreement(model)(torch.randn(50, 2))
    >>> 0.25 <= float(terms["same"]) <= 1
    True
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.classifier = model.get_submodule("classifier")

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss and its term."""
        x = batch[0]
        first, second = self.classifier(torch.cat([x, x])).logits.tensor_split(2)
        log_same = (first + second).logsumexp(-1)
        return -log_same.mean(), {"same": log_same.detach().exp().mean()}

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return None: the best agreement is that of one class for all."""
        return None
