"""What the record of a contest shows to be wrong: one player who wins, collapse, cycles, jumps, no judge."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import numpy as np

LATEST = 5
"""Reports, of which the median is looked at: one alone may be chance."""

WON = 0.98
"""Share of right answers on held-out data from which on a discriminator has won."""

NOTHING = 0.01
"""A gradient that was so many times larger once is as good as none."""

COLLAPSED = 0.5
"""Spread of draws over that of data below which they have collapsed."""

LITTLE = 0.8
"""A distance that is more than so many times that of the first report has hardly fallen."""

ROUNDS = 24
"""Least reports in which cycles are looked for."""

JUMPS = 0.02
"""Jumps of a distance between two reports, beside its largest value, of a game that does not settle."""

TRIFLE = 0.05
"""Swings that are smaller, beside the largest distance of the training, are no cycle."""

TOLD = 0.05
"""Nats that a draw tells of its code below which it tells nothing."""

Values = Callable[[str, str], list[float]]
"""The values of a term in a split, oldest first."""


def contest_findings(names: set[tuple[str, str]], values: Values) -> list[str]:
    """Say in plain words what is wrong with each contest that a history has terms of.

    Args:
        names: the splits and terms that were reported.
        values: of a term and a split.
    """
    trained = {term for split, term in names if split == "train"}
    prefixes = sorted(
        term.removesuffix("discriminator")
        for term in trained
        if term.split("/")[-1] == "discriminator"
        and f"{term.removesuffix('discriminator')}generator" in trained
    )
    found = [finding for prefix in prefixes for finding in _of_one(prefix, values)]
    return found + [finding for term in sorted(trained) for finding in _of_a_code(term, values)]


def _of_a_code(term: str, values: Values) -> list[str]:
    """Say of an ``objectives.MutualInformation`` whose draws do not tell their code that they do not."""
    if term.split("/")[-1] != "information":
        return []
    told = values(term, "validation") or values(term, "train")
    latest = median(told[-LATEST:])
    if max(latest, latest - told[0]) >= TOLD:  # of numbers of fixed deviation the bound is below 0 at best
        return []
    return [
        f"The generator makes no use of its code: the recogniser knows {max(latest, 0.0):.3f} nats of it "
        "from a draw. What usually cures it: a larger weight of the mutual information in the Sum, a larger "
        "recogniser or learning rate of it, and a contest that is sound by the findings above."
    ]


def _of_one(prefix: str, values: Values) -> list[str]:
    """Return the findings of the contest whose terms begin with a prefix."""
    energy, accuracy, gradient, spread = (
        values(prefix + term, "validation") for term in ("energy", "accuracy", "gradient", "spread")
    )
    if not energy:
        return [
            "Nothing judges the weights of this contest: its losses do not say how good they are, and the "
            "last ones are kept. Give fit(..., validation=...) data that it does not learn from: then the "
            "energy distance to them is reported, by which patience and checkpoints keep the best."
        ]
    found = []
    if accuracy and median(accuracy[-LATEST:]) >= WON:
        right = f"{median(accuracy[-LATEST:]):.1%}"
        lost = gradient and median(gradient[-LATEST:]) < NOTHING * max(gradient)
        found.append(
            f"The discriminator has won: it is right of {right} of held-out data and draws"
            + (", and almost no gradient reaches the generator any more" if lost else "")
            + ". What usually cures it: r1= and r2=, or larger ones, a smaller learning rate for it "
            "(adam(rate, discriminator=...)), loss='relativistic' where the loss saturates, and a generator "
            "that can make such data."
        )
    elif len(energy) >= 2 * LATEST and min(energy) > 0 and median(energy[-LATEST:]) > LITTLE * energy[0]:
        found.append(
            "The generator has learned next to nothing: the energy distance to held-out data was "
            f"{energy[0]:.3g} at the first report and is {median(energy[-LATEST:]):.3g}. What usually cures "
            "it: a loss that does not saturate (loss='relativistic' or 'cross-entropy'), another learning "
            "rate, and discriminator_steps= where the discriminator cannot follow."
        )
    if spread and median(spread[-LATEST:]) < COLLAPSED:
        found.append(
            f"Collapse: draws are {median(spread[-LATEST:]):.2f} times as far from each other as data are. "
            "What usually cures it: loss='relativistic' with r1= and r2=, strong at first and weaker later, "
            "pack=, or a smaller learning rate."
        )
    period = cycle(energy)
    if period:
        found.append(
            f"The game goes round: the energy distance to held-out data falls and rises again, about every "
            f"{period} reports. What usually cures it: r1= (a penalty on the slope at data), no momentum "
            "(adam(betas=(0.0, 0.9))), averaged weights (average=0.995) and a learning rate that ends small."
        )
    elif unsteady(energy):
        found.append(
            "The game is unsteady: from report to report the energy distance to held-out data jumps by "
            f"{JUMPS:.0%} and more of its largest value. What usually cures it: smaller learning rates, no "
            "momentum (adam(betas=(0.0, 0.9))), r1= and r2=, and averaged weights (average=0.995)."
        )
    return found


def unsteady(series: list[float]) -> bool:
    """Say whether a distance jumps from report to report in its later half, and is not down to chance yet.

    Of a distance that is estimated without bias, a value that is not positive says that it is down to chance.
    """
    later = np.array(series[len(series) // 2 :])
    if len(series) < ROUNDS or not np.isfinite(later).all() or later.min() <= 0:
        return False
    return bool(np.median(np.abs(np.diff(later))) >= JUMPS * max(series))


def cycle(series: list[float]) -> int:
    """Return after how many reports a series comes round again, 0 where it shows no cycle.

    Looked at are its later three quarters without their straight line. A cycle is seen where the
    autocorrelation falls to a deep trough and rises to a high peak after it, with three rounds at least in
    view, and where the swings are as large as the level that they are about and no trifle beside the largest
    value: what is left of a distance when the laws agree swings about 0 by chance.
    """
    later = np.array(series[len(series) // 4 :])
    if len(series) < ROUNDS or not np.isfinite(later).all():
        return 0
    steps = np.arange(len(later))
    swings = later - np.polyval(np.polyfit(steps, later, 1), steps)
    size = np.ptp(np.quantile(swings, (0.1, 0.9)))
    if size <= max(abs(np.median(later)), TRIFLE * max(series)):
        return 0
    lags = len(later) // 3
    together = np.array([(swings[lag:] * swings[: len(swings) - lag]).mean() for lag in range(lags + 1)])
    together /= together[0]
    low = np.flatnonzero(together < -0.3)
    if not len(low):
        return 0
    after = together[low[0] :]
    return int(low[0] + np.argmax(after >= 0.9 * after.max())) if after.max() > 0.3 else 0
