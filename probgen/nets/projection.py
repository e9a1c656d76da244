"""The discriminator of a conditional contest: data and their label by an inner product."""

from __future__ import annotations

from torch import Tensor, nn

from probgen.nets.joined import OneHot


class ProjectionDiscriminator(nn.Module):
    r"""A logit of data x and their class y, d(x, y) = yᵀ V φ(x) + ψ(φ(x)), y one-hot and ψ linear.

    So is the logit of the best discriminator, log p(x, y)/q(x, y) = log p(x)/q(x) + log p(y|x)/q(y|x), where
    both laws of y given x are softmax-linear in φ(x). The generator is told to match p(x | y) itself: unlike
    the game of an auxiliary classifier, it does not push classes apart.

    Args:
        features: φ, a network from data to features, (n, size).
        size: the number of features.
        classes: the number of labels.

    Raises:
        ValueError, TypeError: for labels that are missing (−1), of no class, no integers, or not one a row;
            for features of another shape.

    Source: Miyato and Koyama (2018), cGANs with projection discriminator.

    >>> import torch
    >>> from probgen.nets import MLP
    >>> net = ProjectionDiscriminator(MLP(4, 16), 16, classes=3)
    >>> net(torch.randn(5, 4), torch.tensor([0, 1, 2, 2, 1])).shape
    torch.Size([5])
    """

    def __init__(self, features: nn.Module, size: int, *, classes: int) -> None:
        super().__init__()
        self.one_hot = OneHot(classes, missing=False)
        self.features = features
        self.unconditional = nn.Linear(size, 1)
        self.of_classes = nn.Linear(classes, size, bias=False)

    def forward(self, x: Tensor, *labels: Tensor) -> Tensor:
        """Return the logits, shape (n,)."""
        if len(labels) != 1 or labels[0].shape != (len(x),):
            shapes = ", ".join(str(tuple(part.shape)) for part in labels)
            raise ValueError(
                f"a ProjectionDiscriminator should be given data and their labels, shape ({len(x)},), but "
                + (f"was given labels of shape {shapes}" if labels else "was given no labels")
            )
        found = self.features(x)
        size = self.unconditional.in_features
        if found.shape != (len(x), size):
            raise ValueError(
                f"features of a ProjectionDiscriminator should have shape ({len(x)}, {size}) but have "
                f"{tuple(found.shape)}"
            )
        projected = (self.of_classes(self.one_hot(labels[0])) * found).sum(1)
        return projected + self.unconditional(found).squeeze(1)
