"""Envelopes ("hats") of adaptive rejection: piecewise exponential, from secants of a concave log-density."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probgen.sampling.exact.rejection.checked_density import Line, rounding


class Pieces(NamedTuple):
    r"""Pieces exp(height − rate · distance from the top) of a hat.

    ``gap`` is the width of the secant from which a piece comes: rounding grows with the distance over it.
    """

    top: Tensor
    height: Tensor
    rate: Tensor
    side: Tensor
    length: Tensor
    gap: Tensor

    def log_areas(self) -> Tensor:
        """Return the logarithms of the integrals, −inf for an empty piece."""
        w = self.rate * self.length
        area = torch.where(w < 1e-8, self.length * (1 - w / 2), -torch.expm1(-w) / self.rate)
        return torch.where(self.length > 0, self.height + area.log(), -torch.inf)

    def places(self, share: Tensor) -> Tensor:
        """Return the places short of which, seen from the tops, lie such shares of the areas."""
        w = self.rate * self.length
        even = share * self.length * (1 - w * (1 - share) / 2)
        curved = -torch.log1p(share * torch.expm1(-w)) / self.rate
        return self.top + self.side * torch.where(w < 1e-8, even, curved)

    def log_hat(self, x: Tensor) -> Tensor:
        """Return the logarithm of each piece at x in it."""
        return self.height - self.rate * (x - self.top).abs()


class Proposals(NamedTuple):
    """Draws from a hat, rows x m: each with its interval, its piece, and the hat and squeeze there."""

    x: Tensor
    interval: Tensor
    log_hat: Tensor
    log_squeeze: Tensor
    pieces: Pieces

    def pick(self, index: Tensor) -> Proposals:
        """Return those that an index, rows x k, names."""
        pieces = Pieces(*(field.gather(-1, index) for field in self.pieces))
        x, interval, log_hat, log_squeeze = (field.gather(-1, index) for field in self[:4])
        return Proposals(x, interval, log_hat, log_squeeze, pieces)

    def check(self, line: Line, log_prob: Tensor) -> None:
        """Raise where log_prob is above the hat or below the squeeze by more than rounding explains."""
        room = rounding(line.eps, log_prob) * (1 + (self.x - self.pieces.top).abs() / self.pieces.gap)
        room = room + 64 * line.eps * self.pieces.rate * self.pieces.top.abs()
        high = log_prob > self.log_hat + room
        wrong = high | (log_prob < self.log_squeeze - room)
        if wrong.any():
            bound = "hat" if high[wrong][0] else "squeeze"
            ratio = float((log_prob - torch.where(high, self.log_hat, self.log_squeeze))[wrong][0].exp())
            raise ValueError(
                f"the density should be log-concave but {line.at(self.x, wrong)} it is {ratio:.6g} times its "
                f"{bound}"
            )


class Hull(NamedTuple):
    """A hat, and the points on which it stands: rows x P, and rows x 2 (P + 1) pieces.

    Each interval between neighbouring points, or to an end, has two pieces, some of them empty. Missing
    points stand at the upper end, with log_prob −inf.
    """

    x: Tensor
    log_prob: Tensor
    low: Tensor
    high: Tensor
    pieces: Pieces

    def draw(self, u: Tensor, v: Tensor) -> tuple[Proposals, Tensor]:
        """Turn uniforms, rows x m, into draws from the hat; return also the logarithm of the hat's area."""
        log_area = self.pieces.log_areas()
        peak = log_area.amax(-1, keepdim=True)
        below = (log_area - peak).exp().cumsum(-1)
        index = torch.searchsorted(below, u * below[:, -1:]).clamp(max=below.shape[-1] - 1)
        pieces = Pieces(*(field.gather(-1, index) for field in self.pieces))
        first, last = (
            torch.nextafter(a, b)[:, None] for a, b in ((self.low, self.high), (self.high, self.low))
        )
        x = pieces.places(v).clamp(first, last)
        interval = index // 2
        drawn = Proposals(x, interval, pieces.log_hat(x), self.squeeze(x, interval), pieces)
        return drawn, (peak + below[:, -1:].log())[:, 0]

    def room(self, x: Tensor, interval: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distance of x to the nearer end of its interval, and the width of the interval."""
        places = torch.cat([self.low[:, None], self.x, self.high[:, None]], -1)
        left, right = places.gather(-1, interval), places.gather(-1, interval + 1)
        return torch.minimum(x - left, right - x), right - left

    def squeeze(self, x: Tensor, interval: Tensor) -> Tensor:
        """Return the chord of log_prob at x, −inf in the outermost intervals."""
        low, high = self.low[:, None], self.high[:, None]
        places = torch.cat([low, self.x, high], -1)
        outside = torch.full_like(low, -torch.inf)
        values = torch.cat([outside, self.log_prob, outside], -1)
        left, right = places.gather(-1, interval), places.gather(-1, interval + 1)
        share = (x - left) / (right - left)
        below, above = values.gather(-1, interval), values.gather(-1, interval + 1)
        chord = below + share * (above - below)
        return torch.where(below.isfinite() & above.isfinite(), chord, -torch.inf)


def hull_on(line: Line, x: Tensor, log_prob: Tensor, low: Tensor, high: Tensor) -> Hull:
    """Return the hat that stands on points, rows x P; those that repeat, or are missing, go to the end."""
    x, order = x.sort(-1)
    log_prob = log_prob.gather(-1, order)
    missing = torch.nn.functional.pad(x.diff(dim=-1) <= 0, (1, 0)) | (log_prob == -torch.inf)
    x, order = torch.where(missing, high[:, None], x).sort(-1)
    log_prob = torch.where(missing, -torch.inf, log_prob).gather(-1, order)
    used = int((~missing).sum(-1).max())
    x, log_prob = x[:, :used], log_prob[:, :used]

    width = x.diff(dim=-1)
    secant = log_prob.diff(dim=-1) / width
    secant = torch.where(secant.isfinite(), secant, torch.nan)
    nan = torch.full_like(x[:, :1], torch.nan)
    places = torch.cat([low[:, None], x, high[:, None]], -1)
    heights = torch.cat([nan, log_prob, nan], -1)
    slopes, gaps = (torch.cat([nan, nan, values, nan, nan], -1) for values in (secant, width))
    room, rise = places.diff(dim=-1).nan_to_num(nan=0.0, posinf=torch.inf), heights.diff(dim=-1)
    before, after = slopes[:, :-2], slopes[:, 2:]  # the secants to the left and to the right of an interval
    meet = torch.minimum(((rise - after * room) / (before - after)).clamp(min=0), room)
    meet = torch.where(after.isnan() | meet.isnan(), room, meet)
    meet = torch.where(before.isnan(), 0.0, meet)
    rest = torch.where(meet == room, 0.0, room - meet)
    left = _pieces(places[:, :-1], heights[:, :-1], before, meet, gaps[:, :-2], 1.0)
    right = _pieces(places[:, 1:], heights[:, 1:], -after, rest, gaps[:, 2:], -1.0)
    pieces = Pieces(*(torch.stack(fields, -1).flatten(1) for fields in zip(left, right, strict=True)))
    endless = (pieces.length > 0) & ~(pieces.log_areas() < torch.inf)
    if endless.any():
        nearest = torch.cat([x[:, :1], x, x[:, -1:]], -1)[:, :-1].repeat_interleave(2, -1)
        raise ValueError(
            f"log_prob should fall beyond the outermost points on the infinite sides of the support, but the "
            f"hat does not {line.at(nearest, endless)}"
        )
    return Hull(x, log_prob, low, high, pieces)


def _pieces(
    anchor: Tensor, height: Tensor, slope: Tensor, length: Tensor, gap: Tensor, side: float
) -> Pieces:
    """Return lines with a slope away from their anchors, each seen from its highest end."""
    up = slope > 0
    far = torch.where(up, length, 0.0)
    top, side_seen = anchor + side * far, torch.where(up, -side, side)
    return Pieces(top, height + slope.abs() * far, slope.abs(), side_seen, length, gap)
