"""Molecules as graphs: which atom at each place, and which bond between two."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probgen.core import check_count
from probgen.data.csv_files import read_csv
from probgen.data.files import SOURCES, read
from probgen.data.smiles import TEST, smiles_column
from probgen.data.split import shuffled

ORDERS = 3
"""Bonds are single, double or triple: 1, 2, 3 of them, and 0 where there is none."""


Parts = tuple[list[str], list[tuple[int, int, int]]]
"""A molecule: the kinds of its atoms, and its bonds (i, j, order)."""


@dataclass(frozen=True)
class BondMatrix:
    r"""Molecules as symmetric matrices (N, N), int64: atoms on the diagonal, bonds off it.

    x_ii is the kind of atom i, 1, ..., K, and 0 at places after the last; x_ij the order of the bond of i and
    j, from 0 to 3, rings in Kekulé's form. Hydrogens follow from these, and what is left or right of an atom
    is not told. Atoms stand in the order in which RDKit's canonical SMILES names them, so that a molecule is
    one matrix: each atom after the first has a bond to an earlier one.

    Args:
        kinds: K, such as "C" or "N+", an element and its charge.
        valences: of each kind, the largest sum of its bonds' orders.
        atoms: N.

    >>> matrix = BondMatrix.of(["CC=O", "C#N"], atoms=3)
    >>> matrix.kinds, matrix.valences
    (('C', 'N', 'O'), (3, 3, 2))
    >>> matrix.encode("C=O")
    tensor([[1, 2, 0],
            [2, 3, 0],
            [0, 0, 0]])
    >>> matrix.decode(matrix.encode("O=CC"))
    'CC=O'
    """

    kinds: tuple[str, ...]
    valences: tuple[int, ...]
    atoms: int

    @classmethod
    def of(cls, smiles: Iterable[str], *, atoms: int) -> BondMatrix:
        """Return the matrix of all kinds of atoms in some molecules, and of the bonds that these have."""
        _check_several(smiles)
        return cls._of(map(_parts, smiles), atoms)

    @classmethod
    def _of(cls, molecules: Iterable[Parts], atoms: int) -> BondMatrix:
        found: dict[str, int] = {}
        for kinds, bonds in molecules:
            for kind, total in zip(kinds, _bonds_of(kinds, bonds), strict=True):
                found[kind] = max(total, found.get(kind, 0))
        if not found:
            raise ValueError("smiles should hold at least one molecule but is empty")
        names = sorted(found)
        return cls(tuple(names), tuple(found[kind] for kind in names), check_count("atoms", atoms))

    def encode(self, smiles: str) -> Tensor:
        """Return a molecule as a matrix, int64 (N, N).

        Raises ValueError for what is no molecule or several, has more than N atoms, a kind that is not
        known or an atom with more bonds than the valence of its kind here, or does not come back: isotopes,
        unpaired electrons, and other bonds have no place here.
        """
        parts = _parts(smiles)
        if len(parts[0]) > self.atoms:
            raise ValueError(
                f"a molecule should have at most {self.atoms} atoms but {smiles!r} has {len(parts[0])}"
            )
        odd = next((kind for kind in parts[0] if kind not in self.kinds), None)
        if odd is not None:
            raise ValueError(
                f"atoms should be of the kinds {', '.join(self.kinds)} but {smiles!r} has {odd!r}"
            )
        for kind, total in zip(parts[0], _bonds_of(*parts), strict=True):
            most = self.valences[self.kinds.index(kind)]
            if total > most:
                raise ValueError(
                    f"the orders of the bonds of {kind!r} should sum to {most} at most, as in the molecules "
                    f"that this matrix is of, but in {smiles!r} to {total}"
                )
        return self._matrix(parts)

    def _matrix(self, parts: Parts) -> Tensor:
        kinds, bonds = parts
        rows = [[0] * self.atoms for _ in range(self.atoms)]
        for place, kind in enumerate(kinds):
            rows[place][place] = self.kinds.index(kind) + 1
        for first, second, order in bonds:
            rows[first][second] = rows[second][first] = order
        return torch.tensor(rows)

    def encode_all(self, smiles: Sequence[str]) -> Tensor:
        """Return molecules as matrices, int64 (n, N, N)."""
        _check_several(smiles)
        if not len(smiles):
            raise ValueError("smiles should hold at least one molecule but is empty")
        return torch.stack([self.encode(text) for text in smiles])

    def decode(self, x: Tensor) -> Any:
        """Return the canonical SMILES of a matrix (N, N), of (n, N, N) a list; None for what is no molecule.

        No molecule is one in several pieces, and what RDKit refuses, as an atom with too many bonds.
        Raises ValueError for what is no such matrix.
        """
        check_bond_matrix(x, kinds=len(self.kinds))
        if x.dim() > 3:
            raise ValueError(f"molecules should have shape (n, N, N) but have {tuple(x.shape)}")
        if x.dim() == 2:
            return self._text(x.tolist())
        return [self._text(rows) for rows in x.tolist()]

    def _text(self, rows: list[list[int]]) -> str | None:
        atoms = [self.kinds[rows[i][i] - 1] for i in range(len(rows)) if rows[i][i]]
        bonds = [(i, j, rows[i][j]) for i in range(len(atoms)) for j in range(i) if rows[i][j]]
        return _smiles_of(atoms, bonds)


class MoleculeGraphs(NamedTuple):
    """Molecules to learn from and to test on, int64 (n, N, N) as ``matrix`` has them.

    ``left_out`` tells how many of the file's have too many atoms or do not come back from a graph.
    """

    train: Tensor
    test: Tensor
    matrix: BondMatrix
    name: str
    version: str
    left_out: int


def molecules(path: str | Path | None = None, *, atoms: int = 24) -> MoleculeGraphs:
    """Return molecules as graphs: those of ZINC with few atoms, or of a CSV of the user's own.

    Of the 20,000 of ZINC some 12,260 have at most 24 atoms beside hydrogens. The column ``smiles`` is read as
    :func:`probgen.data.smiles` reads it, and split in the same way before some are left out, so that what is
    test there is test here: those with too many atoms, in several pieces, or with isotopes, unpaired
    electrons or hydrogens that do not follow from the bonds; and of those to learn from the ones whose graph
    is in the test part too, written in another way. RDKit makes graphs of SMILES (extra
    ``molecules``), a thousand or so in a second.

    Args:
        path: a CSV with a column ``smiles``; ZINC's where None.
        atoms: the most atoms of a molecule, hydrogens not counted; larger molecules are left out.

    Raises:
        ValueError: for a file that is damaged, or a CSV without such a column or with what is no molecule;
            where fewer than two molecules to learn from and one to test on are left; where RDKit is missing.

    >>> found = molecules(atoms=12)  # doctest: +SKIP
    >>> found.train.shape, found.matrix.decode(found.train[0])  # doctest: +SKIP
    (torch.Size([253, 12, 12]), 'O=C1CCCC2=C1CCCC2')
    """
    import pandas as pd

    check_count("atoms", atoms, least=2)
    if path is None:
        (file,) = SOURCES["zinc"].files
        frame, name, version = pd.read_csv(io.BytesIO(read("zinc", file))), "zinc", SOURCES["zinc"].version
    else:
        frame, name, version = read_csv(Path(path))[0], Path(path).stem, "its own"
    texts = smiles_column(frame, name)
    places, chosen = list(texts), []
    for rows in shuffled(len(texts), TEST):
        found = [_small(texts[places[i]], atoms, f"row {places[i] + 1} of {name!r}") for i in rows]
        chosen.append([own for own in found if own])
    tested = {repr(own) for own in chosen[1]}
    chosen[0] = [own for own in chosen[0] if repr(own) not in tested]
    if len(chosen[0]) < 2 or len(chosen[1]) < 1:
        raise ValueError(
            f"{name!r} should have two molecules to learn from and one to test on of at most {atoms} atoms "
            f"but has {len(chosen[0])} and {len(chosen[1])}: let atoms be more"
        )
    matrix = BondMatrix._of(chosen[0] + chosen[1], atoms)
    train, test = (torch.stack([matrix._matrix(own) for own in part]) for part in chosen)
    return MoleculeGraphs(train, test, matrix, name, version, len(texts) - len(train) - len(test))


def _check_several(smiles: Iterable[str]) -> None:
    """Raise TypeError for one text, whose letters would be taken for molecules."""
    if isinstance(smiles, str):
        raise TypeError(f"smiles should be several texts, one a molecule, but is the text {smiles!r}")


def check_bond_matrix(x: Tensor, *, kinds: int) -> None:
    """Raise ValueError, in a sentence, for what is no matrix of atoms of so many kinds and their bonds."""
    if x.dim() < 2 or x.shape[-1] != x.shape[-2] or not x.shape[-1]:
        raise ValueError(f"molecules should have shape (n, N, N) but have {tuple(x.shape)}")
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise ValueError(f"molecules should be whole numbers but are {x.dtype}")
    atoms = x.diagonal(dim1=-2, dim2=-1)
    bonds = x - torch.diag_embed(atoms)
    for part, most, what in ((atoms, kinds, "kinds of atoms"), (bonds, ORDERS, "bonds")):
        if bool(((part < 0) | (part > most)).any()):
            odd = part[(part < 0) | (part > most)][0]
            raise ValueError(f"{what} should be from 0 to {most} but one is {int(odd)}")
    if not torch.equal(bonds, bonds.transpose(-1, -2)):
        raise ValueError("bonds should be symmetric, x_ij = x_ji, but are not")
    there = atoms > 0
    if not bool(there[..., 0].all()) or bool((there[..., 1:] & ~there[..., :-1]).any()):
        raise ValueError("atoms should come first and places without one, 0, after them, but do not")
    pairs = there.unsqueeze(-1) & there.unsqueeze(-2)
    if bool(((bonds > 0) & ~pairs).any()):
        raise ValueError("bonds should be between atoms but one is at a place without an atom")


def _rdkit() -> Any:
    """Return RDKit, silent about what is no molecule, or say how to get it."""
    try:
        chem = import_module("rdkit.Chem")
    except ModuleNotFoundError:
        raise ValueError(
            "molecules as graphs need rdkit, which is not here: pip install 'probgen[molecules]'"
        ) from None
    import_module("rdkit.RDLogger").DisableLog("rdApp.*")
    return chem


def _small(smiles: str, atoms: int, where: str) -> Parts | None:
    """Return a molecule's atoms and bonds, None where it is too large or is no graph."""
    found = _rdkit().MolFromSmiles(smiles)
    if found is None or not found.GetNumAtoms():
        raise ValueError(f"SMILES should be molecules but {smiles!r}, {where}, is none")
    if found.GetNumAtoms() > atoms:
        return None
    try:
        return _parts(smiles)
    except ValueError:
        return None


