"""Ratio of uniforms: any bounded density with light enough tails, from a rectangle found by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from probgen.sampling.exact.rejection.checked_density import Line, rounding
from probgen.sampling.exact.rejection.mass_from_density import Bulk, find_bulk
from probgen.sampling.exact.rejection.mass_from_inversion import surveyed
from probgen.sampling.exact.rejection.proposal_rounds import AcceptRejectOnLine
from probgen.sampling.uniforms import uniform

_MARGIN = 1e-6
_PEAKS = 8


class RatioOfUniforms(AcceptRejectOnLine):
    r"""The law with density proportional to p = exp(log_prob), drawn as x = m + v / u.

    Where (u, v) is uniform on {0 < u ≤ √p(m + v / u)}, x has the law. That set lies in the rectangle with
    u ≤ sup √p and inf (x − m) √p ≤ v ≤ sup (x − m) √p, m a mode, which exists where p is bounded and has
    tails no heavier than 1 / x²: of one mode or several, with kinks and jumps.

    The bounds are found by search: on 1,281 places about a first mode, 8 to the octave of the distance, and,
    with validation on (Pyro's default), on the nodes by which :class:`InverseCDF` integrates the density,
    which finds what it says there, and what stands at ``points``; then by zooming in on the 8 highest of the
    local maxima. **Every** proposal is checked as well: where p reaches out of the rectangle it raises, with
    place and ratio, as soon as a proposal falls there.

    ``log_prob`` of this law needs ``log_normaliser``; ``report()`` estimates it.

    Args:
        log_prob: the log-density, maybe unnormalised, (\*sample, \*batch) to (\*sample, \*batch).
        support: an interval: ``real``, ``positive``, ``interval(a, b)``, ...
        points: places inside the support, shape (n) or (n, \*batch_shape), where something narrow may stand.
        batch_shape: shape of the family of laws; broadcast with what ``log_prob`` returns.
        dtype, device: of the draws; those that ``log_prob`` returns where not given.
        log_normaliser: log ∫ p, where known.
        max_rounds: a call stops with an error after so many rounds of proposals.

    Raises:
        ValueError: at construction, where ``log_prob`` is NaN, +inf or nowhere above −inf, or the density is
            not bounded or has heavy tails; while drawing, where it reaches out of the rectangle.

    See Kinderman and Monahan (1977), Computer Generation of Random Variables Using the Ratio of Uniform
    Deviates; Stadlober (1990), The Ratio of Uniforms Approach for Generating Discrete Random Variates.

    >>> two_bumps = RatioOfUniforms(lambda x: torch.logaddexp(-((x - 3) ** 2), -((x + 3) ** 2)))
    >>> two_bumps.sample((5,)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        log_prob: Callable[[Tensor], Tensor],
        *,
        support: Constraint = constraints.real,
        points: Sequence[float] | Tensor = (),
        batch_shape: Sequence[int] = (),
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        log_normaliser: Tensor | float | None = None,
        max_rounds: int = 1000,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(
            log_prob,
            Line(log_prob, support=support, batch_shape=batch_shape, dtype=dtype, device=device),
            log_normaliser=log_normaliser,
            max_rounds=max_rounds,
            validate_args=validate_args,
        )
        if self._mapped:
            return
        with torch.no_grad():
            bulk, places, _ = find_bulk(self._line)
            places = surveyed(log_prob, self._line, points) if self._validate_args else places[:, :0]
            self._mode, self._top, self._log_left, self._log_right = _rectangle(self._line, bulk, places)

    def _draw(self, n: int, generator: torch.Generator | None) -> Tensor:
        return self._line.rounded(self._filled(n, lambda m: self._propose(m, generator)))

    def _propose(self, m: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor, Tensor]:
        mode, top = self._mode[:, None], self._top[:, None]
        left, right = self._log_left.exp()[:, None], self._log_right.exp()[:, None]
        u, w = uniform((2, self._rows, m), device=mode.device, generator=generator)
        x = mode + (w * (left + right) - left) / u
        inside = (x >= self._line.first[:, None]) & (x <= self._line.last[:, None])
        x = torch.where(inside, x, mode)
        log_prob = self._line(x)
        self._check(x, log_prob)
        accepted = inside & (2 * u.log() <= log_prob - top)
        return x.T, accepted.T, ((left + right).log() + top)[:, 0] + math.log(2)

    def _check(self, x: Tensor, log_prob: Tensor) -> None:
        """Raise where the density reaches out of the rectangle."""
        mode, top = self._mode[:, None], self._top[:, None]
        room = rounding(self._line.eps, log_prob) + rounding(self._line.eps, top)
        bound = torch.where(x < mode, self._log_left[:, None], self._log_right[:, None])
        high = log_prob - top
        wide = (x - mode).abs().log() + (log_prob - top) / 2 - bound
        wrong = (high > room) | (wide > room)
        if wrong.any():
            name, ratio = ("u", high / 2) if (high > room)[wrong][0] else ("v", wide)
            raise ValueError(
                f"the rectangle should hold the density but {self._line.at(x, wrong)} it reaches "
                f"{float(ratio[wrong][0].exp()):.6g} times the bound of {name}: the search missed a peak"
            )


def _rectangle(line: Line, bulk: Bulk, places: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the mode, log_prob there, and the logarithms of the bounds of |v| on both sides; u ≤ 1.

    They are sought about a mode and at places, rows x n.
    """
    # Places in eighths of octaves about the mode: what matters may be near it or far out.
    first, last = bulk.first[:, None], bulk.last[:, None]
    share = torch.arange(-160, 480, dtype=torch.float64, device=line.device).div(8).exp2()
    scale = torch.maximum(bulk.left, bulk.right)[:, None]

    def around(mode: Tensor) -> Tensor:
        return torch.cat([mode - scale * share.flip(0), mode, mode + scale * share], -1).clamp(first, last)

    def everywhere(x: Tensor) -> Tensor:
        return torch.cat([x, places], -1).sort(-1).values

    mode, top = _highest(line, everywhere(around(bulk.mode[:, None])), lambda x, log_prob: log_prob)
    bounds = []
    for side in (-1, 1):
        x = around(mode)

        # |v| = |x − m| √f(x), relative to √f at the top.
        def reach(x: Tensor, log_prob: Tensor, side: int = side) -> Tensor:
            distance = side * (x - mode)
            return torch.where(distance > 0, distance.log() + (log_prob - top) / 2, -torch.inf)

        _, bound = _highest(line, everywhere(x), reach)
        # Over the outermost octave it should fall; where it rises the area is not bounded.
        edge, octave = (x[:, :9] if side < 0 else x[:, -9:].flip(-1)), 8
        outer = reach(edge, line(edge))
        heavy = (outer[:, :1] - outer[:, octave:] > _MARGIN) & (edge[:, :1] != edge[:, octave:])
        if heavy.any():
            raise ValueError(
                f"the density should have tails no heavier than 1 / x² but |x| √density still rises "
                f"{line.at(edge, heavy)}"
            )
        bounds.append(bound[:, 0] + _MARGIN)
    return mode[:, 0], top[:, 0] + _MARGIN, bounds[0], bounds[1]


def _highest(line: Line, x: Tensor, score: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return where a score of x and log_prob is highest, and the score, from the peaks on a grid."""
    value = score(x, line(x))
    padded = torch.nn.functional.pad(value, (1, 1), value=-torch.inf)
    peak = (value > padded[:, :-2]) & (value >= padded[:, 2:])
    index = torch.where(peak, value, -torch.inf).topk(_PEAKS, -1).indices
    low, high = (x.gather(-1, (index + step).clamp(0, x.shape[-1] - 1)) for step in (-1, 1))
    share = torch.linspace(0, 1, 17, dtype=x.dtype, device=x.device)
    best = value.amax(-1, keepdim=True)
    place = x.gather(-1, value.argmax(-1, keepdim=True))
    for _ in range(14):
        grid = low[..., None] + (high - low)[..., None] * share
        height = score(grid.flatten(1), line(grid.flatten(1))).reshape(grid.shape)
        top, column = height.max(-1, keepdim=True)
        low, high = (grid.gather(-1, (column + step).clamp(0, 16))[..., 0] for step in (-1, 1))
        top, row = top[..., 0].max(-1, keepdim=True)
        rise = top - best
        place = torch.where(rise > 0, grid.gather(-1, column)[..., 0].gather(-1, row), place)
        best = torch.maximum(best, top)
    if (rise > _MARGIN).any():
        raise ValueError(
            f"the density should be bounded but rises without end {line.at(place, rise > _MARGIN)}"
        )
    return place, best
