"""What is refused, each in one sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from probgen.compare.methods import Fitted, Method, Sampler


def check_inputs(
    methods: Mapping[str, Method | Sampler | Fitted],
    reference: Tensor,
    train: Tensor | None,
    *,
    reserved: Collection[str],
) -> None:
    """Raise if the arguments of a comparison do not fit together; ``reserved`` are the baselines' names."""
    if not methods:
        raise ValueError("methods should have at least 1 entry but has 0")
    for name, method in methods.items():
        if name in reserved:
            raise ValueError(f"method {name!r} should have another name: it is a baseline's")
        if not isinstance(method, Method | Fitted) and (
            isinstance(method, torch.nn.Module) or not callable(method)
        ):
            raise TypeError(
                f"method {name!r} should be a Method, a Fitted or a sampler such as model.sample "
                f"but is of type {type(method).__name__}"
            )
        if isinstance(method, Method) and method.needs_data and train is None:
            raise ValueError(f"train should be given, for method {name!r} to be fitted to")
    check_like("reference", reference, reference)
    if len(reference) < 8:
        raise ValueError(f"reference should have at least 8 points but has {len(reference)}")
    if train is not None:
        check_like("train", train, reference)


def check_like(what: str, data: Tensor, reference: Tensor) -> None:
    """Raise unless data are finite and of the reference's dtype, device and event shape."""
    if not isinstance(data, Tensor):
        raise TypeError(f"{what} should be a tensor but is of type {type(data).__name__}")
    if not data.is_floating_point() or data.dtype != reference.dtype or data.device != reference.device:
        expected = "floating-point" if data is reference else f"{reference.dtype} on {reference.device}"
        raise TypeError(f"{what} should be {expected} but is {data.dtype} on {data.device}")
    if data.dim() == 0 or data.shape[1:] != reference.shape[1:] or data.numel() == 0:
        event = ", ".join(("n", *map(str, reference.shape[1:])))
        raise ValueError(
            f"{what} should have shape ({event}) with n at least 1 but has shape {tuple(data.shape)}"
        )
    if not data.isfinite().all():
        raise ValueError(
            f"{what} should be finite but has {int((~data.isfinite()).sum())} values that are not"
        )
