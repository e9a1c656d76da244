"""Molecules as graphs: there and back, in one order, and what has no place in them."""

import pytest
import torch

from probgen import data
from tests.data.test_text import here

pytest.importorskip("rdkit", reason="needs RDKit: pip install 'probgen[molecules]'")


def test_a_molecule_by_hand():
    matrix = data.BondMatrix.of(["CC(=O)[O-]", "C[N+](C)(C)C", "N#CBr"], atoms=5)
    assert matrix.kinds == ("Br", "C", "N", "N+", "O", "O-")
    assert matrix.valences == (1, 4, 3, 4, 2, 1)
    x = matrix.encode("[O-]C(C)=O")  # acetate, which is written CC(=O)[O-]
    assert x.tolist() == [[2, 1, 0, 0, 0], [1, 2, 2, 1, 0], [0, 2, 5, 0, 0], [0, 1, 0, 6, 0], [0] * 5]
    assert matrix.decode(x) == "CC(=O)[O-]"


@here("zinc")
def test_molecules_of_zinc_come_back_from_their_graphs():
    from rdkit import Chem

    smiles = data.smiles()
    lines = smiles.vocabulary.decode(smiles.test[:200])
    matrix = data.BondMatrix.of(lines, atoms=40)
    x = matrix.encode_all(lines)
    flat = [Chem.MolFromSmiles(line) for line in lines]
    for molecule in flat:
        Chem.RemoveStereochemistry(molecule)
    assert matrix.decode(x) == [Chem.MolToSmiles(molecule) for molecule in flat]
    for row, molecule in zip(x, flat, strict=True):
        n = molecule.GetNumAtoms()
        assert int((row.diagonal() > 0).sum()) == n
        bonds = row - torch.diag(row.diagonal())
        assert int((bonds > 0).sum()) == 2 * molecule.GetNumBonds()
        assert bool((bonds[:n, :n].tril() > 0).any(1)[1:].all())  # each atom is bound to one before it


def test_however_it_is_written_a_molecule_is_one_graph():
    matrix = data.BondMatrix.of(["Cc1ccccc1N"], atoms=8)
    same = ["Cc1ccccc1N", "Nc1c(C)cccc1", "C1=CC=C(C)C(N)=C1"]
    assert len({str(matrix.encode(text).tolist()) for text in same}) == 1
    left, right = "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"  # what is left and right is not told
    matrix = data.BondMatrix.of([left], atoms=8)
    assert torch.equal(matrix.encode(left), matrix.encode(right))


def test_what_is_no_molecule_decodes_to_none():
    matrix = data.BondMatrix.of(["CCO"], atoms=3)
    assert matrix.decode(torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 0]])) is None  # two pieces
    assert matrix.decode(torch.tensor([[1, 0, 2], [0, 1, 2], [2, 2, 2]])) is None  # oxygen with four bonds
    assert matrix.decode(torch.stack([torch.diag(torch.tensor([1, 0, 0]))])) == ["C"]


@pytest.mark.parametrize(
    ("smiles", "says"),
    [
        ("C1CC", "should be a molecule but 'C1CC' is none"),
        ("CC.O", r"should be in one piece but 'CC.O' is not"),
        ("CCCC", "at most 3 atoms but 'CCCC' has 4"),
        ("CN", "of the kinds C, O but 'CN' has 'N'"),
        ("C=O", "the bonds of 'O' should sum to 1 at most, .* but in 'C=O' to 2"),
        ("[13CH4]", "isotopes.* but '.13CH4.' comes back as 'C'"),
        ("C[CH2]", "unpaired electrons"),
        ("O=[PH3]", "hydrogens that do not follow"),
    ],
)
def test_what_has_no_graph_is_refused(smiles, says):
    with pytest.raises(ValueError, match=says):
        data.BondMatrix.of(["CCO"], atoms=3).encode(smiles)


