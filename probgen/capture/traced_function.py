"""A function of tensors as one plain ATen graph, traced below autograd, that holds no Python.

It is what autograd itself runs, forwards and backwards where the function differentiates, so that neither
Pyro's Python nor autograd's is run again. Random numbers are drawn inside it, afresh at each call and from
the same generator as eagerly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyro
import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.capture.graph_memory import written
from probgen.capture.holdable import check_holdable
from probgen.capture.questions import Answered


def traced(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], *, still: bool = False
) -> GraphModule:
    """Return the graph of a function, with the forms of all tensors in it, for inputs of these shapes.

    Args:
        function: of the inputs; returns tensors.
        inputs: an example of them.
        still: whether the tensors that it holds beside its inputs stand still, as data do: Python may then
            read numbers from them. What it writes, to tensors of its own, is then written to new ones.

    Raises:
        Exception: whatever the function's Python raises where it depends on the values of tensors.
    """
    # One mode for the forms of all nodes: torch would make one for each, at half of the cost of the trace.
    forms = TracingContext(FakeTensorMode(allow_fallback_kernels=True))
    with pyro.validation_enabled(False), tracing(forms):
        with Answered(still=still):
            graph = make_fx(lambda *args: list(function(*args)))(*inputs)
        if still and written(graph.graph):
            graph = make_fx(torch.func.functionalize(graph))(*inputs)
    for node in graph.graph.find_nodes(op="get_attr"):
        held = getattr(graph, node.target)
        if getattr(held, "grad_fn", None) is not None:
            raise ValueError("it would hold results of autograd from before the step")
        node.meta.setdefault("val", held)
    check_holdable(graph.graph)
    return graph


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    if "get value out of a tracing tensor" in str(error):
        return "it would hold a number that Python takes from a tensor"
    return (str(error).strip() or repr(error)).splitlines()[0]
