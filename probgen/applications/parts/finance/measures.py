"""Measures of forecasts of returns: scores, value at risk, calibration, and sums over a month."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probgen import evaluation
from probgen.applications.parts.finance.forecasters import Ahead, Forecaster
from probgen.compare.columns import SHARE, Column

HORIZON = 21
"""Days of a path, a month."""

RISK = 0.025
"""The level of the value at risk."""

MEASURES = {
    "log_score": Column(
        "log score", "log p of what came, nats a day; of draws without density none.", "higher"
    ),
    "crps": Column("CRPS", "Of tomorrow's return, in percent of the price.", "lower"),
    "tail": Column("tail loss", "100 times the pinball loss of the 2.5 % quantile.", "lower"),
    "crps_month": Column("CRPS, 21 days", "Of the sum of the next 21 days' returns, in percent.", "lower"),
    "below": Column("below VaR 2.5 %", "Share of days below minus the value at risk.", RISK, SHARE),
    "pit": Column("distance of PIT", "Largest distance of transforms from uniform ones.", "lower", SHARE),
}


class Block(NamedTuple):
    """Days that are judged, ``start`` to ``end`` − 1, after those that are learned from."""

    start: int
    end: int


def judged_ahead(found: Ahead, came: Tensor) -> dict[str, float]:
    """Return the measures of forecasts one day ahead."""
    risk = evaluation.tail_risk(found.draws, RISK).value_at_risk
    seen = came.double().cpu()
    values = {} if found.log_prob is None else {"log_score": float(found.log_prob.mean())}
    return values | {
        "crps": float(evaluation.crps(found.draws, came).mean()),
        "tail": 100 * float(evaluation.pinball(-risk, came, RISK).mean()),
        "below": float((seen < -risk).double().mean()),
        "pit": evaluation.pit_test(evaluation.pit(found.draws, came, seed=0)).statistic,
    }


def judged_month(
    forecaster: Forecaster, returns: Tensor, block: Block, draws: int, seed: int
) -> dict[str, float]:
    """Return the CRPS of sums over a month, of months one after the other from the block's start.

    Where the series ends before a month is over, the last month there is stands for them.
    """
    last = len(returns) - HORIZON
    scores = []
    for origin in range(min(block.start, last), min(block.end, last + 1), HORIZON):
        paths = forecaster.paths(returns[:origin], horizon=HORIZON, n=draws, seed=seed + origin)
        came = returns[origin : origin + HORIZON].sum()
        scores.append(evaluation.crps(paths.sum(1)[:, None], came[None]))
    return {"crps_month": float(torch.cat(scores).mean())}