def _parts(smiles: str) -> Parts:
    """Return the kinds of a molecule's atoms in their canonical order, and its bonds (i, j, order)."""
    chem = _rdkit()
    found = chem.MolFromSmiles(smiles)
    if found is None or not found.GetNumAtoms():
        raise ValueError(f"SMILES should be a molecule but {smiles!r} is none")
    chem.RemoveStereochemistry(found)
    canonical = chem.MolToSmiles(found)
    if "." in canonical:
        raise ValueError(f"a molecule should be in one piece but {smiles!r} is not: take the largest")
    found = chem.MolFromSmiles(canonical)  # its atoms are in the order of the text
    chem.Kekulize(found, clearAromaticFlags=True)
    charges = {0: "", 1: "+", -1: "-"}
    kinds = [
        atom.GetSymbol() + charges.get(atom.GetFormalCharge(), f"{atom.GetFormalCharge():+d}")
        for atom in found.GetAtoms()
    ]
    bonds = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), round(bond.GetBondTypeAsDouble()))
        for bond in found.GetBonds()
    ]
    back = _smiles_of(kinds, bonds) if all(1 <= order <= ORDERS for *_, order in bonds) else None
    if back != canonical:
        raise ValueError(
            f"a molecule should have no isotopes, unpaired electrons, other bonds than up to triple ones or "
            f"hydrogens that do not follow from its bonds but {smiles!r} comes back as {back!r}"
        )
    return kinds, bonds


