"""Calls side by side, in processes of their own, that compute what they would compute one after another."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pickle import PicklingError
from typing import Any, TypeVar

import torch

from probgen.core import check_count

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

    Raises:
        ValueError, TypeError: for jobs that are no count and not -1, and arguments that no other process can
            be sent.
    """
    from joblib import Parallel, delayed

    # A graph that another process recorded, as of chains, looks this up where it is read.
    with contextlib.suppress(ImportError):
        importlib.import_module("torch._higher_order_ops.triton_kernel_wrap")
    if jobs is not None and jobs != -1:
        jobs = check_count("jobs, where not -1 for as many as there are cores,", jobs)
    state = torch.get_default_dtype(), torch.get_num_threads()
    calls = (
        delayed(_as_here)(state, function, own, more) for own, more in zip(arguments, options, strict=True)
    )
    try:
        yield from Parallel(n_jobs=jobs, return_as="generator")(calls)
    except PicklingError as error:
        why = str(error.__cause__ or error).strip('"\n').splitlines()[-1]  # of a traceback the error itself
        raise TypeError(
            f"jobs should be 1 where a method cannot be sent to another process, but is {jobs}: {why}"
        ) from error


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
