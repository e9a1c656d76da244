"""Pairs of tokens made tokens: worked out by hand, and back without loss."""

import pytest
import torch

from probgen.data import END, PAD, PairEncoding, Vocabulary


def test_the_pairs_of_a_word_are_those_counted_by_hand():
    vocabulary = Vocabulary.of(["aaabdaaabac"])
    pairs = PairEncoding(vocabulary, vocabulary.encode_all(["aaabdaaabac"]), size=9)
    assert pairs.vocabulary.symbols[4:] == ("aa", "ab", "aaab"), (
        "aa 4 times (2 from the left), then ab, then both"
    )
    assert pairs.encode(vocabulary.encode_all(["aaabdaaabac"]))[0].tolist() == [8, 5, 8, 2, 4, END]
    assert pairs.encode(vocabulary.encode_all(["aaaaa", "b"])).tolist() == [
        [6, 6, 2, END],
        [3, END, PAD, PAD],
    ]


@pytest.mark.parametrize("seed", range(5))
def test_what_was_written_in_pairs_is_read_back(seed):
    source = torch.Generator().manual_seed(seed)
    vocabulary = Vocabulary(tuple("abc"))
    lengths = torch.randint(0, 20, (60,), generator=source)
    x = torch.randint(2, 5, (60, 20), generator=source)
    place = torch.arange(20)
    x = torch.where(place < lengths[:, None], x, torch.where(place == lengths[:, None], END, PAD))
    pairs = PairEncoding(vocabulary, x[:40], size=30)
    written = pairs.encode(x)
    back = pairs.decode(written)
    assert torch.equal(back, x[:, : back.shape[1]])
    assert not x[:, back.shape[1] :].any()
    assert written.shape[1] < 20
    assert pairs.vocabulary.decode(written) == vocabulary.decode(x)
    assert (written[:, :5] < pairs.vocabulary.size).all()


def test_no_pair_that_occurs_once_becomes_a_token():
    vocabulary = Vocabulary.of(["abc"])
    pairs = PairEncoding(vocabulary, vocabulary.encode_all(["abc"]), size=50)
    assert pairs.vocabulary.size == vocabulary.size


def test_what_is_no_sequence_is_refused():
    vocabulary = Vocabulary.of(["ab"])
    pairs = PairEncoding(vocabulary, vocabulary.encode_all(["abab"]), size=5)
    with pytest.raises(ValueError, match="tokens from 0 to 3 but has 1 to 7"):
        pairs.encode(torch.tensor([[7, END]]))
    with pytest.raises(ValueError, match="should each have one END but row 1 has 0"):
        pairs.encode(torch.tensor([[2, END], [2, 3]]))
    with pytest.raises(ValueError, match="tokens from 0 to 4 of shape"):
        pairs.decode(torch.tensor([[5]]))
    with pytest.raises(ValueError, match="size should be"):
        PairEncoding(vocabulary, vocabulary.encode_all(["abab"]), size=3)
