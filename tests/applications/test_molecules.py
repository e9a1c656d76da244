"""Molecules: chemistry against known numbers, writing there and back, searches, and the smallest path."""

import itertools

import numpy as np
import pandas as pd
import pytest

from probgen import applications

pytest.importorskip("rdkit", reason="needs RDKit: pip install 'probgen[molecules]'")
pytest.importorskip("selfies", reason="needs SELFIES: pip install 'probgen[molecules]'")

from probgen.applications.parts.molecules import chemistry, pictures
from probgen.applications.parts.molecules.judge import Judge
from probgen.applications.parts.molecules.search import Oracle, by_mutation, searched
from probgen.applications.parts.molecules.texts import Writing, read

GROUPS = ("O", "N", "F", "Cl", "Br", "C#N", "C(=O)O", "OC", "N(C)C", "[N+](=O)[O-]", "S", "C(F)(F)F")


def made(path, *, rows=300, column="smiles", extra=()):
    """Write benzenes with two or three groups, as many different molecules."""
    found = [
        f"{a}c1ccc({b})cc1".replace("C#Nc", "N#Cc") for a, b in itertools.product(("C", "CC", "CCC"), GROUPS)
    ]
    found += [f"C{'C' * n}c1cc({a})ccc1{b}" for n, a, b in itertools.product(range(4), GROUPS, GROUPS)]
    pd.DataFrame({column: [*extra, *found[:rows]]}).to_csv(path, index=False)
    return path


def test_numbers_of_benzene_and_aspirin_are_the_known_ones():
    benzene, aspirin = chemistry.properties(["c1ccccc1", "CC(=O)Oc1ccccc1C(=O)O"])
    names = chemistry.PROPERTIES
    assert benzene[names.index("logP")] == pytest.approx(1.6866, abs=1e-4), "Wildman and Crippen's, of RDKit"
    assert benzene[names.index("weight")] == pytest.approx(78.11, abs=0.01)
    assert aspirin[names.index("QED")] == pytest.approx(0.550, abs=1e-3), "Bickerton's, of RDKit"
    assert aspirin[names.index("SA")] == pytest.approx(1.58, abs=0.01), "Ertl's is 1.58"
    assert chemistry.desirability(aspirin[None]) == pytest.approx(5 * 0.550 - 1.58, abs=0.01)


def test_molecules_have_one_way_of_being_written_and_strings_that_are_none_are_told():
    assert chemistry.canonical("OCC") == chemistry.canonical("C(C)O") == "CCO"
    assert chemistry.canonical("C1CC") is None
    assert chemistry.canonical("c1cccc1") is None
    assert chemistry.canonical("") is None
    assert chemistry.from_selfies(chemistry.to_selfies("c1ccccc1O")) in ("C1=CC=CC=C1O", "C=1C=CC=CC=1O")


def test_likeness_and_scaffolds_are_those_counted_by_hand():
    prints = chemistry.fingerprints(["CCO", "CCO", "c1ccccc1"])
    alike = chemistry.likeness(prints, prints)
    assert alike[0, 1] == 1
    assert alike[0, 2] == 0
    assert chemistry.scaffolds(["Cc1ccccc1", "OCCc1ccccc1", "CCO"]) == {"c1ccccc1": 2, "": 1}
    x = np.array([[1.0, 2, 0, 0], [1, 0, 1, 1]])
    assert chemistry.likeness(x, x)[0, 1] == pytest.approx(1 / 4), "which occur, and not how often"


def test_one_carbon_is_added_and_no_molecule_that_was_seen():
    source = np.random.default_rng(0)
    for _ in range(20):
        found = chemistry.with_a_carbon("OCCN", source, seen=lambda s: s == "CC(O)CN")
        assert found != "CC(O)CN"
        assert len(found.replace("(", "").replace(")", "")) == 5


@pytest.mark.parametrize("selfies", [False, True])
@pytest.mark.parametrize("size", [None, 60])
def test_molecules_are_written_and_read_back(tmp_path, selfies, size):
    molecules = read(made(tmp_path / "own.csv"), seed=0)
    writing = Writing(molecules, selfies=selfies, size=size)
    back = writing.smiles(writing.test)
    assert [chemistry.canonical(text) for text in back] == molecules.test
    assert writing.can_write(molecules.test[0])
    assert not writing.can_write("[Na]CCO")


