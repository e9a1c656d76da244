"""Molecules by RDKit: one way of writing each, their properties, likeness to others, pictures."""

from __future__ import annotations

import functools
import importlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probgen.applications.frame.registry import optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROPERTIES = ("logP", "QED", "SA", "weight")
"""Octanol-water partition (Wildman and Crippen, 1999), drug-likeness (Bickerton and others, 2012), ease of
synthesis, 1 easy to 10 hard (Ertl and Schuffenhauer, 2009), and the mean weight in Da."""

BITS = 1024
"""Of a fingerprint."""


@functools.cache
def _rdkit() -> Any:
    """Return RDKit, which then is silent about strings that are no molecules, or say how to get it."""
    chem = optional("rdkit.Chem", "molecules")
    for name in ("Crippen", "Descriptors", "Draw", "QED", "rdFingerprintGenerator"):
        importlib.import_module(f"rdkit.Chem.{name}")
    importlib.import_module("rdkit.Chem.Scaffolds.MurckoScaffold")
    importlib.import_module("rdkit.RDLogger").DisableLog("rdApp.*")
    return chem


@functools.cache
def _synthesis() -> Any:
    """Return the module of the score of synthesis, which lies beside RDKit's own."""
    sys.path.append(str(Path(optional("rdkit.RDConfig", "molecules").RDContribDir) / "SA_Score"))
    try:
        return importlib.import_module("sascorer")
    finally:
        sys.path.pop()


def selfies() -> Any:
    """Return the module of SELFIES, or say how to get it."""
    return optional("selfies", "molecules")


def canonical(smiles: str) -> str | None:
    """Return the SMILES by which RDKit writes a molecule, None for what is no molecule."""
    molecule = _rdkit().MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        return None
    return str(_rdkit().MolToSmiles(molecule))


def to_selfies(smiles: str) -> str | None:
    """Return a molecule in SELFIES (Krenn and others, 2020), None where these have no word for it."""
    try:
        return str(selfies().encoder(smiles))
    except selfies().EncoderError:
        return None


def from_selfies(text: str) -> str:
    """Return the SMILES of a string in SELFIES, of which every one is a molecule, or empty."""
    return str(selfies().decoder(text))


def properties(smiles: Sequence[str]) -> np.ndarray:
    """Return :data:`PROPERTIES` of molecules, shape (n, 4); some 2 ms each."""
    chem, synthesis = _rdkit(), _synthesis()
    rows = []
    for molecule in map(chem.MolFromSmiles, smiles):
        rows.append(
            (
                chem.Crippen.MolLogP(molecule),
                chem.QED.qed(molecule),
                synthesis.calculateScore(molecule),
                chem.Descriptors.MolWt(molecule),
            )
        )
    return np.array(rows, dtype=np.float64).reshape(-1, len(PROPERTIES))


def desirability(values: np.ndarray) -> np.ndarray:
    """Return 5 QED − SA of rows of properties: drug-like, and easy to make.

    Source: Gómez-Bombarelli and others (2018), Automatic chemical design.
    """
    return 5 * values[:, PROPERTIES.index("QED")] - values[:, PROPERTIES.index("SA")]


def fingerprints(smiles: Sequence[str]) -> np.ndarray:
    """Return how often each kind of neighbourhood of up to two bonds occurs, by hash, (n, 1024).

    Source: Rogers and Hahn (2010), Extended-connectivity fingerprints.
    """
    chem = _rdkit()
    maker = chem.rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=BITS)
    rows = [maker.GetCountFingerprintAsNumPy(chem.MolFromSmiles(text)) for text in smiles]
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, BITS), dtype=np.float32)


def likeness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return Tanimoto's coefficient of which neighbourhoods occur in both, of all pairs of rows, (n, m)."""
    x, y = (x > 0).astype(np.float32), (y > 0).astype(np.float32)
    both = x @ y.T
    return both / np.maximum(x.sum(1)[:, None] + y.sum(1) - both, 1)


def scaffolds(smiles: Sequence[str]) -> Counter[str]:
    """Count the rings and what links them, without side chains (Bemis and Murcko, 1996); '' for no ring."""
    murcko = _rdkit().Scaffolds.MurckoScaffold
    return Counter(murcko.MurckoScaffoldSmiles(smiles=text, includeChirality=False) for text in smiles)


def cosine(x: Counter[str], y: Counter[str]) -> float:
    """Return the cosine of two tables of counts.

    >>> round(cosine(Counter("aab"), Counter("ab")), 4)
    0.9487
    """
    norms = [sum(count**2 for count in own.values()) ** 0.5 for own in (x, y)]
    return sum(count * y[name] for name, count in x.items()) / (norms[0] * norms[1])


def with_a_carbon(smiles: str, source: np.random.Generator, *, seen: Callable[[str], bool]) -> str:
    """Return a molecule with one carbon more, put into its SMILES where that gives one that is not ``seen``.

    What is hardly new so passes as new: the baseline of Renz, Van Rompaey, Wegner, Hochreiter and Klambauer
    (2019), On failure modes in molecule generation. Where no place does, the molecule itself.
    """
    for place in source.permutation(len(smiles) + 1):
        found = canonical(smiles[:place] + "C" + smiles[place:])
        if found is not None and not seen(found):
            return found
    return smiles


def structures(molecules: Mapping[str, Sequence[tuple[str, str]]], *, columns: int) -> Figure:
    """Draw molecules, rows of them by name; each is a SMILES and what stands below it."""
    import io

    from matplotlib.figure import Figure as Picture
    from matplotlib.image import imread

    from probgen.plots.style import style

    chem, width, height = _rdkit(), 300, 220
    with style():
        rows = sum(-(-len(own) // columns) for own in molecules.values())
        figure = Picture(figsize=(1.9 * columns, 1.65 * rows + 0.3), layout="constrained")
        parts = figure.subfigures(
            len(molecules),
            1,
            squeeze=False,
            height_ratios=[-(-len(o) // columns) for o in molecules.values()],
        )[:, 0]
        for part, (name, own) in zip(parts, molecules.items(), strict=True):
            part.suptitle(name, fontsize=10)
            axes = part.subplots(-(-len(own) // columns), columns, squeeze=False).ravel()
            for axis in axes:
                axis.set_axis_off()
            for axis, (smiles, below) in zip(axes, own, strict=False):
                canvas = chem.Draw.MolDraw2DCairo(width, height)
                canvas.drawOptions().clearBackground = False
                canvas.drawOptions().fixedBondLength = 24
                chem.Draw.rdMolDraw2D.PrepareAndDrawMolecule(canvas, chem.MolFromSmiles(smiles))
                canvas.FinishDrawing()
                axis.imshow(imread(io.BytesIO(canvas.GetDrawingText())))
                axis.set_title(below, fontsize=7, y=-0.12)
    return figure
