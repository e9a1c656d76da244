"""Whose memory a node of a graph shows, and what the graph writes into."""

from __future__ import annotations

import operator

import torch
from torch.fx import Graph, Node

aten = torch.ops.aten
SHARING = {
    aten._unsafe_view.default, aten.unsafe_split.Tensor, aten.unsafe_split_with_sizes.default,
}  # fmt: skip
"""Operations whose results show the memory of their first argument though they do not declare it."""


def root(node: Node) -> Node:
    """Return the node whose memory this one shows."""
    while node.op == "call_function" and node.args and isinstance(node.args[0], Node):
        source = node.args[0]
        maker = source if node.target is operator.getitem else node
        returns = getattr(getattr(maker.target, "_schema", None), "returns", ())
        if not (returns and returns[0].alias_info is not None) and maker.target not in SHARING:
            break
        node = source
    return node


def written(graph: Graph) -> set[Node]:
    """Return the nodes whose memory is written to, running means included.

    Where it is one of the results of an operation, the operation is among them: another call of it makes
    other memory. Batch normalisation moves its running mean and variance without declaring it; what an
    operation without a declaration does is not known.
    """
    found: set[Node] = set()
    for node in (node for node in graph.nodes if node.op == "call_function"):
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            if node.target is not operator.getitem:
                found |= {root(source) for source in node.all_input_nodes}
            continue
        normalises = "batch_norm" in schema.name and "backward" not in schema.name
        if not (normalises or schema.is_mutable):
            continue
        given = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False))
        given |= node.kwargs
        for argument in schema.arguments:
            writes = argument.alias_info is not None and argument.alias_info.is_write
            runs = normalises and argument.name in ("running_mean", "running_var")
            value = given.get(argument.name) if writes or runs else None
            values = value if isinstance(value, list | tuple) else [value]
            found |= {root(value) for value in values if isinstance(value, Node)}
    return found | {node.all_input_nodes[0] for node in found if node.target is operator.getitem}
