"""Discrete sites of a trace: enumerated, and summed out of its log-probabilities."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pyro
import torch
from pyro.distributions import MaskedDistribution
from pyro.distributions.util import scale_and_mask
from pyro.ops.contract import contract_tensor_tree
from pyro.ops.packed import pack, unpack
from torch import Tensor

from probgen.core.density.handlers import Enumeration, Marked
from probgen.core.density.log_einsum import ExactLogRing
from probgen.core.traces import is_derived, per_row, sample_sites, site_log_prob


class Discrete(NamedTuple):
    """The latent sites of a pair that have finitely many values.

    Attributes:
        guided: those that the guide draws, whose values a bound weighs by their probabilities.
        summed: those of the model alone, which are summed out.
        nesting: plates of the pair.
        combinations: of values of all these sites, of one datum.
    """

    guided: frozenset[str] = frozenset()
    summed: frozenset[str] = frozenset()
    nesting: int = 1
    combinations: int = 1


NOTHING = Discrete()


def enumerated(
    story: Callable[..., Any],
    names: Collection[str],
    nesting: int,
    sample_shape: Sequence[int] = (),
    *,
    afresh: bool = True,
) -> Callable[..., Any]:
    """Return a model or a guide of which some sites hold all of their values, along dimensions of their own.

    Args:
        story: the model or guide.
        names: of the sites.
        nesting: the number of plates.
        sample_shape: of draws, left of the plates; the dimensions of the values are left of both.
        afresh: whether these dimensions begin there, or are left of those of the last story that was run.
    """
    first = -1 - nesting - len(sample_shape) if afresh else None

    def run(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            stack.enter_context(Enumeration(first))
            stack.enter_context(Marked(names))
            for place, size in enumerate(reversed(sample_shape), start=1):
                stack.enter_context(pyro.plate(f"_sample_{place}", size, dim=-nesting - place))
            return story(*args, **kwargs)

    return run


class Cost(NamedTuple):
    r"""A log-probability in the plates named, shape (\*enumerated, \*batch)."""

    log_prob: Tensor
    plates: frozenset[str]


def enumerated_dim(site: Any) -> int | None:
    """Return the dimension along which a site holds all of its values; None for one that is drawn."""
    return site["infer"].get("_enumerate_dim")


def unmasked(law: Any) -> Any:
    """Return a law without its mask."""
    while isinstance(law, MaskedDistribution):
        law = law.base_dist
    return law


def tied_to(names: Collection[str], sites: Mapping[str, Any]) -> list[str]:
    """Return, in their order, those sites whose log-probability depends on the enumerated sites named."""
    # Of how many values: where of one, dependence shows in that there is a dimension at all.
    sizes = {}
    for site in map(sites.__getitem__, names):
        if dim := enumerated_dim(site):
            sizes[dim] = site["value"].shape[dim - len(site["fn"].event_shape)]

    def depends(x: Any) -> bool:
        shape = getattr(x, "batch_shape", getattr(x, "shape", ()))
        return any(len(shape) >= -dim and shape[dim] == size for dim, size in sizes.items())

    return [
        name
        for name, site in sites.items()
        if not is_derived(site) and (name in names or depends(site["fn"]) or depends(site["mask"]))
    ]


def summed_out(trace: Any, sites: Mapping[str, Any], over: Collection[str]) -> list[Cost]:
    r"""Return log Σ_over Π p of some sites of a trace as summands, each in the plates that it is left in.

    Masks count, but not those of the sites summed out: what is masked there has all of its values, and their
    probabilities sum to 1. Scales do not.
    """
    trace.symbolize_dims()
    tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    for name, site in sites.items():
        law = unmasked(site["fn"]) if name in over else site["fn"]
        log_prob = law.log_prob(site["value"], *site["args"], **site["kwargs"])
        log_prob = scale_and_mask(log_prob, 1.0, None if name in over else site["mask"])
        plates = (f for f in site["cond_indep_stack"] if f.vectorized)
        ordinal = frozenset(trace.plate_to_symbol[frame.name] for frame in plates)
        tree.setdefault(ordinal, []).append(pack(log_prob, trace.nodes[name]["infer"]["_dim_to_symbol"]))
    symbols = {trace.nodes[name]["infer"]["_enumerate_symbol"] for name in over}
    contracted = contract_tensor_tree(tree, symbols, ring=ExactLogRing())
    names = {symbol: name for name, symbol in trace.plate_to_symbol.items()}
    return [
        Cost(unpack(term, trace.symbol_to_dim), frozenset(names[symbol] for symbol in ordinal))
        for ordinal, terms in contracted.items()
        for term in terms
    ]


def log_joint_prob(
    trace: Any, rows: int, *, nesting: int = 1, sites: Mapping[str, Any] | None = None
) -> Tensor:
    r"""Return the log-probability of a Pyro trace for each datum, summed over its sites.

    Sites that are enumerated are summed out. The shape is (\*sample, rows).

    Args:
        trace: of a model or a guide.
        rows, nesting: as in :func:`site_log_prob`, with its errors.
        sites: those that count; all where not given.
    """
    some = sample_sites(trace) if sites is None else sites
    some = {name: site for name, site in some.items() if not is_derived(site)}
    over = [name for name, site in some.items() if enumerated_dim(site) is not None]
    tied = tied_to(over, some)
    apart = (site_log_prob(n, s, rows, nesting=nesting) for n, s in some.items() if n not in tied)
    total = sum(apart)
    if not over:
        return torch.as_tensor(total)
    frames = {frame for name in tied for frame in some[name]["cond_indep_stack"]}
    for cost in summed_out(trace, {name: some[name] for name in tied}, over):
        total = total + per_row(over[0], cost.log_prob, frames, rows, nesting=nesting)
    return torch.as_tensor(total)
