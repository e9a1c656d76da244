"""Networks on graphs: convolutions over neighbours, of dense adjacency matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.nets.checks import check_last, check_sizes
from probgen.nets.widened import widened


def normalised(adjacency: Tensor) -> Tensor:
    r"""Return D^(−1/2) (A + I) D^(−1/2), of adjacency matrices (\*batch, n, n).

    D is diagonal, of the row sums of A + I. Raises ValueError for an entry of A below 0, or NaN.

    >>> normalised(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    if Distribution._validate_args and not bool((adjacency >= 0).all()):
        odd = adjacency[~(adjacency >= 0)][0].item()
        raise ValueError(f"weights of links should be 0 or more but one is {odd:g}")
    loops = adjacency + torch.eye(adjacency.shape[-1], dtype=adjacency.dtype, device=adjacency.device)
    scale = loops.sum(-1).rsqrt()
    return scale.unsqueeze(-1) * loops * scale.unsqueeze(-2)


class GraphConv(nn.Module):
    r"""A graph convolution: D^(−1/2) (A + I) D^(−1/2) H W + b.

    Each node gets a weighted mean of what its neighbours and itself have, through one linear map.

    Args:
        inputs, outputs: numbers at a node before and after.

    Raises:
        ValueError: where a size is below 1, the last dimension of the features is not ``inputs``, or a link's
            weight is below 0.

    Source: Kipf and Welling (2017), Semi-supervised classification with graph convolutional networks.

    >>> GraphConv(8, 4)(torch.zeros(5, 20, 8), torch.zeros(5, 20, 20)).shape
    torch.Size([5, 20, 4])
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        check_sizes(inputs=inputs, outputs=outputs)
        self.inputs, self.outputs = inputs, outputs
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, features: Tensor, adjacency: Tensor) -> Tensor:
        r"""Return features (\*batch, n, outputs) of those (\*batch, n, inputs) and of A (\*batch, n, n)."""
        check_last(self, features)
        return normalised(adjacency) @ self.linear(features) + self.bias


class GraphNet(nn.Module):
    r"""Two graph convolutions of a graph without features: A (\*batch, n, n) to numbers of each node.

    conv(relu(rows)) + own, where rows = D^(−1/2) (A + I) D^(−1/2) R + b: each node is known by its place, and
    has a learned row of R, as a first convolution of one-hot features gives it. So the net serves one set of
    nodes, in their order. ``own`` is a learned row of each node, which no neighbour shares: by convolutions
    alone neighbours get like numbers, such as how much they link.

    Args:
        nodes: n.
        outputs: numbers of a node.
        hidden: width between the convolutions.
        own: whether there are such rows.

    Source: Kipf and Welling (2016), Variational graph auto-encoders.

    >>> GraphNet(20, 4)(torch.zeros(5, 20, 20)).shape
    torch.Size([5, 20, 4])
    """

    def __init__(self, nodes: int, outputs: int, *, hidden: int = 32, own: bool = True) -> None:
        super().__init__()
        check_sizes(nodes=nodes, outputs=outputs, hidden=hidden)
        self.nodes, self.outputs = nodes, outputs
        self.rows = nn.Parameter(torch.randn(nodes, hidden) * hidden**-0.5)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.last = nn.Linear(hidden, outputs)
        self.own = nn.Parameter(torch.zeros(nodes, outputs)) if own else None

    def widen(self, factor: int) -> None:
        """Replace what comes last by fresh layers that give ``factor`` blocks of ``outputs`` numbers."""
        self.last = widened(self.last, self.outputs, factor)
        if self.own is not None:
            self.own = nn.Parameter(self.own.new_zeros(self.nodes, factor * self.outputs))

    def forward(self, adjacency: Tensor) -> Tensor:
        r"""Return the numbers, (\*batch, n, outputs)."""
        if adjacency.shape[-2:] != (self.nodes, self.nodes):
            raise ValueError(
                f"GraphNet should get adjacency matrices of {self.nodes} nodes but got shape "
                f"{tuple(adjacency.shape)}"
            )
        near = normalised(adjacency)
        hidden = (near @ self.rows + self.bias).relu()
        found = near @ self.last(hidden)
        return found if self.own is None else found + self.own
