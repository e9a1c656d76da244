"""Arrays of NumPy and frames of pandas where tensors are wanted, and data of several parts as one matrix."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def tensor_of(value: Any, name: str = "x", *, dtype: torch.dtype | None = None) -> Any:
    """Return an array or a frame as a tensor; what is neither is returned as it is.

    Whole numbers become int64 and truth values bool. Other numbers become ``dtype``, that of the weights that
    they meet, or torch's default one: NumPy's are float64 unless one asks for less.

    Raises:
        ValueError: for a frame with a column that holds no numbers, or an array of none.

    >>> tensor_of(np.array([1.5, 2.0])), tensor_of(np.array([1, 2], dtype=np.uint8))
    (tensor([1.5000, 2.0000]), tensor([1, 2]))
    """
    if isinstance(value, Tensor) or not (isinstance(value, np.ndarray) or hasattr(value, "to_numpy")):
        return value
    array = value if isinstance(value, np.ndarray) else _of_frame(value, name)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise ValueError(
            f"{name} should hold real numbers of up to 64 bits but holds {array.dtype}: columns of several "
            "kinds go through data.table"
        )
    if array.dtype.kind == "b":
        return torch.from_numpy(array.copy())
    whole = array.dtype.kind in "iu"
    if whole and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} should hold whole numbers of int64 but holds {array.max()}")
    wanted = torch.int64 if whole else dtype or torch.get_default_dtype()
    kept = array.astype(np.int64 if whole else np.float64)  # its own, in the machine's order of bytes
    return torch.from_numpy(np.ascontiguousarray(kept)).to(wanted)


def taking_arrays(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function of samples take arrays, frames, and tuples of equally long parts for those named.

    An array becomes a tensor of real numbers, of the type and on the device of the first tensor among them,
    else of float64. The parts of a tuple, such as several observed sites, are laid out side by side.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def taken(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            given = [bound.arguments.get(name) for name in names]
            like = next((x for x in given if isinstance(x, Tensor) and x.is_floating_point()), None)
            for name in names:
                if name in bound.arguments:
                    bound.arguments[name] = sample_of(bound.arguments[name], name, like=like)
            return function(*bound.args, **bound.kwargs)

        return taken

    return decorate


def sample_of(value: Any, name: str, *, like: Tensor | None = None) -> Any:
    """Return an array, a frame, or a tuple of equally long parts as one tensor of real numbers.

    What is a tensor, or nothing of the kind, is returned as it is.
    """
    if isinstance(value, tuple) and value:
        return _side_by_side(tuple(sample_of(part, name, like=like) for part in value), name)
    if isinstance(value, Tensor):
        return value
    found = tensor_of(value, name, dtype=torch.float64 if like is None else like.dtype)
    if not isinstance(found, Tensor):
        return found
    dtype = torch.float64 if like is None else like.dtype
    return found.to(device=None if like is None else like.device, dtype=dtype)


def _side_by_side(parts: tuple[Any, ...], name: str) -> Any:
    """Return equally long parts as one matrix; as they are where one is no tensor."""
    if not all(isinstance(part, Tensor) and part.dim() for part in parts):
        return parts
    rows = [len(part) for part in parts]
    if len(set(rows)) > 1:
        raise ValueError(f"the parts of {name} should be equally long but have {rows} rows")
    dtype = functools.reduce(torch.promote_types, (part.dtype for part in parts))
    dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
    return torch.cat([part.reshape(len(part), -1).to(dtype) for part in parts], 1)


def _of_frame(frame: Any, name: str) -> np.ndarray:
    """Return the numbers of a frame or a column; a missing one is NaN."""
    columns = getattr(frame, "columns", None)
    if columns is not None and hasattr(frame, "dtypes"):
        for column, kind in zip(columns, frame.dtypes, strict=True):
            if getattr(kind, "kind", "O") not in "biuf":
                raise ValueError(
                    f"{name} should hold numbers but its column {column!r} is {kind}: code it with "
                    "data.table(frame)"
                )
    found = frame.to_numpy()
    if found.dtype == object:  # pandas' nullable types
        try:
            found = frame.to_numpy(dtype=np.float64, na_value=np.nan)
        except (ValueError, TypeError):
            raise ValueError(
                f"{name} should hold numbers but holds {getattr(frame, 'dtype', 'objects')}: code it as "
                "whole numbers, as by pandas.factorize"
            ) from None
    return found
