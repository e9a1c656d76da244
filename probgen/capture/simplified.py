"""Traced graphs without what a graph of fixed shapes does not need: every value stays, to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from probgen.capture.graph_memory import root, written
from probgen.capture.sums_of_slices import add_at_places

aten = torch.ops.aten
FILLED = {
    aten.ones_like.default: 1, aten.ones.default: 1, aten.new_ones.default: 1,
    aten.zeros_like.default: 0, aten.zeros.default: 0, aten.new_zeros.default: 0,
}  # fmt: skip
"""Operations whose result holds one number throughout."""
VIEWS = {
    aten.view.default, aten._unsafe_view.default, aten.expand.default, aten.detach.default,
    aten.alias.default, aten.t.default, aten.transpose.int, aten.permute.default, aten.slice.Tensor,
    aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default, aten.unsqueeze.default,
}  # fmt: skip
"""Operations that show the numbers of their first argument in another shape."""
RESHAPES = {
    aten.view.default, aten.reshape.default, aten.unsqueeze.default, aten.squeeze.dim, aten.sum.dim_IntList,
}  # fmt: skip
"""Operations that do so with all of them in order; a sum does where no two are added."""
COPIES = {aten._to_copy.default, aten.lift_fresh_copy.default}
ARITHMETIC = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor}
NEUTRAL = {
    aten.add.Tensor: 0, aten.sub.Tensor: 0, aten.mul.Tensor: 1, aten.div.Tensor: 1,
    aten.pow.Tensor_Scalar: 1,
}  # fmt: skip
"""Operations that change nothing where their second argument is this number."""
SMALL = 4096
"""Numbers up to which constants are held against one another."""


def simplify(traced: GraphModule, *, still: bool = False, owned: int | None = None) -> None:
    """Take out, in place, what is computed twice, what changes nothing and what is known beforehand.

    A tensor that changes its shape several times changes it once.

    Args:
        traced: the graph, with the forms of its tensors.
        still: whether the tensors that it holds stand still, so that what depends on them alone is computed
            here and now; gradients of slices are then added at their places (:func:`add_at_places`).
        owned: how many of its outputs, the last ones, may be written to, so that each has memory of its own;
            the others then share none with its inputs.
    """
    graph = traced.graph
    graph.set_codegen(torch.fx.graph.CodeGen())
    changing = written(graph)
    constants: dict[Node, Tensor] = {}
    several: dict[Node, Any] = {}  # what is known of operations with several results
    seen: dict[Any, Node] = {}
    for node in [node for node in graph.nodes if node.op == "call_function"]:
        # What has the numbers of an earlier node, in the same places.
        same = _same(node, changing)
        if same is None and not {root(node), *map(root, node.all_input_nodes)} & changing:
            # What holds one number throughout becomes that number, what is known a tensor of the graph's.
            _find_constant(node, constants)
            if node.target in ARITHMETIC:
                _use_constants(traced, node, constants)
            known = _computed(traced, node, constants, several) if still else None
            # What was computed before, after shapes that change several times change once.
            same = known or _reshaped_once(graph, node) or node
            if not _draws(same):
                same = seen.setdefault((same.target, _hashable(same.args), _hashable(same.kwargs)), same)
        if same is not None and same is not node:
            node.replace_all_uses_with(same)
    if still:
        add_at_places(traced)
    # No output is another tensor's memory that may be written to.
    if owned is not None:
        _own_outputs(graph, owned)
    graph.eliminate_dead_code()
    graph.lint()
    traced.recompile()


def _same(node: Node, changing: set[Node]) -> Node | None:
    """Return an earlier node that has the same numbers in the same places, by what the operation is."""
    form = _laid_out(node)
    if form is None:
        return None
    if node.target in VIEWS:
        source: Any = node
        while source.target in VIEWS:
            source = source.args[0]
            if _laid_out(source) == form:
                return source
        return None
    source = node.args[0] if node.args else None
    if node.target is aten.cat.default and len(source) == 1:
        (source,) = source
    elif node.target not in COPIES and not _neutral(node):
        return None
    if not isinstance(source, Node) or {root(source), root(node)} & changing:
        return None
    return source if _laid_out(source) == form else None


def _reshaped_once(graph: Graph, node: Node) -> Node | None:
    """Return a tensor reshaped from what it was before it was reshaped several times."""
    source = node
    while (inner := _before_reshape(source)) is not None:
        source = inner
    if source in (node, node.args[0] if node.args else None) or not source.meta["val"].is_contiguous():
        return None
    if source.meta["val"].shape == node.meta["val"].shape:
        return source
    with graph.inserting_before(node):
        view = graph.call_function(aten.view.default, (source, list(node.meta["val"].shape)))
    view.meta = dict(node.meta)
    return view


def _before_reshape(node: Node) -> Node | None:
    """Return what a tensor is a reshape of, or a sum over dimensions of size 1: the same numbers in order."""
    first = node.args[0] if node.args else None
    if not isinstance(first, Node) or node.target not in RESHAPES:
        return None
    before, after = first.meta.get("val"), node.meta.get("val")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return None
    return first if before.numel() == after.numel() and before.dtype == after.dtype else None


def _neutral(node: Node) -> bool:
    if node.target not in NEUTRAL or len(node.args) != 2:
        return False
    number = node.args[1]
    return isinstance(number, int | float) and number == NEUTRAL[node.target]


def _laid_out(node: Node) -> Any:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        return None
    return value.shape, value.stride(), value.storage_offset(), value.dtype, value.device


def _find_constant(node: Node, constants: dict[Node, Tensor]) -> None:
    """Note the number that a node holds throughout, whatever the inputs, as a tensor without dimensions."""
    value, tensors = node.meta.get("val"), node.all_input_nodes
    if not isinstance(value, Tensor):
        return
    if node.target in FILLED:
        constants[node] = torch.full((), FILLED[node.target], dtype=value.dtype, device=value.device)
    elif tensors and all(source in constants for source in tensors):
        if node.target in VIEWS:
            constants[node] = constants[tensors[0]]
        elif node.target in ARITHMETIC or node.target is aten.neg.default:
            args = [constants[arg] if isinstance(arg, Node) else arg for arg in node.args]
            with torch.no_grad():
                constants[node] = node.target(*args, **node.kwargs)


def _use_constants(traced: GraphModule, node: Node, constants: dict[Node, Tensor]) -> None:
    """Give constant arguments as tensors without dimensions, where the result stays as it is laid out.

    The layout counts: sums over tensors that are laid out otherwise round otherwise.
    """
    tensors = [arg for arg in node.args if isinstance(arg, Node)]
    varying = [arg for arg in tensors if arg not in constants]
    laid_out = _laid_out(node)
    if not varying or any(_laid_out(arg) != laid_out for arg in varying):
        return
    for arg in tensors:
        if arg in constants and arg.meta["val"].dim():
            node.replace_input_with(arg, _held(traced, node, constants[arg]))


def _computed(
    traced: GraphModule, node: Node, constants: dict[Node, Tensor], several: dict[Node, Any]
) -> Node | None:
    """Return what an operation makes of tensors that are all held, computed now; note several results."""
    sources = node.all_input_nodes
    if node.target in FILLED:
        made = node.meta["val"]
        form = {"dtype": made.dtype, "device": made.device}
        value: Any = torch.empty_strided(made.shape, made.stride(), **form).copy_(constants[node])
    elif _draws(node) or not all(source.op == "get_attr" or source in several for source in sources):
        return None
    else:
        held = {s: several[s] if s in several else getattr(traced, str(s.target)) for s in sources}
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), held.__getitem__)
        with torch.no_grad():
            value = node.target(*args, **kwargs)  # type: ignore[operator]
    if not isinstance(value, Tensor):
        several[node] = value
        return None
    found = _held(traced, node, value)
    if node in constants:
        constants[found] = constants[node]
    return found


def _held(traced: GraphModule, before: Node, value: Tensor) -> Node:
    """Return a node for a tensor that the graph holds from now on, or for one of the same bits that it holds.

    What is computed from equal constants, as one map at three places, is then computed once.
    """
    name = f"constant_{_bits(value) or f'{before.name}_{len(traced._buffers)}'}"
    for node in traced.graph.find_nodes(op="get_attr", target=name):
        return node
    traced.register_buffer(name, value, persistent=False)
    with traced.graph.inserting_before(before):
        node = traced.graph.get_attr(name)
    node.meta["val"] = value
    return node


def _bits(value: Tensor) -> str | None:
    """Return a name for the form and the bits of a small tensor, or None for another, as one of meta's."""
    if value.numel() > SMALL or value.layout is not torch.strided or value.is_meta:
        return None
    held = value.detach().cpu().resolve_conj().resolve_neg()
    # a copy, as one number may be laid out with any stride, at which torch refuses to look at it as bytes
    bits = held.clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8).numpy().tobytes()
    form = f"{tuple(value.shape)} {value.stride()} {value.dtype} {value.device}".encode()
    return hashlib.sha256(form + bits).hexdigest()


def _draws(node: Node) -> bool:
    """Say whether an operation draws random numbers, which are never the same."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    return type(value), value  # 1, 1.0 and True are not the same argument


def _own_outputs(graph: Graph, owned: int) -> None:
    """Let outputs have memory that is not an input's, and the last ones memory of their own."""
    output = graph.output_node()
    returned: Any = output.args[0]
    results = list(returned)
    roots = [root(result) for result in results]
    for i, result in enumerate(results):
        fresh = roots[i].op == "call_function"
        if i >= len(results) - owned:
            fresh = fresh and roots.count(roots[i]) == 1 and 0 not in result.meta["val"].stride()
        if not fresh:
            with graph.inserting_before(output):
                copy = graph.call_function(aten.clone.default, (result,))
            copy.meta["val"] = result.meta["val"].clone()
            results[i] = copy
    output.args = (results,)
