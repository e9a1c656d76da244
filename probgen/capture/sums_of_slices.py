"""Gradients of slices in recorded graphs, added at their places and not as tensors padded with zeros.

Autograd pads the gradient of a slice with zeros to the whole and adds what comes of all slices: of a
recurrence written by lags that is half of the work. A sum of one whole tensor, or of two slices that make one
whole again, and of padded tensors that are apart from one another, is the whole with the others added at
their places: to the same bits, but for the sign of a zero.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

_aten = torch.ops.aten


class Part(NamedTuple):
    """A tensor at the places [start, end) of a dimension: where it is taken from, or where it is put."""

    tensor: Node
    dim: int
    start: int
    end: int


def add_at_places(module: GraphModule) -> None:
    """Replace sums of padded tensors in a graph by sums at their places."""
    sums: dict[Node, list[Node]] = {}  # of padded tensors alone, used once
    for node in list(module.graph.nodes):
        if node.target is not _aten.add.Tensor or node.kwargs:
            continue
        if any(_form(one) != _form(node) for one in node.args):
            continue
        addends = [one for arg in node.args for one in sums.get(arg, [arg])]
        padded = [part for part in map(_padded, addends) if part is not None]
        whole = [one for one in addends if _padded(one) is None]
        if not whole:
            if len(node.users) == 1:
                sums[node] = addends
            whole, padded = _put_together(padded, node.meta["val"].shape)
        if len(whole) == 1 and _apart(padded):
            node.replace_all_uses_with(_added(module, node, whole[0], padded))


def _put_together(padded: list[Part], sizes: torch.Size) -> tuple[list[Node], list[Part]]:
    """Find two slices of one tensor that stand where they were and are all of it: return it, and the rest."""
    beginnings = [one for one in padded if one.start == 0]
    ends = [one for one in padded if one.end == sizes[one.dim]]
    for first, second in product(beginnings, ends):
        own = [slice_of(one.tensor) for one in (first, second)]
        if own[0] is None or first.end != second.start:
            continue
        base = own[0].tensor
        if base.meta["val"].shape == sizes and own == [p._replace(tensor=base) for p in (first, second)]:
            return [base], [one for one in padded if one is not first and one is not second]
    return [], padded


def _apart(padded: list[Part]) -> bool:
    places = sorted((one.start, one.end) for one in padded)
    beside = all(end <= start for (_, end), (start, _) in pairwise(places))
    return beside and len({one.dim for one in padded}) <= 1


def _added(module: GraphModule, node: Node, total: Node, padded: list[Part]) -> Node:
    """Return a new node: the whole, with the others added at their places."""

    def call(target: Any, args: tuple[Any, ...], like: Node) -> Node:
        new = module.graph.call_function(target, args)
        new.meta["val"] = like.meta["val"]
        return new

    with module.graph.inserting_before(node):
        for inner, *place in padded:
            own = call(_aten.slice.Tensor, (total, *place), inner)
            total = call(
                _aten.slice_scatter.default,
                (total, call(_aten.add.Tensor, (own, inner), inner), *place),
                node,
            )
    return total


def _padded(node: Node) -> Part | None:
    """Return what a tensor is that was padded with zeros, and where it stands."""
    if node.target is not _aten.slice_backward.default:
        return None
    return _part(*node.args)


def slice_of(node: Node) -> Part | None:
    """Return what a tensor is a slice of, and from where."""
    if node.target is not _aten.slice.Tensor:
        return None
    given: tuple[Any, ...] = node.args
    left_out = (None, 0, None, None, 1)
    base, dim, start, end, step = given + left_out[len(given) :]
    return _part(base, base.meta["val"].shape, dim, start, end, step)


def _part(tensor: Any, sizes: Any, dim: Any, start: Any, end: Any, step: Any) -> Part | None:
    if step != 1:
        return None
    size = sizes[dim]
    start, end = (
        min(max(place + size if place < 0 else place, 0), size)
        for place in (start or 0, size if end is None else end)
    )
    return Part(tensor, dim % len(sizes), start, end)


def _form(node: Any) -> tuple[torch.Size, torch.dtype] | None:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return (value.shape, value.dtype) if isinstance(value, Tensor) else None
