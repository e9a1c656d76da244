"""A normal prior whose means and scales are given by a context."""

from __future__ import annotations

import torch
from torch import nn

from probgen.nets import NormalHead


class Conditional(NormalHead):
    r"""The prior z | c ~ N(m(c), s(c)²), coordinate by coordinate; N(0, I) for all c before it has learned.

    Of labels c it is ``Conditional(nets.Joined(nets.MLP(10, 16), nets.OneHot(10)))``; of real numbers
    ``Conditional(nets.MLP(3, 16))``. Any other conditional law of codes is a prior as well: a module that
    returns a distribution.

    Args:
        net: from the context to the coordinates of a code, with ``widen``, as nets of probgen.nets have it;
            its last layer is set to 0.

    Raises:
        TypeError: where the net has no last layer to set to 0, ``nn.Linear``.

    Source: Sohn, Lee and Yan (2015), Learning structured output representation using deep conditional
    generative models.

    >>> from probgen.nets import MLP
    >>> Conditional(MLP(3, 2))(torch.randn(5, 3)).mean.abs().max()
    tensor(0., grad_fn=<MaxBackward1>)
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        layers = [module for module in net.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise TypeError(
                f"net should end in an nn.Linear, as nets.MLP does, but is a {type(net).__name__} without one"
            )
        for weight in layers[-1].parameters():
            torch.nn.init.zeros_(weight)
