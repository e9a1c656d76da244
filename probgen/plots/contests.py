"""A contest on the line: the two densities, what the discriminator says of them, and where it pushes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.plots.style import INK, MUTED, PALETTE, array, panels, style

Moment: TypeAlias = Mapping[str, Tensor | ArrayLike]
"""Curves at one moment of a training, by name: see :func:`contest`."""

NEEDED = ("data", "generator", "discriminator")
CURVES = (*NEEDED, "best", "gradient", "witness")
ARROWS = 15
LONGEST = 0.06
"""The longest arrow of a figure, as a share of its width."""

CUT = 2.5
"""A generator that is denser than so many times the data's height is cut there."""


def contest(x: Tensor | ArrayLike, moments: Mapping[str, Moment]) -> Figure:
    """Draw moments of a contest on the line, a column each, with one scale for all.

    Above stand the two densities, in the middle the discriminator beside the best one, and below the witness
    of MMD, which compares the same two laws directly. Arrows show where each would move the draws: the
    gradient of the discriminator, and the slope of the witness. They stand where the generator has draws, are
    as long as the gradient is large, and no more than dots where it vanishes. A generator that is much denser
    somewhere than the data are anywhere is cut off at two and a half times their height.

    Args:
        x: places on the line, increasing, shape (n,).
        moments: name -> curves at these places, each of shape (n,): the densities ``data`` and ``generator``,
            and ``discriminator`` on the scale on which it is to be seen, such as its probabilities. Where
            they are known: ``best``, the best discriminator against this generator; ``gradient``, ∇d, by
            which draws move; ``witness``, as ``mmd.witness`` returns it. All moments have the same curves.

    Raises:
        ValueError: no moment, a curve that is missing, unknown, of another shape or not finite, and places
            that do not increase.

    >>> import numpy as np
    >>> x = np.linspace(-3.0, 3.0, 50)
    >>> curves = {"data": np.exp(-(x**2)), "generator": np.exp(-((x - 1) ** 2)), "discriminator": 0.5 - x / 9}
    >>> len(contest(x, {"step 0": curves}).axes)
    2
    """
    places, found = _checked(x, moments)
    rows = 3 if "witness" in next(iter(found.values())) else 2
    with style():
        figure, axes = panels(rows * len(found), columns=len(found), width=2.3, height=1.35)
        _draw(axes, places, list(found.values()), found)
        for column, (axis, name) in enumerate(zip(axes, found, strict=False)):
            axis.set_title(name)
            if column:
                for below in axes[column :: len(found)]:
                    below.tick_params(labelleft=False)
                    below.set_ylabel("")
        _legend(figure, axes, min(5, 1 + 2 * len(found)))
    return figure


def contest_animation(
    x: Tensor | ArrayLike, moments: Mapping[str, Moment], *, frames_per_second: float = 8.0
) -> FuncAnimation:
    """Return the moments of a contest as an animation, one after another.

    ``animation.save("contest.gif", writer="pillow")`` writes a GIF, ``animation.to_jshtml()`` returns a page
    with buttons for a notebook.

    Args:
        x, moments: as for :func:`contest`; scales are those of all moments.
        frames_per_second: how fast they follow each other.

    Raises:
        ValueError: as :func:`contest` does, and for frames_per_second that are not positive.
    """
    if not 0 < frames_per_second < float("inf"):
        raise ValueError(f"frames_per_second should be positive and finite but got {frames_per_second}")
    places, found = _checked(x, moments)
    rows = 3 if "witness" in next(iter(found.values())) else 2
    names = list(found)
    with style():
        figure, axes = panels(rows, columns=1, width=4.2, height=1.5)
        _draw(axes, places, [found[names[0]]], found)
        axes[0].set_title(names[0])
        _legend(figure, axes, 3)

    def show(name: str) -> list[Axes]:
        with style():
            for axis in axes:
                axis.clear()
            _draw(axes, places, [found[name]], found)
            axes[0].set_title(name)
        return axes

    return FuncAnimation(
        figure, show, frames=names, interval=1000 / frames_per_second, cache_frame_data=False
    )


