"""A graph's operations called by torch's own functions, at half the cost of a call."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from probgen.capture.holdable import STAND_INS
from probgen.capture.sums_of_slices import slice_of

BUILT_IN = (types.BuiltinFunctionType, types.MethodDescriptorType)


def bind(traced: GraphModule) -> GraphModule:
    """Return the graph with torch's own functions in the place of its operations, where they do the same."""
    graph = Graph()
    graph.output(graph.graph_copy(traced.graph, {}))
    forms = {node: _form(node.meta.get("val")) for node in graph.nodes}
    with torch.no_grad():
        for node in list(graph.nodes):
            if (part := slice_of(node)) is not None:  # of which torch has no function of its own
                node.target = torch.narrow
                node.args = (part.tensor, part.dim, part.start, part.end - part.start)
                continue
            node.target = STAND_INS.get(node.target, node.target)
            for owner in _owners(node):
                function = getattr(owner, node.target.overloadpacket.__name__, None)
                if isinstance(function, BUILT_IN) and _stands_in(function, node, forms):
                    node.target = function
                    break
    return GraphModule(traced, graph)


def _owners(node: Node) -> tuple[object, ...]:
    """Return where torch may have a function of a node's arguments; a method takes ``self`` first."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.arguments:
        return ()
    return (torch, Tensor) if schema.arguments[0].name == "self" else (torch,)


def _form(value: Any) -> Any:
    """Return a tensor without numbers that is laid out as a node's value; a list of them for several."""
    if isinstance(value, list | tuple):
        return [_form(one) for one in value]
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        return None
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def _stands_in(function: Callable[..., Any], node: Node, forms: Mapping[Node, Any]) -> bool:
    """Say whether a function takes a node's arguments and returns what has the form of its value."""
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), forms.__getitem__)
    if "device" in kwargs:
        kwargs = kwargs | {"device": "meta"}
    try:
        return _alike(function(*args, **kwargs), forms[node])
    except (TypeError, RuntimeError, NotImplementedError):
        return False


def _alike(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        several = isinstance(found, list | tuple) and len(found) == len(expected)
        return several and all(map(_alike, found, expected))
    if not (isinstance(found, Tensor) and isinstance(expected, Tensor)):
        return False
    return (found.shape, found.stride(), found.dtype) == (expected.shape, expected.stride(), expected.dtype)
