"""Quantiles by table look-up: cells that the bits of u name, a polynomial in each, verified when made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import comb
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.sampling.exact.inversion import chebyshev_series as series
from probgen.sampling.exact.tables.cache_blocks import empty

Quantile = Callable[[Tensor], Tensor]

LOWEST = 2.0**-54
"""The least tail probability that a table knows."""

_CHECKS = np.array([-1.0, -0.52, 0.23, 1.0])  # where, in a cell, the polynomial is held against the quantile
TABLE_ERROR = 5e-12
"""What u may be off in a table."""
_ALLOWED = (TABLE_ERROR, 1e-7)  # this, and its share of the tail
_SIDE = 2048  # exponents of float64, after which the negative numbers come
_PARTS, _LEVELS = 5, 4  # cells that fail are split into 2⁵, so many times
_LIGHT, _MOST = 1e-8, 2**13  # but not those that hold less mass, nor more cells than this
_MISSING = 0.02  # of the mass: a table that lacks more is not used
_SPLIT = 0.05  # of the mass: a table that splits more of its cells is given a higher degree
_BLOCK = 2**16  # quantiles found at a time
_CHUNK = 2**19  # draws from one stream of random numbers


class Resolution(NamedTuple):
    """Cells an octave (their binary logarithm) and the degree of the polynomials."""

    bits: int
    degree: int

    @property
    def cells(self) -> int:
        """The number of cells on either side of the median."""
        return (53 << self.bits) + 1

    @property
    def cost(self) -> int:
        """How many quantiles it takes to make the table of a law."""
        return 2 * self.cells * (self.degree + 1 + len(_CHECKS))


COARSE, FINE, STEEP = Resolution(3, 9), Resolution(8, 3), Resolution(8, 7)
_DEGREE = 7  # in cells that were split
_LOW = 3
"""Up to this degree polynomials are in z itself, which is quick; rounding would show in higher powers."""


class Fit(NamedTuple):
    """Polynomials in z, or in the share of the cell before it: (power, cell, law), NaN where wrong."""

    powers: Tensor
    wrong: Tensor  # (cell, law)
    mass: Tensor  # (cell)


class Part(NamedTuple):
    """Cells that were split: their sorted names, and the polynomials in their parts."""

    names: Tensor
    shift: int
    powers: Tensor


class QuantileTable:
    r"""The quantile functions of a batch of laws on cells of the signed tail probability z.

    That is z = u up to u = ½, and z = u − 1 beyond. The octaves of \|z\|, from 2⁻⁵⁴ to ½, are cut into equal
    cells: the leading bits of z as a float64 number name its cell, and the others say which share of the cell
    lies before z; that is the argument of the cell's polynomial, or z itself where the degree is low. A
    polynomial may be off by 1e-11 in u and by a share of 1e-7 of the tail, unless other limits are
    ``allowed``. Where it is more, the cells of a single law are split, ``levels`` times at most; what then is
    left, of the mass ``missing``, gives NaN. ``split`` is the mass of the cells that were wrong at first; a
    table is ``whole`` where none was.

    Args:
        quantile: of z (n, batch) to x (n, batch).
        resolution: COARSE, or FINE for many draws of a single law.
    """

    def __init__(
        self,
        quantile: Quantile,
        batch: int,
        resolution: Resolution,
        device: torch.device,
        *,
        allowed: tuple[float, float] = _ALLOWED,
        levels: int = _LEVELS,
    ) -> None:
        self.batch, self.device, self._shift = batch, device, 52 - resolution.bits
        shift, least = self._shift, (1023 - 54) << resolution.bits
        side = torch.arange(resolution.cells, device=device)
        upper = least - (_SIDE << resolution.bits) + side  # of negative z
        names = torch.cat([upper, least + side])
        fit = _fitted(quantile, names, shift, resolution.degree, batch, allowed)
        self._first = 0 if batch == 1 and device.type == "cpu" else least  # memory not touched costs nothing
        self._span = least - self._first + (_SIDE << resolution.bits) + resolution.cells
        self._powers = [empty(batch * self._span, dtype=torch.float64, device=device) for _ in fit.powers]
        lower, upper = (least - self._first + start + side for start in (0, _SIDE << resolution.bits))
        for table, values in zip(self._powers, fit.powers, strict=True):
            table.view(batch, -1)[:, lower] = values[resolution.cells :].T
            table.view(batch, -1)[:, upper] = values[: resolution.cells].T

        self._parts: list[Part] = []
        self.whole = not fit.wrong.any()
        missing = (fit.mass[:, None] * fit.wrong).sum(0).max()
        self.split = float(missing)
        while batch == 1 and len(self._parts) < levels:
            split = fit.wrong[:, 0] & (fit.mass > _LIGHT)
            if not 0 < split.sum() < _MOST:
                break
            missing = missing - fit.mass[split].sum()
            parents = names[split]
            names = ((parents << _PARTS)[:, None] + torch.arange(1 << _PARTS, device=device)).flatten()
            fit = _fitted(quantile, names, shift - _PARTS, _DEGREE, 1, allowed)
            self._parts.append(Part(parents, shift, fit.powers[:, :, 0].contiguous()))
            missing = missing + (fit.mass * fit.wrong[:, 0]).sum()
            shift -= _PARTS
        self.missing = float(missing)

    def look_up(self, z: Tensor) -> Tensor:
        """Return quantiles at signed tail probabilities z (n, batch) of at least 2⁻⁵⁴."""
        x = empty(z.numel(), dtype=z.dtype, device=z.device).view(z.shape)
        workspace = self.workspace(len(z))
        with one_thread_an_operation():
            for start in range(0, len(z), self.rows(len(z))):
                part = slice(start, start + self.rows(len(z)))
                self.fill(x[part].view(-1), z[part].reshape(-1), workspace)
        return x

    def rows(self, n: int) -> int:
        """Return how many of n rows, a quantile of each law, are found at a time."""
        return min(n, max(1, _BLOCK // self.batch)) if self.device.type == "cpu" else n

    def workspace(self, n: int) -> tuple[Tensor, ...]:
        """Return room for what is computed on the way to n rows of quantiles, or to a block of them."""
        rows = self.rows(n)
        whole = [torch.empty(rows * self.batch, dtype=torch.int64, device=self.device) for _ in range(2)]
        parts = [torch.empty(rows * self.batch, dtype=torch.float64, device=self.device) for _ in range(2)]
        laws = self._span * torch.arange(self.batch, device=self.device) - self._first
        return (*whole, *parts, laws.repeat(rows))

    def fill(self, x: Tensor, z: Tensor, workspace: tuple[Tensor, ...]) -> None:
        """Put the quantiles at a block of z into x, both flat."""
        if len(z) < len(workspace[0]):
            workspace = tuple(room[: len(z)] for room in workspace)
        cell, rest, share, part, law = workspace
        bits = z.view(torch.int64)
        torch.bitwise_right_shift(bits, self._shift, out=cell).bitwise_and_(
            (2 * _SIDE << 52 - self._shift) - 1
        )
        if self._first:
            cell.add_(law)
        *lower, highest = self._powers
        if len(lower) > _LOW:
            torch.bitwise_and(bits, (1 << self._shift) - 1, out=rest)
            argument = share.copy_(rest).mul_(2.0**-self._shift)
        else:
            argument = z
        torch.index_select(highest, 0, cell, out=x)
        for powers in reversed(lower):
            torch.index_select(powers, 0, cell, out=part)
            torch.addcmul(part, x, argument, out=x)
        if self._parts:
            self._fill_parts(x, z)

    def _fill_parts(self, x: Tensor, z: Tensor) -> None:
        """Put the quantiles in cells that were split into x."""
        (where,) = x.isnan().nonzero(as_tuple=True)
        for names, shift, powers in self._parts:
            if not len(where):
                return
            bits = z.index_select(0, where).view(torch.int64)
            name, shift = bits >> shift, shift - _PARTS
            parent = torch.searchsorted(names, name).clamp(max=len(names) - 1)
            cell = (parent << _PARTS) + ((bits >> shift) & ((1 << _PARTS) - 1))
            share = (bits & ((1 << shift) - 1)).to(torch.float64) * 2.0**-shift
            *lower, found = powers.index_select(1, cell).unbind()
            for power in reversed(lower):
                found = power.addcmul(found, share)
            found = torch.where(names.index_select(0, parent) == name, found, torch.nan)
            x.index_copy_(0, where, found)
            where = where[found.isnan()]


def _fitted(
    quantile: Quantile, names: Tensor, shift: int, degree: int, batch: int, allowed: tuple[float, float]
) -> Fit:
    """Fit polynomials to quantiles in the named cells, and hold them against others."""
    middle, edge = (((names << shift) | part).view(torch.float64) for part in (1 << (shift - 1), 0))
    half = middle - edge  # negative for negative z, as bits then count downwards
    size = degree + 1
    nodes = -np.cos(np.pi * (np.arange(size) + 0.5) / size)

    def at(shares: np.ndarray) -> Tensor:  # (share, cell, law)
        z = middle + half * series.column(shares, middle)
        return quantile(z.flatten()[:, None].expand(-1, batch)).unflatten(0, (len(shares), -1))

    values = at(nodes)
    base = values[degree // 2]  # what is left varies little, so that its polynomial is not spoilt by rounding
    powers = series.apply(np.linalg.inv(np.vander(nodes, increasing=True)), values - base)
    expected = at(_CHECKS)
    rate = series.apply(np.vander(_CHECKS, degree, increasing=True) * np.arange(1, size), powers[1:])
    if degree > _LOW:
        matrix = [[comb(k, j) * (-1) ** (k - j) * 2**j for k in range(size)] for j in range(size)]
        powers = series.apply(np.array(matrix), powers)
        found = series.apply(np.vander((_CHECKS + 1) / 2, size, increasing=True), powers)
    else:
        for low in range(degree):  # ξ = z / half − middle / half
            for k in reversed(range(low, degree)):
                powers[k] -= (middle / half)[:, None] * powers[k + 1]
        powers /= (half ** series.column(np.arange(size), half))[:, :, None]
        z = (middle + half * series.column(_CHECKS, middle))[..., None]
        found = sum(power * z**k for k, power in enumerate(powers))
    absolute, relative = allowed
    room = (relative * middle.abs()).clamp(max=absolute) / half.abs()
    limit = room[:, None] * rate.abs() + torch.finfo(torch.float64).eps * expected.abs()
    wrong = ~((found - (expected - base)).abs() <= limit).all(0)
    powers[0] = torch.where(wrong, torch.nan, powers[0] + base)
    return Fit(powers, wrong, 2 * half.abs())


def table_for(
    n: int, batch: int, quantile: Quantile, device: torch.device, kept: dict[Resolution, QuantileTable]
) -> QuantileTable | None:
    """Return a table that pays for n quantiles of each law, made or kept; None where none does."""
    if n < 4 * COARSE.cost:
        return None
    if COARSE not in kept:
        kept[COARSE] = QuantileTable(quantile, batch, COARSE, device)
    table = kept[COARSE]
    if batch == 1 and n >= 8 * FINE.cost:
        coarse = table
        for resolution in (FINE, STEEP):
            if resolution not in kept:
                kept[resolution] = QuantileTable(
                    lambda z: quantiles(coarse, z, quantile), batch, resolution, device
                )
            table = kept[resolution]
            if table.split < _SPLIT:
                break
    return table if table.missing < _MISSING else None


def quantiles(table: QuantileTable, z: Tensor, quantile: Quantile) -> Tensor:
    """Return quantiles at z (n, batch), from the table where it has them, else by the function."""
    beyond = z.abs() < LOWEST
    x = table.look_up(torch.where(beyond, LOWEST, z))
    missing = (x.isnan() | beyond).any(1)
    if missing.any():
        x[missing] = quantile(z[missing])
    return x


def drawn(
    table: QuantileTable,
    n: int,
    quantile: Quantile,
    generator: torch.Generator | None,
    ends: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return n draws of each law, (n, batch), between the ends if there are any.

    On CPUs they are made in chunks by as many threads as torch has, each chunk from its own stream of random
    numbers (NumPy's, which are twice as fast as torch's), seeded by ``generator``.
    """
    batch, device = table.batch, table.device
    on_cpu = device.type == "cpu"
    chunk, rows = (max(1, _CHUNK // batch) if on_cpu else n), table.rows(n)
    x = empty(n * batch, dtype=torch.float64, device=device).view(n, batch)
    seed = torch.randint(2**63 - 1, (4,), device=device, generator=generator).tolist() if on_cpu else []
    chunks = iter(range(0, n, chunk))
    quick = on_cpu and batch == 1  # where numbers are faster than tensors, and cost no wait
    limits: list[Any] = [float(end) if quick else end for end in ends or ()]

    @torch.no_grad()
    def work() -> None:
        workspace = table.workspace(n)
        buffer = torch.empty((rows, batch), dtype=torch.float64, device=device)
        for first in chunks:
            stream = np.random.Generator(
                np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(first // chunk,)))
            )
            for start in range(first, min(first + chunk, n), rows):
                out = x[start : min(start + rows, first + chunk)]
                z = buffer[: len(out)]
                if on_cpu:
                    stream.random(out=z.numpy())
                else:
                    torch.rand(z.shape, dtype=z.dtype, device=device, generator=generator, out=z)
                table.fill(out.view(-1), z.sub_(0.5 - LOWEST).view(-1), workspace)
                if not table.whole and out.sum().isnan():
                    missing = out.isnan().any(1)
                    out[missing] = quantile(z[missing])
                if limits:
                    out.clamp_(*limits)

    with one_thread_an_operation() as threads, ThreadPoolExecutor(threads if on_cpu else 1) as pool:
        for worker in [pool.submit(work) for _ in range(threads if on_cpu else 1)]:
            worker.result()
    return x


@contextmanager
def one_thread_an_operation() -> Iterator[int]:
    """Keep torch from sharing operations on blocks among its threads, and say how many it has."""
    threads = torch.get_num_threads()
    if threads > 1:
        torch.set_num_threads(1)
    try:
        yield threads
    finally:
        if threads > 1:
            torch.set_num_threads(threads)