def test_an_oracle_is_asked_no_more_than_it_may_be_and_never_twice():
    oracle = Oracle({"CCO": 1.0}, calls=3)
    oracle.ask(["CCO", "CCN", "CCN", "CCC"])
    assert list(oracle.found) == ["CCN", "CCC"]
    oracle.ask(["CCCC", "CCCCC"])
    assert list(oracle.found) == ["CCN", "CCC", "CCCC"]
    values = [value for _, value in oracle.best(3)]
    assert values == sorted(values, reverse=True)
    assert oracle.course(3) == [pytest.approx(np.mean(values))]


def test_how_many_lines_were_taken_of_a_file_is_said(tmp_path):
    own = made(tmp_path / "own.csv", rows=300)
    assert read(own, seed=0).facts["molecules"].endswith("of 300 lines")
    found = read(own, most=250, seed=0).facts["molecules"]
    assert found.endswith("of 250 lines, taken at random of 300")


def test_few_molecules_are_judged_by_fewer_components_and_draws_that_end(tmp_path):
    molecules = read(made(tmp_path / "own.csv", rows=220), seed=0)
    judge = Judge(molecules, n=1000)
    assert judge.features == len(molecules.test) // 2 - 1
    train = iter([molecules.train])
    found, _ = judge.measures(lambda n: next(train, []))
    assert found == {"valid": 1, "unique": 1, "novel": 0}, "too few to be compared with others"
    found, _ = Judge(molecules, n=100).measures(lambda n: molecules.train[:n])
    assert found["frechet"] > 0


def test_draws_that_are_all_alike_have_a_line_where_they_are():
    source = np.random.default_rng(0)
    values = {"real": source.normal(size=(50, 4)), "some": source.normal(size=(9, 4)), "one": np.ones((9, 4))}
    figure = pictures.densities(values)
    for axis in figure.axes:
        some, one = axis.get_lines()
        assert len(some.get_xdata()) > 100
        assert list(one.get_xdata()) == [1, 1]


def test_mutation_climbs_from_what_is_known():
    known = ["CCCCCCCC", "CCCCCCO", "CCCCCN"]
    values = chemistry.desirability(chemistry.properties(known))
    oracle = searched(Oracle(dict(zip(known, values, strict=True)), calls=200), by_mutation(seed=0))
    assert len(oracle.found) == 200
    assert not set(oracle.found) & set(known)
    assert oracle.best(1)[0][1] > values.max()


def test_a_users_molecules_are_learned_drawn_and_sought(tmp_path):
    own = made(tmp_path / "own.csv", extra=("no molecule", "C1CC", "OCC", "CCO"))
    folder = applications.apply("molecules", data=own, out=tmp_path / "here", size="tiny", progress=False)
    found = pd.read_csv(folder / "metrics.csv").pivot_table(index="method", columns="metric", values="value")
    assert found.loc["VAE, SELFIES", "valid"] == 1
    assert found.loc["AddCarbon", "novel"] == 1
    assert found.loc["train against test", "frechet"] < found.loc["VAE, SELFIES", "frechet"]
    assert found.loc["best of train", "best_ten"] <= found.loc["best of train", "best"]
    page = (folder / "report.html").read_text()
    assert "2 no molecules, 1 there twice" in page
    drawn = (folder / "VAE-SELFIES.smi").read_text().split()
    assert all(chemistry.canonical(text) == text for text in drawn)
    for name in ("structures", "properties", "interpolations", "search", "best-molecules"):
        assert (folder / f"{name}.png").exists(), name


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"column": "molecule"}, r"should have a column 'smiles' but has \['molecule'\]"),
        ({"rows": 100}, "should have 200 different molecules at least but has 100"),
        ({"extra": ("",)}, "should have a SMILES in each line but line 2 has none"),
        ({"rows": 10, "extra": ("=cmd|' /C calc'!A0",)}, "but has 10 .1 no molecules"),
        ({"rows": 10, "extra": ("C" * 500,)}, "but has 10 .1 longer than 120"),
    ],
)
def test_files_that_do_not_suit_are_refused_in_a_sentence(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        applications.apply(
            "molecules", data=made(tmp_path / "own.csv", **options), out=tmp_path / "here", progress=False
        )