def _draw(
    axes: Sequence[Axes],
    x: np.ndarray,
    shown: Sequence[dict[str, np.ndarray]],
    of_all: Mapping[str, dict[str, np.ndarray]],
) -> None:
    """Draw moments side by side, on the scales of all moments."""
    curves = list(of_all.values())
    highest = max(curve[name].max() for curve in curves for name in ("data", "generator"))
    highest = min(highest, CUT * max(curve["data"].max() for curve in curves))
    steepest = {
        name: max(
            np.abs(_slope(curve, name, x)[_drawn(curve["generator"])]).max(initial=0) for curve in curves
        )
        for name in ("gradient", "witness")
        if name in curves[0]
    }
    said = np.concatenate(
        [curve[name] for curve in curves for name in ("discriminator", "best") if name in curve]
    )
    seen = np.concatenate([curve.get("witness", np.zeros(1)) for curve in curves])
    for column, moment in enumerate(shown):
        above, middle, *below = axes[column :: len(shown)]
        above.fill_between(x, moment["data"], color="0.75", linewidth=0, label="data")
        above.plot(x, moment["generator"], color=PALETTE[0], linewidth=1.6, label="generator")
        above.axhline(0, color=INK, linewidth=0.6)
        above.set_ylim(-0.22 * highest, 1.08 * highest)
        above.set(yticks=[], ylabel="density")
        if "gradient" in moment:
            slope = _share(_slope(moment, "gradient", x), steepest["gradient"])
            _push(above, x, slope, moment["generator"], PALETTE[3], -0.11 * highest)
        if "best" in moment:
            middle.plot(x, moment["best"], color=INK, linewidth=1.2, linestyle=(0, (2, 1.5)), label="best")
        middle.plot(x, moment["discriminator"], color=PALETTE[3], linewidth=1.6, label="discriminator")
        middle.set_ylim(*_room(said, 0.08))
        middle.set_ylabel("discriminator")
        for axis in below:
            axis.axhline(0, color=MUTED, linewidth=0.6)
            axis.plot(x, moment["witness"], color=PALETTE[2], linewidth=1.6, label="MMD witness")
            low, high = _room(seen, 0.08)
            axis.set_ylim(low - 0.22 * (high - low), high)
            slope = _share(_slope(moment, "witness", x), steepest["witness"])
            _push(axis, x, slope, moment["generator"], PALETTE[2], low - 0.1 * (high - low))
            axis.set_ylabel("witness")
        for axis in (above, middle, *below):
            axis.set_xlim(x[0], x[-1])
            axis.locator_params(axis="x", nbins=4)
            axis.tick_params(labelbottom=axis is (below[-1] if below else middle))


def _push(
    axis: Axes, x: np.ndarray, slope: np.ndarray, draws: np.ndarray, colour: Any, height: float
) -> None:
    """Draw arrows along the slope, which is at most 1 in size, where the generator has draws."""
    where = np.linspace(x[0], x[-1], ARROWS + 2)[1:-1]
    where = where[np.interp(where, x, _drawn(draws)) > 0.5]
    base = np.full_like(where, height)
    length = np.interp(where, x, slope) * LONGEST * (x[-1] - x[0])
    look: Any = {"width": 0.012, "headwidth": 3.4, "headlength": 3.4, "headaxislength": 3.2, "minlength": 0}
    moving = np.abs(length) > 0.1 * LONGEST * (x[-1] - x[0])
    arrows = where[moving], base[moving], length[moving], np.zeros(moving.sum())
    axis.quiver(*arrows, color=colour, angles="xy", scale_units="xy", scale=1, **look)
    axis.scatter(where, base, s=5, color=[colour], linewidths=0)


def _drawn(density: np.ndarray) -> np.ndarray:
    """Say where the generator has draws: where its density is above a fiftieth of its height."""
    return density > 0.02 * density.max()


def _slope(moment: Moment, name: str, x: np.ndarray) -> np.ndarray:
    """Return the gradient that is given, or that of the witness."""
    curve = np.asarray(moment[name])
    return curve if name == "gradient" else np.gradient(curve, x)


def _share(slope: np.ndarray, steepest: float) -> np.ndarray:
    """Return a slope as shares of the steepest one; where nothing is steep, 0."""
    return np.clip(slope / steepest, -1, 1) if steepest > 0 else np.zeros_like(slope)


def _room(values: np.ndarray, margin: float) -> tuple[float, float]:
    """Return limits around values with a margin, a share of their range."""
    low, high = float(values.min()), float(values.max())
    wide = margin * (high - low) or 1.0
    return low - wide, high + wide


def _legend(figure: Figure, axes: Sequence[Axes], columns: int) -> None:
    """Name each curve once, below the figure."""
    named = {
        str(label): handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=columns, frameon=False)


def _checked(
    x: Tensor | ArrayLike, moments: Mapping[str, Moment]
) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """Return places and curves as arrays of one length, or say which is wrong."""
    places = array(x, "x").astype(float)
    if places.ndim != 1 or len(places) < 2 or not (np.diff(places) > 0).all():
        raise ValueError(f"x should increase and have shape (n,), n at least 2, but has shape {places.shape}")
    if not moments:
        raise ValueError("moments should have at least 1 entry but has 0")
    first = set(next(iter(moments.values())))
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, moment in moments.items():
        missing, unknown = [c for c in NEEDED if c not in moment], [c for c in moment if c not in CURVES]
        if missing or unknown:
            what = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}"
            raise ValueError(f"moments[{name!r}] should have {NEEDED} and at most {CURVES} but {what}")
        if set(moment) != first:
            raise ValueError(f"moments[{name!r}] should have the curves of the first, {sorted(first)}")
        found[name] = {c: array(v, f"moments[{name!r}][{c!r}]").astype(float) for c, v in moment.items()}
        for curve, values in found[name].items():
            if values.shape != places.shape:
                raise ValueError(
                    f"moments[{name!r}][{curve!r}] should have the shape of x, {places.shape}, "
                    f"but has {values.shape}"
                )
    return places, found
