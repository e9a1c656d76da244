"""Runs of a pair with several draws of z per datum: all in one pass where that is right, else one by one."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import pyro
import torch
from pyro import poutine
from torch import Tensor
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, get_proxy_mode

from probgen.core import (
    NotFinite,
    Pair,
    evaluating,
    is_derived,
    plate_nesting,
    sample_sites,
    sharing,
)
from probgen.core.summed_out import NOTHING, Discrete, enumerated
from probgen.core.supports import Supported
from probgen.objectives.discrete_sites import discrete_sites, stand_ins
from probgen.objectives.plate_rows import Rows
from probgen.objectives.room_for_values import check_room, room_for
from probgen.objectives.traced_pair import log_prob_of, parts_of

logger = logging.getLogger("probgen")

PLATE = "_particles"
"""The plate of the draws, left of all the pair's own."""
DRAWS = 3
"""Draws that are looked at, at most, to see whether one pass for all is right."""


class Traces(NamedTuple):
    """The traces of a guide, and of the model on the guide's draws, for some particles."""

    guide: Any
    model: Any
    particles: int  # those of the plate; 1 where there is none
    nesting: int  # plates of the pair
    discrete: Discrete = NOTHING  # what is enumerated


class _Known(NamedTuple):
    """What is known of a pair on batches of one form."""

    nesting: int
    together: bool  # whether one pass for all particles is right
    calls: int


_KNOWN: WeakKeyDictionary[Pair, dict[Hashable, _Known]] = WeakKeyDictionary()


def traces_of(
    pair: Pair,
    particles: int,
    *batch: Tensor,
    model_gradients: bool = True,
    guided: bool = True,
) -> list[Traces]:
    """Run guide and model with several draws per datum: all in one pass, or in as many as there are draws.

    One pass has the draws in a plate left of all the pair's own, so that nets see shape (particles, n, ...).
    A net that takes dimension 0 for the batch, dimension 1 for channels or time, or that looks across the
    rows, computes something else there. So draws are run alone and held against their part of the pass, at
    calls 1, 2, 4, 8, ... for each form of the batch. Where they differ, or the pass fails, each draw is run
    alone, as a training with one draw does. What a net takes from its batch in training mode, such as the
    statistics of a batch normalisation, is then taken from the n rows of a draw.

    Without ``model_gradients`` only what the guide computes has a gradient. Discrete sites of the model alone
    are enumerated, and so are those of the guide, unless not ``guided``: then they are drawn.
    """
    learn = torch.is_grad_enabled() and model_gradients
    discrete = discrete_sites(pair, batch)
    if not guided:
        discrete = discrete._replace(guided=frozenset())

    def bound() -> None:
        traces = alone(pair, *batch, discrete=discrete)
        parts_of(traces.model, traces.guide, reparameterised=False)

    check_room(pair, batch, particles, discrete, bound)
    if particles == 1:
        return [alone(pair, *batch, learn=learn, discrete=discrete)]
    known = _known(pair, particles, *batch, discrete=discrete)
    if known.together:
        found = _together(pair, particles, known.nesting, *batch, learn=learn, discrete=discrete)
        if found is not None:
            return [found]
        _KNOWN[pair][_form(particles, batch, discrete)] = known._replace(together=False)
        _say_one_by_one(pair, particles)
    rows = Rows(pair, batch, discrete)
    return [alone(pair, *batch, rows=rows, learn=learn, discrete=discrete) for _ in range(particles)]


def alone(
    pair: Pair,
    *batch: Tensor,
    rows: Rows | None = None,
    learn: bool = False,
    discrete: Discrete = NOTHING,
) -> Traces:
    """Run guide and model with one draw per datum, without a plate of draws."""
    rows = rows or Rows(pair, batch, discrete)
    with Supported(), sharing(), room_for(discrete):
        guide = rows.guide_trace()
        with torch.set_grad_enabled(learn):
            model = rows.model_trace(guide)
    if discrete.guided or discrete.summed:
        return Traces(guide, model, 1, discrete.nesting, discrete)
    return Traces(guide, model, 1, max(plate_nesting(guide), plate_nesting(model)))


