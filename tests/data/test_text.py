"""Texts and molecules as tokens: what is encoded is decoded, plays are held out whole, one clear sentence."""

import pytest
import torch

from probgen import data
from probgen.data import END, PAD, Vocabulary, lengths_of
from probgen.data.files import SOURCES, find
from probgen.data.smiles import SYMBOL
from probgen.data.text import HELD_OUT, STARTS


def here(name):
    missing = find(name, SOURCES[name].files[0]) is None
    return pytest.mark.skipif(missing, reason="not on this machine")


def test_what_is_encoded_is_decoded_and_ends():
    vocabulary = Vocabulary.of(["to be,", "or not\nto be"])
    assert vocabulary.symbols == tuple(sorted(set("to be,or not\nto be")))
    tokens = vocabulary.encode_all(["to be", "", "not\nto be"])
    assert tokens.dtype == torch.int64
    assert lengths_of(tokens).tolist() == [6, 1, 10]
    for row, length in zip(tokens, lengths_of(tokens), strict=True):
        assert row[length - 1] == END
        assert (row[length:] == PAD).all()
        assert (row[: length - 1] > END).all()
    assert vocabulary.decode(tokens) == ["to be", "", "not\nto be"]
    assert vocabulary.decode(vocabulary.encode("or not", end=False)) == "or not"
    assert vocabulary.encode_all(["to"], steps=7).shape == (1, 7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: v.encode("bäd"), r"of the 4 symbols of the vocabulary but has 'ä' at place 1: leave"),
        (lambda v: v.encode_all(["bade"], steps=4), "at most 3 symbols, and END, but 'bade' has 4"),
        (lambda v: v.encode_all([]), "texts should be at least one"),
        (
            lambda v: v.decode(torch.tensor([2, PAD, END])),
            "tokens before END should be from 2 to 5 but one is 0",
        ),
        (lambda v: v.decode(torch.tensor([6])), "should be from 2 to 5 but one is 6"),
        (lambda v: v.decode(torch.zeros(1, 1, 1)), r"shape \(t,\) or \(n, t\) but have \(1, 1, 1\)"),
        (lambda v: Vocabulary(("a", "a")), "symbols, each once, but has 'a' more than once"),
        (lambda v: Vocabulary(()), "symbols, each once, but has none"),
    ],
)
def test_one_sentence_on_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call(Vocabulary.of(["bade"]))


def test_atoms_of_two_letters_and_in_brackets_are_one_token():
    molecule = "C[C@@H]1CC%10(Cl)c2c[nH]nc2Br"
    vocabulary = Vocabulary.of([molecule], pattern=SYMBOL)
    split = ["C", "[C@@H]", "1", "C", "C", "%10", "(", "Cl", ")", "c", "2", "c", "[nH]", "n", "c", "2", "Br"]
    assert vocabulary.split(molecule) == split
    assert vocabulary.decode(vocabulary.encode(molecule)) == molecule
    with pytest.raises(ValueError, match=r"has '\[nH\]' at place 2"):
        Vocabulary.of(["Cc[N+]"], pattern=SYMBOL).encode("cC[nH]")


def test_molecules_of_a_csv(tmp_path):
    rows = ["Name,SMILES,logP,active"] + [f"m{i},{'C' * (1 + i)}Cl,{i}.5,yes" for i in range(20)]
    (tmp_path / "mine.csv").write_text("\n".join(rows).replace(",3.5,", ",?,"))
    found = data.smiles(tmp_path / "mine.csv")
    assert found.vocabulary.symbols == ("C", "Cl")
    assert (found.name, found.attributes) == ("mine", ("logP",))
    assert (len(found.train), len(found.test)) == (18, 2)
    together = torch.cat([found.train_attributes, found.test_attributes])[:, 0]
    tokens = torch.cat([found.train, found.test])
    assert int(together.isnan().sum()) == 1
    known = ~together.isnan()
    assert torch.equal(lengths_of(tokens)[known] - 3, together[known].floor().long())  # its own attribute
    (tmp_path / "mine.csv").write_text("smile,x\nC,1\nCC,2\nCCC,3")
    with pytest.raises(ValueError, match=r"'mine' should have a column 'smiles' but has \['smile', 'x'\]"):
        data.smiles(tmp_path / "mine.csv")
    (tmp_path / "mine.csv").write_text("smiles,x\nC,1\n,2\nCCC,3")
    with pytest.raises(ValueError, match="none missing, but row 2 has none"):
        data.smiles(tmp_path / "mine.csv")


def test_lines_of_a_users_text(tmp_path):
    content = "one line\n\n  another \n" * 20 + "word " * 40
    (tmp_path / "my.txt").write_text(content)
    text = data.read(tmp_path / "my.txt")
    assert text.string(torch.cat([text.train, text.test])) == content
    lines = text.lines()
    told = lines.vocabulary.decode(torch.cat([lines.train, lines.test]))
    assert set(told[:38]) == {"one line", "another"}
    assert all(len(line) <= 127 for line in told)
    assert "".join("".join(told).split()) == "".join(content.split())
    assert len(told) > 42  # the long one is several
    (tmp_path / "my.txt").write_text("all of it in one line" + "\n" * 20)
    with pytest.raises(ValueError, match="'my' should have lines in its first nine tenths and its last one"):
        data.read(tmp_path / "my.txt").lines()


@here("shakespeare")
def test_shakespeare_as_others_split_it():
    text = data.text()
    assert (len(text.train), len(text.test)) == (1_003_854, 111_540)
    assert len(text.vocabulary.symbols) == 65
    assert text.string(text.train[:14]) == "First Citizen:"
    assert text.string(text.test[:10]) == "?\n\nGREMIO:"


@here("shakespeare")
def test_plays_are_held_out_whole():
    lines = data.verse_lines()
    assert (len(lines.train), len(lines.test)) == (22_099, 3_456)
    told = lines.vocabulary.decode
    assert told(lines.train[0]) == "Before we proceed any further, hear me speak."
    assert told(lines.train[-1]) == "What's yet behind, that's meet you all should know."
    assert told(lines.test[[0, -1]]) == ["I'll pheeze you, in faith.", "Whiles thou art waking."]
    assert int(lengths_of(lines.train).max()) == 64
    assert len(HELD_OUT) == 2
    assert list(STARTS) == sorted(STARTS, key=STARTS.get)
    prospero = lines.classes.index("PROSPERO")
    assert int((lines.test_labels == prospero).sum()) > 200
    assert not (lines.train_labels == prospero).any()
    assert len(data.verse_lines(speakers=3).classes) == 3


@here("zinc")
def test_molecules_of_zinc():
    found = data.smiles()
    assert (len(found.train), len(found.test)) == (18_000, 2_000)
    assert {"Cl", "Br", "[nH]"} <= set(found.vocabulary.symbols)
    assert found.attributes == ("logP", "qed", "SAS")
    first = found.train == found.vocabulary.encode_all(["CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1"], steps=68)
    (row,) = first.all(1).nonzero()[:, 0]
    torch.testing.assert_close(found.train_attributes[row], torch.tensor([5.0506, 0.702012233, 2.084094572]))
