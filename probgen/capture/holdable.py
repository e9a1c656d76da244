"""What a graph of fixed shapes can hold, and what stands in for what runs otherwise in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

aten = torch.ops.aten
UNTAGGED = {aten._pack_padded_sequence.default, aten._to_sparse.default, aten._to_sparse.sparse_dim}
"""Operations whose results have as many numbers as their data say, which torch does not tag as such."""

PARTICULAR = (
    "index", "gather", "scatter", "embedding", "nll_loss", "take", "cholesky", "linalg", "_linalg", "lu_",
    "multinomial", "binomial", "poisson", "bernoulli.Tensor", "_assert", "histogram", "bucketize",
)  # fmt: skip
"""How the names begin of operations that raise for some values of their arguments, such as an index."""


def check_holdable(graph: Graph) -> None:
    """Raise for an operation whose result has another shape, or is another Python number, with other data.

    Where the counts agree by chance, a graph of such an operation would give wrong numbers without a word.
    """
    for node in graph.nodes:
        tags = getattr(node.target, "tags", ())
        if torch.Tag.data_dependent_output in tags:
            raise ValueError(f"it would hold a number that {node.target} takes from a tensor")
        dynamic = torch.Tag.dynamic_output_shape in tags or node.target in UNTAGGED
        if node.target is aten.index.Tensor:
            dynamic = any(_is_mask(index) for index in node.args[1])
        if dynamic:
            raise ValueError(f"the shape of what {node.target} returns depends on the data")


def can_fail(graph: Graph) -> bool:
    """Say whether a graph may raise for a batch of the right shape."""
    names = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    return any(
        name.removeprefix("aten.").startswith(PARTICULAR) or ("." in name and not name.startswith("aten."))
        for name in names
    )


def _is_mask(index: object) -> bool:
    value = index.meta.get("val") if isinstance(index, Node) else None
    return isinstance(value, Tensor) and value.dtype in (torch.bool, torch.uint8)


def _keeping_workspace(*args: Any) -> tuple[Tensor, ...]:
    """Run oneDNN's LSTM as for a training: without gradients it gives no workspace to its backward pass."""
    with torch.enable_grad():
        return aten.mkldnn_rnn_layer.default(
            *(arg.detach() if isinstance(arg, Tensor) else arg for arg in args)
        )


STAND_INS: dict[Any, Callable[..., Any]] = {aten.mkldnn_rnn_layer.default: _keeping_workspace}
"""What is called instead of an operation, in a graph that runs without autograd."""
