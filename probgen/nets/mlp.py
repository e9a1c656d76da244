"""Fully connected networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from probgen.nets.checks import check_last, check_sizes
from probgen.nets.widened import widened


class MLP(nn.Module):
    r"""A multilayer perceptron, (\*batch, inputs) to (\*batch, outputs), with any number of batch dimensions.

    A head that needs k numbers per output calls :meth:`widen`, so that ``NormalHead(MLP(64, 2))`` is a law
    over R² whose means and scales come from one matrix product.

    Args:
        inputs, outputs: sizes of one input and one output.
        hidden: widths of the hidden layers, a number where there is one, none for a linear map.
        activation: makes the activation after each hidden layer.

    Raises:
        ValueError: where a size is below 1, or the input's last dimension is not ``inputs``.

    >>> import torch
    >>> MLP(64, 2)(torch.zeros(5, 3, 64)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        hidden: int | Sequence[int] = (256, 256),
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        hidden = (hidden,) if isinstance(hidden, int) else tuple(hidden)
        check_sizes(inputs=inputs, outputs=outputs, hidden=min(hidden, default=1))
        self.inputs, self.outputs = inputs, outputs
        widths = [inputs, *hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), activation()]
        self.body = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], outputs)

    def widen(self, factor: int) -> None:
        """Replace the last layer by a fresh one that gives ``factor`` blocks of ``outputs`` numbers."""
        self.last = widened(self.last, self.outputs, factor)

    def forward(self, x: Tensor) -> Tensor:
        check_last(self, x)
        return self.last(self.body(x))
