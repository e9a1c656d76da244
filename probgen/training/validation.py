"""What an objective says of held-out data."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from probgen.core import Objective, seeded
from probgen.data import Source
from probgen.training.processes import Processes
from probgen.training.terms_by_name import Tally, named
from probgen.training.where_not_finite import where_not_finite

OF_PAIRS = 1024
"""Least rows at once for a loss that needs several."""
BLOCK = 16


@torch.no_grad()
def validate(
    objective: Objective,
    held_out: Source,
    *,
    batch_size: int,
    processes: Processes,
    device: torch.device,
) -> dict[str, float]:
    """Return the mean of each term over held-out data, on the same noise each time.

    Args:
        objective: in evaluation mode.
        held_out: the data.
        batch_size: the rows of a training step over all processes: so many fit into memory, and more so
            without gradients.
        processes, device: those of the training.
    """
    tally, count = Tally(), 0
    with seeded(processes.rank), processes.autocast():
        size = rows_at_once(objective, held_out, batch_size)
        order = torch.Generator(device).manual_seed(0)
        batches = held_out.batches(size, generator=order, shuffle=False, shard=processes.shard, device=device)
        for count, batch in enumerate(batches, start=1):
            if len(batch[0]):
                tally.add(count, *named(*objective(*batch)), len(batch[0]))
    return tally.table(count, processes, device).means()


def rows_at_once(objective: Objective, held_out: Source, batch_size: int) -> int | None:
    """Return how many rows of held-out data are judged at a time, over all processes.

    Those of a training step, up to a multiple of 16: torch draws normal numbers by sixteens, so that a normal
    latent has the noise that it has where all rows are judged at once. A loss that needs several rows, and
    depends on how many there are, is given 1,024 at least.
    """
    if held_out.own_batches:
        return None
    if objective.least_rows > 1:
        return max(batch_size, OF_PAIRS)
    return batch_size if batch_size < BLOCK // 2 else -(-batch_size // BLOCK) * BLOCK


@torch.no_grad()
def fault(
    objective: Objective,
    held_out: Source,
    terms: Mapping[str, float],
    *,
    batch_size: int,
    device: torch.device,
) -> str | None:
    """Name the term of held-out data that is not finite, and the site where one is found; None without."""
    bad = [name for name, value in terms.items() if not math.isfinite(value)]
    if not bad:
        return None
    name = next((name for name in bad if name not in ("loss", "elbo")), bad[0])
    size = rows_at_once(objective, held_out, batch_size)
    order = torch.Generator(device).manual_seed(0)
    sites = (
        where_not_finite(objective, *batch)
        for batch in held_out.batches(size, generator=order, shuffle=False, device=device)
    )
    site = next(filter(None, sites), None)
    return f"the term {name!r} is {terms[name]}{f' ({site})' if site else ''}"
