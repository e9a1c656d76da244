"""What a network costs and how far it sees: parameters, multiplications, receptive field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from probgen.core import evaluating
from probgen.nets.checks import channels_first

PICTURES = 32
"""At which a receptive field is measured: all pixels that a maximum depends on are largest in one of them."""


class Cost(NamedTuple):
    """What a network costs and how far it sees.

    ``parameters`` are numbers that are learned; ``multiplications`` those of matrix products and convolutions
    for one picture, zeros of the margin counted, element by element work not; ``receptive_field`` is (rows,
    columns) of the least rectangle of the input that holds all pixels on which an output depends.
    """

    parameters: int
    multiplications: int
    receptive_field: tuple[int, int]


def cost(net: nn.Module, image_shape: Sequence[int], out_shape: Sequence[int] | None = None) -> Cost:
    r"""Count what a net of flat pictures costs, and measure its receptive field.

    The receptive field is the support of the gradient of one output, in a copy of the net whose parameters
    are all positive, so that no terms cancel and no unit is dead, at some random pictures, since a maximum
    depends on a pixel in some pictures only. It ends where the picture does.

    Args:
        net: takes (n, C·H·W), returns (n, outputs).
        image_shape: (H, W) or (C, H, W) of what comes in.
        out_shape: of what goes out where these are flat pictures: the output is the pixel in their middle.
            Else it is the first number.

    Raises:
        ValueError: where the net returns no pictures of ``out_shape``.
        TypeError: where it returns no tensor, such as a head.

    >>> from probgen.nets import ResidualConvNet
    >>> cost(ResidualConvNet((28, 28), (8, 14, 14), channels=16, dilations=(1,)), (28, 28), (8, 14, 14))
    Cost(parameters=5960, multiplications=1157184, receptive_field=(15, 15))
    """
    shape = channels_first(image_shape)
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    like = weights[0] if weights else torch.zeros(())
    x = torch.zeros(1, math.prod(shape), dtype=like.dtype, device=like.device)
    with evaluating(net), torch.no_grad(), FlopCounterMode(display=False) as counter:
        out = net(x)
    if not isinstance(out, Tensor):
        raise TypeError(
            f"net should return a tensor but {type(net).__name__} returned a {type(out).__name__}: of a head "
            "take its net"
        )
    middle = 0
    if out_shape is not None:
        _, height, width = channels_first(out_shape, name="out_shape")
        if out.shape[1] % (height * width):
            raise ValueError(
                f"out_shape should be that of the pictures which the net returns but is {tuple(out_shape)}, "
                f"and it returned {out.shape[1]} numbers"
            )
        middle = height // 2 * width + width // 2
    return Cost(
        sum(weight.numel() for weight in weights),
        counter.get_total_flops() // 2,
        _receptive_field(net, shape, middle),
    )


def _receptive_field(net: nn.Module, shape: tuple[int, int, int], output: int) -> tuple[int, int]:
    """Return rows and columns of the rectangle around the pixels on which an output depends."""
    # A copy with positive weights whose sums are about 1, at positive pictures: all slopes are positive.
    net = deepcopy(net).double().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        entries = weight[0].numel() if weight.dim() > 1 else 10
        drawn = 0.5 + torch.rand(weight.shape, generator=generator, dtype=torch.float64)
        weight.copy_(drawn / entries)
    like = next(net.parameters(), torch.zeros((), dtype=torch.float64))
    x = 0.5 + torch.rand(PICTURES, math.prod(shape), generator=generator, dtype=torch.float64)
    x = x.to(like.device).requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(net(x)[:, output].sum(), x)
    seen = (slope.reshape(-1, *shape[1:]) != 0).any(0)
    return _extent(seen.any(1)), _extent(seen.any(0))


def _extent(seen: Tensor) -> int:
    """Return the number of places from the first that is seen to the last."""
    places = seen.nonzero()
    return int(places[-1] - places[0]) + 1 if len(places) else 0
