"""Schedules: functions from the step, counted from 0, to a value.

``fit(..., schedules={"lr": ..., "elbo.beta": ...})`` writes the value before each step into the optimizer's
learning rate (``"lr"``) or into the objective's buffer of that name, without a new capture.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def linear(start: float, end: float, *, steps: int) -> Schedule:
    """Go from ``start`` to ``end`` in equal increments, then stay.

    >>> warm_up = linear(0.0, 1.0, steps=4)
    >>> [warm_up(step) for step in range(6)]
    [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    """
    _check_steps(steps)
    return lambda step: start + (end - start) * min(step / steps, 1.0)


def cosine(start: float, end: float, *, steps: int) -> Schedule:
    """Go from ``start`` to ``end`` along half a cosine, then stay.

    Source: Loshchilov and Hutter (2017), SGDR, without restarts.

    >>> decay = cosine(1.0, 0.0, steps=2)
    >>> [round(decay(step), 3) for step in range(4)]
    [1.0, 0.5, 0.0, 0.0]
    """
    _check_steps(steps)
    return lambda step: end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * min(step / steps, 1.0)))


def exponential(start: float, end: float, *, steps: int) -> Schedule:
    """Go from ``start`` to ``end``, both above 0, by equal factors, then stay.

    >>> decay = exponential(1.0, 0.01, steps=2)
    >>> [round(decay(step), 3) for step in range(4)]
    [1.0, 0.1, 0.01, 0.01]
    """
    _check_steps(steps)
    if not (0 < start < math.inf and 0 < end < math.inf):
        raise ValueError(f"an exponential schedule should go between numbers above 0 but got {start}, {end}")
    return lambda step: start * (end / start) ** min(step / steps, 1.0)


def cyclic(start: float, end: float, *, period: int, rise: float = 0.5) -> Schedule:
    """Rise from ``start`` to ``end`` in the first part of each period, then stay until the next.

    Args:
        period: steps in a cycle.
        rise: the part of the period, in (0, 1], that the rise takes.

    Source: Fu and others (2019), Cyclical annealing schedule.

    >>> beta = cyclic(0.0, 1.0, period=4)
    >>> [beta(step) for step in range(6)]
    [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """
    _check_steps(period)
    if not 0 < rise <= 1:
        raise ValueError(f"rise should be in (0, 1] but got {rise}")
    return lambda step: start + (end - start) * min((step % period) / (rise * period), 1.0)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a schedule should last at least 1 step but got {steps}")
