"""Convolutional networks that read and write flat pictures, interchangeable with an MLP."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from probgen.nets.checks import channels_first, check_last, check_sizes, check_unshared
from probgen.nets.widened import widened


class ConvEncoder(nn.Module):
    r"""Two strided convolutions and a linear layer: flat pictures (\*batch, C·H·W) to (\*batch, outputs).

    Args:
        image_shape: (H, W) or (C, H, W).
        outputs: size of one output.
        channels: feature maps after the first convolution; the second has twice as many.
        activation: makes the activation after each convolution.

    >>> import torch
    >>> ConvEncoder((8, 8), 2)(torch.zeros(5, 3, 64)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        outputs: int,
        *,
        channels: int = 32,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        check_sizes(outputs=outputs, channels=channels)
        self.image_shape = channels_first(image_shape)
        self.inputs, self.outputs = math.prod(self.image_shape), outputs
        colours, height, width = self.image_shape
        self.body = nn.Sequential(
            nn.Conv2d(colours, channels, 3, stride=2, padding=1),
            activation(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            activation(),
            nn.Flatten(),
        )
        self.last = nn.Linear(2 * channels * math.ceil(height / 4) * math.ceil(width / 4), outputs)

    def widen(self, factor: int) -> None:
        """Replace the last layer by a fresh one that gives ``factor`` blocks of ``outputs`` numbers."""
        self.last = widened(self.last, self.outputs, factor)

    def forward(self, x: Tensor) -> Tensor:
        check_last(self, x)
        features = self.body(x.reshape(-1, *self.image_shape))
        return self.last(features).reshape(*x.shape[:-1], self.last.out_features)


class ConvDecoder(nn.Module):
    r"""A linear layer and two transposed convolutions: (\*batch, inputs) to flat pictures (\*batch, C·H·W).

    Each transposed convolution doubles the size; where H or W is no multiple of 4, the last rows and
    columns are cut off.

    Args:
        inputs: size of one input.
        image_shape: (H, W) or (C, H, W).
        channels: feature maps before the last convolution; the one before has twice as many.
        activation: makes the activation before each convolution.

    >>> import torch
    >>> ConvDecoder(2, (28, 28))(torch.zeros(5, 3, 2)).shape
    torch.Size([5, 3, 784])
    """

    def __init__(
        self,
        inputs: int,
        image_shape: Sequence[int],
        *,
        channels: int = 32,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        check_sizes(inputs=inputs, channels=channels)
        self.image_shape = channels_first(image_shape)
        self.inputs, self.outputs = inputs, math.prod(self.image_shape)
        colours, height, width = self.image_shape
        low = (2 * channels, math.ceil(height / 4), math.ceil(width / 4))
        self.body = nn.Sequential(
            nn.Linear(inputs, math.prod(low)),
            activation(),
            nn.Unflatten(-1, low),
            nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1),
            activation(),
        )
        self.last = nn.ConvTranspose2d(channels, colours, 4, stride=2, padding=1)

    def widen(self, factor: int) -> None:
        """Replace the last layer by a fresh one that gives ``factor`` blocks of ``outputs`` numbers."""
        colours, weight = self.image_shape[0], self.last.weight
        check_unshared(self.last.out_channels, colours)
        self.last = nn.ConvTranspose2d(
            self.last.in_channels,
            factor * colours,
            4,
            stride=2,
            padding=1,
            device=weight.device,
            dtype=weight.dtype,
        )

    def forward(self, x: Tensor) -> Tensor:
        check_last(self, x)
        _, height, width = self.image_shape
        images = self.last(self.body(x.reshape(-1, self.inputs)))[..., :height, :width]
        return images.reshape(*x.shape[:-1], images.shape[1:].numel())
