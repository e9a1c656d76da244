"""An objective's loss and gradients as one plain ATen graph, freed of what it does not need.

The graph is what autograd itself runs, forwards and backwards, recorded once below it, so that neither
Pyro's Python nor autograd's is run again. Random numbers are drawn inside it, afresh at each call and from
the same generator as eagerly. The rewriting keeps every value to the bit.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.capture.graph_memory import root, written, written_in_place
from probgen.capture.holdable import STAND_INS, can_fail, check_holdable
from probgen.capture.questions import Answered
from probgen.core import Objective

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
BUILT_IN = (types.BuiltinFunctionType, types.MethodDescriptorType)
ARITHMETIC = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor}
NEUTRAL = {
    aten.add.Tensor: 0, aten.sub.Tensor: 0, aten.mul.Tensor: 1, aten.div.Tensor: 1,
    aten.pow.Tensor_Scalar: 1,
}  # fmt: skip
"""Operations that change nothing where their second argument is this number."""


class Captured(NamedTuple):
    """A graph of (*weights, *state, *batch) that returns the loss, its terms and the weights' gradients."""

    graph: GraphModule
    terms: tuple[str, ...]
    weights: tuple[str, ...]  # those that the loss depends on, and thus have a gradient
    writes: tuple[int, ...]  # numbers of the tensors that it writes into, where it may raise


def capture(
    objective: Objective,
    weights: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    batch: tuple[Tensor, ...],
) -> Captured:
    """Record the loss of one batch and its gradient with respect to the weights.

    Args:
        objective: the module whose forward pass is the loss.
        weights: its parameters that learn, by name.
        state: its other parameters and its buffers, by name.
        batch: an example of the tensors that it takes.

    Raises:
        Exception: whatever the objective's Python raises where it depends on the values of tensors.
    """
    names = (*weights, *state)
    terms: list[str] = []
    learning: list[str] = []

    def loss_and_gradients(*tensors: Tensor) -> list[Tensor]:
        named = dict(zip(names, tensors, strict=False))
        loss, values = functional_call(objective, named, tensors[len(names) :])
        if _differentiates_again(loss):
            raise ValueError("it would not run a reentrant torch.utils.checkpoint: give use_reentrant=False")
        with torch.autocast(loss.device.type, enabled=False):
            gradients = torch.autograd.grad(loss, tensors[: len(weights)], allow_unused=True)
        terms[:] = values
        learning[:] = [name for name, gradient in zip(names, gradients, strict=False) if gradient is not None]
        return [loss.detach(), *values.values(), *(g for g in gradients if g is not None)]

    with torch.enable_grad(), pyro.validation_enabled(False), Answered():
        traced = make_fx(loss_and_gradients)(*weights.values(), *state.values(), *batch)
    for node in traced.graph.find_nodes(op="get_attr"):
        if getattr(getattr(traced, node.target), "grad_fn", None) is not None:
            raise ValueError("it would hold results of autograd from before the step")
    check_holdable(traced.graph)
    writes = written_in_place(traced.graph) if can_fail(traced.graph) else ()
    _simplify(traced, frozen=len(weights), learned=len(learning))
    return Captured(traced, tuple(terms), tuple(learning), writes)


def _differentiates_again(loss: Tensor) -> bool:
    """Say whether autograd calls itself for the loss, and adds to the weights' gradients unseen."""
    found, queue = set(), [loss.grad_fn]
    while queue:
        node = queue.pop()
        if node is None or node in found:
            continue
        if node.name() == "CheckpointFunctionBackward":
            return True
        found.add(node)
        queue += (before for before, _ in node.next_functions)
    return False


def bind(captured: GraphModule) -> GraphModule:
    """Return the graph with its operations called by torch's own functions, at half the cost of a call."""
    graph = Graph()
    graph.output(graph.graph_copy(captured.graph, {}))
    with FakeTensorMode(), torch.no_grad():  # where functions are tried for their form alone
        examples = {node: _example(node) for node in graph.nodes}
        for node in graph.nodes:
            node.target = STAND_INS.get(node.target, node.target)
            for owner in _owners(node):
                function = getattr(owner, node.target.overloadpacket.__name__, None)
                if isinstance(function, BUILT_IN) and _stands_in(function, node, examples):
                    node.target = function
                    break
    return GraphModule(captured, graph)


