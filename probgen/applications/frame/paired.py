"""Ours against the baselines: differences paired by repeat, and what they say in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from probgen.compare.best import losses_of
from probgen.compare.columns import Column
from probgen.compare.table import number
from probgen.core.intervals import Interval, mean_interval

if TYPE_CHECKING:
    import pandas as pd

BETTER, WORSE, ALIKE = "better", "worse", "not told apart"


class Gain(NamedTuple):
    """What one of ours gains over a baseline: above 0 where ours is better.

    ``interval`` is the t-interval of the mean difference over ``pairs`` repeats that both have; those of all
    pairs of methods at one measure hold at 95 % together (Bonferroni).
    """

    measure: str
    ours: str
    baseline: str
    interval: Interval
    pairs: int

    @property
    def verdict(self) -> str:
        """Whether ours is told to be better or worse."""
        _, low, high = self.interval
        return BETTER if low > 0 else WORSE if high < 0 else ALIKE


def gains(
    frame: pd.DataFrame,
    measure: str,
    column: Column,
    ours: Sequence[str],
    baselines: Sequence[str],
    *,
    floor: str | None = None,
) -> list[Gain]:
    r"""Return what each of ours gains over each baseline at a measure, paired by repeat.

    The loss of a value is the value itself where lower is better, less it where higher is, and its distance
    from the best value where there is one, or from the mean of the ``floor``. A gain is the baseline's loss
    less ours, d_r of repeat r; its interval is the mean of d ± t s_d / √n at level 1 − 0.05 / K of K pairs of
    methods. A measure without a best value has no gains.

    Args:
        frame: columns method, metric, repeat and value.

    >>> import pandas as pd
    >>> rows = [("a", 0, 2.0), ("a", 1, 2.2), ("b", 0, 3.0), ("b", 1, 3.2)]
    >>> frame = pd.DataFrame([(m, "error", r, v) for m, r, v in rows],
    ...                      columns=["method", "metric", "repeat", "value"])
    >>> (gain,) = gains(frame, "error", Column("error", "", "lower"), ["a"], ["b"])
    >>> round(gain.interval.mean, 6), gain.pairs
    (1.0, 2)
    """
    own = frame[frame["metric"] == measure]
    target = target_of(column, own.loc[own["method"] == floor, "value"].tolist())
    if target is None:
        return []
    values = {str(name): part.set_index("repeat")["value"] for name, part in own.groupby("method")}
    losses = {
        name: dict(zip(part.index, losses_of(part.tolist(), target), strict=True))
        for name, part in values.items()
    }
    pairs = [(one, other) for one in ours for other in baselines if {one, other} <= losses.keys()]
    found = []
    for one, other in pairs:
        both = sorted(losses[one].keys() & losses[other].keys())
        if both:
            differences = [losses[other][repeat] - losses[one][repeat] for repeat in both]
            interval = mean_interval(differences, level=1 - 0.05 / len(pairs))
            found.append(Gain(measure, one, other, interval, len(both)))
    return found


def verdicts(found: Sequence[Gain], column: Column) -> list[str]:
    """Return the sentences that say where ours win, where they lose, and where neither is told.

    >>> gain = Gain("ndcg", "VAE", "EASE", Interval(-0.02, -0.03, -0.01), 10)
    >>> verdicts([gain], Column("NDCG", "", 1.0))
    ['NDCG: a baseline wins. EASE is better than VAE by 0.020 ± 0.010.']
    """
    if not found:
        return []
    names = dict.fromkeys(gain.ours for gain in found)
    ours = {name: [gain for gain in found if gain.ours == name] for name in names}
    if all(gain.pairs < 2 for gain in found):
        return [f"{column.label}: nothing is told apart by one repeat."]
    winners = [name for name, own in ours.items() if all(gain.verdict == BETTER for gain in own)]
    if winners:
        best = max(winners, key=lambda name: min(gain.interval.mean for gain in ours[name]))
        near = min(ours[best], key=lambda gain: gain.interval.mean)
        others = ", ".join(name for name in winners if name != best)
        return [
            f"{column.label}: ours wins. {best} is better than every baseline, than {near.baseline} by "
            f"{_by(near)}." + (f" Better than every baseline too: {others}." if others else "")
        ]
    beaten = [
        name
        for name in dict.fromkeys(gain.baseline for gain in found)
        if all(gain.verdict == WORSE for gain in found if gain.baseline == name)
    ]
    closest = max(ours, key=lambda name: min(gain.interval.mean for gain in ours[name]))
    if beaten:
        lost = [gain for gain in ours[closest] if gain.baseline in beaten]
        worst = min(lost, key=lambda gain: gain.interval.mean)
        best_of_ours = closest if len(ours) == 1 else f"the best of ours, {closest},"
        others = ", ".join(name for name in beaten if name != worst.baseline)
        return [
            f"{column.label}: a baseline wins. {worst.baseline} is better than {best_of_ours} by "
            f"{_by(worst)}." + (f" Better than all of ours too: {others}." if others else "")
        ]
    groups = {
        word: [
            _of(gain) if word == ALIKE else gain.baseline for gain in ours[closest] if gain.verdict == word
        ]
        for word in (BETTER, ALIKE, WORSE)
    }
    said = [
        f"{phrase} {', '.join(groups[word])}"
        for word, phrase in ((BETTER, "better than"), (ALIKE, "not told apart from"), (WORSE, "worse than"))
        if groups[word]
    ]
    return [f"{column.label}: neither wins. {closest}, the best of ours, is {'; '.join(said)}."]


def target_of(column: Column, floor: Sequence[float]) -> float | None:
    """Return the best value of a measure, infinite where more or less is always better, None if it has none.

    Args:
        column: the measure.
        floor: values of real data that are judged as if they were drawn.
    """
    if column.best is None:
        return None
    if not isinstance(column.best, str):
        return float(column.best)
    if column.best == "floor":
        return fmean(floor) if floor else None
    return -math.inf if column.best == "lower" else math.inf


def _of(gain: Gain) -> str:
    """Return the baseline with its mean gain and half the interval: which way it leans is said too."""
    mean, low, high = gain.interval
    if not math.isfinite(high - low):
        return gain.baseline
    text = number(mean, (high - low) / 2)
    return f"{gain.baseline} ({'' if mean < 0 else '+'}{text})"


def _by(gain: Gain) -> str:
    mean, low, high = gain.interval
    return number(abs(mean), (high - low) / 2)
