"""Whether memory has room for all combinations of values of discrete sites, told before they are made."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Hashable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from probgen.core import Pair
from probgen.core.summed_out import Discrete
from probgen.objectives.discrete_sites import stand_ins

FEW = 2**24
"""Combinations of all values, over all rows and draws, up to which none is looked at."""
AT_ONCE = 4
"""Tensors of the size of the largest that a log-density and its gradient hold at one time, at least."""

_SEEN: WeakKeyDictionary[Pair, set[Hashable]] = WeakKeyDictionary()


def check_room(
    pair: Pair, batch: tuple[Tensor, ...], particles: int, discrete: Discrete, run: Callable[[], object]
) -> None:
    """Run a bound on shapes alone, once for each form of the batch, where combinations are many.

    Sites whose values meet nowhere have many combinations and small tensors; so it is the tensors that count.
    A story that looks at values, which shapes have none of, is left to find out by itself.

    Raises:
        ValueError: for a tensor of which four would be more than the memory of the device.
    """
    if not (discrete.guided or discrete.summed):
        return
    form = (discrete, particles, *((x.shape, x.dtype, x.device) for x in batch))
    seen = _SEEN.setdefault(pair, set())
    if (
        form in seen
        or discrete.combinations * len(batch[0]) * particles <= FEW
        or get_proxy_mode() is not None
    ):
        return
    most = memory(batch[0].device) / (AT_ONCE * particles)
    shapes_alone = (
        torch.no_grad(), poutine.block(), stand_ins(pair), pyro.validation_enabled(False),
        FakeTensorMode(allow_non_fake_inputs=True), _UpTo(most),
    )  # fmt: skip
    with contextlib.ExitStack() as stack, contextlib.suppress(_Unseen):
        for context in shapes_alone:
            stack.enter_context(context)
        try:
            run()
        except _TooLarge:
            raise _no_room(discrete) from None
        except Exception as error:  # where the story is wrong, its own run will say
            raise _Unseen from error
    seen.add(form)


@contextlib.contextmanager
def room_for(discrete: Discrete) -> Iterator[None]:
    """Say which sites are enumerated where there was no room for all combinations of their values."""
    try:
        yield
    except RuntimeError as error:
        names = discrete.guided | discrete.summed
        if not names or not re.search("allocate memory|out of memory|not enough memory", str(error)):
            raise
        raise _no_room(discrete) from None


def memory(device: torch.device) -> float:
    """Return the bytes of memory that a device has in all; infinitely many where that is not known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf


def _no_room(discrete: Discrete) -> ValueError:
    names = sorted(discrete.guided | discrete.summed)
    return ValueError(
        f"discrete sites should depend on few of each other's values but the {discrete.combinations:,} "
        f"combinations of those of {names} have no room in memory: give one of Pyro's bounds that draws "
        "them, such as Trace_ELBO()"
    )


class _Unseen(Exception):
    """A run on shapes alone has ended early."""


class _TooLarge(Exception):
    """A tensor has no room: none of the errors that Pyro makes anew, with the shapes of a trace."""


class _UpTo(TorchDispatchMode):
    """Ends a run at the first tensor of more bytes than given; views are as large as what they look at."""

    def __init__(self, most: float) -> None:
        super().__init__()
        self._most = most

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.untyped_storage().nbytes() > self._most:
                raise _TooLarge
        return result
