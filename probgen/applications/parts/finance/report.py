"""What the report of ``finance`` shows: backtests, calibration, stylised facts, fans, option prices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probgen import evaluation, plots
from probgen.applications.frame.study import Study
from probgen.applications.parts.finance.forecasters import Ahead, Forecaster
from probgen.data import Prices

LEVELS = (0.01, 0.025)
STRIKES = (0.9, 0.94, 0.97, 1.0, 1.03, 1.06, 1.1)
SHOWN = 60
"""Days of the fan."""


class Found(NamedTuple):
    """What was forecast.

    Attributes:
        prices: from which ``returns`` in percent are made.
        returns: all of them.
        start: the first day that was forecast; the last one is the last of the returns.
        ahead: name -> forecasts one day ahead, block after block.
        last: name -> what was learned last, from the days before ``origin``.
        origin: that day.
    """

    prices: Prices
    returns: Tensor
    start: int
    ahead: Mapping[str, Sequence[Ahead]]
    last: Mapping[str, Forecaster]
    origin: int


def show(study: Study, found: Found, *, ours: str, baseline: str, horizon: int) -> None:
    """Show everything; of methods ``ours`` and ``baseline`` where there is room for two."""
    came = found.returns[found.start :].double().cpu()
    draws = {name: torch.cat([part.draws for part in own], 1).cpu() for name, own in found.ahead.items()}
    tests = pd.concat([backtests(name, own, came) for name, own in draws.items()])
    caption = (
        "Tests of risk over all days judged: p-values of Kupiec (share of violations), Christoffersen "
        "(independence; both), and Acerbi and Székely's Z₂ of expected shortfall with its simulated p-value."
    )
    study.table("backtests", tests, caption)
    for level in LEVELS:
        own = tests[tests["level"] == level].set_index("method")
        bad = own[(own[["kupiec", "conditional coverage", "shortfall"]] < 0.05).any(axis=1)].index
        study.say(
            f"Backtests at {100 * level:g} % (Kupiec, Christoffersen, Acerbi-Székely, each at 5 %) reject "
            f"{', '.join(bad) or 'none'}."
        )
    study.table(
        "against the baseline",
        against(found, draws, came, baseline),
        f"Losses less those of {baseline} over all days judged, below 0 where better; Diebold and Mariano's "
        "two-sided p-values, Newey-West variance.",
    )
    risks = {
        name: evaluation.tail_risk(draws[name], LEVELS[1]).value_at_risk
        for name in (ours, baseline, "block bootstrap")
    }
    study.figure(
        "value at risk",
        plots.value_at_risk(came, risks, level="2.5 %"),
        "Returns, minus value at risk at 2.5 %, and the days below it.",
    )
    study.figure(
        "calibration",
        plots.pit_histogram(
            {name: evaluation.pit(own, came, seed=study.seed) for name, own in draws.items()}
        ),
        "Where what came lies among what was forecast.",
    )
    _fan(study, found, ours)
    _facts(study, found)
    if str(study.source) in ("vix", "exchange-rates"):
        study.say("No options are priced: a volatility index and means over a month are not traded.")
    else:
        _options(study, found, horizon)
    paths = found.last[ours].paths(found.returns, horizon=horizon, n=1000, seed=study.seed)
    frame = pd.DataFrame(paths.cpu().numpy(), columns=[f"day {k}" for k in range(1, horizon + 1)]).round(6)
    study.output(
        "scenarios.csv",
        frame.to_csv(index=False).encode(),
        f"1,000 paths of the {horizon} returns after the last day, in percent, by {ours}.",
    )


def backtests(name: str, draws: Tensor, came: Tensor) -> pd.DataFrame:
    """Return the tests of value at risk and expected shortfall of a method, a row for each level."""
    rows = []
    for level in LEVELS:
        risk = evaluation.tail_risk(draws, level)
        below = came < -risk.value_at_risk
        row = {"method": name, "level": level, "days": len(came), "below": int(below.sum())}
        row |= {"expected": round(level * len(came), 1), "kupiec": evaluation.kupiec(below, level).p_value}
        chain = evaluation.christoffersen(below, level)
        row |= {
            "independence": chain.independence.p_value,
            "conditional coverage": chain.conditional_coverage.p_value,
        }
        shortfall = risk.expected_shortfall
        if bool((shortfall > 0).all()):
            z2 = evaluation.acerbi_szekely(came, risk.value_at_risk, shortfall, draws, level)
            row |= {"Z2": z2.statistic, "shortfall": z2.p_value}
        rows.append(row)
    return pd.DataFrame(rows)


def against(found: Found, draws: Mapping[str, Tensor], came: Tensor, baseline: str) -> pd.DataFrame:
    """Return Diebold and Mariano's tests of each method's losses against those of the baseline.

    Losses equal to those of the baseline, as where both learned from the same days, are not tested.
    """

    def losses(name: str) -> dict[str, Tensor]:
        risk = evaluation.tail_risk(draws[name], LEVELS[1]).value_at_risk
        own = {
            "CRPS": evaluation.crps(draws[name], came),
            "tail loss": 100 * evaluation.pinball(-risk, came, LEVELS[1]),
        }
        logs = [part.log_prob for part in found.ahead[name]]
        if all(part is not None for part in logs):
            own["log score"] = -torch.cat([part for part in logs if part is not None]).double().cpu()
        return own

    of_baseline, rows = losses(baseline), []
    for name in found.ahead:
        for loss, values in losses(name).items() if name != baseline else ():
            if torch.equal(values, of_baseline[loss]):
                continue
            test = evaluation.diebold_mariano(values, of_baseline[loss])
            rows.append({"method": name, "loss": loss, **test._asdict()})
    return pd.DataFrame(rows)


def _fan(study: Study, found: Found, ours: str) -> None:
    """Show the price's fan from the last day that was learned from."""
    prices, origin = found.prices.prices[:, 0], found.origin
    steps = min(SHOWN, len(found.returns) - origin)
    paths = found.last[ours].paths(found.returns[:origin], horizon=steps, n=2000, seed=study.seed)
    fan = prices[origin] * (paths.cpu().cumsum(1) / 100).exp()
    figure = plots.fan_chart(
        prices[max(0, origin - 2 * SHOWN) : origin + 1],
        fan,
        truth=prices[origin + 1 : origin + 1 + steps],
        value="price",
    )
    day = found.prices.days[origin]
    study.figure("fan", figure, f"The price from {day} on, as {ours} forecast it from the days before.")


