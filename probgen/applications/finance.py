"""Finance: tomorrow's return and paths of a month, by networks with and without GARCH beneath."""

from __future__ import annotations

import functools

from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.finance import report as finance_report
from probgen.applications.parts.finance import training as return_training
from probgen.applications.parts.finance.forecasters import (
    Ahead,
    Bootstrap,
    Forecaster,
    Garch,
    RollingGarch,
    learned_garch,
)
from probgen.applications.parts.finance.measures import HORIZON, MEASURES, Block, judged_ahead, judged_month
from probgen.applications.parts.finance.prices import prices_of, returns_of

BLOCK = 125
"""Days of a repeat, half a year, in a series of 5,000 or more."""

TOGETHER = 2
"""Blocks that are forecast by what was learned before the first of them."""

OURS = {
    "GJR-VRNN": "Volatility by GJR; what is left of a return, its innovation, by a recurrent network with a "
    "code a day and Student-t noise, so that skewness and what GJR misses are learned: prior knowledge of "
    "statisticians put into the story.",
    "GJR-GMMN": "Volatility by GJR; innovations by moment matching, given the last ones.",
    "GJR-GAN": "Volatility by GJR; innovations by a contest, given the last ones.",
    "VRNN": "As GJR-VRNN without GJR: the network has volatility to learn too.",
    "deep Markov": "Learned stochastic volatility: a path of states behind Student-t noise, without GJR; "
    "forecasts by a particle filter.",
}
ROLLING = "GJR-t, rolling"
BASELINES = {
    ROLLING: "As GJR-t, learned anew more often and from the last 2,000 days alone.",
    "GJR-t": "GARCH(1,1) with a leverage term and Student-t innovations, by maximum likelihood.",
    "filtered simulation": "Volatility by GJR; innovations are residuals drawn again "
    "(filtered historical simulation).",
    "block bootstrap": "A day of the last 500 drawn again (historical simulation); for paths blocks of 20 "
    "days.",
}


@application(
    "finance",
    "Tomorrow's return, and paths of returns",
    data="prices in the order of time: a CSV with columns date and close (or adj close, price)",
    shipped=("sp500", "vix", "exchange-rates"),
    measures=MEASURES,
)
def finance(study: Study) -> None:
    """Judge forecasts of blocks of days, by what is learned from the days before them."""
    prices = prices_of(study.source)
    series, returns = prices.prices[:, 0].to(study.device), returns_of(prices).to(study.device)
    repeats, every = study.pick(full=(16, 50), quick=(6, BLOCK), tiny=(2, BLOCK))
    length = min(study.pick(full=BLOCK, quick=BLOCK, tiny=20), len(returns) // 40)
    study.fact(
        "series", f"{len(series):,} prices, {prices.days[0]} to {prices.days[-1]}, {prices.columns[0]}"
    )
    study.fact("returns", "differences of log prices, in percent")
    study.fact(
        "repeats are",
        f"blocks of {length} days, the last ones; methods learn anew for each {TOGETHER} of them, from all "
        f"days before; {ROLLING}, for each {every} days",
    )
    if str(study.source) == "sp500":
        study.fact("chosen", "steps of trainings, by trials on 2,000 days, 1,000 judged here among them")
    for name, about in OURS.items():
        study.ours(name, about)
    for name, about in BASELINES.items():
        study.baseline(name, about)
    blocks = [
        Block(len(returns) - length * (repeats - k), len(returns) - length * (repeats - k - 1))
        for k in range(repeats)
    ]
    draws = study.pick(full=2000, quick=1000, tiny=200)
    fits = {block.start: learned_garch(returns[: block.start]) for block in blocks[::TOGETHER]}
    rolling = RollingGarch(returns, first=blocks[0].start, every=every)

    @functools.cache
    def learned(method: str, start: int) -> Forecaster:
        if method == "block bootstrap":
            return Bootstrap(returns[:start])
        if method == ROLLING:
            return rolling
        if method in BASELINES:
            return Garch(fits[start].garch, None if method == "GJR-t" else returns[:start])
        return return_training.learned(study, method, fits[start].garch, returns[:start])

    def forecaster(method: str, repeat: int) -> Forecaster:
        return learned(method, blocks[repeat - repeat % TOGETHER].start)

    @functools.cache
    def ahead(method: str, repeat: int) -> Ahead:
        block = blocks[repeat]
        seed = study.seed_of(f"{method} ahead", repeat)
        return forecaster(method, repeat).ahead(returns[: block.end], block.start, n=draws, seed=seed)

    def judged(method: str, repeat: int) -> dict[str, float]:
        block = blocks[repeat]
        month = judged_month(forecaster(method, repeat), returns, block, draws, study.seed_of(method, repeat))
        return judged_ahead(ahead(method, repeat), returns[block.start : block.end]) | month

    for repeat in range(repeats):
        for method in study.methods:
            study.measure(method, repeat, functools.partial(judged, method, repeat))
    found = finance_report.Found(
        prices,
        returns,
        blocks[0].start,
        {name: [ahead(name, repeat) for repeat in range(repeats)] for name in study.methods},
        {name: forecaster(name, repeats - 1) for name in study.methods},
        blocks[(repeats - 1) // TOGETHER * TOGETHER].start,
    )
    known = [*fits.values(), *rolling.fits.values()]  # all, as forecasts of all blocks are shown
    if held := sum(fit.held for fit in known):
        study.say(
            f"Of {len(known)} fits of GJR {held} had no highest likelihood, as where tails are not heavy or "
            "volatility stands still; their weights were held near where they start."
        )
    finance_report.show(study, found, ours="GJR-VRNN", baseline=ROLLING, horizon=HORIZON)
