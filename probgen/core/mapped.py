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
            return over_all(values, data)
        with contextlib.suppress(RuntimeError, UserWarning), warnings.catch_warnings(), FreshNoise():
            warnings.filterwarnings("error", message="An output with one or more elements was resized")
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return over_all(values, data)

    def rows(values: Values, data: Values) -> Any:
        if dims == 1:
            return function(values, data)
        return _stacked([function(*pair) for pair in zip(_unstacked(values), _unstacked(data), strict=True)])

    return _stacked([rows(one, data) for one in _unstacked(values)])


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


class FreshNoise(TorchFunctionMode):
    """Lets ``x.normal_()`` and its like return new numbers: vmap forbids random numbers in place."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _FRESH.get(func, func)(*args, **(kwargs or {}))
