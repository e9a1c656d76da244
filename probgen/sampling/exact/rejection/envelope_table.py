"""Draws from under an envelope ("hat") of strips, by table look-up."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probgen.sampling.exact.rejection.checked_density import Line
from probgen.sampling.exact.rejection.envelope_of_strips import Strips, check_between
from probgen.sampling.exact.tables.cache_blocks import blocks, empty
from probgen.sampling.uniforms import uniform

_AUDIT = 2.0**-8


class HatTable:
    r"""Equally probable cells of a hat, each with a strip: rows x cells.

    A uniform number gives the cell by its leading bits. The rest of it, v, accepts at once where it is below
    the cell's ``sure`` share, which lies under the squeeze, and is then the place as well: x = anchor +
    scale v / (1 + bend v). Above it log_prob is evaluated, compared with hat and squeeze, and judged. Sure is
    only 255/256 of what the squeeze allows, so that the comparison is made everywhere.

    Args:
        line: the densities.
        strips: their strips, rows x K.
        index: the strip of each cell, rows x cells.
        area: of a cell, in each row.
        top: log_prob to which the strips' hats are relative, in each row.
    """

    def __init__(self, line: Line, strips: Strips, index: Tensor, area: Tensor, top: Tensor) -> None:
        self._line, self._strips, self._top, self._rows = line, strips, top, len(area)
        self.width = index.shape[-1]
        cells = torch.zeros_like(strips.area).scatter_add_(-1, index, torch.ones_like(index).to(area))
        self._filled = strips.area / (cells * area[:, None])
        sure = ((1 - _AUDIT) * strips.touch * self._filled).gather(-1, index)
        own = Strips(*(field.gather(-1, index) for field in strips))
        inverse = torch.where(sure > 0, 1 / sure, 0.0)
        scale = own.side * own.area * own.start**2 * inverse
        bend = -own.area * own.start * own.slope * inverse
        self.sure = sure
        self._columns = tuple(table.flatten() for table in (sure, own.anchor, scale, bend))
        first = torch.arange(self._rows, device=area.device)[:, None] * strips.area.shape[-1]
        self._strip = (index + first).flatten()

    def draw(
        self, n: int, *, generator: torch.Generator | None, max_rounds: int
    ) -> tuple[Tensor, Tensor, int]:
        """Draw n numbers of each row.

        Returns:
            the draws, (n, rows), those of a row together in memory; the number of proposals of each row; and
            how many draws are missing after so many rounds.
        """
        rows, innermost = self._rows, self._line.innermost
        flat = innermost is None or len(innermost[0]) == len(innermost[1]) == 1
        rounded = self._line.rounded if flat else lambda x: x
        x = empty(n * rows, dtype=self._line.dtype, device=self._top.device)
        none = torch.empty(0, dtype=torch.int64, device=x.device)
        late: list[tuple[Tensor, Tensor]] = [(none, none.int())]
        # One uniform for each draw. In the sure share of its cell it is a draw already, by the cell's
        # formula; the others are late.
        for block, place in blocks(n, rows, self.width, x.device):
            part = x[block]
            draws = part if part.dtype == torch.float64 else torch.empty_like(part, dtype=torch.float64)
            which, cell = self._look_up(draws.uniform_(generator=generator), place)
            part.copy_(rounded(draws))
            late.append((which + block.start, cell))
        slots, cells = (torch.cat(parts) for parts in zip(*late, strict=True))
        proposals = torch.full((rows,), n, dtype=torch.float64)
        # The late are judged against the density; who is refused begins again with another uniform.
        for _ in range(max_rounds):
            if len(slots) == 0:
                break
            judged, accepted = self._judge(cells, generator)
            x[slots[accepted]] = rounded(judged[accepted]).to(x.dtype)
            slots = slots[~accepted]
            row = slots // n
            proposals += row.bincount(minlength=rows).cpu()
            draws = torch.rand(len(slots), dtype=torch.float64, device=x.device, generator=generator)
            which, cells = self._look_up(draws, (row * self.width).to(cells.dtype))
            x[slots] = rounded(draws).to(x.dtype)
            slots = slots[which]
        x = x.reshape(rows, n).T
        return x if flat else self._line.rounded(x), proposals, len(slots)

    def _look_up(self, v: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Turn uniforms into draws, in place; return which are still to be judged, and their cells."""
        sure, anchor, scale, bend = self._columns
        v.mul_(math.nextafter(self.width, 0))  # the product stays below the width
        cell = v.to(place.dtype)
        v.frac_().add_(self.width * 2.0**-54)  # the middle of what 53 bits leave
        if self._rows > 1:
            cell.add_(place)
        which = (v >= sure.index_select(0, cell)).nonzero()[:, 0]
        below = bend.index_select(0, cell).mul_(v).add_(1)
        v.mul_(scale.index_select(0, cell)).div_(below).add_(anchor.index_select(0, cell))
        return which, cell.index_select(0, which)

    def _judge(self, cells: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Propose between the sure share and the hat of some cells, row by row; accept or not."""
        rows = self._rows
        row = cells // self.width
        counts = row.bincount(minlength=rows)
        column = torch.arange(len(cells), device=cells.device) - (counts.cumsum(0) - counts)[row]
        middle = torch.arange(rows, device=cells.device)[:, None] * self.width + self.width // 2
        padded = middle.repeat(1, int(counts.max()))
        padded[row, column] = cells.long()
        strip = self._strip[padded]
        own, filled = (
            Strips(*(field.flatten()[strip] for field in self._strips)),
            self._filled.flatten()[strip],
        )
        u = uniform((2, *padded.shape), device=cells.device, generator=generator)
        x = own.places(u[0]).clamp(self._line.first[:, None], self._line.last[:, None])
        level = check_between(self._line, x, self._line(x), self._top[:, None], own).exp()
        sure = (1 - _AUDIT) * own.touch
        accepted = u[1] * (1 / filled - sure) < level - sure
        return x[row, column], accepted[row, column]
