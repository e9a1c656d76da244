"""How evenly a classifier that learns without labels uses its classes."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from probgen.core import Objective, Terms


class ClassBalance(Objective):
    r"""How far the classes of a batch are from even: KL(q̄ ‖ 1/K) = log K − H(q̄), q̄ the mean of q(k | x).

    As a part of a ``Sum`` with weight 0 it only reports; a weight above 0 keeps classes from dying out, as
    those of a ``models.MixtureVAE`` may while its code is of no use yet. Ten rows a class are few.

    Terms: ``classes`` = exp H(q̄), how many classes are in use, K where evenly and 1 where all data are of
    one; ``information`` = H(q̄) − mean H(q(k | x)), the nats that k tells of x, 0 where all x have the same
    shares. Weights are not judged by it: classes in equal use need not be of any use.

    Args:
        model: its module ``classifier`` returns q(k | x), a ``Categorical``.

    Source: Krause, Perona and Gomes (2010), Discriminative clustering by regularized information
    maximization.

    >>> from probgen import nets
    >>> model = nn.ModuleDict({"classifier": nets.ClassHead(nets.MLP(2, 3))})
    >>> import torch
    >>> loss, terms = ClassBalance(model)(torch.randn(50, 2))
    >>> bool(terms["information"] <= terms["classes"].log())
    True
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.classifier = model.get_submodule("classifier")

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the divergence and its terms."""
        log_q = self.classifier(batch[0]).logits
        log_mean = log_q.logsumexp(0) - math.log(len(log_q))
        entropy = -(log_mean.exp() * log_mean).sum()
        left = -(log_q.exp() * log_q).sum(-1).mean()
        loss = math.log(log_q.shape[-1]) - entropy
        return loss, {"classes": entropy.detach().exp(), "information": (entropy - left).detach()}

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return None: even classes say nothing of what they are of."""
        return None
