"""Returns of prices: losses beside the risk that was said, what volatility does, what options would cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.plots.style import INK, MUTED, PALETTE, array, panels, style


def value_at_risk(
    returns: Tensor | ArrayLike, risks: Mapping[str, Tensor | ArrayLike], *, unit: str = "%", level: str = ""
) -> Figure:
    """Draw returns day by day, and for each method its value at risk as a line with a mark at each violation.

    Args:
        returns: what came, shape (T,).
        risks: name -> value at risk of each day as a loss, shape (T,).
        unit: of returns.
        level: of the risk, for the title, such as "2.5 %".

    Raises:
        ValueError: for other shapes, no method, and values that are not finite.

    >>> len(value_at_risk(np.array([0.5, -2.0]), {"GARCH": np.array([1.0, 1.0])}).axes)
    1
    """
    came = _series(returns, "returns")
    lines = {name: _series(values, f"risks[{name!r}]", len(came)) for name, values in _some(risks).items()}
    with style():
        figure, axes = panels(len(lines), columns=1, width=7.2, height=1.9)
        for i, (axis, (name, risk)) in enumerate(zip(axes, lines.items(), strict=True)):
            days, colour = np.arange(len(came)), PALETTE[i % len(PALETTE)]
            over = came < -risk
            axis.vlines(days, 0, came, color="0.75", linewidth=0.6)
            axis.plot(days, -risk, color=colour, linewidth=1.2)
            axis.plot(days[over], came[over], "o", color=colour, markersize=4, markeredgecolor="white")
            axis.set(ylabel=f"return, {unit}", xlim=(0, len(came) - 1))
            axis.set_title(f"{name}: {int(over.sum())} of {len(came)} days below −VaR {level}".strip())
        axes[-1].set_xlabel("days judged")
    return figure


def volatility_smiles(
    strikes: Tensor | ArrayLike,
    volatilities: Mapping[str, Tensor | ArrayLike],
    *,
    errors: Mapping[str, Tensor | ArrayLike] | None = None,
) -> Figure:
    """Draw implied volatilities over strikes, a line for each method; those that there are none of are gaps.

    Args:
        strikes: in units of the spot, shape (K,).
        volatilities: name -> volatility of a year, shape (K,), NaN where there is none.
        errors: name -> two standard errors of it, shape (K,), drawn as a band; NaN as well.

    Raises:
        ValueError: for other shapes, or no method.

    >>> len(volatility_smiles([0.9, 1.1], {"Black-Scholes": [0.2, 0.2]}).axes)
    1
    """
    at = _series(strikes, "strikes")
    found = {
        name: _series(values, f"volatilities[{name!r}]", len(at), holes=True)
        for name, values in _some(volatilities).items()
    }
    with style():
        figure, (axis,) = panels(1, columns=1, width=6.0, height=3.9)
        for i, (name, values) in enumerate(found.items()):
            colour = PALETTE[i % len(PALETTE)]
            axis.plot(at, 100 * values, "o-", color=colour, label=name, markersize=4, linewidth=1.4)
            if errors is not None and name in errors:
                wide = 100 * _series(errors[name], f"errors[{name!r}]", len(at), holes=True)
                axis.fill_between(
                    at, 100 * values - wide, 100 * values + wide, color=colour, alpha=0.15, linewidth=0
                )
        axis.axvline(1, color=MUTED, linewidth=0.8, linestyle=":")
        axis.set(xlabel="strike, in units of the spot", ylabel="implied volatility, % a year")
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def lasting_volatility(curves: Mapping[str, Mapping[str, Tensor | ArrayLike]], *, real: str) -> Figure:
    """Draw functions of the lag, such as autocorrelations of |r|, a panel each with a line for each method.

    Args:
        curves: title -> name -> values at lags 1, 2, ..., shape (lags,).
        real: the name of the real data, drawn in black above the others.

    Raises:
        ValueError: where a panel lacks ``real``, or values are not finite.

    >>> len(lasting_volatility({"ACF": {"real": [0.3, 0.2], "GARCH": [0.2, 0.2]}}, real="real").axes)
    1
    """
    drawn = {
        title: {name: _series(values, f"{title}[{name!r}]") for name, values in _some(own).items()}
        for title, own in _some(curves).items()
    }
    for title, own in drawn.items():
        if real not in own:
            raise ValueError(f"{title!r} should have values of {real!r} but has {', '.join(own)}")
    with style():
        figure, axes = panels(len(drawn), columns=3, width=3.9, height=3.3)
        names = list(dict.fromkeys(name for own in drawn.values() for name in own if name != real))
        for axis, (title, own) in zip(axes, drawn.items(), strict=True):
            for name in own.keys() - {real}:
                colour = PALETTE[names.index(name) % len(PALETTE)]
                axis.plot(np.arange(1, len(own[name]) + 1), own[name], color=colour, linewidth=1.2)
            axis.plot(np.arange(1, len(own[real]) + 1), own[real], color=INK, linewidth=2)
            axis.axhline(0, color=MUTED, linewidth=0.8, linestyle=":")
            axis.set(xlabel="lag", title=title)
        lines = [
            axes[0].plot([], [], color=INK if name == real else PALETTE[names.index(name) % len(PALETTE)])[0]
            for name in [real, *names]
        ]
        figure.legend(lines, [real, *names], loc="outside lower center", ncols=4, frameon=False)
    return figure


def _some(named: Mapping[str, Any]) -> Mapping[str, Any]:
    if not named:
        raise ValueError("there should be at least 1 line to draw but there is none")
    return named


def _series(values: Any, name: str, length: int | None = None, *, holes: bool = False) -> np.ndarray:
    found = np.asarray(values, dtype=float) if holes else array(values, name).astype(float)
    if found.ndim != 1 or len(found) < 1 or (length is not None and len(found) != length):
        wanted = "(T,)" if length is None else f"({length},)"
        raise ValueError(f"{name} should have shape {wanted} but has shape {found.shape}")
    return found
