r"""The incomplete gamma, beta and von Mises integrals, by quadrature, as families of two tails.

For Gamma the line is w = log x, for Beta w = logit x, both measured from the mode there: densities are
log-concave for every shape. For von Mises w is the angle. A tail is cut where its density has fallen by
exp(−40), and one Gauss–Legendre rule does the rest to 1e-13. Beside a lower end where the density falls only
as exp(a w), a small, the tail is first integrated by parts, which puts a + 1 in the place of a.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from probgen.sampling.exact.inversion.chebyshev_series import column
from probgen.sampling.exact.tails.tail_families import COARSE, FINE, Family, Tail

_CUT = 40.0
_NEWTON_STEPS = 4


def _rule(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a Gauss–Legendre rule on [0, 1], its nodes r drawn towards 0 as r (1 + r²) / 2."""
    r, weights = np.polynomial.legendre.leggauss(nodes)
    r = (r + 1) / 2
    return r * (1 + r**2) / 2, weights * (1 + 3 * r**2) / 4


_RULES = {nodes: _rule(nodes) for nodes in (COARSE, FINE)}


class _LogConcave(Family):
    """A family whose start is the normal approximation r* (Barndorff-Nielsen, 1986)."""

    curvature: Tensor
    """−g″ at the mode."""

    def start(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        lower = log_lower < log_upper
        z = torch.special.ndtri(torch.where(lower, log_lower, log_upper).exp()).clamp(min=-38)
        z = torch.where(lower, z, -z)
        apart = torch.where(
            lower, z.clamp(max=-0.03), z.clamp(min=0.03)
        )  # the correction is smooth, but 0/0 at 0
        stretch = apart * self.curvature.sqrt() / -self.slope(self._descended(apart))
        r = z + stretch.log() / apart
        return self._descended(torch.where(r.abs() < 1e-3, 1e-3, r))

    def _descended(self, r: Tensor) -> Tensor:
        """Solve g(w) = −r² / 2, w on the side of r, by Newton's method."""
        far = r.abs() / self.curvature.sqrt()
        w = r.sign() * (far + far**2 / 3).log1p()
        for _ in range(_NEWTON_STEPS):
            w = w - (self.log_density(w) + r**2 / 2) / self.slope(w)
        return w


class Gamma(_LogConcave):
    """Gamma(a) with rate 1: x = m exp(w), g = a w − m (eʷ − 1), m = a is held."""

    def __init__(self, a: Tensor) -> None:
        super().__init__(a)
        self.a = a
        self.mode = self.curvature = a.detach()

    def log_density(self, w: Tensor) -> Tensor:
        return self.a * w - self.mode * w.expm1()

    def slope(self, w: Tensor) -> Tensor:
        return -self.mode * w.expm1()

    def tail(self, w: Tensor, nodes: int = FINE, *, scored: bool = True) -> Tail:
        a, x, lower = self.a, self.mode * w.exp(), w <= 0
        rate = torch.where(lower, a + 1, -a)
        sign = torch.where(lower, -1.0, 1.0).to(x.dtype)
        # lower: φ(s) = exp(−a s + x (1 − e⁻ˢ)), by parts; upper: φ(s) = exp(a s − x (eˢ − 1))
        mass, first, _ = _integrals(rate, x, sign, lambda v: v, x, nodes, scored=scored)
        size = torch.where(lower, (1 + x * mass) / a, mass)
        if not scored:
            return Tail(size, ())
        moment = torch.where(lower, -(size + x * first) / a, first)
        return Tail(size, (w + moment / size,))


class Beta(_LogConcave):
    """Beta(a, b): x = σ(w + log(p / q)), g = a w − (a + b) log(1 + p (eʷ − 1)); p = a / (a + b) is held."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__(a, b)
        self.a, self.b, self.n = a, b, a + b
        self.p, self.q = (a / self.n).detach(), (b / self.n).detach()
        self.curvature = a.detach() * self.q

    def place(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and 1 − x."""
        small = _inward(w).exp()
        left, right = torch.where(w <= 0, small, 1.0) * self.p, torch.where(w <= 0, 1.0, small) * self.q
        return left / (left + right), right / (left + right)

    def log_density(self, w: Tensor) -> Tensor:
        a, b, p, q, x, _ = self._folded(w)
        v = _inward(w)
        above = -b * v - self.n * (q * (-v).expm1()).log1p()
        below = a * v - self.n * _log_mixed(p, q, v)
        return torch.where(x > 0.5, above, below)

    def slope(self, w: Tensor) -> Tensor:
        x, c = self.place(w)
        return torch.where(w <= 0, -self.a * c, self.b * x) * _inward(w).expm1()

    def tail(self, w: Tensor, nodes: int = FINE, *, scored: bool = True) -> Tail:
        a, b, p, q, x, c = self._folded(w)
        # φ(s) = exp(−a s − n log(1 − x (1 − e⁻ˢ))), by parts; where x is near 1, 1 − x keeps the digits
        left = x <= 0.5
        rate, share = torch.where(left, a + 1, -b), torch.where(left, x, c)
        sign = torch.where(left, -1.0, 1.0).to(x.dtype)
        mass, first, fall = _integrals(
            rate,
            self.n + 1,
            sign,
            lambda v: (share * v).log1p(),
            (self.n + 1) * x * c,
            nodes,
            share,
            scored=scored,
        )
        size = (1 + self.n * x * mass) / a
        if not scored:
            return Tail(size, ())
        rise = torch.where(left, -fall, first - fall)  # the mean of log((1 − x(s)) / (1 − x)), times mass
        own = (x * (self.n * (rise - first) + mass) - size) / a
        other = x * (self.n * rise + mass) / a
        v = _inward(w)
        grown = _log_mixed(p, q, v)
        own, other = v - grown + own / size, other / size - grown  # log(x / p), log((1 − x) / q)
        return Tail(size, (torch.where(w <= 0, own, other), torch.where(w <= 0, other, own)))

    def _folded(self, w: Tensor) -> tuple[Tensor, ...]:
        """Return a, b, p, q, x, 1 − x, mirrored where w > 0, so that the tail is a lower one."""
        lower = w <= 0
        pairs = ((self.a, self.b), (self.p, self.q), self.place(w))
        return tuple(torch.where(lower, *pair) for both in pairs for pair in (both, both[::-1]))


class VonMises(Family):
    """von Mises(κ): w is the angle from the mean, g = κ (cos w − 1)."""

    edge = math.pi

    def __init__(self, kappa: Tensor) -> None:
        super().__init__(kappa)
        self.kappa = kappa

    def log_density(self, w: Tensor) -> Tensor:
        return -2 * self.kappa * (w / 2).sin() ** 2

    def slope(self, w: Tensor) -> Tensor:
        return -self.kappa * w.sin()

    def tail(self, w: Tensor, nodes: int = FINE, *, scored: bool = True) -> Tail:
        away = (-_inward(w)).clamp(max=math.pi)
        with torch.no_grad():
            cut = ((away / 2).sin() ** 2 + _CUT / 2 / self.kappa).clamp(max=1).sqrt().asin() * 2 - away
        end = torch.where(cut >= math.pi - away, math.pi - away, cut)
        size = first = torch.zeros_like(end)
        for s, width in _nodes(end, nodes):
            fall = 2 * (away + s / 2).sin() * (s / 2).sin()  # cos w − cos(w ± s)
            mass = width * (-self.kappa * fall).exp()
            size = size + mass.sum(0)
            if scored:
                first = first + (mass * fall).sum(0)
        return Tail(size, (-2 * (w / 2).sin() ** 2 - first / size,))

    def start(self, log_lower: Tensor, log_upper: Tensor) -> Tensor:
        lower = log_lower < log_upper
        u = torch.where(lower, log_lower, log_upper).exp()
        z = torch.special.ndtri(u).clamp(min=-38, max=-1e-3)
        normal = -2 * (-z / (2 * self.kappa.sqrt())).clamp(max=0.99).asin()
        w = torch.where(self.kappa < 1.5, math.pi * (2 * u - 1).clamp(min=-0.999), normal)
        return torch.where(lower, w, -w)


def _inward(w: Tensor) -> Tensor:
    """Return −|w|, of which the derivative at 0 is that from the left, as 0 is of the left tail."""
    return torch.where(w <= 0, w, -w)


def _log_mixed(p: Tensor, q: Tensor, v: Tensor) -> Tensor:
    """Return log(q + p exp(v)) at v ≤ 0, p + q = 1."""
    fall = p * v.expm1()
    return torch.where(fall > -0.5, fall.clamp(min=-0.5).log1p(), (q + p * v.exp()).log())


def _integrals(
    rate: Tensor,
    count: Tensor,
    sign: Tensor,
    outer: Callable[[Tensor], Tensor],
    curvature: Tensor,
    nodes: int,
    share: Tensor | None = None,
    *,
    scored: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Integrate exp(−E(s)), s exp(−E(s)) and l(s) exp(−E(s)) over s > 0, where E(s) = rate s + count l(s).

    l(s) = outer(exp(sign s) − 1) and E is convex, with E′ ≥ 0 and E″ = curvature at 0. ``share`` is the
    argument's factor where outer is log1p, of which the slope is needed. Only the first is found where the
    tail is not to be scored.
    """

    def slope(s: Tensor) -> Tensor:
        v = (sign * s).expm1()
        inner = v + 1 if share is None else share * (v + 1) / (1 + share * v)
        return rate + count * sign * inner

    with torch.no_grad():  # what is cut off is nothing
        rise = slope(torch.zeros_like(rate)).clamp(min=0)
        end = 2 * _CUT / (rise + (rise**2 + 2 * _CUT * curvature).sqrt())
        end = (end + end**2 / 3).log1p()
        for _ in range(_NEWTON_STEPS):
            end = end + (_CUT - rate * end - count * outer((sign * end).expm1())) / slope(end)
    mass = first = falls = torch.zeros_like(end)
    for s, width in _nodes(end, nodes):
        fall = outer((sign * s).expm1())
        masses = width * (-rate * s - count * fall).exp()
        mass = mass + masses.sum(0)
        if scored:
            first, falls = first + (masses * s).sum(0), falls + (masses * fall).sum(0)
    return mass, first, falls


def _nodes(end: Tensor, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield nodes and weights of [0, end], few enough at a time for the cache."""
    r, weights = _RULES[count]
    size = count if end.numel() < 512 else COARSE
    for part in range(0, count, size):
        some = slice(part, part + size)
        yield end * column(r[some], end), end * column(weights[some], end)
