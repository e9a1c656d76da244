"""Networks of residual blocks, x + f(x), of vectors and of pictures; separable convolutions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from probgen.core import check_count
from probgen.nets.checks import channels_first, check_last, check_sizes, check_unshared
from probgen.nets.mlp import MLP
from probgen.nets.widened import widened


class Residual(nn.Module):
    """x + f(x): a block that starts near the identity, through which gradients pass as they are."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ResidualMLP(nn.Module):
    r"""A multilayer perceptron of residual blocks, (\*batch, inputs) to (\*batch, outputs).

    A linear layer to ``width`` numbers h, blocks h + W₂ s(W₁ s(h) + b₁) + b₂, and a linear layer of s(h); it
    may have many layers and is still learned.

    Args:
        inputs, outputs: sizes of one input and one output.
        width: size of h.
        blocks: how many blocks, of two layers each.
        activation: makes s.

    Raises:
        ValueError: where a size is below 1, or the input's last dimension is not ``inputs``.

    Source: He, Zhang, Ren and Sun (2016), Identity mappings in deep residual networks.

    >>> import torch
    >>> ResidualMLP(64, 2)(torch.zeros(5, 3, 64)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 256,
        blocks: int = 2,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        check_sizes(inputs=inputs, outputs=outputs, width=width, blocks=blocks)
        self.inputs, self.outputs = inputs, outputs
        layers = [
            Residual(activation(), nn.Linear(width, width), activation(), nn.Linear(width, width))
            for _ in range(blocks)
        ]
        self.body = nn.Sequential(nn.Linear(inputs, width), *layers, activation())
        self.last = nn.Linear(width, outputs)

    def widen(self, factor: int) -> None:
        """Replace the last layer by a fresh one that gives ``factor`` blocks of ``outputs`` numbers."""
        self.last = widened(self.last, self.outputs, factor)

    def forward(self, x: Tensor) -> Tensor:
        check_last(self, x)
        return self.last(self.body(x))


class Shortcut(nn.Module):
    r"""A network with a linear map beside it, f(x) + A x, that passes what goes in on straight ways too.

    A generator f of few hidden layers maps noise to near one point before it has learned. With A its draws
    differ in as many directions as there are numbers of noise, from the first step on.

    Args:
        net: f. A starts with normal weights of variance 1/inputs, so that A x has the size of x.

    >>> import torch
    >>> Shortcut(MLP(64, 2))(torch.zeros(5, 3, 64)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(self, net: MLP) -> None:
        super().__init__()
        self.inputs, self.outputs = net.inputs, net.outputs
        self.net = net
        self.linear = nn.Linear(self.inputs, self.outputs, bias=False)
        nn.init.normal_(self.linear.weight, std=self.inputs**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.linear(x)


class SeparableConv(nn.Sequential):
    r"""A convolution in two parts: in each map by itself (depthwise), then across maps (pointwise).

    From C to C' maps with k × k weights it has k²C + CC' weights, where a standard convolution has k²CC', and
    as many multiplications a pixel. The size of the picture stays.

    Args:
        inputs, outputs: numbers of maps, C and C'.
        size: k, odd.
        dilation: the weights are so many pixels apart.

    Source: Sifre (2014), Rigid-motion scattering for image classification; Chollet (2017), Xception.

    >>> import torch
    >>> SeparableConv(32, 32)(torch.zeros(5, 32, 7, 7)).shape
    torch.Size([5, 32, 7, 7])
    >>> sum(weight.numel() for weight in SeparableConv(32, 32).parameters())  # 9248 of nn.Conv2d(32, 32, 3)
    1344
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3, *, dilation: int = 1) -> None:
        check_sizes(inputs=inputs, outputs=outputs, size=size, dilation=dilation)
        if size % 2 == 0:
            raise ValueError(f"size should be odd, such as {size - 1} or {size + 1}, but is {size}")
        depthwise = nn.Conv2d(
            inputs, inputs, size, padding="same", dilation=dilation, groups=inputs, bias=False
        )
        super().__init__(depthwise, nn.Conv2d(inputs, outputs, 1))


class ResidualConvNet(nn.Module):
    r"""Convolutions and residual blocks, from flat pictures to flat pictures or maps of another size.

    Pictures are made smaller by 3 × 3 convolutions of stride 2, or larger by transposed convolutions of
    4 × 4 weights, each by a factor of two: H rows become ⌈H/2⌉; or 2H, or 2H − 1 where that is asked for.
    The blocks, h + (3 × 3) s((3 × 3, dilated) s(h)), work at the smaller of the two sizes. No layer is fully
    connected, so that what is learned of one place holds for all.

    An autoencoder of two of them has maps for its code, flat; with as many numbers as the data or more it
    should restore what it sees corrupted, or it only copies.

    Args:
        image_shape: (H, W) or (C, H, W) of what comes in.
        out_shape: of what goes out: H and W halved so many times, rounded up, or the other way round.
        channels: maps between the layers.
        dilations: of the first convolution of each block, as many as there are blocks; each below the larger
            side of the maps there.
        separable: whether the convolutions of the blocks are :class:`SeparableConv`.
        activation: makes s.

    Raises:
        ValueError: for sizes or dilations that cannot be; it says which can.

    Source: He, Zhang, Ren and Sun (2016), Identity mappings in deep residual networks; Yu and Koltun (2016),
    Multi-scale context aggregation by dilated convolutions.

    >>> import torch
    >>> encoder, decoder = ResidualConvNet((28, 28), (8, 14, 14)), ResidualConvNet((8, 14, 14), (28, 28))
    >>> decoder(encoder(torch.zeros(5, 3, 784))).shape
    torch.Size([5, 3, 784])
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        out_shape: Sequence[int],
        *,
        channels: int = 32,
        dilations: Sequence[int] = (1, 2),
        separable: bool = False,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        check_sizes(channels=channels)
        self.image_shape = channels_first(image_shape)
        self.out_shape = channels_first(out_shape, name="out_shape")
        self.inputs, self.outputs = math.prod(self.image_shape), math.prod(self.out_shape)
        halvings = _halvings(self.image_shape[1:], self.out_shape[1:])
        _check_dilations(dilations, min(self.image_shape[1:], self.out_shape[1:]))
        self.doublings = max(0, -halvings)

        # Halve the size, or only change the number of maps.
        colours = self.image_shape[0]
        layers: list[nn.Module] = [
            nn.Conv2d(colours, channels, 3, stride=2 if halvings > 0 else 1, padding=1)
        ]
        for _ in range(halvings - 1):
            layers += [activation(), nn.Conv2d(channels, channels, 3, stride=2, padding=1)]

        # The blocks.
        def convolution(dilation: int) -> nn.Module:
            if separable:
                return SeparableConv(channels, channels, dilation=dilation)
            return nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)

        layers += [
            Residual(activation(), convolution(dilation), activation(), convolution(1))
            for dilation in dilations
        ]
        layers.append(activation())

        # Double the size; the last layer also gives the number of maps.
        for _ in range(self.doublings - 1):
            layers += [nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1), activation()]
        self.body = nn.Sequential(*layers)
        self.last = self._last(channels, self.out_shape[0])

    def _last(self, inputs: int, outputs: int) -> nn.Conv2d | nn.ConvTranspose2d:
        if self.doublings:
            return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    def widen(self, factor: int) -> None:
        """Replace the last layer by a fresh one that gives ``factor`` blocks of ``outputs`` numbers."""
        maps = self.out_shape[0]
        check_unshared(self.last.out_channels, maps)
        self.last = self._last(self.last.in_channels, factor * maps).to(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        check_last(self, x)
        _, height, width = self.out_shape
        maps = self.last(self.body(x.reshape(-1, *self.image_shape)))[..., :height, :width]
        return maps.reshape(*x.shape[:-1], maps.shape[1:].numel())


def _halvings(before: Sequence[int], after: Sequence[int]) -> int:
    """Return how often the size is halved, below 0 where it is doubled."""
    down = _chain(before)
    if tuple(after) in down:
        return down.index(tuple(after))
    up = _chain(after)
    if tuple(before) in up:
        return -up.index(tuple(before))
    least, most = (" x ".join(str(2 * side - odd) for side in before) for odd in (1, 0))
    smaller = ", ".join(" x ".join(map(str, sides)) for sides in down)
    raise ValueError(
        f"out_shape should have a size that {before[0]} x {before[1]} comes to by halving, rounded up, or "
        f"that comes to it so, but is {after[0]} x {after[1]}: {smaller}, or from {least} to {most}, can be "
        "made"
    )


def _chain(size: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the size, its half, and so on down to one pixel, each rounded up."""
    chain = [tuple(size)]
    while max(chain[-1]) > 1:
        chain.append(tuple(-(-side // 2) for side in chain[-1]))
    return chain


def _check_dilations(dilations: Sequence[int], size: Sequence[int]) -> None:
    """Raise ValueError for a dilation whose outer weights would meet nothing but the margin."""
    most = max(1, max(size) - 1)
    for dilation in dilations:
        if check_count("each of dilations", dilation) > most:
            raise ValueError(
                f"each of dilations should be below the side of the maps, here {size[0]} x {size[1]}, so "
                f"{'1' if most == 1 else f'1 to {most}'}, but one is {dilation}"
            )
