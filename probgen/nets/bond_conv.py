"""Networks on graphs whose links are of several kinds, such as molecules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from probgen.nets.checks import check_last, check_sizes, check_tokens
from probgen.nets.widened import widened


class BondConv(nn.Module):
    r"""A graph convolution that knows kinds of links: h_i W_0 + Σ_r Σ_{j: x_ij = r} h_j W_r + b.

    Args:
        inputs, outputs: numbers at a node before and after.
        kinds: of links, 1, ..., r; 0 is no link.

    Raises:
        ValueError: where a size is below 1, or the last dimension of the features is not ``inputs``.

    Source: Schlichtkrull and others (2018), Modeling relational data with graph convolutional networks;
    without its division by the number of neighbours, which tells atoms apart.

    >>> BondConv(8, 4, kinds=3)(torch.zeros(5, 20, 8), torch.zeros(5, 20, 20, dtype=torch.int64)).shape
    torch.Size([5, 20, 4])
    """

    def __init__(self, inputs: int, outputs: int, *, kinds: int) -> None:
        super().__init__()
        check_sizes(inputs=inputs, outputs=outputs, kinds=kinds)
        self.inputs, self.kinds = inputs, kinds
        self.linear = nn.Linear((kinds + 1) * inputs, outputs)

    def forward(self, features: Tensor, links: Tensor) -> Tensor:
        r"""Return features (\*batch, n, outputs) of (\*batch, n, inputs) and links (\*batch, n, n)."""
        check_last(self, features)
        near = [(links == kind).to(features.dtype) @ features for kind in range(1, self.kinds + 1)]
        return self.linear(torch.cat([features, *near], -1))


class MoleculeReader(nn.Module):
    r"""Molecules (\*batch, N, N), as ``data.BondMatrix`` has them, to numbers (\*batch, outputs).

    Each atom starts as a learned vector of its kind; convolutions along bonds, whose results are added to
    what is there, tell it of its surroundings; what a molecule is is a sum over its atoms, each with a
    weight of its own in (0, 1). So the order of atoms has no influence, and places without an atom have none.

    Args:
        kinds: of atoms, 1, ..., K; 0 is no atom.
        outputs: of the net; a head makes of it as many as its law needs.
        width: numbers of an atom.
        layers: convolutions, so many bonds far an atom sees.
        orders: of bonds, 1, 2, 3 by default.

    Source: Duvenaud and others (2015), Convolutional networks on graphs for learning molecular fingerprints;
    Li, Tarlow, Brockschmidt and Zemel (2016), Gated graph sequence neural networks, for the sum.

    >>> MoleculeReader(9, 4)(torch.eye(20, dtype=torch.int64).expand(5, 20, 20)).shape
    torch.Size([5, 4])
    """

    def __init__(
        self, kinds: int, outputs: int, *, width: int = 64, layers: int = 4, orders: int = 3
    ) -> None:
        super().__init__()
        check_sizes(kinds=kinds, outputs=outputs, width=width, layers=layers, orders=orders)
        self.outputs, self.orders = outputs, orders
        self.atoms = nn.Embedding(kinds + 1, width)
        self.layers = nn.ModuleList(BondConv(width, width, kinds=orders) for _ in range(layers))
        self.weigh, self.tell = nn.Linear(width, 2 * width), nn.Linear(width, 2 * width)
        self.last = nn.Linear(2 * width, outputs)

    def widen(self, factor: int) -> None:
        """Replace the last layer by a fresh one that gives ``factor`` blocks of ``outputs`` numbers."""
        self.last = widened(self.last, self.outputs, factor)

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers; ValueError for a kind of atom, or an order of a bond, that is not known."""
        if x.dim() < 2 or x.shape[-1] != x.shape[-2]:
            raise ValueError(f"molecules should have shape (*batch, N, N) but have {tuple(x.shape)}")
        kinds = x.diagonal(dim1=-2, dim2=-1)
        check_tokens(kinds, self.atoms.num_embeddings, name="kinds of atoms")
        bonds = x - torch.diag_embed(kinds)
        check_tokens(bonds, self.orders + 1, name="bonds")
        h = self.atoms(kinds.long())
        for layer in self.layers:
            h = h + layer(h, bonds).relu()
        each = self.weigh(h).sigmoid() * self.tell(h)
        return self.last(torch.where((kinds > 0).unsqueeze(-1), each, 0.0).sum(-2))
