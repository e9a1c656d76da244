"""An objective's loss and its gradients as one graph, freed of what it does not need."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.fx import GraphModule

from probgen.capture.comparison import autograd_nodes
from probgen.capture.graph_memory import written
from probgen.capture.holdable import can_fail
from probgen.capture.set_attributes import Places, forget, tensors_at
from probgen.capture.simplified import simplify
from probgen.capture.traced_function import traced
from probgen.core import Objective


class Captured(NamedTuple):
    """A graph of (*weights, *state, *batch): loss, terms, attributes that it sets, the weights' gradients."""

    graph: GraphModule
    terms: tuple[str, ...]
    places: Places  # of the attributes
    weights: tuple[str, ...]  # those that the loss depends on, and thus have a gradient
    writes: tuple[int, ...]  # numbers of the tensors that it writes into, where it may raise


def capture(
    objective: Objective,
    weights: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    batch: tuple[Tensor, ...],
    places: Places = MappingProxyType({}),
) -> Captured:
    """Record the loss of one batch and its gradient with respect to the weights.

    Args:
        objective: the module whose forward pass is the loss.
        weights: its parameters that learn, by name.
        state: its other parameters and its buffers, by name.
        batch: an example of the tensors that it takes.
        places: attributes that it may set, which are taken away before, so that it does not read them.

    Raises:
        Exception: whatever the objective's Python raises where it depends on the values of tensors.
    """
    names = (*weights, *state)
    terms: list[str] = []
    attributes: dict[str, Tensor] = {}
    learning: list[str] = []

    def loss_and_gradients(*tensors: Tensor) -> list[Tensor]:
        named = dict(zip(names, tensors, strict=False))
        forget(places)
        loss, values = functional_call(objective, named, tensors[len(names) :])
        if any(node.name() == "CheckpointFunctionBackward" for node in autograd_nodes(loss)):
            # which calls autograd again, and adds to the weights' gradients unseen
            raise ValueError("it would not run a reentrant torch.utils.checkpoint: give use_reentrant=False")
        with torch.autocast(loss.device.type, enabled=False):
            gradients = torch.autograd.grad(loss, tensors[: len(weights)], allow_unused=True)
        terms[:] = values
        attributes.update(tensors_at(places))
        learning[:] = [name for name, gradient in zip(names, gradients, strict=False) if gradient is not None]
        set_there = (value.detach() for value in attributes.values())
        return [loss.detach(), *values.values(), *set_there, *(g for g in gradients if g is not None)]

    with torch.enable_grad():
        graph = traced(loss_and_gradients, (*weights.values(), *state.values(), *batch))
    changing = written(graph.graph) if can_fail(graph.graph) else set()
    inputs = graph.graph.find_nodes(op="placeholder")
    simplify(graph, owned=len(learning))
    writes = tuple(i for i, node in enumerate(inputs) if node in changing)
    return Captured(graph, tuple(terms), {p: places[p] for p in attributes}, tuple(learning), writes)
