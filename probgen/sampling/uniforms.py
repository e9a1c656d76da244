"""Uniform random numbers, from which every exact draw starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def uniform(
    shape: Sequence[int],
    *,
    device: torch.device | str | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw float64 uniforms (k + ½)/2⁵², k = 0 ... 2⁵² − 1: symmetric about ½ and never 0 or 1."""
    draws = torch.rand(tuple(shape), dtype=torch.float64, device=device, generator=generator)
    return draws.mul_(2.0**52).floor_().add_(0.5).mul_(2.0**-52)


def default_generator(device: torch.device) -> torch.Generator:
    """Return torch's global generator of a device."""
    if device.type != "cuda":
        return torch.default_generator
    torch.cuda.init()
    return torch.cuda.default_generators[
        torch.cuda.current_device() if device.index is None else device.index
    ]


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Let laws that know of no generator draw from this one: it stands in for torch's global one."""
    own = default_generator(generator.device)
    if own is generator:
        yield
        return
    before = own.get_state()
    own.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(own.get_state())
        own.set_state(before)
