"""Which methods are not told apart from the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, variance


def not_told_apart_from_the_best(
    values: Mapping[str, Sequence[float]], *, target: float, level: float = 0.05
) -> set[str]:
    r"""Return the methods of which none is told to be better, from their values over repeats.

    The loss of a method is the distance of its mean from the target, so that noise about the target is none,
    or the mean itself where the target is −∞, and less it where it is ∞. A method is left out where some
    other has a smaller loss by Welch's one-sided t-test at level α / (M − 1), of M methods: the best is then
    left out with probability at most α, and one that is better by no more than noise is not alone. Values of
    one repeat tell nothing apart, and a single method has no rival.

    Source: Gupta (1965), selection of a subset that holds the best; Welch (1947).

    >>> values = {"a": [0.1, 0.2, 0.3], "b": [0.2, 0.3, 0.2], "c": [5.0, 5.1, 5.0]}
    >>> sorted(not_told_apart_from_the_best(values, target=0.0))
    ['a', 'b']
    """
    losses = {name: losses_of(own, target) for name, own in values.items() if len(own) > 1}
    if len(losses) < 2:
        return set()
    share = level / (len(losses) - 1)
    return {
        name
        for name, own in losses.items()
        if not any(_is_less(other, own, share) for rival, other in losses.items() if rival != name)
    }


def losses_of(values: Sequence[float], target: float) -> list[float]:
    """Return values whose mean is the loss: how far they lie from the target on the side of their mean."""
    if math.isinf(target):
        return list(values) if target < 0 else [-value for value in values]
    side = 1 if fmean(values) >= target else -1
    return [side * (value - target) for value in values]


def _is_less(one: Sequence[float], other: Sequence[float], level: float) -> bool:
    """Say whether the first mean is smaller by Welch's one-sided test."""
    from scipy import stats

    if not all(map(math.isfinite, (*one, *other))):
        return fmean(one) < math.inf and fmean(other) == math.inf
    gap, parts = fmean(other) - fmean(one), [variance(own) / len(own) for own in (one, other)]
    if gap <= 0 or not sum(parts) > 0:
        return gap > 0
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(own) - 1) for part, own in zip(parts, (one, other), strict=True)
    )
    return bool(stats.t.sf(gap / math.sqrt(sum(parts)), freedom) <= level)