def _bonds_of(kinds: Sequence[str], bonds: Sequence[tuple[int, int, int]]) -> list[int]:
    """Return of each atom the sum of its bonds' orders."""
    sums = [0] * len(kinds)
    for first, second, order in bonds:
        sums[first] += order
        sums[second] += order
    return sums


def _smiles_of(kinds: Sequence[str], bonds: Sequence[tuple[int, int, int]]) -> str | None:
    """Return the canonical SMILES of atoms and bonds, None for what is no molecule."""
    chem = _rdkit()
    made = chem.RWMol()
    for kind in kinds:
        symbol = kind.rstrip("+-0123456789")
        charge = kind[len(symbol) :]
        atom = chem.Atom(symbol)
        atom.SetFormalCharge({"": 0, "+": 1, "-": -1}[charge] if charge in ("", "+", "-") else int(charge))
        made.AddAtom(atom)
    orders = (chem.BondType.SINGLE, chem.BondType.DOUBLE, chem.BondType.TRIPLE)
    for first, second, order in bonds:
        made.AddBond(first, second, orders[order - 1])
    try:
        chem.SanitizeMol(made)
    except ValueError:  # RDKit's own errors of valence and of Kekulé's form are such
        return None
    written = str(chem.MolToSmiles(made))
    return written if written and "." not in written else None
