"""Functions of named values, applied to many draws at once by ``torch.vmap``, or one by one."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

Named = dict[str, Tensor]
Values = Mapping[str, Tensor]


def mapped(
    function: Callable[..., Any],
    values: Values,
    data: Values,
    dims: int,
    vectorised: bool,
    chunk: int | None = None,
    draws: bool = False,
) -> Any:
    """Apply a function to draws (n, ...), or with two dims to (n, rows, ...) and data (rows, ...).

    Where it draws random numbers, each row has its own; not all of torch's laws can do so under vmap.
    """
    if vectorised:
        noise = "different" if draws else "error"
        over_rows = vmap(function, in_dims=(0, 0), randomness=noise) if dims == 2 else function
        over_all = vmap(over_rows, in_dims=(0, None), randomness=noise, chunk_size=chunk)
        if not draws:
            with tolerant():
                return over_all(values, data)
        with contextlib.suppress(RuntimeError, UserWarning), warnings.catch_warnings(), _Instead(_FRESH):
            warnings.filterwarnings("error", message="An output with one or more elements was resized")
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return over_all(values, data)

    def rows(values: Values, data: Values) -> Any:
        if dims == 1:
            return function(values, data)
        return _stacked([function(*pair) for pair in zip(_unstacked(values), _unstacked(data), strict=True)])

    with tolerant():
        return _stacked([rows(one, data) for one in _unstacked(values)])


def is_mapped(*values: Tensor) -> bool:
    """Say whether a tensor is one of many under ``torch.vmap``: no ``if`` can then ask for its value.

    So is one of which a gradient is taken under ``torch.vmap``, by ``torch.func.grad``.
    """
    functorch = torch._C._functorch
    for value in values:
        while functorch.is_functorch_wrapped_tensor(value):
            if functorch.is_batchedtensor(value):
                return True
            value = functorch.get_unwrapped(value)
    return False


def needs_gradient(*values: Tensor) -> bool:
    """Say whether a tensor needs a gradient, or what it stands for under ``torch.vmap`` does."""
    functorch = torch._C._functorch
    for value in values:
        while not value.requires_grad and functorch.is_functorch_wrapped_tensor(value):
            value = functorch.get_unwrapped(value)
        if value.requires_grad:
            return True
    return False


def in_transform() -> bool:
    """Say whether ``torch.vmap`` or another transform of ``torch.func`` is under way."""
    return torch._C._functorch.maybe_current_level() is not None


def copies(value: Tensor) -> int:
    """Return how many tensors one is under ``torch.vmap``: 1 outside."""
    functorch, count = torch._C._functorch, 1
    while functorch.is_functorch_wrapped_tensor(value):
        dim = functorch.maybe_get_bdim(value) if functorch.is_batchedtensor(value) else None
        value = functorch.get_unwrapped(value)
        count *= 1 if dim is None else value.shape[dim]
    return count


def over_copies(value: Tensor) -> Tensor:
    """Return a tensor with all its copies under ``torch.vmap``, of which may be asked; detached."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(value):
        value = functorch.get_unwrapped(value)
    return value.detach()


def _unstacked(values: Values) -> list[Named]:
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _stacked(results: list[Any]) -> Any:
    return tree_map(lambda *leaves: torch.stack(leaves), results[0], *results[1:])


def _normal(x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    return mean + std * torch.randn_like(x)


def _uniform(x: Tensor, low: float = 0.0, high: float = 1.0) -> Tensor:
    return low + (high - low) * torch.rand_like(x)


def _exponential(x: Tensor, rate: float = 1.0) -> Tensor:
    return -torch.log1p(-torch.rand_like(x)) / rate


def _cauchy(x: Tensor, median: float = 0.0, scale: float = 1.0) -> Tensor:
    return median + scale * torch.tan(math.pi * (torch.rand_like(x) - 0.5))


_FRESH: dict[Any, Callable[..., Tensor]] = {
    Tensor.normal_: _normal,
    Tensor.uniform_: _uniform,
    Tensor.exponential_: _exponential,
    Tensor.cauchy_: _cauchy,
}


def _cholesky(x: Tensor, *, upper: bool = False) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(x, upper=upper)
    return torch.where((info > 0)[..., None, None], torch.nan, factor)


def _assigned(x: Tensor, index: Any, value: Any) -> None:
    """Assign a number where a mask says so, without asking how many places there are."""
    number = isinstance(value, int | float) or (isinstance(value, Tensor) and value.dim() == 0)
    mask = isinstance(index, Tensor) and index.dtype == torch.bool and index.dim() <= x.dim()
    if number and mask and x.is_floating_point():
        x.copy_(torch.where(index.reshape(*index.shape, *[1] * (x.dim() - index.dim())), value, x))
    else:
        x[index] = value


_NO_ERROR: dict[Any, Callable[..., Any]] = {torch.linalg.cholesky: _cholesky, Tensor.__setitem__: _assigned}


class _Instead(TorchFunctionMode):
    """Calls other functions instead of torch's.

    Random numbers in place, which vmap forbids, are made anew, one set for each row; a matrix that is not
    positive definite gives NaN, so that one chain's proposal is refused and does not end the run of all; a
    number assigned by a mask, as in the density of a multinomial law, fills the mask.
    """

    def __init__(self, table: dict[Any, Callable[..., Any]]) -> None:
        super().__init__()
        self._table = table

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._table.get(func, func)(*args, **(kwargs or {}))


def tolerant() -> TorchFunctionMode:
    """Let a matrix that is not positive definite give NaN, and masks be assigned, inside a ``with`` block."""
    return _Instead(_NO_ERROR)
