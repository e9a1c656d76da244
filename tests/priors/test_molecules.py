"""The law of molecules as graphs, factor by factor, and how often its draws occur."""

import itertools

import pytest
import torch

from probgen.core import seeded
from probgen.priors import Molecules

VALENCES = (4, 2, 3)


def law(batch=(), *, atoms=4, seed=0, spread=0.7):
    with seeded(seed):
        head = Molecules(2, valences=VALENCES, atoms=atoms, hidden=8, width=6, memory=5).double()
        for weight in head.parameters():
            torch.nn.init.normal_(weight, std=spread)
        return head(torch.randn(*batch, 2).double())


def all_molecules(atoms):
    """Every matrix of so many places that may have a density, (m, N, N)."""
    found, pairs = [], [(i, j) for i in range(atoms) for j in range(i)]
    for n in range(1, atoms + 1):
        own = [(i, j) for i, j in pairs if i < n]
        for kinds in itertools.product(range(1, len(VALENCES) + 1), repeat=n):
            for bonds in itertools.product(range(4), repeat=len(own)):
                x = torch.diag(torch.tensor([*kinds, *[0] * (atoms - n)]))
                for (i, j), bond in zip(own, bonds, strict=True):
                    x[i, j] = x[j, i] = bond
                found.append(x)
    return torch.stack(found)


def memories(net, x):
    """The memory before each row and after all, a row at a time, its features counted bond by bond."""
    size, kinds, h = len(x), len(VALENCES) + 1, net.memory.start[None, None]
    found = [h[0, 0]]
    for i in range(size):
        atom, orders, partners = torch.zeros(kinds), torch.zeros(3), torch.zeros(kinds)
        distances = torch.zeros(size - 1)
        atom[x[i, i]] = 1
        for j in range(i):
            if x[i, j]:
                orders[x[i, j] - 1] += 1
                partners[x[j, j]] += 1
                distances[i - j - 1] += 1
        row = torch.cat([atom, orders, partners, distances]).double()
        h = net.memory.units(row[None, None], h)[1]
        found.append(h[0, 0])
    return found


def by_hand(own, x):
    """log p of a molecule: an atom, then its bonds, a factor at a time, what is used of valences counted."""
    net, n, total = own.net, int((x.diagonal() > 0).sum()), 0.0
    kinds, states = x.diagonal(), memories(own.net, x)
    told, used = own.places + net.told(kinds), [0] * n
    for i in range(min(n + 1, len(x))):
        before = kinds[i - 1] if i else torch.tensor(0)
        logits = net.kind(own.places[i]) + net.after.weight[before] + net.kind_after.weight @ states[i]
        if i == 0:
            logits = logits.clone()
            logits[0] = -torch.inf
        total = total + logits.log_softmax(-1)[kinds[i]]
        for j in range(i - 1, -1, -1):
            if i == n:
                break
            free = [int(net.valences[kinds[k]]) - used[k] for k in (i, j)]
            h = net.later.weight @ told[i] + net.later.bias + net.earlier.weight @ told[j]
            h = h + net.later_after.weight @ states[i] + net.earlier_after.weight @ states[j + 1]
            h = h + net.apart.weight[i - j] + net.used.weight[used[i]]
            h = h + net.free_i.weight[max(0, free[0])] + net.free_j.weight[max(0, free[1])]
            logits = net.bond(h).clone()
            logits[max(0, min(free)) + 1 :] = -torch.inf
            bond = int(x[i, j])
            total = total + logits.log_softmax(-1)[bond]
            used[i] += bond
            used[j] += bond
    return total


