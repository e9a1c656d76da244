"""Where random numbers come from: seeds, generators, and torch's global ones."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterator
from typing import Any, overload

import torch


def check_seed(seed: Any) -> int | None:
    """Return a seed as torch takes it: an integer of 64 bits, or None.

    Raises:
        TypeError, ValueError: for another one.
    """
    if seed is None:
        return None
    try:
        value = operator.index(seed)
    except TypeError:
        raise TypeError(f"seed should be an integer or None but got {seed!r}") from None
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"seed should be an integer of 64 bits, such as seed % 2**64, but got {seed}")
    return value


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from torch's global generators as seeded with ``seed``, then put their state back.

    With ``None`` the global generators are used as they stand. For what is no seed see :func:`check_seed`.
    """
    seed = check_seed(seed)
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def default_generator(device: torch.device) -> torch.Generator:
    """Return torch's global generator of a device."""
    if device.type != "cuda":
        return torch.default_generator
    torch.cuda.init()
    return torch.cuda.default_generators[
        torch.cuda.current_device() if device.index is None else device.index
    ]


@contextlib.contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Let laws that know of no generator draw from this one: it stands in for torch's global one."""
    own = default_generator(generator.device)
    if own is generator:
        yield
        return
    before = own.get_state()
    own.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(own.get_state())
        own.set_state(before)


@overload
def seed_of(seed: int | None, generator: torch.Generator | None) -> int | None: ...


@overload
def seed_of(seed: int | None, generator: torch.Generator | None, *, default: int) -> int: ...


def seed_of(seed: int | None, generator: torch.Generator | None, *, default: int | None = None) -> int | None:
    """Return the seed that is given, one drawn from the generator, or the default where neither is given.

    Raises ValueError where both are given.
    """
    if generator is None:
        return default if seed is None else check_seed(seed)
    if seed is not None:
        raise ValueError("randomness should come from generator or seed, one at most, but got both")
    return int(torch.randint(2**62, (), generator=generator, device=generator.device))


def source_of(
    generator: torch.Generator | None, seed: int | None, device: torch.device | str
) -> torch.Generator:
    """Return the generator that is given, one seeded with ``seed``, or torch's global one of the device.

    Raises:
        ValueError: where both are given, or the generator cannot draw on the device.
    """
    if generator is not None and seed is not None:
        raise ValueError("randomness should come from generator or seed, one at most, but got both")
    where = torch.device(device)
    if generator is not None:
        if generator.device.type != where.type:
            raise ValueError(f"generator should be on {where} but is on {generator.device}")
        return generator
    seed = check_seed(seed)
    return default_generator(where) if seed is None else torch.Generator(where).manual_seed(seed)
