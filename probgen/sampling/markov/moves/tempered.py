"""Parallel tempering: chains at many temperatures in one batch, and swaps between neighbours."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from probgen.core import Density, Transition, drawing_from
from probgen.sampling.markov.moves.metropolis import judge, standard_uniform
from probgen.sampling.markov.moves.saved_states import saved

LINEAR = {"position", "log_prob", "gradient"}
"""Fields of a state that are known at another temperature without calling the log-density."""


@saved
class TemperedState(NamedTuple):
    r"""The chains of the target, (\*chains, \*batch), and those of all levels, (\*chains, levels, \*batch).

    ``trip`` says of each replica, which moves between levels: 0 before it has been at the target, 1 since
    then, 2 since it has been at the last level after that.
    """

    position: Tensor
    log_prob: Tensor
    levels: Any
    trip: Tensor


def tempered(
    density: Density,
    make_transition: Callable[[Density], Transition],
    *,
    ladder: Tensor | Sequence[float],
    reference: Distribution | None = None,
) -> Transition:
    r"""Return parallel tempering over a transition: chains at π^β for each β of a ladder, which swap places.

    A step moves all chains of all levels at once, then swaps neighbours: levels 0 and 1, 2 and 3, ..., then 1
    and 2, 3 and 4, ..., each with min(1, exp((β_k − β_{k+1}) (log π(x_{k+1}) − log π(x_k)))). In this fixed
    order a replica travels on in one direction until a swap is refused, which takes it to the last level and
    back far sooner than swaps in random order. What is flattened is the density on the unconstrained scale;
    each π^β has to have a finite integral, which tails of powers, as Student's, have not for small β.

    **Modes of very different width in many dimensions** are not weighed right by powers of π in a run of
    common length, and no diagnosis tells: the mass of the narrow one is nearly all at the levels near the
    target, and swaps lead past it (widths 1 and ½ in 30 dimensions: found in no draw, though chains made
    round trips). The cure is a **reference** q with a component at each mode, from runs that found them: then
    levels are at π^β q^(1−β), where each mode keeps about the mass that q and π give it, and at the last
    level each step proposes an independent draw y of q, taken with min(1, (π(y) q(x) / (π(x) q(y)))^β). It
    may be rough, in widths and in weights. One broad normal law is no cure: its path gives a mode of width s
    among others of width 1 the mass s^(d (1 − β)), just as powers do.

    Args:
        density: the target π.
        make_transition: makes a transition of a density, as ``lambda d: random_walk(d, scale=1.0)``. It is
            given the family of all π^β, whose batch shape is (levels, \*batch); each may have its own scale.
        ladder: β₀ = 1 > β₁ > ... > 0, shape (levels,) or (levels, \*batch).
        reference: q, a law of positions (dim,) on the unconstrained scale, nowhere 0; 1, if not given. With
            it each step calls the log-density twice.

    The transition starts from positions (chains, \*batch, dim), for all levels the same, or from positions of
    each, (chains, levels, \*batch, dim). Its info is that of the target's chains, and

    - ``not_finite``: whether a log-density was NaN or +∞ at any level;
    - ``swapped``: which neighbours swapped, (chains, levels − 1, \*batch);
    - ``round_trip``: whether a replica came back to the target from the last level.

    Raises:
        ValueError: for a ladder that does not fall from 1 towards 0, or a reference of another shape or type.

    See Geyer (1991), Markov chain Monte Carlo maximum likelihood; Okabe et al. (2001), for even and odd
    swaps; Syed et al. (2022), Non-reversible parallel tempering; Woodard, Schmidler and Huber (2009),
    Sufficient conditions for torpid mixing of parallel and simulated tempering, for modes of different width.

    >>> from probgen.sampling import random_walk
    >>> density = Density(lambda x: torch.logaddexp(-0.5 * (x - 8) ** 2, -0.5 * (x + 8) ** 2))
    >>> scale = torch.tensor([2.0, 4.0, 8.0, 16.0]).unsqueeze(-1)
    >>> init, step = tempered(density, lambda d: random_walk(d, scale=scale), ladder=[1, 0.3, 0.1, 0.03])
    >>> state, info = step(init(torch.full((5, 1), 8.0)), torch.Generator().manual_seed(0))
    >>> state.position.shape, state.levels.position.shape, info.swapped.shape
    (torch.Size([5, 1]), torch.Size([5, 4, 1]), torch.Size([5, 3]))
    """
    powers = checked_ladder(density, ladder)
    transition = make_transition(at_powers(density, powers, reference))
    swap = swapping(transition.init, powers, density, reference)

    def init(position: Tensor) -> TemperedState:
        levels = transition.init(on_levels(density, position, len(powers)))
        trip = torch.zeros_like(levels.log_prob, dtype=torch.int8)
        trip[:, 0] = 1
        return TemperedState(levels.position[:, 0], levels.log_prob[:, 0], levels, trip)

    def step(state: TemperedState, generator: torch.Generator) -> tuple[TemperedState, Any]:
        levels, info = transition.step(state.levels, generator)
        levels, place, _, swapped = swap(levels, generator)
        trip = state.trip.gather(1, place)
        back = trip[:, 0] == 2
        trip[:, 0] = 1
        trip[:, -1] = torch.where(trip[:, -1] == 1, 2, trip[:, -1])
        found = {name: value[:, 0] for name, value in info._asdict().items()}
        if "not_finite" in found:
            found["not_finite"] = info.not_finite.any(1)
        found |= {"swapped": swapped, "round_trip": back}
        state = TemperedState(levels.position[:, 0], levels.log_prob[:, 0], levels, trip)
        return state, _info(tuple(found))(**found)

    return Transition(init, step)


@lru_cache
def _info(names: tuple[str, ...]) -> Any:
    return namedtuple("TemperedInfo", names)


def checked_ladder(density: Density, ladder: Tensor | Sequence[float]) -> Tensor:
    r"""Return a ladder as a float64 tensor (levels, \*batch), which falls from 1 towards 0."""
    powers = torch.as_tensor(ladder, dtype=torch.float64, device=density.device)
    batch = density.batch_shape
    if powers.dim() == 1:
        powers = powers.reshape(-1, *[1] * len(batch)).expand(-1, *batch)
    if powers.dim() == 0 or powers.shape[1:] != batch or len(powers) < 2:
        raise ValueError(
            f"ladder should have shape (levels,) or {('levels', *batch)}, with at least 2 levels, "
            f"but has {tuple(powers.shape)}"
        )
    if not (powers[0] == 1).all():
        raise ValueError(f"ladder should start at 1 but starts at {float(powers[0].flatten()[0])}")
    wrong = ~((powers.diff(dim=0) < 0) & (powers[1:] > 0))
    if wrong.any():
        raise ValueError(
            f"ladder should fall and stay above 0 but its level {int(wrong.nonzero()[0, 0]) + 1} is "
            f"{float(powers[1:][wrong][0]):.4g}"
        )
    return powers


def at_powers(density: Density, powers: Tensor, reference: Distribution | None = None) -> Density:
    r"""Return the family of all π^β q^(1−β) of positions, with batch shape (levels, \*batch)."""
    if reference is not None:
        _check_reference(density, reference)
    own = powers.to(density.dtype)

    def log_prob(position: Tensor) -> Tensor:
        flattened = own * density.unconstrained_log_prob(position)
        if reference is None:
            return flattened
        return flattened + torch.where(own < 1, (1 - own) * reference.log_prob(position), 0.0)

    return Density(
        log_prob,
        support=constraints.real_vector,
        event_shape=(density.dim,),
        batch_shape=powers.shape,
        name="position",
        dtype=density.dtype,
        device=density.device,
    )


def _check_reference(density: Density, reference: Distribution) -> None:
    if reference.event_shape != (density.dim,) or reference.batch_shape:
        raise ValueError(
            f"reference should be a law of positions {(density.dim,)} but has batch shape "
            f"{tuple(reference.batch_shape)} and event shape {tuple(reference.event_shape)}"
        )
    dtype = reference.sample().dtype
    if dtype != density.dtype:
        raise ValueError(f"reference should draw {density.dtype}, as the density does, but draws {dtype}")


def on_levels(density: Density, position: Tensor, levels: int) -> Tensor:
    r"""Return positions of all levels, (chains, levels, \*batch, dim), where they are those of one."""
    if position.dim() == len(density.batch_shape) + 3:
        return position
    return position.unsqueeze(1).expand(-1, levels, *position.shape[1:]).contiguous()


Swap = Callable[[Any, torch.Generator], tuple[Any, Tensor, Tensor, Tensor]]


def swapping(
    init: Callable[[Tensor], Any],
    powers: Tensor,
    density: Density | None = None,
    reference: Distribution | None = None,
) -> Swap:
    r"""Return the swaps of a state of all levels; with a reference, after the last level has drawn anew.

    They give the new state; the level that each level's replica comes from, (chains, levels, \*batch); and,
    for each pair of neighbours, (chains, levels − 1, \*batch), the probability of a swap and whether it was
    made.
    A state with fields that depend on the temperature in a way that is not known is made anew by ``init``.
    """
    gaps = powers[:-1] - powers[1:]
    numbers = torch.arange(len(powers), device=powers.device).reshape(-1, *[1] * (powers.dim() - 1))

    def swap(state: Any, generator: torch.Generator) -> tuple[Any, Tensor, Tensor, Tensor]:
        position = state.position
        if density is None or reference is None:
            height = state.log_prob / powers
        else:
            height = (state.log_prob - reference.log_prob(position)) / powers
            position, height = _drawn_anew(position, height, powers[-1], density, reference, generator)
        place = numbers.expand_as(height).contiguous()
        uniform = standard_uniform(height[:, 1:], generator)
        acceptance = torch.empty_like(uniform)
        for first in (0, 1):
            pairs, upper = slice(first, len(powers) - 1, 2), slice(first + 1, None, 2)
            ratio = gaps[pairs] * (height[:, upper] - height[:, pairs])
            acceptance[:, pairs] = ratio.clamp(max=0).exp()
            accepted = uniform[:, pairs] < acceptance[:, pairs]
            height, place = (_exchanged(x, pairs, upper, accepted) for x in (height, place))
        linear = reference is None and set(state._fields) <= LINEAR
        state = _moved(state, place, powers) if linear else init(_taken(position, place))
        return state, place, acceptance, uniform < acceptance

    return swap


def _drawn_anew(
    position: Tensor,
    height: Tensor,
    power: Tensor,
    density: Density,
    reference: Distribution,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Move the last level by an independent draw of the reference; height is log π − log q."""
    with drawing_from(generator):
        fresh = reference.sample(height[:, -1].shape)
    new = density.unconstrained_log_prob(fresh) - reference.log_prob(fresh)
    accepted = judge(power * (new - height[:, -1]), new, standard_uniform(new, generator)).accepted
    position, height = position.clone(), height.clone()
    position[:, -1] = torch.where(accepted.unsqueeze(-1), fresh, position[:, -1])
    height[:, -1] = torch.where(accepted, new.to(height.dtype), height[:, -1])
    return position, height


def _exchanged(x: Tensor, pairs: slice, upper: slice, accepted: Tensor) -> Tensor:
    new = x.clone()
    new[:, pairs] = torch.where(accepted, x[:, upper], x[:, pairs])
    new[:, upper] = torch.where(accepted, x[:, pairs], x[:, upper])
    return new


def _moved(state: Any, place: Tensor, powers: Tensor) -> Any:
    ratio = powers / powers.expand_as(place).gather(1, place)
    scales = {"position": None, "log_prob": ratio, "gradient": ratio.unsqueeze(-1)}
    values = {}
    for name, value in state._asdict().items():
        taken, scale = _taken(value, place), scales[name]
        values[name] = taken if scale is None else (taken * scale).to(taken.dtype)
    return type(state)(**values)


def _taken(value: Tensor, place: Tensor) -> Tensor:
    return value.gather(1, place if value.dim() == place.dim() else place.unsqueeze(-1).expand_as(value))