def test_the_density_is_that_of_factors_by_hand_and_masses_sum_to_one(device):
    own, every = law(atoms=3), all_molecules(3)
    found = own.log_prob(every)
    for x, value in zip(every[::17], found[::17], strict=True):
        torch.testing.assert_close(value, by_hand(own, x))
    torch.testing.assert_close(found.exp().sum(), torch.ones((), dtype=found.dtype))
    over = (
        every.sum(-1) - every.diagonal(dim1=1, dim2=2)
        > torch.tensor([0, *VALENCES])[every.diagonal(dim1=1, dim2=2)]
    )
    assert torch.equal(found.isinf(), over.any(1))
    moved = Molecules(2, valences=VALENCES, atoms=3).to(device)
    x = every[:50].to(device)
    assert moved(torch.zeros(50, 2, device=device)).log_prob(x).shape == (50,)


def test_draws_are_as_frequent_as_their_density_says():
    own, every = law(atoms=3, spread=0.3), all_molecules(3)
    probabilities = own.log_prob(every).detach().exp()
    n = 40_000
    with seeded(0):
        drawn = own.sample((n,))
    places = {tuple(x.flatten().tolist()): k for k, x in enumerate(every)}
    counts = torch.zeros(len(every), dtype=torch.float64)
    for x, times in zip(*drawn.unique(dim=0, return_counts=True), strict=True):
        counts[places[tuple(x.flatten().tolist())]] = times
    large = probabilities * n > 10
    expected = torch.cat([probabilities[large], probabilities[~large].sum().reshape(1)]) * n
    found = torch.cat([counts[large], counts[~large].sum().reshape(1)])
    cells = len(expected)
    assert cells > 30
    statistic = float(((found - expected).square() / expected).sum())
    assert statistic < cells - 1 + 4.5 * (2 * (cells - 1)) ** 0.5  # a false alarm in some 10,000
    uniform = n / cells  # a law of equal cells would be noticed
    assert float(((found - uniform).square() / uniform).sum()) > 10 * cells


def test_places_without_an_atom_pay_nothing():
    small = law(atoms=4)
    x = torch.zeros(4, 4, dtype=torch.int64)
    x[:2, :2] = torch.tensor([[1, 2], [2, 3]])
    other = law(atoms=4)
    with torch.no_grad():
        other.places[3] += 5.0  # after the END at the third place
    torch.testing.assert_close(other.log_prob(x), small.log_prob(x))
    with torch.no_grad():
        other.places[1] += 5.0
    assert float((other.log_prob(x) - small.log_prob(x)).detach().abs()) > 1e-3


def test_batches_and_broadcasting():
    own = law((5,))
    x = own.sample()
    together = own.expand((3, 5)).log_prob(x)
    assert together.shape == (3, 5)
    torch.testing.assert_close(together[1], own.log_prob(x))
    one = torch.stack([law((5,)).log_prob(x[k : k + 1].expand(5, -1, -1))[k] for k in range(5)])
    torch.testing.assert_close(own.log_prob(x), one)
    assert str(own) == "Molecule(at most 4 atoms of 3 kinds, batch_shape=(5,))"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[1, 0], [0, 4]], "kinds of atoms should be from 0 to 3 but one is 4"),
        ([[-1, 0], [0, 1]], "kinds of atoms should be from 0 to 3 but one is -1"),
        ([[1, 4], [4, 1]], "bonds should be from 0 to 3 but one is 4"),
        ([[1, 1], [0, 1]], "bonds should be symmetric, x_ij = x_ji, but are not"),
        ([[0, 0], [0, 1]], "atoms should come first and places without one, 0, after them"),
        ([[1, 1], [1, 0]], "bonds should be between atoms but one is at a place without an atom"),
        ([[1.0, 0.0], [0.0, 1.0]], "molecules should be whole numbers but are torch.float32"),
        ([[1]], r"should have shape 2 x 2 but have \(1, 1\)"),
    ],
)
def test_what_is_no_molecule_is_refused(rows, says):
    with pytest.raises(ValueError, match=says):
        law(atoms=2).log_prob(torch.tensor(rows))


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match=r"valences should be of each kind of atom, 0 or more, but are \(\)"):
        Molecules(2, valences=(), atoms=3)
    with pytest.raises(ValueError, match="atoms"):
        Molecules(2, valences=(4,), atoms=1)
