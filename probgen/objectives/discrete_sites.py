"""Which latent sites of a pair are discrete and finite, and so can be enumerated: found by one run of it."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from pyro import poutine
from torch import Tensor
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing

from probgen.core import Pair, evaluating, plate_nesting, sample_sites, sharing
from probgen.core.summed_out import NOTHING, Discrete
from probgen.objectives.plate_rows import Rows
from probgen.objectives.traced_pair import Watch

_FOUND: WeakKeyDictionary[Pair, dict[Hashable, Discrete]] = WeakKeyDictionary()


def discrete_sites(pair: Pair, batch: tuple[Tensor, ...]) -> Discrete:
    """Return what is found once for each form of the batch, leaving noise and module as they were.

    It is looked for in evaluation mode, and where the pair cannot be run in that, in the mode that it is in,
    on copies of its buffers. Where it cannot be run at all, nothing is found yet, and the bound's own run
    says why.
    """
    form = tuple((x.dim(), x.dtype) for x in batch)
    known = _FOUND.setdefault(pair, {})
    if form not in known:
        devices = {x.device for x in batch if x.device.type == "cuda"}
        for mode in (evaluating, stand_ins):
            quiet = (
                torch.random.fork_rng(devices=devices), disable_proxy_modes_tracing(), torch.no_grad(),
                mode(pair), poutine.block(), sharing(), Watch(pair, len(batch[0])),
            )  # fmt: skip
            with contextlib.ExitStack() as stack:
                for context in quiet:
                    stack.enter_context(context)
                with contextlib.suppress(Exception):
                    rows = Rows(pair, batch)
                    guide = rows.guide_trace()
                    known[form] = _of(guide, rows.model_trace(guide))
                    break
    return known.get(form, NOTHING)


@contextlib.contextmanager
def stand_ins(pair: Pair, *, moved: bool = False) -> Iterator[None]:
    """Let copies stand in for the weights and buffers of a pair, moved upwards: what is > 0 stays.

    A tensor that several names have, or several places of one module, has one copy.
    """
    copies: dict[int, Tensor] = {}
    held: list[tuple[dict[str, Any], str, Tensor]] = []
    for module in pair.modules():  # each once
        own: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        held += [(tensors, name, x) for tensors in own for name, x in tensors.items() if x is not None]
    for _, _, tensor in held:
        if id(tensor) not in copies:
            copy = copies[id(tensor)] = tensor.detach().clone()
            if moved and copy.is_floating_point():
                copy += 0.1 * (1 + copy.abs()) * torch.rand_like(copy)
    try:
        for tensors, name, tensor in held:
            tensors[name] = copies[id(tensor)]
        yield
    finally:
        for tensors, name, tensor in held:
            tensors[name] = tensor


def _of(guide: Any, model: Any) -> Discrete:
    drawn = {name for name, site in sample_sites(guide).items() if not site["is_observed"]}
    # What the guide draws is enumerated by its own law, if that has values: a point may lie between them.
    finite = {name: count for name, count in _finite(model).items() if name not in drawn} | _finite(guide)
    combinations = 1
    for count in finite.values():
        combinations *= count
    return Discrete(
        frozenset(finite.keys() & drawn),
        frozenset(finite.keys() - drawn),
        max(plate_nesting(guide), plate_nesting(model)),
        combinations,
    )


def _finite(trace: Any) -> dict[str, int]:
    """Return the latent sites with finitely many values, and how many each has."""
    counts = {}
    for name, site in sample_sites(trace).items():
        if site["is_observed"] or getattr(site["fn"], "has_rsample", False):
            continue
        try:
            counts[name] = len(site["fn"].enumerate_support(expand=False))
        except NotImplementedError:
            continue
    return counts
