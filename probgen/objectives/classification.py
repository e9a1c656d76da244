"""Learning to tell classes, from those data that have a label."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from probgen.core import Objective, Terms
from probgen.data.missing import check_labels
from probgen.nets import OneHot
from probgen.nets.checks import classes_of


class Classification(Objective):
    r"""Minus the log-probability of the known labels in a batch of n data, −Σ_known log q(y | x) / n.

    Alone it learns a classifier of the labels; as a part of a :class:`probgen.objectives.Sum` beside
    ``SVI(SemiSupervisedVAE(...))``, whose bound is reported as it is, its weight is the α of the source.
    It is per datum, not per label, so that a label weighs the same in whatever batch it is.

    A batch is (x, y), with y −1 where it is missing. Term: ``known``, the share of data with a label;
    weights are not judged where it is 0.

    Args:
        model: its module ``classifier``, x to a ``Categorical`` as ``nets.ClassHead`` gives it, is learned.

    Raises:
        TypeError, ValueError: for a batch without labels, labels that are no integers, and labels of classes
            that there are not.

    Source: Kingma, Rezende, Mohamed and Welling (2014), Semi-supervised learning with deep generative models.

    >>> import torch
    >>> from probgen.nets import MLP, ClassHead
    >>> model = nn.ModuleDict({"classifier": ClassHead(MLP(4, 3))})
    >>> loss, _ = Classification(model)(torch.randn(5, 4), torch.tensor([-1, -1, 2, 0, -1]))
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.classifier = model.get_submodule("classifier")
        self.one_hot = OneHot(classes_of(self.classifier))

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss and its term."""
        if len(batch) != 2:
            raise ValueError(f"a batch should be (x, y), data and their labels, but has {len(batch)} parts")
        x, y = batch
        check_labels(y, len(x))
        known = self.one_hot(y)
        return -(known * self.classifier(x).logits).sum(-1).mean(), {"known": known.sum(-1).mean()}

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return the loss, None of data without labels."""
        return terms["loss"] if terms["known"] else None
