"""Which latent sites of a pair are discrete and finite, and so can be enumerated: found by one run of it."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable
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
    """Return what is found once for each form of the batch, leaving noise and module as they were."""
    form = tuple((x.dim(), x.dtype) for x in batch)
    known = _FOUND.setdefault(pair, {})
    if form not in known:
        devices = {x.device for x in batch if x.device.type == "cuda"}
        quiet = (
            torch.random.fork_rng(devices=devices), disable_proxy_modes_tracing(), torch.no_grad(),
            evaluating(pair), poutine.block(), sharing(), Watch(pair, len(batch[0])),
        )  # fmt: skip
        with contextlib.ExitStack() as stack:
            for context in quiet:
                stack.enter_context(context)
            try:
                rows = Rows(pair, batch)
                guide = rows.guide_trace()
                model = rows.model_trace(guide)
            except Exception:  # what is wrong, the bound's own run will say
                return NOTHING
        known[form] = _of(guide, model)
    return known[form]


def _of(guide: Any, model: Any) -> Discrete:
    finite = {name: count for trace in (guide, model) for name, count in _finite(trace).items()}
    drawn = {name for name, site in sample_sites(guide).items() if not site["is_observed"]}
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
