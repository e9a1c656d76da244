"""Where torch's random numbers stand."""

from __future__ import annotations

import torch
from torch import Tensor

Noise = dict[str, Tensor]


def noise_of(device: torch.device) -> Noise:
    """Return the state of torch's generators that a training on the device draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_noise(state: Noise, device: torch.device) -> None:
    """Put such a state back."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