def _owners(node: Node) -> tuple[object, ...]:
    """Return where torch may have a function of a node's arguments; a method takes ``self`` first."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.arguments:
        return ()
    return (torch, Tensor) if schema.arguments[0].name == "self" else (torch,)


def _example(node: Node) -> Tensor | None:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)


def _stands_in(function: Callable[..., Any], node: Node, examples: Mapping[Node, Tensor | None]) -> bool:
    """Say whether a function takes a node's arguments and returns a tensor of the node's form."""
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), examples.__getitem__)
    try:
        found = function(*args, **kwargs)
    except (TypeError, RuntimeError, NotImplementedError):
        return False
    expected = examples[node]
    if not (isinstance(found, Tensor) and isinstance(expected, Tensor)):
        return False
    return (found.shape, found.stride(), found.dtype) == (expected.shape, expected.stride(), expected.dtype)


def _simplify(traced: GraphModule, *, frozen: int, learned: int) -> None:
    """Take out what a graph of fixed shapes does not need.

    Placeholders from number ``frozen`` on may be written to; the last ``learned`` outputs are gradients.
    """
    graph = traced.graph
    graph.set_codegen(torch.fx.graph.CodeGen())
    changing = written(graph, frozen)
    constants: dict[Node, Tensor] = {}
    seen: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
            continue
        same = _same(node, changing)
        if same is None and root(node) not in changing:
            _find_constant(node, constants)
            if node.target in ARITHMETIC:
                _use_constants(traced, node, constants)
            same = _seen(node, seen, changing)
        if same is not None:
            node.replace_all_uses_with(same)
    _own_gradients(graph, learned)
    graph.eliminate_dead_code()
    graph.lint()
    traced.recompile()


def _same(node: Node, changing: set[Node]) -> Node | None:
    """Return an earlier node that has the same numbers in the same places, by what the operation is."""
    if node.target in VIEWS:
        source: Any = node
        while source.target in VIEWS:
            source = source.args[0]
            if _laid_out(source) == _laid_out(node):
                return source
        return None
    source = node.args[0] if node.args else None
    if node.target is aten.cat.default and len(source) == 1:
        (source,) = source
    elif node.target is not aten._to_copy.default and not _neutral(node):
        return None
    if not isinstance(source, Node) or {root(source), root(node)} & changing:
        return None
    return source if _laid_out(source) == _laid_out(node) else None


def _neutral(node: Node) -> bool:
    if node.target not in NEUTRAL or len(node.args) != 2:
        return False
    number = node.args[1]
    return isinstance(number, int | float) and number == NEUTRAL[node.target]


def _laid_out(node: Node) -> Any:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    return value.shape, value.stride(), value.storage_offset(), value.dtype, value.device


def _find_constant(node: Node, constants: dict[Node, Tensor]) -> None:
    """Note the number that a node holds throughout, whatever the inputs, as a tensor without dimensions."""
    value, tensors = node.meta["val"], node.all_input_nodes
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
        value = arg.meta["val"]
        if arg in constants and value.dim():
            name = f"constant_{arg.name}"
            traced.register_buffer(name, constants[arg], persistent=False)
            with traced.graph.inserting_before(node):
                constant = traced.graph.get_attr(name)
            constant.meta["val"] = value.new_empty(())
            node.replace_input_with(arg, constant)


def _seen(node: Node, seen: dict[Any, Node], changing: set[Node]) -> Node | None:
    """Return an earlier node that computes the same, if any; random numbers are never the same."""
    random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    if random or any(root(source) in changing for source in node.all_input_nodes):
        return None
    key = (node.target, _hashable(node.args), _hashable(node.kwargs))
    return seen.setdefault(key, node) if seen.get(key) is not node else None


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple((key, _hashable(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    return type(value), value  # 1, 1.0 and True are not the same argument


def _own_gradients(graph: Graph, learned: int) -> None:
    """Let each gradient have memory of its own, so that it can be scaled or added to in place."""
    output = graph.output_node()
    returned: Any = output.args[0]
    results = list(returned)
    roots = [root(result) for result in results]
    for i in range(len(results) - learned, len(results)):
        fresh = roots[i].op == "call_function" and roots.count(roots[i]) == 1
        if not fresh or 0 in results[i].meta["val"].stride():
            with graph.inserting_before(output):
                copy = graph.call_function(aten.clone.default, (results[i],))
            copy.meta["val"] = results[i].meta["val"].clone()
            results[i] = copy
    output.args = (results,)