def trace_at(story: Callable[..., Any], traces: Traces, values: Mapping[str, Tensor], *batch: Tensor) -> Any:
    """Return a trace of the model or the guide of ``traces``, with other values of some guide sites."""
    held = traces.guide.copy()
    for name, value in values.items():
        held.nodes[name] = {**held.nodes[name], "value": value}
    return _replayed(story, held, traces, traces.discrete.summed, *batch)


def _replayed(
    story: Callable[..., Any], held: Any, traces: Traces, names: frozenset[str], *batch: Tensor
) -> Any:
    """Return a trace of a story on the values of another, some sites enumerated, for all draws."""
    sample_shape = (traces.particles,) if traces.particles > 1 else ()
    if names:
        story = enumerated(story, names, traces.nesting, sample_shape)
        return poutine.trace(poutine.replay(story, trace=held)).get_trace(*batch)
    with contextlib.ExitStack() as stack:
        for size in sample_shape:
            stack.enter_context(pyro.plate(PLATE, size, dim=-1 - traces.nesting))
        return poutine.trace(poutine.replay(story, trace=held)).get_trace(*batch)


def summed_at(pair: Pair, traces: Traces, discrete: Discrete, *batch: Tensor) -> Traces:
    """Return traces with the draws of all continuous sites, in which all discrete sites are enumerated."""
    held = traces.guide.copy()
    for name in discrete.guided:
        held.remove_node(name)
    with Supported(), sharing():
        guide = _replayed(pair.guide, held, traces, discrete.guided, *batch)
        model = _replayed(pair.model, held, traces, discrete.guided | discrete.summed, *batch)
    return Traces(guide, model, traces.particles, discrete.nesting, discrete)


def forget(pair: Pair) -> None:
    """Have the next runs of a pair checked again, say since its weights are others."""
    _KNOWN.pop(pair, None)


def _together(
    pair: Pair,
    particles: int,
    nesting: int,
    *batch: Tensor,
    learn: bool = False,
    discrete: Discrete = NOTHING,
) -> Traces | None:
    """Run guide and model once for all draws; None where that fails, or where plates are left of the draws'.

    Whatever it fails of, a draw alone may not; where it is the pair's own fault, that says so.
    """
    enumerates = bool(discrete.guided or discrete.summed)  # then the plate stands within the enumeration
    rows = Rows(pair, batch, discrete, (particles,))
    plate = contextlib.nullcontext() if enumerates else pyro.plate(PLATE, particles, dim=-1 - nesting)
    try:
        with Supported(), sharing(), plate:
            guide = rows.guide_trace()
            with torch.set_grad_enabled(learn):
                model = rows.model_trace(guide)
    except NotFinite:
        raise
    except Exception:
        return None
    deepest = max(plate_nesting(trace, laws=not enumerates) for trace in (guide, model))
    return Traces(guide, model, particles, nesting, discrete) if deepest == 1 + nesting else None


def _form(particles: int, batch: tuple[Tensor, ...], discrete: Discrete) -> Hashable:
    return particles, discrete, tuple((x.shape, x.dtype, x.device) for x in batch)


def _known(pair: Pair, particles: int, *batch: Tensor, discrete: Discrete = NOTHING) -> _Known:
    """Return what is known of a pair, checked if need be, without a trace in a graph or in the noise."""
    form = _form(particles, batch, discrete)
    known = _KNOWN.setdefault(pair, {}).get(form)
    if known is not None and get_proxy_mode() is not None:  # a graph is being captured
        return known
    calls = 1 if known is None else known.calls + 1
    if known is None or (known.together and not calls & (calls - 1)):
        devices = {x.device for x in batch if x.device.type == "cuda"}
        with (
            torch.random.fork_rng(devices=devices),
            disable_proxy_modes_tracing(),
            torch.no_grad(),
            poutine.block(),
        ):
            try:
                known = _checked(pair, particles, *batch, discrete=discrete)
            except Exception:  # no pass is right: the first draw, run alone, will say why
                return _Known(1, False, calls)
        if not known.together:
            _say_one_by_one(pair, particles)
    known = _KNOWN[pair][form] = known._replace(calls=calls)
    return known


