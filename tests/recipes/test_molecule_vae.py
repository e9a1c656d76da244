"""The VAE of molecules: its guide knows no order, its bound is one of a law, its draws are written."""

import numpy as np
import pytest
import torch

from probgen import SVI, data, recipes
from probgen.cli import comparing, draws
from probgen.core import seeded
from probgen.evaluation import log_likelihoods
from probgen.recipes import Rows, Task

pytest.importorskip("rdkit", reason="needs RDKit: pip install 'probgen[molecules]'")

SMILES = ["CCO", "c1ccccc1N", "CC(=O)[O-]", "C[NH3+]", "N#CCBr", "O=C1CCCC1"]


def task(smiles=SMILES, *, atoms=8):
    matrix = data.BondMatrix.of(smiles, atoms=atoms)
    rows = Rows(matrix.encode_all(smiles))
    return Task("few", "molecules", rows, rows, matrix=matrix)


def made(own):
    with seeded(0):
        return recipes.make("molecule-vae", own).model.double().eval()


def test_the_guide_does_not_know_the_order_of_atoms():
    own = task()
    model = made(own)
    codes = model.encode(own.train.x)
    for row, x in enumerate(own.train.x):
        n = int((x.diagonal() > 0).sum())
        for seed in range(3):
            source = torch.Generator().manual_seed(seed)
            order = torch.cat([torch.randperm(n, generator=source), torch.arange(n, 8)])
            turned = model.encode(x[order][:, order].unsqueeze(0))
            torch.testing.assert_close(turned.mean[0], codes.mean[row])
            torch.testing.assert_close(turned.stddev[0], codes.stddev[row])
    assert float((codes.mean[0] - codes.mean[1]).abs().max()) > 1e-4


def test_more_places_without_an_atom_change_no_code():
    wide = task(atoms=11)
    torch.testing.assert_close(made(task()).encode(task().train.x).mean, made(wide).encode(wide.train.x).mean)


def test_the_bound_lies_below_the_likelihood_and_these_are_of_one_law():
    own = task(["CN", "C", "C#N"], atoms=2)
    model = made(own)
    with torch.no_grad():  # a guide near the prior, whose weights are all alike
        model.encoder.net.last.weight *= 0.1
    one = [[[a, 0], [0, 0]] for a in (1, 2)]
    two = [[[a, bond], [bond, b]] for a in (1, 2) for b in (1, 2) for bond in range(4)]
    values = log_likelihoods(model, torch.tensor(one + two), particles=2000, seed=0)
    assert float(values.exp().sum()) == pytest.approx(1.0, abs=0.02)  # the masses of all that there is
    with seeded(0):
        elbo = torch.stack([SVI(model)(own.train.x)[1]["elbo"] for _ in range(50)]).mean()
    assert float(elbo) < float(log_likelihoods(model, own.train.x, particles=2000, seed=0).mean())


def test_draws_are_written_as_smiles(tmp_path):
    own = task()
    recipe = recipes.make("molecule-vae", own)
    drawn = Rows(recipe.sample(20, seed=0))
    path = tmp_path / f"drawn{draws.suffixes(own)[0]}"
    draws.write(own, drawn, path)
    assert path.suffix == ".smi"
    lines = path.read_text().split("\n")[:-1]
    assert lines == [text or "" for text in own.bonds.decode(drawn.x)]
    draws.write(own, drawn, tmp_path / "drawn.npy")
    assert np.load(tmp_path / "drawn.npy").shape == (20, 8, 8)


def test_what_does_not_suit_is_refused():
    with pytest.raises(ValueError, match="'few' are molecules as graphs, of which no draws are compared"):
        comparing.methods(task())
    rows = task().train
    with pytest.raises(ValueError, match="'bare' should have a bond matrix but is 'molecules' without one"):
        recipes.make("molecule-vae", Task("bare", "molecules", rows, rows))
