"""Warm-up of the preconditioned Crank–Nicolson walk: its step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from probgen.capture.recorded_function import Wrap, as_written
from probgen.core import Density
from probgen.sampling.markov.moves.pcn import pcn_kernel
from probgen.sampling.markov.warmup.step_size_and_shape import WarmedUp, adapt_size


def adapt_pcn(
    prior: Distribution,
    log_likelihood: Callable[[Tensor], Tensor],
    position: Tensor,
    *,
    steps: int = 1000,
    target: float = 0.3,
    generator: torch.Generator,
    wrap: Wrap = as_written,
    progress: bool = False,
) -> WarmedUp:
    """Tune β, of each member of the batch, to an acceptance; where L is flat, it is 1."""
    density = Density(
        log_likelihood,
        support=constraints.real_vector,
        event_shape=prior.event_shape,
        batch_shape=prior.batch_shape,
        dtype=position.dtype,
        device=position.device,
    )
    return adapt_size(
        density,
        pcn_kernel(prior, log_likelihood, wrap=wrap),
        position,
        steps=steps,
        largest=1.0,
        target=target,
        generator=generator,
        progress=progress,
    )
