"""Samples as users have them: tensors, arrays, frames, mappings by site, and chains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from probgen.core import sample_of

if TYPE_CHECKING:
    import pandas as pd


@runtime_checkable
class Chained(Protocol):
    """Draws of chains by site, (chains, draws, \\*event): :class:`probgen.sampling.Chains`."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def statistics(self) -> Any: ...

    def __getitem__(self, name: str) -> Tensor: ...


Sample: TypeAlias = "Tensor | np.ndarray | pd.DataFrame | Mapping[str, Any] | Chained | tuple[Any, ...]"


class Points(NamedTuple):
    """Samples as tensors, by argument, and which of them are chains, (chains, draws, numbers)."""

    tensors: dict[str, Tensor]
    chains: frozenset[str]


def as_points(*, lead: int = 1, **samples: Sample) -> Points:
    r"""Return samples as tensors (n, numbers), chains as (chains, draws, numbers), and tensors as they are.

    Sites of mappings and of chains, and columns of frames, are matched by name, in the order of the first
    such sample. What is no tensor has the dtype of the first tensor, or the widest one of its parts.

    Args:
        lead: the dimensions of mappings' values that are not the event's: 2 for chains.
        samples: by argument.

    Raises:
        ValueError: for columns that are not numbers, and for other names.
        TypeError: for what is no sample.
    """
    like = next((x for x in samples.values() if isinstance(x, Tensor) and x.is_floating_point()), None)
    named = {argument: _by_name(argument, sample, like) for argument, sample in samples.items()}
    with_names = [argument for argument, parts in named.items() if parts is not None]
    order = list(named[with_names[0]] or ()) if with_names else []
    for argument in with_names:
        if odd := sorted(set(named[argument] or ()) ^ set(order)):
            raise ValueError(f"samples should name the same sites or columns but {argument} differs in {odd}")
    chains = frozenset(argument for argument, sample in samples.items() if isinstance(sample, Chained))
    tensors = {}
    for argument, sample in samples.items():
        parts = named[argument]
        if parts is None:
            tensors[argument] = sample_of(sample, argument, like=like)
        else:
            leading = 2 if argument in chains else lead if isinstance(sample, Mapping) else 1
            flat = [_flat(argument, name, parts[name], leading) for name in order]
            for name, part in zip(order, flat, strict=True):
                if part.shape[:leading] != flat[0].shape[:leading]:
                    raise ValueError(
                        f"{argument} should hold as many draws of {name!r} as of {order[0]!r} but has "
                        f"{tuple(part.shape[:leading])} and {tuple(flat[0].shape[:leading])}"
                    )
            tensors[argument] = torch.cat(flat, -1)
    for argument, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{argument} should be a tensor but is a {type(tensor).__name__}")
    if with_names:
        widest = _widest(tensors.values())
        tensors = {argument: tensor.to(widest) for argument, tensor in tensors.items()}
    return Points(tensors, chains)


def sites_of(sample: Sample, names: tuple[str, ...]) -> Any:
    """Return a sample as draws of a density with these sites: by site, or as one tensor."""
    parts = _by_name("x", sample, None)
    if parts is None:
        return sample_of(sample, "x")
    if set(names) <= set(parts):
        return {name: parts[name] for name in names}
    if isinstance(sample, Mapping | Chained):
        missing = next(name for name in names if name not in parts)
        raise ValueError(f"x should hold draws of every site but lacks {missing!r}")
    return torch.stack(list(parts.values()), -1)


def _by_name(argument: str, sample: Any, like: Tensor | None) -> dict[str, Any] | None:
    """Return the parts of a sample that has names; None of a tensor or an array."""
    if isinstance(sample, Chained):
        parts = {name: sample[name] for name in sample.names}
    elif isinstance(sample, Mapping):
        if not sample:
            raise ValueError(f"{argument} should hold draws of a site at least but is empty")
        parts = dict(sample)
    elif hasattr(sample, "columns") and hasattr(sample, "to_numpy"):
        names = [str(name) for name in sample.columns]
        twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
        if twice is not None:
            raise ValueError(f"{argument} should have columns of different names but has {twice!r} twice")
        parts = {name: sample.iloc[:, [place]] for place, name in enumerate(names)}
        return {name: sample_of(part, argument, like=like)[:, 0] for name, part in parts.items()}
    else:
        return None
    found = {name: sample_of(part, f"{name!r} of {argument}", like=like) for name, part in parts.items()}
    for name, part in found.items():
        if not isinstance(part, Tensor):
            raise TypeError(f"{name!r} of {argument} should be a tensor or an array but is {part!r:.40}")
    default = torch.get_default_dtype()
    return {name: part if part.is_floating_point() else part.to(default) for name, part in found.items()}


def _flat(argument: str, name: str, part: Tensor, lead: int) -> Tensor:
    if part.dim() < lead:
        raise ValueError(
            f"{name!r} of {argument} should have {lead} dimensions before its event but has shape "
            f"{tuple(part.shape)}"
        )
    return part.reshape(*part.shape[:lead], -1)


def _widest(tensors: Any) -> torch.dtype:
    first, *others = tensors
    dtype = first.dtype
    for tensor in others:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
