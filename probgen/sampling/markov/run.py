"""Run a transition on many chains at once, and keep what it draws."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import pyro
import torch
from torch import Tensor
from tqdm import tqdm

from probgen.core import Density, Transition, check_count, evaluations, source_of
from probgen.sampling.markov.chains import Chains, RunState
from probgen.sampling.markov.interrupts import Interrupts
from probgen.sampling.markov.moves.cache_pieces import ByChain, cut, joined, pieces
from probgen.sampling.markov.starting_positions import require_finite
from probgen.sampling.markov.warmup.until_agreement import Agreement

logger = logging.getLogger("probgen")

_BLOCK = 50
"""Draws between two looks at the chains, each of which waits for the device."""


@torch.no_grad()
def run(
    transition: Transition,
    init: Tensor | RunState,
    *,
    draws: int,
    thin: int = 1,
    keep: Collection[str] | None = None,
    density: Density | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Chains:
    r"""Step every chain ``draws`` x ``thin`` times and keep each ``thin``-th position.

    Ctrl-C ends the run after the draw that is under way and returns what was drawn, to go on from the last
    draw; a second Ctrl-C ends it at once, with nothing. Proposals whose log-density is NaN or +∞ are refused,
    counted in the statistic ``not_finite`` and logged.

    On a CPU, chains that do not look at one another, of more than a hundred thousand numbers in all, are
    moved a piece at a time, each through all steps of a draw, so that it stays in the cache.

    Args:
        transition: how chains move.
        init: positions (chains, \*batch, dim), on the unconstrained scale; or ``chains.state`` of an earlier
            run, which then goes on to the bit, with its own generator where none is given. A state can be
            saved by ``torch.save`` and read by ``torch.load`` with ``weights_only=True``, by the same version
            of probgen, since another one may map positions to values otherwise.
        draws: kept draws per chain.
        thin: steps per kept draw.
        keep: names of the sites to keep, where not all.
        density: names the draws and maps them to their support; without it they are one site, ``position``.
        generator, seed: source of randomness, one at most; torch's global generator where not given.
        progress: show a bar with the acceptance, the largest R-hat so far of the coordinates, and the
            divergences where there are any.

    Raises:
        ValueError: for bad counts, an unknown site, a log-density that is not finite at the start, with its
            place, or a state whose fields are not what the transition makes of its positions.
    """
    draws = check_count("draws", draws)
    thin = check_count("thin", thin)
    begun = evaluations()
    # Where the chains stand: at the end of an earlier run, with its random numbers, or at given positions.
    if isinstance(init, RunState):
        state, device = init.state, init.state.position.device
        _require_own(transition, state)
        if generator is None and seed is None:
            generator = torch.Generator(device)
            try:
                generator.set_state(init.generator_state)
            except (RuntimeError, TypeError) as error:
                raise ValueError(
                    f"the generator's state should be one of torch's but is not: {error}"
                ) from None
    else:
        state, device = transition.init(init), init.device
    generator = source_of(generator, seed, device)
    require_finite(density, state)

    # Chains that do not look at one another move in pieces that fit into the cache.
    by_chain = isinstance(transition.step, ByChain)
    places = pieces(state.position) if by_chain else [slice(0, len(state.position))]
    states = [state] if len(places) == 1 else [cut(state, rows) for rows in places]
    kept, statistics = _Kept(density, keep, draws), _Statistics(draws, thin, len(state.position))
    # State and generator of the last whole draw: an interrupted run can go on from there.
    reached = RunState(state, generator.get_state())
    interrupted = False
    before = evaluations()
    agreement = Agreement() if progress else None
    with (
        tqdm(total=draws, disable=not progress, unit="draw") as bar,
        pyro.validation_enabled(False),
        Interrupts() as interrupts,
    ):
        try:
            for done in range(1, draws + 1):
                for i, rows in enumerate(places):
                    for _ in range(thin):
                        states[i], info = transition.step(states[i], generator)
                        statistics.add(info, rows)
                state = joined(states)
                kept.add(state.position)
                statistics.end_draw(state.log_prob)
                reached = RunState(state, generator.get_state())
                if agreement is not None:
                    agreement.add(state.position)
                    if done % _BLOCK == 0:
                        bar.set_postfix(statistics.shown() | agreement.shown(), refresh=False)
                        bar.update(_BLOCK)
                interrupts.raise_if_asked()
        except KeyboardInterrupt:
            interrupted = True
            if statistics.done == 0 or interrupts.urgent:
                raise
        bar.update(statistics.done - bar.n)

    found = statistics.collected()
    _report_not_finite(found.get("not_finite"), thin)
    draws_of_sites = kept.collected(statistics.done)
    chains = Chains(draws_of_sites, statistics=found, state=reached, density=density, interrupted=interrupted)
    chains.transition = transition
    chains.warm_up = before.since(begun)
    return chains


def _require_own(transition: Transition, state: Any) -> None:
    """Raise for a state of another transition or density, or one that was damaged."""
    levels = getattr(state, "levels", None)
    own = transition.init(state.position if levels is None else levels.position)
    if type(own) is not type(state) or _forms(own) != _forms(state):
        raise ValueError(f"the state should be one of this transition, {_forms(own)}, but is {_forms(state)}")
    for name in ("position", "log_prob", "gradient"):
        given, expected = getattr(state, name, None), getattr(own, name, None)
        if given is None or expected is None:
            continue
        tolerance = torch.finfo(expected.dtype).eps ** 0.5 * (1 + expected.abs().max())
        wrong = ~((given - expected).abs() <= tolerance)  # rounding differs where the log-density is compiled
        if wrong.any():
            raise ValueError(
                f"the state should be one of this transition but in chain {int(wrong.nonzero()[0, 0])} its "
                f"{name} is {float(given[wrong][0]):.6g} where the transition makes "
                f"{float(expected[wrong][0]):.6g} of its positions: is the density another one?"
            )


def _forms(state: Any) -> dict[str, str]:
    return {
        name: f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        for name, x in state._asdict().items()
    }


class _Kept:
    """Draws by site, [chain, draw, ...], filled a block at a time."""

    def __init__(self, density: Density | None, keep: Collection[str] | None, draws: int) -> None:
        names = ("position",) if density is None else density.names
        unknown = [name for name in keep or () if name not in names]
        if unknown:
            raise ValueError(f"keep should name sites among {list(names)} but names {unknown[0]!r}")
        self._density, self._draws = density, draws
        self._names = names if keep is None else tuple(name for name in names if name in keep)
        self._waiting: list[Tensor] = []
        self._filled = 0
        self._sites: dict[str, Tensor] = {}

    def add(self, position: Tensor) -> None:
        self._waiting.append(position)
        if len(self._waiting) == _BLOCK:
            self._flush()

    def collected(self, done: int) -> dict[str, Tensor]:
        self._flush()
        return {name: value[:, :done] for name, value in self._sites.items()}

    def _flush(self) -> None:
        if not self._waiting:
            return
        positions = torch.stack(self._waiting, 1)
        values = {"position": positions} if self._density is None else self._density.constrain(positions)
        start, self._filled = self._filled, self._filled + len(self._waiting)
        self._waiting = []
        for name in self._names:
            value = values[name]
            if name not in self._sites:
                self._sites[name] = value.new_empty(value.shape[0], self._draws, *value.shape[2:])
            self._sites[name][:, start : self._filled] = value


class _Statistics:
    """What the steps between two draws said: flags are counted, acceptance is averaged."""

    def __init__(self, draws: int, thin: int, chains: int) -> None:
        self._draws, self._thin, self._chains = draws, thin, chains
        self._kept: dict[str, Tensor] = {}
        self._evaluated = [evaluations()]
        self.done = 0

    def add(self, info: Any, rows: slice) -> None:
        for name, value in info._asdict().items():
            if name == "accepted":
                continue
            if value.dtype == torch.bool:
                self._slot(name, value, torch.int32)[rows].add_(value)
            elif name == "acceptance":
                self._slot(name, value, value.dtype)[rows].add_(value, alpha=1 / self._thin)
            else:
                self._slot(name, value, value.dtype)[rows].copy_(value)

    def end_draw(self, log_prob: Tensor) -> None:
        self._slot("log_prob", log_prob, log_prob.dtype).copy_(log_prob)
        self._evaluated.append(evaluations())
        self.done += 1

    def shown(self) -> dict[str, str]:
        """Return what the progress bar says about the last draw and all before it."""
        words = {"acceptance": f"{float(self._kept['acceptance'][self.done - 1].mean()):.3f}"}
        for name in ("divergent", "not_finite"):
            if name in self._kept and (count := int(self._kept[name].sum())):
                words[name] = str(count)
        return words

    def collected(self) -> dict[str, Tensor]:
        found = {name: value[: self.done].transpose(0, 1) for name, value in self._kept.items()}
        like, ends = found["log_prob"], self._evaluated[: self.done + 1]
        for name, total in zip(("evaluations", "gradients"), zip(*ends, strict=True), strict=True):
            # All chains, and members of a batch, are evaluated together, so that each has the same number.
            counts = torch.tensor(total).diff()
            if counts.any():
                shape = (1, -1, *[1] * (like.dim() - 2))
                found[name] = (counts / like[:, 0].numel()).to(like.device).reshape(shape).expand(like.shape)
        return found

    def _slot(self, name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
        if name not in self._kept:
            shape = (self._draws, self._chains, *value.shape[1:])
            self._kept[name] = torch.zeros(shape, dtype=dtype, device=value.device)
        return self._kept[name][self.done]


def _report_not_finite(counts: Tensor | None, thin: int) -> None:
    if counts is None or not (total := int(counts.sum())):
        return
    chain, draw = (int(i) for i in (counts.flatten(2).sum(-1) if counts.dim() > 2 else counts).nonzero()[0])
    logger.warning(
        f"log_prob was NaN or +inf at {total} of {counts.numel() * thin} proposals, which were refused; the "
        f"first of chain {chain} was on the way to draw {draw}"
    )
