"""The questions that Pyro's bounds put to their tensors, answered while a loss is captured.

A graph holds no Python, so no question about a value. Those that Pyro asks are few, and none changes what a
bound is: it looks for NaN in order to warn (``fit`` looks itself), takes the value of a loss apart from its
gradient, and leaves out terms of probability zero, which count as zero here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import pyro.infer.util
import pyro.util
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode, has_proxy_slot
from torch.nn.functional import one_hot
from torch.overrides import TorchFunctionMode

TORCH = str(Path(torch.__file__).parent)


def _dot_where_probable(probability: Tensor, cost: Tensor, **kwargs: Any) -> Tensor:
    return torch.tensordot(probability, torch.where(probability > 0, cost, 0), **kwargs)


def _one_hot(index: Tensor, num_classes: int = -1) -> Tensor:
    """Return what ``F.one_hot`` does, which looks at the values first: here an index outside raises later."""
    if num_classes < 1:  # as many as the values say
        return one_hot(index, num_classes)
    rows = torch.eye(num_classes, dtype=torch.int64, device=index.device)
    return rows.index_select(0, index.flatten()).reshape(*index.shape, num_classes)


ANSWERS: dict[tuple[CodeType, Any], Callable[..., Any]] = {
    (pyro.util.warn_if_nan.__code__, Tensor.__bool__): lambda found: False,
    (pyro.util.warn_if_nan.__code__, Tensor.register_hook): lambda value, hook: None,
    (pyro.util.warn_if_inf.__code__, Tensor.__bool__): lambda found: False,
    (pyro.infer.util.torch_item.__code__, Tensor.item): Tensor.detach,
    (pyro.infer.util.Dice.compute_expectation.__code__, Tensor.all): lambda probable: True,
    (pyro.infer.util._fulldot.__code__, torch.tensordot): _dot_where_probable,
}
"""What to do instead, by the function of Pyro that asks and the function of torch that it asks with."""


READINGS = {Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__}
"""Ways out of torch that tracing does not see: what is computed from them would be frozen."""
OF_ONE = {
    Tensor.item, Tensor.__bool__, Tensor.__float__, Tensor.__int__, Tensor.__index__, Tensor.__complex__,
    Tensor.__format__,
}  # fmt: skip
"""Ways out for a single number, which tracing sees for tensors that it follows."""


class Answered(TorchFunctionMode):
    """Answers Pyro's questions; everyone else's stand, and nobody reads numbers out of a tensor.

    With ``still``, tensors that were there before the call stand still, and may be read.
    """

    def __init__(self, *, still: bool = False) -> None:
        super().__init__()
        self._still = still

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call what stands in for the function, if its caller is one of Pyro's."""
        if func in READINGS and not (self._still and _held(args[0])):
            raise ValueError(f"it would hold what Python read from a tensor by Tensor.{func.__name__}")
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(TORCH):
            frame = frame.f_back
        answer = _one_hot if func is one_hot else ANSWERS.get((frame.f_code, func), func)
        if answer is func and func in OF_ONE and not self._still and _held(args[0]):
            raise ValueError(
                "it would hold a number that Python reads from a tensor that was there before the call"
            )
        return answer(*args, **(kwargs or {}))


def _held(value: Tensor) -> bool:
    """Say whether a tensor is none that tracing follows: an attribute or a global, which may be filled."""
    mode = get_proxy_mode()
    return mode is not None and not has_proxy_slot(value, mode.tracer)
