"""Nets of several inputs: data beside a label, a code beside a context."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from probgen.nets.checks import check_sizes
from probgen.nets.heads import Widens


class OneHot(nn.Module):
    r"""Labels 0, ..., k − 1, int64 (\*batch), as one-hot vectors (\*batch, k); −1, missing, is all zeros.

    Args:
        classes: k.
        missing: whether a label may be missing; with False −1 is refused as any other.

    >>> OneHot(3)(torch.tensor([2, -1]))
    tensor([[0., 0., 1.],
            [0., 0., 0.]])
    """

    rows: Tensor

    def __init__(self, classes: int, *, missing: bool = True) -> None:
        super().__init__()
        check_sizes(classes=classes)
        self.classes, self.missing = classes, missing
        rows = torch.eye(classes + 1)[:, 1:] if missing else torch.eye(classes)
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, labels: Tensor) -> Tensor:
        """Return the vectors, in the module's floating-point type; raise ValueError for any other label."""
        if labels.is_floating_point():
            raise TypeError(f"labels should be integers but are {labels.dtype}")
        try:
            return embedding(labels.long() + 1 if self.missing else labels.long(), self.rows)
        except IndexError:
            bad = labels[(labels < (-1 if self.missing else 0)) | (labels >= self.classes)]
            allowed = ", or -1 where missing," if self.missing else ", none of them missing,"
            raise ValueError(
                f"labels should be 0 to {self.classes - 1}{allowed} but hold {int(bad[0])}"
            ) from None


class Joined(nn.Module):
    r"""A net of several inputs: each through a module of its own, then side by side through the net.

    Batch dimensions are broadcast, so that a context of shape (n, c) stands beside draws (particles, n, d).
    A head widens the net as it would without: ``NormalHead(Joined(MLP(64 + 10, 2), None, OneHot(10)))`` is
    q(z | x, y).

    Args:
        net: from the numbers of all inputs side by side.
        parts: a module for each input, such as :class:`OneHot` or ``nn.Embedding`` for labels; None takes an
            input as it is. Where none are given, all are taken as they are.

    Raises:
        TypeError: for another number of inputs than of parts.

    >>> from probgen.nets import MLP
    >>> net = Joined(MLP(4 + 3, 2), None, OneHot(3))
    >>> net(torch.zeros(5, 8, 4), torch.zeros(8, dtype=torch.int64)).shape
    torch.Size([5, 8, 2])
    """

    def __init__(self, net: nn.Module, *parts: nn.Module | None) -> None:
        super().__init__()
        self.net = net
        self.parts = nn.ModuleList(nn.Identity() if part is None else part for part in parts)

    @property
    def outputs(self) -> int:
        """The size of one output, where the net tells it."""
        if isinstance(self.net, Widens):
            return self.net.outputs
        raise AttributeError(f"Joined cannot tell the size of its output from a {type(self.net).__name__}")

    def widen(self, factor: int) -> None:
        """Have a net of probgen.nets give ``factor`` blocks of numbers; any other should do so itself."""
        if isinstance(self.net, Widens):
            self.net.widen(factor)

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the net's numbers."""
        if self.parts:
            if len(inputs) != len(self.parts):
                raise TypeError(f"Joined has parts for {len(self.parts)} inputs but got {len(inputs)}")
            inputs = tuple(part(x) for part, x in zip(self.parts, inputs, strict=True))
        batch = torch.broadcast_shapes(*(x.shape[:-1] for x in inputs))
        return self.net(torch.cat([x.expand(*batch, x.shape[-1]) for x in inputs], -1))
