"""What reads molecules as graphs: the formula, and that the order of atoms has no say."""

import pytest
import torch

from probgen.core import seeded
from probgen.nets import BondConv, MoleculeReader
from probgen.priors import Molecules


def drawn(n):
    """Molecules of 1 to 6 atoms, of three kinds, with bonds by chance."""
    with seeded(0):
        law = Molecules(2, valences=(4, 2, 3), atoms=6).double()(torch.zeros(2).double())
        return law.sample((n,))


def test_a_convolution_is_the_formula():
    torch.manual_seed(0)
    conv, h = BondConv(3, 2, kinds=2).double(), torch.randn(4, 3).double()
    links = torch.tensor([[0, 1, 2, 0], [1, 0, 0, 2], [2, 0, 0, 1], [0, 2, 1, 0]])
    own, *each = conv.linear.weight.split(3, 1)
    for i in range(4):
        expected = own @ h[i] + conv.linear.bias
        for j in range(4):
            if links[i, j]:
                expected = expected + each[int(links[i, j]) - 1] @ h[j]
        torch.testing.assert_close(conv(h, links)[i], expected)


def test_the_order_of_atoms_and_places_without_one_have_no_say():
    torch.manual_seed(0)
    read = MoleculeReader(3, 5, width=8).double()
    x = drawn(100)
    x = x[(x.diagonal(dim1=1, dim2=2) > 0).sum(1) >= 4]
    assert len(x) > 10
    for one in x:
        n = int((one.diagonal() > 0).sum())
        order = torch.cat([torch.randperm(n), torch.arange(n, 6)])
        torch.testing.assert_close(read(one[order][:, order]), read(one))
        wider = torch.zeros(9, 9, dtype=torch.int64)
        wider[:6, :6] = one
        torch.testing.assert_close(read(wider), read(one))
    other = x.clone()
    pair = other[:, 1, 0]
    other[:, 1, 0] = other[:, 0, 1] = (pair + 1) % 4
    assert bool((read(other) - read(x)).abs().flatten(1).amax(1).gt(1e-6).all())  # it sees each bond


def test_wrong_sizes_and_kinds_are_refused():
    with pytest.raises(ValueError, match="BondConv should get inputs of size 3"):
        BondConv(3, 2, kinds=1)(torch.zeros(4, 2), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="kinds of atoms should be from 0 to 3 but go from 0 to 4"):
        MoleculeReader(3, 5)(torch.diag(torch.tensor([4, 0])))
    with pytest.raises(ValueError, match="bonds should be from 0 to 3 but go from 0 to 7"):
        MoleculeReader(3, 5)(torch.tensor([[1, 7], [7, 1]]))
    with pytest.raises(ValueError, match=r"molecules should have shape \(\*batch, N, N\) but have \(3, 4\)"):
        MoleculeReader(3, 5)(torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(TypeError, match="kinds of atoms should be whole numbers"):
        MoleculeReader(3, 5)(torch.eye(2))
    with pytest.raises(ValueError, match="outputs"):
        MoleculeReader(3, 0)
