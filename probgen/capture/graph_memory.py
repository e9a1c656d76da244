"""Whose memory a node of a graph shows, and what the graph writes into."""

from __future__ import annotations

import operator

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten


def root(node: Node) -> Node:
    """Return the node whose memory this one shows."""
    while node.op == "call_function" and node.args and isinstance(node.args[0], Node):
        source = node.args[0]
        maker = source if node.target is operator.getitem else node
        returns = getattr(getattr(maker.target, "_schema", None), "returns", ())
        if (
            not (returns and returns[0].alias_info is not None)
            and node.target is not aten._unsafe_view.default
        ):
            break
        node = source
    return node


def written(graph: Graph, frozen: int) -> set[Node]:
    """Return the nodes whose memory is written to, or may be: placeholders from number ``frozen`` on."""
    found = set(graph.find_nodes(op="placeholder")[frozen:])
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable:
            found |= {root(arg) for arg in node.all_input_nodes}
    return found


def written_in_place(graph: Graph) -> tuple[int, ...]:
    """Return the numbers of the placeholders that are written to, running means included.

    Batch normalisation moves its running mean and variance without declaring it.
    """
    found: set[Node] = set()
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            continue
        given = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False))
        given |= node.kwargs
        normalises = "batch_norm" in schema.name and "backward" not in schema.name
        for argument in schema.arguments:
            writes = argument.alias_info is not None and argument.alias_info.is_write
            runs = normalises and argument.name in ("running_mean", "running_var")
            value = given.get(argument.name)
            if (writes or runs) and isinstance(value, Node):
                found.add(root(value))
    return tuple(i for i, node in enumerate(graph.find_nodes(op="placeholder")) if node in found)
