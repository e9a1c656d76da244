"""Checks that the networks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import check_count


def check_sizes(**sizes: int) -> None:
    """Raise where a named size is no integer, TypeError, or below 1, ValueError."""
    for name, size in sizes.items():
        check_count(name, size)


def check_last(net: nn.Module, x: Tensor) -> None:
    """Raise ValueError where the last dimension of ``x`` is not ``net.inputs``."""
    if x.shape[-1:] != (net.inputs,):
        raise ValueError(
            f"{type(net).__name__} should get inputs of size {net.inputs} but got shape {tuple(x.shape)}"
        )


def check_tokens(tokens: Tensor, size: int, *, name: str = "tokens") -> None:
    """Raise as :func:`check_known` does, but look at no values where validation is off, as in recordings."""
    if Distribution._validate_args:
        check_known(tokens, size, name=name)
    else:
        _check_whole(tokens, name)


def check_known(tokens: Tensor, size: int, *, name: str = "tokens") -> None:
    """Raise where tokens are no whole numbers, TypeError, or not of 0, ..., size − 1, ValueError."""
    _check_whole(tokens, name)
    if not bool(((tokens >= 0) & (tokens < size)).all()):
        raise ValueError(
            f"{name} should be from 0 to {size - 1} but go from {int(tokens.min())} to {int(tokens.max())}"
        )


def _check_whole(tokens: Tensor, name: str) -> None:
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise TypeError(f"{name} should be whole numbers but are {tokens.dtype}")


def check_context(net: nn.Module, *context: Tensor) -> None:
    """Raise ValueError where a context is not ``net.inputs`` numbers, none at all where these are 0."""
    sizes = [part.shape[-1] for part in context]
    if sizes != ([net.inputs] if net.inputs else []):
        raise ValueError(f"{type(net).__name__} should get a context of {net.inputs} numbers but got {sizes}")


def check_unshared(found: int, built: int) -> None:
    """Raise ValueError where the last layer, built with ``built`` outputs, has been widened before."""
    if found != built:
        raise ValueError(
            f"a net should serve one head, but its last layer was already widened from {built} to {found}"
        )


def classes_of(classifier: Any) -> int:
    """Return the number of classes that a classifier tells; raise TypeError where it does not."""
    classes = getattr(classifier, "outputs", None)
    if not isinstance(classes, int):
        raise TypeError(
            "classifier should tell its number of classes, a size ``outputs``, as a nets.ClassHead does, but "
            f"{type(classifier).__name__} has none"
        )
    return classes


def channels_first(shape: Sequence[int], *, name: str = "image_shape") -> tuple[int, int, int]:
    """Return (C, H, W) of a picture's (H, W) or (C, H, W); raise ValueError for any other shape."""
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(f"{name} should be (H, W) or (C, H, W) but got {tuple(shape)}")
    height, width = shape[-2:]
    return (1 if len(shape) == 2 else shape[0]), height, width
