"""The law of molecules as graphs, atom after atom with its bonds, and what makes it of a code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Categorical, constraints
from torch.nn.functional import one_hot

from probgen.core import check_count
from probgen.data.molecules import ORDERS, check_bond_matrix
from probgen.nets import GRU, MLP
from probgen.nets.checks import check_sizes
from probgen.nets.laws import of_a_law


class Molecule(TorchDistribution):
    r"""The law of molecules x (N, N), as ``data.BondMatrix`` has them, given numbers of each place.

    p(x) = Π_i p(a_i | a_{i−1}, s_i) Π_{j < i} p(x_ij | a_i, a_j, s_i, s_{j+1}, bonds before): atom after
    atom, each with its bonds to those before, j = i − 1, ..., 0, and after the last atom a 0. The memory s_i
    has read the atoms 0, ..., i − 1 with their bonds. Of the bonds before, a bond also knows how much of
    their valence both atoms have used, and no atom has more bonds than its valence. Each factor is a
    categorical law, so that the masses of all matrices sum to 1. It is one of atoms in an order: another
    order of the same molecule has another density.

    Args:
        net: a :class:`Molecules`.
        places: numbers of each place, (\*batch, N, width).
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - as torch has it
    support = constraints.independent(constraints.nonnegative_integer, 2)

    def __init__(self, net: Molecules, places: Tensor, *, validate_args: bool | None = None) -> None:
        self.net, self.places = net, places
        atoms = places.shape[-2]
        super().__init__(places.shape[:-2], torch.Size((atoms, atoms)), validate_args=validate_args)

    def __repr__(self) -> str:
        batch = f", batch_shape={tuple(self.batch_shape)}" if self.batch_shape else ""
        return f"Molecule(at most {self.event_shape[0]} atoms of {len(self.net.valences) - 1} kinds{batch})"

    def expand(self, batch_shape: Any, _instance: Any = None) -> Molecule:
        """Return the same law on a larger batch."""
        places = self.places.expand(*batch_shape, *self.places.shape[-2:])
        new = Molecule(self.net, places, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p(x); −inf for an atom with more bonds than its valence."""
        if self._validate_args:
            self._validate_sample(value)
        states = self.net.states(value.long())  # of the data alone: once for all particles
        value = value.expand(torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)).long()
        kinds = value.diagonal(dim1=-2, dim2=-1)
        return self._of_atoms(kinds, states) + self._of_bonds(kinds, value, states)

    def _of_atoms(self, kinds: Tensor, states: Tensor) -> Tensor:
        """Return log p of the kinds of atoms, up to the first place without one."""
        before = torch.cat([torch.zeros_like(kinds[..., :1]), kinds[..., :-1]], -1)
        logits = self.net.atom_logits(self.places, before, states[..., :-1, :])
        logits = torch.cat([_without_0(logits[..., :1, :]), logits[..., 1:, :]], -2)
        found = logits.log_softmax(-1).gather(-1, kinds.unsqueeze(-1)).squeeze(-1)
        told = torch.cat([torch.ones_like(kinds[..., :1]), kinds[..., :-1]], -1) > 0
        return torch.where(told, found, 0.0).sum(-1)

    def _of_bonds(self, kinds: Tensor, value: Tensor, states: Tensor) -> Tensor:
        """Return log p of the bonds given the atoms and bonds before, all in one pass."""
        size = self.event_shape[0]
        i, j = torch.tril_indices(size, size, -1, device=value.device)
        lower = value.tril(-1)
        rows = lower.sum(-1)
        # A bond (i, j) comes after those of i to k > j, those of j to all before it, and k < i to j.
        used_i = (rows.unsqueeze(-1) - lower.cumsum(-1))[..., i, j]
        used_j = (lower.cumsum(-2) - lower + rows.unsqueeze(-2))[..., i, j]
        told = self.net.atoms_told(self.places, kinds, states)
        logits = self.net.bond_logits(told, kinds, i, j, used_i, used_j)
        bonds = value[..., i, j]
        found = logits.log_softmax(-1).gather(-1, bonds.unsqueeze(-1)).squeeze(-1)
        return torch.where(kinds[..., i] > 0, found, 0.0).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw molecules, int64, without gradient."""
        shape = torch.Size(sample_shape) + self.batch_shape
        return self.drawn(lambda logits: Categorical(logits=logits, validate_args=False).sample(), shape)

    @torch.no_grad()
    def drawn(self, choose: Callable[[Tensor], Tensor], shape: Sequence[int]) -> Tensor:
        r"""Return molecules (\*shape, N, N) whose atoms and bonds are chosen one by one, from logits."""
        size = self.event_shape[0]
        places = self.places.expand(*shape, *self.places.shape[-2:])
        x = torch.zeros(*shape, size, size, dtype=torch.int64, device=places.device)
        kinds, used = x.new_zeros(*shape, size), x.new_zeros(*shape, size)
        steps = torch.arange(size, device=x.device)
        states = self.net.memory.start.expand(*shape, size + 1, -1).clone()
        for i in range(size):
            # The atom, after the one before; none after the first place that has none.
            before = kinds[..., i - 1] if i else torch.zeros_like(kinds[..., 0])
            logits = self.net.atom_logits(places[..., i, :], before, states[..., i, :])
            chosen = choose(logits if i else _without_0(logits))
            kinds[..., i] = chosen if i == 0 else torch.where(before > 0, chosen, 0)
            x[..., i, i] = kinds[..., i]
            # Its bonds to those before, the nearest first; what both have used so far is counted.
            told = self.net.atoms_told(places, kinds, states)
            for j in reversed(range(i)):
                at = steps[i : i + 1], steps[j : j + 1]
                logits = self.net.bond_logits(told, kinds, *at, used[..., i : i + 1], used[..., j : j + 1])
                bond = torch.where(kinds[..., i] > 0, choose(logits[..., 0, :]), 0)
                x[..., i, j] = x[..., j, i] = bond
                used[..., i] += bond
                used[..., j] += bond
            states[..., i + 1, :] = self.net.next_state(x, i, states[..., i, :])
        return x

    def _validate_sample(self, value: Tensor) -> None:
        if value.shape[-2:] != self.event_shape:
            wanted = " x ".join(map(str, self.event_shape))
            raise ValueError(f"molecules should have shape {wanted} but have {tuple(value.shape[-2:])}")
        check_bond_matrix(value, kinds=len(self.net.valences) - 1)


class Molecules(nn.Module):
    r"""Codes z (\*batch, latent) to the law of molecules of at most N atoms, :class:`Molecule`.

    Args:
        latent: numbers of a code.
        valences: of each kind of atom, the most bonds, as ``data.BondMatrix`` knows them.
        atoms: N.
        hidden: widths of the layers from a code to the places.
        width: numbers of a place, and of a pair of places.
        memory: numbers that tell of the atoms and bonds before.

    Raises:
        ValueError: for sizes below 1, and valences that are none or below 0.

    Source: Simonovsky and Komodakis (2018), GraphVAE, of one shot, for graphs in any order, which is searched
    for; Li, Vinyals, Dyer, Pascanu and Battaglia (2018), Learning deep generative models of graphs, for bonds
    that know those before; Liu, Allamanis, Brockschmidt and Gaunt (2018) for valences that are kept.

    >>> law = Molecules(4, valences=(4, 3, 2), atoms=6)(torch.zeros(5, 4))
    >>> x = law.sample()
    >>> x.shape, law.log_prob(x).shape
    (torch.Size([5, 6, 6]), torch.Size([5]))
    """

    valences: Tensor

    def __init__(
        self,
        latent: int,
        *,
        valences: Sequence[int],
        atoms: int,
        hidden: int | Sequence[int] = (256,),
        width: int = 64,
        memory: int = 128,
    ) -> None:
        super().__init__()
        check_sizes(latent=latent, width=width, memory=memory)
        self.atoms, self.width = check_count("atoms", atoms, least=2), width
        if not len(valences) or min(valences) < 0:
            raise ValueError(f"valences should be of each kind of atom, 0 or more, but are {tuple(valences)}")
        self.register_buffer("valences", torch.tensor([0, *valences]))
        kinds, most = len(valences) + 1, max(valences)
        self.places = MLP(latent, atoms * width, hidden=hidden)
        self.kind, self.after = nn.Linear(width, kinds), nn.Embedding(kinds, kinds)
        self.told = nn.Embedding(kinds, width)
        self.later, self.earlier = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.memory = GRU(2 * kinds + ORDERS + atoms - 1, memory)
        self.kind_after = nn.Linear(memory, kinds, bias=False)
        self.later_after, self.earlier_after = (nn.Linear(memory, width, bias=False) for _ in range(2))
        self.apart = nn.Embedding(atoms, width)
        self.used, self.free_i, self.free_j = (nn.Embedding(most + 1, width) for _ in range(3))
        self.bond = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, ORDERS + 1))

    def forward(self, z: Tensor) -> Molecule:
        """Return the law."""
        return Molecule(self, of_a_law(self.places(z).unflatten(-1, (self.atoms, self.width))))

    def states(self, x: Tensor) -> Tensor:
        r"""Return the memory before each row of x (\*batch, N, N), and after all, (\*batch, N + 1, M)."""
        after = self.memory(self._rows(x))
        return torch.cat([self.memory.start.expand(*after.shape[:-2], 1, -1), after], -2)

    def next_state(self, x: Tensor, i: int, state: Tensor) -> Tensor:
        r"""Return the memory after row i, (\*batch, M), of that before it."""
        row = self._rows(x, slice(i, i + 1))[..., 0, :]
        after = self.memory.step(state.reshape(-1, state.shape[-1]), row.reshape(-1, row.shape[-1]))
        return after.reshape(state.shape)

    def _rows(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return what rows say: the atom; how many bonds of each order, to each kind, each distance."""
        lower = x.tril(-1)[..., rows, :]
        atoms = one_hot(x.diagonal(dim1=-2, dim2=-1), len(self.valences)).to(self.told.weight)
        bonded = (lower > 0).to(atoms)
        orders = torch.stack([(lower == k).sum(-1) for k in range(1, ORDERS + 1)], -1)
        place = torch.arange(self.atoms, device=x.device)
        back = place[rows].unsqueeze(-1) - place[1:]
        distances = bonded.gather(-1, back.clamp(min=0).expand(*x.shape[:-2], -1, -1)) * (back >= 0)
        return torch.cat([atoms[..., rows, :], orders.to(atoms), bonded @ atoms, distances], -1)

    def atom_logits(self, places: Tensor, before: Tensor, state: Tensor) -> Tensor:
        r"""Return logits (\*batch, K + 1) of an atom's kind, 0 for none, given the one before and all."""
        return self.kind(places) + self.after(before) + self.kind_after(state)

    def atoms_told(self, places: Tensor, kinds: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return what places, with their atoms, tell as later and as earlier ones, (\*batch, N, width).

        As a later one an atom knows the memory before it, as an earlier one that after it.
        """
        told = places + self.told(kinds)
        later = self.later(told) + self.later_after(states[..., :-1, :])
        return later, self.earlier(told) + self.earlier_after(states[..., 1:, :])

    def bond_logits(
        self,
        told: tuple[Tensor, Tensor],
        kinds: Tensor,
        i: Tensor,
        j: Tensor,
        used_i: Tensor,
        used_j: Tensor,
    ) -> Tensor:
        r"""Return logits (\*batch, m, 4) of the bonds of m pairs i > j, −inf at what valences forbid.

        Args:
            told: of all places, as :meth:`atoms_told` returns it.
            kinds: of all atoms, (\*batch, N).
            i, j: places, int64 (m,).
            used_i, used_j: the sums of the bonds that these atoms have so far, (\*batch, m).
        """
        free_i = (self.valences[kinds[..., i]] - used_i).clamp(min=0)
        free_j = (self.valences[kinds[..., j]] - used_j).clamp(min=0)
        most = self.used.num_embeddings - 1
        h = told[0][..., i, :] + told[1][..., j, :] + self.apart(i - j)
        h = h + self.used(used_i.clamp(max=most)) + self.free_i(free_i) + self.free_j(free_j)
        orders = torch.arange(ORDERS + 1, device=i.device)
        free = torch.minimum(free_i, free_j).unsqueeze(-1)
        return torch.where(orders <= free, of_a_law(self.bond(h)), -torch.inf)


def _without_0(logits: Tensor) -> Tensor:
    """Return logits with no probability of 0."""
    return torch.where(torch.arange(logits.shape[-1], device=logits.device) == 0, -torch.inf, logits)
