"""Calls side by side, in processes of their own, that compute what they would compute one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


def at_once(
    function: Callable[..., Result],
    arguments: Sequence[tuple[Any, ...]],
    options: Sequence[Mapping[str, Any]],
    *,
    jobs: int | None,
) -> Iterator[Result]:
    """Yield what a function returns for each of several arguments and options, in their order.

    ``jobs`` are at work at once; None stands for one, or for what ``joblib.parallel_config`` says. Each has
    the default type and the number of threads of this process, on which the rounding of sums depends.
    """
    from joblib import Parallel, delayed

    state = torch.get_default_dtype(), torch.get_num_threads()
    calls = (
        delayed(_as_here)(state, function, own, more) for own, more in zip(arguments, options, strict=True)
    )
    yield from Parallel(n_jobs=jobs, return_as="generator")(calls)


def _as_here(
    state: tuple[torch.dtype, int],
    function: Callable[..., Result],
    arguments: tuple[Any, ...],
    options: Mapping[str, Any],
) -> Result:
    """Call a function under this process's settings of torch."""
    dtype, threads = state
    if torch.get_default_dtype() != dtype:
        torch.set_default_dtype(dtype)
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return function(*arguments, **options)
