"""Paths of two numbers in the plane, as of two players who learn against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.plots.style import INK, MUTED, PALETTE, across, array, panels, style


def trajectories(
    paths: Mapping[str, Tensor | ArrayLike],
    *,
    fields: Mapping[str, Callable[[np.ndarray], ArrayLike]] | None = None,
    at_rest: tuple[float, float] = (0.0, 0.0),
    names: tuple[str, str] = ("generator", "discriminator"),
) -> Figure:
    """Draw paths in the plane, a panel each in one frame, from an open circle to a full one.

    A path that leaves the frame, four times the largest start from the point of rest, is cut there, and the
    panel says so.

    Args:
        paths: name -> points in their order, shape (steps, 2).
        fields: name -> the direction in which a path moves, from points of shape (m, 2) to (m, 2); drawn as
            arrows of one length.
        at_rest: where the game has its equilibrium; marked by a cross.
        names: what the two axes are.

    Raises:
        ValueError: no entry, another shape, a value that is not finite, or a field of a name without a path.

    >>> import numpy as np
    >>> turn = np.linspace(0, 6, 50)
    >>> len(trajectories({"a circle": np.stack([np.cos(turn), np.sin(turn)], 1)}).axes)
    1
    """
    if not paths:
        raise ValueError("paths should have at least 1 entry but has 0")
    found = {name: array(path, f"paths[{name!r}]").astype(float) for name, path in paths.items()}
    for name, path in found.items():
        if path.ndim != 2 or path.shape[1] != 2 or len(path) == 0:
            raise ValueError(f"paths[{name!r}] should have shape (steps, 2) but has shape {path.shape}")
    fields = fields or {}
    for name in fields:
        if name not in found:
            raise ValueError(f"fields should be of the paths {sorted(found)} but names {name!r}")
    centre = np.asarray(at_rest, dtype=float)
    start = max(np.abs(path[0] - centre).max() for path in found.values()) or 1.0
    reach = max(np.abs(path - centre).max() for path in found.values())
    radius = min(max(1.1 * reach, 1.2 * start), 4 * start)
    with style():
        figure, axes = panels(len(found), columns=across(len(found)), width=2.3, height=2.4)
        for axis, (name, path) in zip(axes, found.items(), strict=True):
            if name in fields:
                side = np.linspace(-radius, radius, 15)[1:-1]
                points = centre + np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
                move = np.asarray(fields[name](points), dtype=float)
                size = np.linalg.norm(move, axis=1, keepdims=True)
                move = np.divide(move, size, out=np.zeros_like(move), where=size > 0)
                axis.quiver(*points.T, *move.T, color="0.82", pivot="mid", width=0.006)
            axis.plot(*path.T, color=PALETTE[0], linewidth=1.1)
            axis.plot(*path[0], marker="o", color=PALETTE[0], markerfacecolor="white", markersize=6)
            axis.plot(*path[-1], marker="o", color=PALETTE[3], markersize=6, zorder=4)
            axis.plot(*centre, marker="+", color=INK, markersize=11, markeredgewidth=1.4, zorder=3)
            axis.set(title=name, xlabel=names[0], ylabel=names[1])
            axis.set(xlim=centre[0] + [-radius, radius], ylim=centre[1] + [-radius, radius])
            axis.set_aspect("equal")
            axis.locator_params(nbins=4)
            outside = int((np.abs(path - centre) > radius).any(1).sum())
            if outside:
                said = f"{outside} of {len(path)} steps outside"
                axis.text(0.03, 0.02, said, transform=axis.transAxes, size="small", color=MUTED)
    return figure