def _say_one_by_one(pair: Pair, particles: int) -> None:
    logger.info(
        f"the {particles} draws of z per datum are run one by one, in as many passes of "
        f"{type(pair).__name__}: one pass for all would fail, or compute something else, as with nets that "
        f"take dimension 0 for the batch"
    )


def _checked(pair: Pair, particles: int, *batch: Tensor, discrete: Discrete) -> _Known:
    """Hold a few draws, run alone, against their part of one pass for all.

    That is done in evaluation mode, where nothing is drawn but z. In training it is done with other weights
    too, since a layer of zeros, or averages not yet made, hide what the layers below do; and in training
    mode, where that draws nothing either.
    """
    some, training = min(particles, DRAWS), any(module.training for module in pair.modules())
    with evaluating(pair):
        nesting, fits = _fits(pair, some, *batch, discrete=discrete)
        if fits and training:
            with contextlib.suppress(Exception), stand_ins(pair, moved=True):
                _, fits = _fits(pair, some, *batch, discrete=discrete)
    if fits and training:
        with stand_ins(pair):
            rows = Rows(pair, batch, discrete)
            single = alone(pair, *batch, rows=rows, discrete=discrete)
            if _agree(pair, single, single, 0, rows, batch):
                _, fits = _fits(pair, some, *batch, discrete=discrete)
    return _Known(nesting, fits, 0)


def _fits(pair: Pair, particles: int, *batch: Tensor, discrete: Discrete) -> tuple[int, bool]:
    """Return the number of plates, and whether the first and the last draw are alone as among all."""
    rows = Rows(pair, batch, discrete)
    single = alone(pair, *batch, rows=rows, discrete=discrete)
    whole = _together(pair, particles, single.nesting, *batch, discrete=discrete)
    draws = (0, particles - 1)
    return single.nesting, whole is not None and all(
        _agree(pair, single, whole, draw, rows, batch) for draw in draws
    )


def _agree(
    pair: Pair, single: Traces, whole: Traces, index: int, rows: Rows, batch: tuple[Tensor, ...]
) -> bool:
    """Say whether one draw has the log-probabilities alone that it has among the others, but for rounding."""
    held = single.guide.copy()
    for name, site in sample_sites(single.guide).items():
        among = whole.guide.nodes.get(name)
        if site["is_observed"] or among is None:
            continue
        value = _part(among["value"], whole, index, event_dim=len(site["fn"].event_shape))
        if value.numel() != site["value"].numel():
            return False
        held.nodes[name] = {**site, "value": value.reshape(site["value"].shape)}
    with Supported():
        guide = poutine.trace(poutine.replay(pair.guide, trace=held)).get_trace(*batch)
        model = rows.model_trace(guide)
    return _same(guide, whole.guide, whole, index) and _same(model, whole.model, whole, index)


def _same(trace: Any, among: Any, whole: Traces, index: int) -> bool:
    """Compare the log-probabilities in a trace with those of one draw in another."""
    sites, others = sample_sites(trace), sample_sites(among)
    if sites.keys() != others.keys():
        return False
    for name, site in sites.items():
        if is_derived(site):
            continue
        expected = log_prob_of(site).flatten()
        found = _part(log_prob_of(others[name]), whole, index).flatten()
        if found.shape != expected.shape or not _close(found, expected):
            return False
    return True


def _part(x: Tensor, whole: Traces, index: int, *, event_dim: int = 0) -> Tensor:
    """Return what belongs to one draw."""
    dim = 1 + whole.nesting + event_dim
    return x.select(-dim, index if x.shape[-dim] > 1 else 0) if x.dim() >= dim else x


def _close(found: Tensor, expected: Tensor) -> bool:
    kind = expected.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else expected.dtype
    size = expected.nan_to_num(0, 0, 0).abs().amax() if expected.numel() else 0.0
    tolerance = torch.finfo(dtype).eps ** (2 / 3) * (1 + float(size))
    return torch.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True)