def _facts(study: Study, found: Found) -> None:
    """Show what returns have in common, of the real ones and of long paths of each method."""
    length = min(len(found.returns), study.pick(full=2500, quick=1000, tiny=120))
    lags = min(100, length // 4)
    paths = study.pick(full=20, quick=8, tiny=2)
    real = "real"
    series = {real: found.returns[-length:, None].cpu()}
    for name, forecaster in found.last.items():
        past = found.returns[: found.origin]
        series[name] = forecaster.paths(past, horizon=length, n=paths, seed=study.seed).T.cpu()
    curves: dict[str, dict[str, Tensor]] = {"autocorrelation of |r|": {}, "of r": {}, "leverage": {}}
    rows = []
    for name, own in series.items():
        sizes = evaluation.autocorrelation(own.abs(), lags).mean(1)
        falls = evaluation.leverage(own, 20).mean(1)
        for title, values in zip(
            curves, (sizes, evaluation.autocorrelation(own, 20).mean(1), falls), strict=True
        ):
            curves[title][name] = values
        rows.append(
            {
                "method": name,
                "deviation": float(own.std(0).median()),
                **{
                    f"kurtosis, {k} days": float(evaluation.excess_kurtosis(_sums(own, k)).median())
                    for k in (1, 5, 20)
                },
                "Hill": float(evaluation.hill(own).median()),
                "ACF |r|, 1": float(sizes[0]),
                "ACF |r|, 20": float(sizes[min(20, lags) - 1]),
                "leverage, 1 to 10": float(falls[:10].mean()),
            }
        )
    study.table(
        "stylised facts",
        pd.DataFrame(rows),
        f"Of the last {length:,} returns and of {paths} paths as long of each method (medians of single "
        "numbers, means of curves); kurtosis is that above a normal law's.",
    )
    figure = plots.lasting_volatility(curves, real=real)
    study.figure("stylised facts", figure, "How long volatility lasts, and whether falls raise it.")


def _options(study: Study, found: Found, horizon: int) -> None:
    """Price options a month ahead of the last day, with the martingale put right, in units of the spot."""
    years = _years(found.prices)
    maturity = horizon / (len(found.returns) / years)
    n = study.pick(full=100_000, quick=10_000, tiny=1000)
    market = {"spot": 1.0, "years": maturity}
    strikes = torch.tensor(STRIKES, dtype=torch.float64)
    volatility = float(found.returns.std()) / 100 * math.sqrt(len(found.returns) / years)
    normal = np.random.default_rng(study.seed).standard_normal(n)
    moved = torch.from_numpy(volatility * math.sqrt(maturity) * normal - volatility**2 * maturity / 2).exp()
    finals = {"Brownian, by Monte Carlo": moved}
    for name, forecaster in found.last.items():
        paths = forecaster.paths(found.returns, horizon=horizon, n=n, seed=study.seed + 1)
        finals[name] = (paths.sum(1).double().cpu() / 100).exp()
    exact, _ = evaluation.black_scholes(strikes, volatility=volatility, **market)
    smiles: dict[str, Tensor] = {}
    errors: dict[str, Tensor] = {}
    rows, worst = [], 0.0
    for name, final in finals.items():
        gap = evaluation.martingale_gap(final, **market)
        priced = evaluation.option_prices(evaluation.as_martingale(final, **market), strikes, **market)
        smiles[name] = evaluation.implied_volatility(priced.call, strikes, **market)
        upper = priced.call + 2 * priced.call_stderr
        errors[name] = (evaluation.implied_volatility(upper, strikes, **market) - smiles[name]).abs()
        worst = max(worst, float((priced.call - priced.put - (1 - strikes)).abs().max()))
        row = {"method": name, "martingale gap": gap.value, "its standard error": gap.stderr}
        rows.append(
            row | {f"call, strike {k:g}": float(v) for k, v in zip(STRIKES, priced.call, strict=True)}
        )
        if name == next(iter(finals)):
            off = float(((priced.call - exact) / priced.call_stderr).abs().max())
    rows.insert(
        0,
        {"method": "Black-Scholes", "martingale gap": 0.0, "its standard error": 0.0}
        | {f"call, strike {k:g}": float(v) for k, v in zip(STRIKES, exact, strict=True)},
    )
    study.table(
        "options",
        pd.DataFrame(rows),
        f"Calls a month ahead, by {n:,} paths, in units of the spot, without interest and dividends, the "
        "martingale put right; the gap is that of the paths before.",
    )
    study.fact(
        "options",
        f"Monte Carlo of Brownian motion is within {off:.1f} standard errors of Black and Scholes at "
        f"{len(STRIKES)} strikes; put-call parity holds to {worst:.0e}; all are a model's prices",
    )
    study.figure(
        "smile",
        plots.volatility_smiles(strikes, smiles, errors=errors),
        "Implied volatilities of calls a month ahead of the last day, with two standard errors.",
    )


def _years(prices: Prices) -> float:
    first, last = (pd.Timestamp(day) for day in (prices.days[0], prices.days[-1]))
    return (last - first).days / 365.25


def _sums(series: Tensor, steps: int) -> Tensor:
    """Return sums over so many steps that follow one another."""
    whole = len(series) // steps * steps
    return series[:whole].reshape(-1, steps, series.shape[1]).sum(1)
