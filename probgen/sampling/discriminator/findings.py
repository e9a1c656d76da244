"""What is wrong with scores that are to correct a generator, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from probgen.sampling.discriminator.calibration import ScoreCalibration
from probgen.sampling.discriminator.greatest_score import Trial

ALARM = 1e-3
"""The rate of false alarms of each test."""

_Z = 3.29
_MISSED = 1e-3
"""The share of held-out data beyond all draws from which on it is said."""


def findings_of(
    tried: Trial,
    calibration: ScoreCalibration | None,
    real: Tensor | None,
    slope: float,
    maximum: float,
    loss: str | None,
    others: Mapping[str, str],
) -> list[str]:
    """Return a sentence for each thing that is wrong with the scores."""
    found = []
    raw = tried.scores.double() / slope
    if raw.min() >= 0 and raw.max() <= 1 and raw.max() > raw.min():
        found.append(
            "All scores lie between 0 and 1, as probabilities do, where logits are wanted: is the last layer "
            "of the discriminator a sigmoid?"
        )
    if calibration is None:
        found += _of_mean_ratio(tried, loss)
    else:
        found += _of_calibration(calibration)
    if loss is not None and loss in others:
        found.append(
            f"The best discriminator by the loss {loss!r} is {others[loss]}: calibrated, draws have the "
            "data's law of the score, but among points of one score the generator's own law."
        )
    if real is not None:
        found += _of_missed(slope * real, maximum)
    return found


def _of_mean_ratio(tried: Trial, loss: str | None) -> list[str]:
    """Say where the mean of p/q over draws is not 1; by the relativistic loss it may be anything."""
    if loss == "relativistic":
        return []
    log_mean = tried.log_mean_ratio()
    if abs(log_mean.value) <= max(0.05, 4.9 * log_mean.stderr):
        return []
    mean = math.exp(min(log_mean.value, 700))
    why = (
        "d is no log p/q: give held_out= to calibrate it"
        if log_mean.value > 0
        else "the generator misses a part of the data, or d is no log p/q: give held_out= to tell"
    )
    return [f"The mean of exp(d) over draws of the generator should be 1 but is {mean:.3g}: {why}."]


def _of_calibration(calibration: ScoreCalibration) -> list[str]:
    found = []
    a = calibration.slope
    if a.value < -_Z * a.stderr:
        found.append(
            f"Held-out data have lower scores than draws (slope {a.value:.3g} ± {a.stderr:.2g}): the "
            "discriminator is turned round, or its scores are of another law."
        )
    elif a.value <= _Z * a.stderr:
        found.append(
            f"The scores do not tell held-out data from draws (slope {a.value:.3g} ± {a.stderr:.2g}): there "
            "is nothing by which to refine."
        )
    if abs(calibration.z) > _Z:
        found.append(
            "Held-out data do not bear out that as many points are data as the calibrated scores say "
            f"(Z = {calibration.z:.1f}): give more of them."
        )
    if calibration.p_value < ALARM:
        found.append(
            "Held-out data do not bear out the calibrated scores at each level of these (p = "
            f"{calibration.p_value:.2g}): the score is no linear function of log p/q."
        )
    return found


def _of_missed(real: Tensor, maximum: float) -> list[str]:
    from scipy.stats import beta

    beyond, n = int((real > maximum).sum()), len(real)
    at_least = float(beta.ppf(ALARM, beyond, n - beyond + 1)) if beyond else 0.0  # Clopper and Pearson's
    if at_least <= _MISSED:
        return []
    return [
        f"{beyond} of {n} held-out data ({beyond / n:.1%}) have a score above the greatest of the "
        f"generator's draws, {maximum:.3g}, so that p/q has no bound there: the generator misses them, "
        f"refined draws do too, and are at least {at_least:.2g} from the data's law in total variation."
    ]
