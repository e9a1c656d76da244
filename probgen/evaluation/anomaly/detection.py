"""How well scores tell anomalies from normal data, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from probgen.core import Estimate, seed_of
from probgen.evaluation.anomaly.given_scores import scores_of
from probgen.evaluation.codes.labelled_codes import Array, labels_of

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES = 500
CAUGHT = 0.95
"""The share of anomalies that is caught where false alarms are counted."""


class Detection(NamedTuple):
    """How well scores tell anomalies from normal data, each with its standard error over both samples.

    Attributes:
        auc: the probability that an anomaly scores higher than a normal datum, ties counted half: 0.5 by
            chance, below it where anomalies look *more* normal than normal data.
        average_precision: of anomalies found from the highest score down; their share in the rows by chance.
        false_alarms: the share of normal rows that score as high as the highest threshold which 95 % of
            anomalies reach (FPR at 95 % TPR): 0.95 by chance.
    """

    auc: Estimate
    average_precision: Estimate
    false_alarms: Estimate


def detection(
    normal: Any,
    anomalous: Any,
    *,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Detection:
    r"""Return how well scores, the higher the more anomalous, tell anomalies from normal data.

    Ties are exact: rows of one score are above a threshold all or none. The error of the area under the curve
    is that of its two-sample U-statistic (DeLong); those of the others are over 500 resamples of the normal
    and of the anomalous rows. Errors of a sample of one row are NaN. They say what other rows would have
    given, not what another training of the model would.

    Average precision depends on the share of anomalies among the rows; compare it at equal shares alone.

    Args:
        normal, anomalous: scores of rows that the model has not seen, shapes (n,) and (m,).
        seed, generator: of the resamples, one at most; seed 0 where not given.

    Raises:
        ValueError: for scores of another shape, none at all, and NaN.

    Source: DeLong, DeLong and Clarke-Pearson (1988), Comparing the areas under two or more correlated
    receiver operating characteristic curves.

    >>> detection([0.0, 1.0, 2.0], [1.0, 3.0, 4.0]).auc.value
    0.8333333333333334
    """
    mine, theirs = scores_of(normal, "normal"), scores_of(anomalous, "anomalous")
    source = np.random.default_rng(seed_of(seed, generator, default=0) % 2**64)
    # Rows by their distinct scores, the highest first: counts are all that the curves need.
    values, place = np.unique(-np.concatenate([mine, theirs]), return_inverse=True)
    places = (place[: len(mine)], place[len(mine) :])

    def curves(chosen: tuple[Array, Array]) -> tuple[float, float]:
        return _precision_and_false_alarms(*(np.bincount(part, minlength=len(values)) for part in chosen))

    precision, alarms = curves(places)
    spread = (math.nan, math.nan)
    if min(len(mine), len(theirs)) > 1:
        again = [
            curves((_resampled(places[0], source), _resampled(places[1], source))) for _ in range(RESAMPLES)
        ]
        spread = tuple(np.std(again, 0, ddof=1).tolist())
    return Detection(_area(mine, theirs), Estimate(precision, spread[0]), Estimate(alarms, spread[1]))


def detection_table(
    normal: Mapping[str, Any] | pd.DataFrame,
    anomalous: Mapping[str, Any] | pd.DataFrame,
    *,
    classes: Any = None,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    r"""Return a row of :func:`detection` for each of several scores, and for each class of anomalies.

    A mean over classes hides the class that a score takes for normal: look at the worst.

    Args:
        normal, anomalous: scores by name, (n,) and (m,), such as the frames of :func:`anomaly_scores`.
        classes: of the anomalous rows, whole numbers, shape (m,); each class is held against all normal rows.
        seed, generator: as of :func:`detection`.

    Returns:
        columns ``score``, ``class`` where there are classes, and ``auc``, ``average_precision`` and
        ``false_alarms``, each with its ``_stderr``.

    >>> detection_table({"a": [0, 1]}, {"a": [2, 0]}, classes=[5, 7])[["score", "class", "auc"]]
      score  class   auc
    0     a      5  1.00
    1     a      7  0.25
    """

    import pandas as pd

    names = [str(name) for name in normal]
    if not names or names != [str(name) for name in anomalous]:
        raise ValueError(
            f"normal and anomalous should have the same scores but have {names} and {list(anomalous)}"
        )
    seed = seed_of(seed, generator, default=0)
    rows = []
    for name in names:
        theirs = scores_of(anomalous[name], f"anomalous[{name!r}]")
        groups: dict[Any, Array] = {None: theirs}
        if classes is not None:
            labels = labels_of(np.asarray(classes), "classes", len(theirs))
            groups = {int(label): theirs[labels == label] for label in np.unique(labels)}
        for label, group in groups.items():
            found = detection(scores_of(normal[name], f"normal[{name!r}]"), group, seed=seed)
            row: dict[str, Any] = {"score": name} | ({} if label is None else {"class": label})
            for field, (value, stderr) in found._asdict().items():
                row |= {field: value, f"{field}_stderr": stderr}
            rows.append(row)
    return pd.DataFrame(rows)


def _area(normal: Array, anomalous: Array) -> Estimate:
    """Return the area under the curve and its standard error, of ranks with ties in the middle."""

    from scipy.stats import rankdata

    n, m = len(normal), len(anomalous)
    ranks = rankdata(np.concatenate([normal, anomalous]))
    # Of each anomaly the share of normal rows below it, and of each normal row that of anomalies above it.
    above = (ranks[n:] - rankdata(anomalous)) / n
    below = 1 - (ranks[:n] - rankdata(normal)) / m
    stderr = math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n) if min(n, m) > 1 else math.nan
    return Estimate(float(above.mean()), stderr)


def _precision_and_false_alarms(normal: Array, anomalous: Array) -> tuple[float, float]:
    """Return both from the counts of rows at each distinct score, the highest first."""
    found, alarms = anomalous.cumsum(), normal.cumsum()
    precision = found / np.maximum(found + alarms, 1)
    caught = int(np.argmax(found >= CAUGHT * found[-1]))
    return float((anomalous * precision).sum() / found[-1]), float(alarms[caught] / alarms[-1])


def _resampled(rows: Array, source: np.random.Generator) -> Array:
    return rows[source.integers(len(rows), size=len(rows))]
