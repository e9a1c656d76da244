"""Chains of several processes, as one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from probgen.core import Evaluations
from probgen.sampling.markov.chains import Chains


def gathered(chains: Chains) -> Chains:
    r"""Return the chains of all processes of a torch.distributed group, in the order of their ranks.

    Every process draws chains of its own, with a warm-up and a generator of its own, and then calls this
    function; all get all draws. ``state`` and ``transition`` stay those of the process, so that each goes on
    with its own chains. Without a group the chains are returned as they are.

    Args:
        chains: those of this process, of as many draws as in every other.

    Raises:
        ValueError: where two processes have drawn the same numbers, their generators having the same seed,
            or where processes have other sites or numbers of draws.

    >>> from probgen import Density
    >>> from probgen.sampling import sample
    >>> own = sample(Density(lambda x: -0.5 * x**2), chains=4, warmup=50, draws=10)
    >>> gathered(own) is own
    True
    """
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return chains
    draws = {name: chains[name] for name in chains.names}
    _check(draws | {"log_prob": chains.statistics["log_prob"]}, chains.state.generator_state)
    together = Chains(
        {name: _gather(value) for name, value in draws.items()},
        statistics={name: _gather(value) for name, value in chains.statistics.items()},
        state=chains.state,
        density=chains.density,
        target_acceptance=chains.target_acceptance,
        interrupted=chains.interrupted,
    )
    together.transition = chains.transition
    together.warm_up = Evaluations(*(sum(parts) for parts in zip(*_all(tuple(chains.warm_up)), strict=True)))
    return together


def _gather(value: Tensor) -> Tensor:
    """Return the values of all processes, which may have different numbers of chains, one after the other."""
    sizes = _all(len(value))
    most = max(sizes)
    padded = torch.cat([value, value.new_zeros(most - len(value), *value.shape[1:])]).contiguous()
    parts = [torch.empty_like(padded) for _ in sizes]
    torch.distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _check(draws: dict[str, Tensor], generator_state: Tensor) -> None:
    own = {
        "sites": [(name, tuple(value.shape[2:]), str(value.dtype)) for name, value in draws.items()],
        "draws": draws["log_prob"].shape[1],
        "generator": bytes(generator_state.cpu().numpy()),
    }
    everywhere = _all(own)
    for what in ("sites", "draws"):
        for rank, other in enumerate(everywhere):
            if other[what] != everywhere[0][what]:
                raise ValueError(
                    f"every process should have the same {what} but process 0 has {everywhere[0][what]} "
                    f"and process {rank} {other[what]}"
                )
    for rank, other in enumerate(everywhere):
        first = next(i for i, one in enumerate(everywhere) if one["generator"] == other["generator"])
        if first < rank:
            raise ValueError(
                f"every process should have its own generator but those of processes {first} and {rank} "
                f"have the same state: seed them by rank"
            )


def _all(own: Any) -> list[Any]:
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, own)
    return found
