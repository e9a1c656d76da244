"""Convolutional long short-term memory over sequences of pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from probgen.core import check_count
from probgen.nets.checks import check_sizes

State = tuple[Tensor, Tensor]
r"""What is remembered: the output h and the cell c, each of shape (\*batch, outputs, H, W)."""


class ConvLSTM(nn.Module):
    r"""Long short-term memory whose maps are convolutions: what moves in a picture moves in the state.

    i, f, o, g = conv([x_t, h_{t−1}]); c_t = σ(f) c_{t−1} + σ(i) tanh(g); h_t = σ(o) tanh(c_t), from 0. The
    source has in each gate a product with the cell too, which is left out here, as mostly since.

    Args:
        inputs, outputs: channels of a step and of the state.
        kernel: width of the convolution, odd.

    Raises:
        ValueError: where a size is below 1, the kernel is even, or a step has other channels than ``inputs``.

    Source: Shi and others (2015), Convolutional LSTM network: a machine learning approach for precipitation
    nowcasting.

    >>> states, (h, c) = ConvLSTM(3, 8)(torch.zeros(5, 20, 3, 16, 16))
    >>> states.shape, h.shape
    (torch.Size([5, 20, 8, 16, 16]), torch.Size([5, 8, 16, 16]))
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3) -> None:
        super().__init__()
        check_sizes(inputs=inputs, outputs=outputs)
        if check_count("kernel", kernel) % 2 == 0:
            raise ValueError(f"kernel should be odd, so that maps keep their size, but is {kernel}")
        self.inputs, self.outputs = inputs, outputs
        self.gates = nn.Conv2d(inputs + outputs, 4 * outputs, kernel, padding=kernel // 2)
        with torch.no_grad():
            self.gates.bias[outputs : 2 * outputs] = 1.0  # type: ignore[index]  # at first it remembers

    def step(self, x: Tensor, state: State | None = None) -> State:
        r"""Return the state after one more step, x of shape (\*batch, inputs, H, W)."""
        if x.shape[-3] != self.inputs:
            raise ValueError(
                f"ConvLSTM should get {self.inputs} channels, (..., C, H, W), but got shape {tuple(x.shape)}"
            )
        if state is None:
            zeros = x.new_zeros(*x.shape[:-3], self.outputs, *x.shape[-2:])
            state = (zeros, zeros)
        h, c = state
        both = torch.cat([x, h], -3)
        found = self.gates(both.reshape(-1, *both.shape[-3:]))
        enter, keep, leave, new = found.reshape(*both.shape[:-3], *found.shape[1:]).chunk(4, -3)
        c = keep.sigmoid() * c + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * c.tanh(), c

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        r"""Return all h, (\*batch, T, outputs, H, W), and the last state, of x (\*batch, T, inputs, H, W)."""
        states = []
        for step in x.unbind(-4):
            state = self.step(step, state)
            states.append(state[0])
        if state is None or not states:
            raise ValueError(f"x should have at least one step, (..., T, C, H, W), but is {tuple(x.shape)}")
        return torch.stack(states, -4), state


def each_picture(net: nn.Module, pictures: Tensor) -> Tensor:
    r"""Return what a net makes of pictures with any number of batch dimensions."""
    found: Tensor = net(pictures.reshape(-1, *pictures.shape[-3:]))
    return found.reshape(*pictures.shape[:-3], *found.shape[1:])
