"""Recorded graphs without the operations that do no work, to the same bits."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_map

from probgen.capture.sums_of_slices import add_at_places

_aten = torch.ops.aten
_SAME = (_aten.detach.default, _aten.alias.default, _aten.lift_fresh_copy.default)
"""Operations that return the values of their argument."""
_RESHAPED = (_aten.view.default, _aten.expand.default, _aten.reshape.default, _aten.permute.default)
"""Operations that do so where the shape stays as it is."""
_VIEWS = (_aten.view.default, _aten.reshape.default, _aten.unsqueeze.default, _aten.squeeze.dim)
"""Operations that do so in another shape."""
_FILLED = {
    _aten.ones_like.default: 1,
    _aten.zeros_like.default: 0,
    _aten.new_ones.default: 1,
    _aten.new_zeros.default: 0,
}
"""Operations whose result is known without their argument's values."""


def simplified(module: GraphModule, inputs: Sequence[Tensor]) -> GraphModule:
    """Drop what only renames a tensor, what is computed twice, and what does not depend on the inputs.

    A tensor that changes its shape several times changes it once, and gradients of slices are added at their
    places (:func:`add_at_places`). Operations that write to a tensor are first replaced by those that make a
    new one. A graph that writes to its inputs, or draws, is returned as it is.
    """
    given = module
    if _has_effects(module):
        module = make_fx(torch.func.functionalize(module))(*inputs)
        if _has_effects(module):
            return given
    for node in _functions(module):
        if (other := _same(node) or _reshaped_once(module, node)) is not None:
            _replace(node, other)
    for number, node in enumerate(_functions(module)):
        if (value := _known(module, node)) is not None:
            name = f"_known{number}"
            module.register_buffer(name, value)
            with module.graph.inserting_before(node):
                known = module.graph.get_attr(name)
            known.meta = dict(node.meta)
            _replace(node, known)
    done: dict[str, Node] = {}
    for node in _functions(module):
        call = f"{node.target} {node.args} {node.kwargs}"
        if done.setdefault(call, node) is not node:
            _replace(node, done[call])
    add_at_places(module)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _replace(node: Node, other: Node) -> None:
    node.replace_all_uses_with(other)
    node.graph.erase_node(node)


def _functions(module: GraphModule) -> list[Node]:
    return [node for node in module.graph.nodes if node.op == "call_function"]


def _has_effects(module: GraphModule) -> bool:
    """Say whether an operation writes to its arguments, or draws random numbers."""
    for node in _functions(module):
        schema = getattr(node.target, "_schema", None)
        random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        if random or (schema is not None and schema.is_mutable):
            return True
    return False


def _same(node: Node) -> Node | None:
    """Return the argument whose values, in their shape, an operation returns."""
    first = node.args[0] if node.args else None
    if not isinstance(first, Node):
        return None
    if node.target in _SAME:
        return first
    before, after = first.meta.get("val"), node.meta.get("val")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor) or before.shape != after.shape:
        return None
    if node.target is _aten.pow.Tensor_Scalar:
        return first if node.args[1] == 1 and before.dtype == after.dtype else None
    turned = node.target is _aten.permute.default and node.args[1] != list(range(before.dim()))
    return first if node.target in _RESHAPED and not turned else None


def _reshaped_once(module: GraphModule, node: Node) -> Node | None:
    """Return a tensor reshaped from what it was before it was reshaped several times."""
    root = node
    while (inner := _before_reshape(root)) is not None:
        root = inner
    if root in (node, node.args[0]) or not root.meta["val"].is_contiguous():
        return None
    if root.meta["val"].shape == node.meta["val"].shape:
        return root
    with module.graph.inserting_before(node):
        view = module.graph.call_function(_aten.view.default, (root, list(node.meta["val"].shape)))
    view.meta = dict(node.meta)
    return view


def _before_reshape(node: Node) -> Node | None:
    """Return what a tensor is a reshape of, or a sum over dimensions of size 1: the same numbers in order."""
    first = node.args[0] if node.args else None
    if not isinstance(first, Node) or node.target not in (*_VIEWS, _aten.sum.dim_IntList):
        return None
    before, after = first.meta.get("val"), node.meta.get("val")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return None
    return first if before.numel() == after.numel() and before.dtype == after.dtype else None


def _known(module: GraphModule, node: Node) -> Tensor | None:
    """Return the value of a node that does not depend on the inputs."""
    made = node.meta.get("val")
    if not isinstance(made, Tensor):
        return None
    if node.target in _FILLED:
        return torch.full(made.shape, _FILLED[node.target], dtype=made.dtype, device=made.device)
    if node.target is operator.getitem:  # one of several results, as those of a sort
        several, index = node.args
        found = _computed(module, several) if isinstance(several, Node) else None
        return found[index] if isinstance(found, tuple | list) and isinstance(index, int) else None
    found = _computed(module, node)
    return found if isinstance(found, Tensor) else None


def _computed(module: GraphModule, node: Node) -> Any:
    """Return what an operation makes of tensors that are known; None where some are not."""
    if node.op != "call_function" or any(one.op != "get_attr" for one in node.all_input_nodes):
        return None
    known = {one: getattr(module, str(one.target)) for one in node.all_input_nodes}
    if not all(isinstance(value, Tensor) for value in known.values()):
        return None
    args, kwargs = tree_map(lambda x: known.get(x, x) if isinstance(x, Node) else x, (node.args, node.kwargs))
    return node.target(*args, **kwargs)  # type: ignore[operator]