def test_one_text_is_not_taken_for_several():
    with pytest.raises(TypeError, match="should be several texts, one a molecule, but is the text 'CCO'"):
        data.BondMatrix.of("CCO", atoms=3)
    with pytest.raises(TypeError, match="smiles should be several texts"):
        data.BondMatrix.of(["CCO"], atoms=3).encode_all("CCO")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[1, 2], [1, 1]], "symmetric"),
        ([[3, 0], [0, 0]], "kinds of atoms should be from 0 to 2 but one is 3"),
        ([[0, 0], [0, 1]], "atoms should come first"),
        ([[1.0]], "whole numbers but are torch.float32"),
        ([1, 2], r"shape \(n, N, N\) but have \(2,\)"),
        ([[[[1]]]], r"shape \(n, N, N\) but have \(1, 1, 1, 1\)"),
    ],
)
def test_what_is_no_matrix_is_refused(rows, says):
    with pytest.raises(ValueError, match=says):
        data.BondMatrix.of(["CO"], atoms=2).decode(torch.tensor(rows))


def test_a_csv_of_ones_own_and_what_is_left_out(tmp_path):
    path = tmp_path / "mine.csv"
    lines = ["CCO", "CC", "CN", "C=O", "CCCCCC", "[2H]C", "C.C", "OC", "NN", "N"]
    path.write_text("name,SMILES\n" + "".join(f"{k},{text}\n" for k, text in enumerate(lines)))
    found = data.molecules(path, atoms=4)
    assert (len(found.train) + len(found.test), found.left_out) == (7, 3)
    assert found.train.shape[1:] == (4, 4)
    both = found.matrix.decode(torch.cat([found.train, found.test]))
    assert sorted(both) == sorted(["CCO", "CC", "CN", "C=O", "CO", "NN", "N"])
    for text, atoms, says in (
        ("smiles\nCCC\nCCCO\nC\n", 2, "two molecules to learn from and one to test on of at most 2 atoms"),
        ("smiles\nCC\nC1C\nC\n", 24, "'C1C', row 2 of 'mine', is none"),
        ("smiles\nCC\nCC\nCC\nCC\nC1C\nC\n", 24, "'C1C', row 5 of 'mine', is none"),
        ("smiles\nCC\nCN\n", 24, "should be at least 3 SMILES, none missing, but has 2"),
        ("text,n\nCC,1\nC,2\nC,3\n", 24, "should have a column 'smiles' but has"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=says):
            data.molecules(path, atoms=atoms)


def test_a_molecule_that_stands_twice_is_not_learned_from_and_tested_on(tmp_path):
    path, lines = tmp_path / "mine.csv", ["CCO", "CC", "CN", "CO", "NN"]
    path.write_text("smiles,row\n" + "".join(f"{lines[k % 5]},{k}\n" for k in range(50)))
    found = data.molecules(path, atoms=4)
    assert sorted(found.matrix.decode(torch.cat([found.train, found.test]))) == sorted(lines)
    texts = data.smiles(path)
    assert sorted(texts.vocabulary.decode(torch.cat([texts.train, texts.test]))) == sorted(lines)
    assert torch.cat([texts.train_attributes, texts.test_attributes]).sort(0).values.T.tolist() == [
        [0, 1, 2, 3, 4]
    ]
    path.write_text("smiles\n" + "CCO\nOCC\nC(O)C\nCC\nC-C\nCN\nNC\nCO\nOC\nCCN\nNCC\nNN\n")
    found = data.molecules(path, atoms=4)
    tested, learned = (set(found.matrix.decode(part)) for part in (found.test, found.train))
    assert tested | learned == {"CCO", "CC", "CN", "CO", "CCN", "NN"}
    assert not tested & learned
    path.write_text("smiles\n" + "CC\nCO\n" * 9)
    for read in (data.smiles, data.molecules):
        with pytest.raises(ValueError, match="should have at least 3 different SMILES but has 2"):
            read(path)
