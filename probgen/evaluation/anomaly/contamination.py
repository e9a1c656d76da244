"""What anomalies among the training rows do to their detection."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from probgen.core import check_count, seed_of, tensor_of
from probgen.evaluation.anomaly.detection import detection

if TYPE_CHECKING:
    import pandas as pd

Scores = Callable[[Tensor], Any]
"""From rows, (n, \\*event), to scores, (n,), the higher the more anomalous."""


def contamination(
    fit: Callable[[Tensor, int], Scores],
    normal: Any,
    anomalies: Any,
    test: Any,
    test_anomalies: Any,
    *,
    shares: Sequence[float] = (0.0, 0.01, 0.05, 0.1),
    draws: int = 5,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> pd.DataFrame:
    r"""Return how well anomalies are detected where a share of the training rows are anomalies themselves.

    Data that are called normal rarely all are, and a method that has learned anomalies takes them for normal.
    For each share ε the training rows are as many as ``normal`` has, in a new order: round(ε n) of them are
    drawn from ``anomalies``, the others from ``normal``, without replacement. In each draw a larger share
    keeps the anomalies of a smaller one, so that differences between shares are paired.

    Args:
        fit: ``fit(train, seed)`` learns from rows, not knowing which of them are anomalies, and returns a
            function from rows to scores, the higher the more anomalous.
        normal: shape (n, \*event); ``anomalies``, as many as the largest share takes.
        test, test_anomalies: rows that are scored, shapes (m, \*event) and (k, \*event), not among the above.
        shares: from 0 to below 1.
        draws: of training rows, for each share.
        seed, generator: of the draws and of ``fit``, one at most; seed 0 where not given.

    Returns:
        a row for each share, one for those that round to as many anomalies: ``share`` as it came out,
        ``auc`` with its ``auc_stderr`` over draws (NaN of a single one), ``average_precision`` and
        ``false_alarms`` likewise, as of :func:`detection`.

    Raises:
        ValueError: for shares out of range, more anomalies than there are, and rows of different shapes.

    >>> def fit(train, seed):
    ...     return lambda x: (x - train.mean(0)).square().sum(1)
    >>> x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))
    >>> found = contamination(fit, x[:100], x[100:150] + 3, x[150:250], x[250:] + 3, shares=[0, 0.3])
    >>> bool(found.auc[0] > found.auc[1])
    True
    """

    import pandas as pd

    parts = (("normal", normal), ("anomalies", anomalies), ("test", test), ("test_anomalies", test_anomalies))
    clean, wrong, mine, theirs = (_rows(part, name) for name, part in parts)
    for part, (name, _) in zip((wrong, mine, theirs), parts[1:], strict=True):
        if part.shape[1:] != clean.shape[1:]:
            raise ValueError(
                f"{name} should have rows as those of normal, of shape {tuple(clean.shape[1:])}, but has "
                f"{tuple(part.shape[1:])}"
            )
    draws = check_count("draws", draws)
    counts = [_count(share, len(clean), len(wrong)) for share in shares]
    if not counts:
        raise ValueError("shares should be at least one but are none")
    seed = seed_of(seed, generator, default=0)
    found: dict[int, list[list[float]]] = {count: [] for count in counts}
    for words in np.random.SeedSequence(seed % 2**64).generate_state(draws):
        source = torch.Generator().manual_seed(int(words))
        order, bad = (torch.randperm(len(part), generator=source).to(part.device) for part in (clean, wrong))
        for count in found:
            train = torch.cat([wrong[bad[:count]], clean[order[count:]]])
            mixed = torch.randperm(len(train), generator=source).to(train.device)
            scores = fit(train[mixed], int(words))
            found[count].append([part.value for part in detection(scores(mine), scores(theirs))])
    rows = []
    for count, values in found.items():
        row = {"share": count / len(clean)}
        for name, column in zip(
            ("auc", "average_precision", "false_alarms"), zip(*values, strict=True), strict=True
        ):
            spread = float(np.std(column, ddof=1)) / math.sqrt(draws) if draws > 1 else math.nan
            row |= {name: float(np.mean(column)), f"{name}_stderr": spread}
        rows.append(row)
    return pd.DataFrame(rows)


def _count(share: float, rows: int, anomalies: int) -> int:
    """Return how many of the rows are anomalies."""
    if not 0 <= share < 1:
        raise ValueError(f"shares should be from 0 to below 1 but hold {share}")
    count = round(share * rows)
    if count > anomalies:
        raise ValueError(
            f"anomalies should be at least {count} rows, a share of {share:g} of {rows}, but are {anomalies}"
        )
    return count


def _rows(values: Any, name: str) -> Tensor:
    found = tensor_of(values, name)
    if not isinstance(found, Tensor) or found.dim() < 2 or not len(found):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"{name} should be rows, shape (n, *event), at least one, but is {shape}")
    return found
