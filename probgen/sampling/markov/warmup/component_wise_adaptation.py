"""Warm-up of component-wise Metropolis: the scale of every coordinate, or site."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density
from probgen.sampling.markov.moves.component_wise import (
    By,
    Scan,
    blocks_of,
    component_wise_kernel,
    sweeper,
    usual_acceptance,
)
from probgen.sampling.markov.moves.integer_steps import FARTHEST, LABELS
from probgen.sampling.markov.moves.metropolis import State, fixed
from probgen.sampling.markov.warmup.step_size_and_shape import WarmedUp, tune


def adapt_component_wise(
    density: Density,
    position: Tensor,
    *,
    steps: int = 1000,
    by: By = "coordinate",
    scan: Scan = "random",
    target: float | None = None,
    generator: torch.Generator,
    wrap: Wrap = as_written,
    progress: bool = False,
) -> WarmedUp:
    """Tune the scale of every coordinate, or site, to its own acceptance by :func:`tune`.

    Labels have no scale to tune, so that no acceptance is promised where there are any.

    See Roberts and Rosenthal (2009), Examples of adaptive MCMC, section 3.
    """
    kernel = component_wise_kernel(density, by=by, scan=scan, wrap=wrap)
    blocks, target = blocks_of(density, by), usual_acceptance(density, by) if target is None else target
    sweep = sweeper(density, blocks, scan, wrap)

    # The scale of each coordinate is that of its block; of whole numbers it is neither below one cell's reach
    # nor beyond the farthest.
    def scale(size: Tensor) -> Tensor:
        if density.cells is not None:
            whole = (~density.cells[0].isnan()).to(blocks.dtype) @ blocks.mT > 0
            size = torch.where(whole, size.clamp(1 / FARTHEST, FARTHEST), size)
        return size.to(blocks.dtype) @ blocks

    def move(state: State, _: Tensor, size: Tensor, generator: torch.Generator) -> tuple[State, Tensor]:
        state, swept = sweep(state, scale(size), generator)
        # Acceptances come in the order of the sweep and go back to their blocks.
        by_block = swept.acceptance.gather(-1, swept.order.argsort(-1).expand(swept.acceptance.shape))
        return state, by_block.to(torch.float64).mean(0)

    _, size, position = tune(
        density,
        kernel.init,
        move,
        position,
        target=target,
        size=torch.full((*density.batch_shape, len(blocks)), kernel.scale),
        steps=steps,
        covariance="none",
        generator=generator,
        progress=progress,
    )
    labels = density.cells is not None and bool((density.cells[1] - density.cells[0] <= LABELS).any())
    return WarmedUp(fixed(density, kernel, scale(size)), position, None if labels else target)
