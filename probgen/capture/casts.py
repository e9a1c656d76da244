"""Autocast's copies of the weights, which it keeps until its outermost context ends."""

import torch


def forget_casts(device: torch.device) -> None:
    """Have the weights cast anew: they have moved since, or were cast without gradients."""
    if torch.is_autocast_enabled(device.type):
        torch.clear_autocast_cache()
