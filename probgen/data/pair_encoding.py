"""Pairs of tokens that often stand side by side, made tokens of their own: shorter sequences."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from probgen.core import check_count
from probgen.data.vocabulary import END, PAD, Vocabulary

FEWEST = 2
"""How often a pair occurs at least that becomes a token."""


class PairEncoding:
    r"""Sequences of tokens with END and PAD, (n, T), written in fewer and larger tokens, and back.

    Of the sequences that it learns from, the pair of neighbours that occurs most often becomes a new token
    wherever it stands, from the left, and so on until there are ``size`` tokens. END and PAD stay what they
    are. Other sequences are written by the same pairs in the same order, so each has one way of being
    written; but a model may draw it in another one, so that the probability of the one is a lower bound on
    that of the sequence.

    Args:
        vocabulary: of the tokens.
        x: sequences to learn from, int64 of shape (n, T).
        size: tokens that there are then, END and PAD counted; fewer where no pair occurs twice.

    Source: Sennrich, Haddow and Birch (2016), Neural machine translation of rare words with subword units; Li
    and Fourches (2021), SMILES pair encoding, for molecules.

    >>> vocabulary = Vocabulary.of(["banana"])
    >>> pairs = PairEncoding(vocabulary, vocabulary.encode_all(["banana"]), size=6)
    >>> pairs.encode(vocabulary.encode_all(["banana", "nab"])).tolist()
    [[3, 5, 5, 2, 1], [4, 2, 3, 1, 0]]
    >>> pairs.vocabulary.decode(torch.tensor([3, 5, 5, 2, 1]))
    'banana'
    """

    def __init__(self, vocabulary: Vocabulary, x: Tensor, *, size: int) -> None:
        self.before = vocabulary
        size = check_count("size", size, least=vocabulary.size)
        self._check(x)
        stream = _stream(x)
        spelt = [(), (), *((token,) for token in range(2, vocabulary.size))]
        self._pairs: list[tuple[int, int, int]] = []
        known = {letters: token for token, letters in enumerate(spelt) if letters}
        while len(spelt) < size:
            inside = (stream[:-1] > END) & (stream[1:] > END)
            counts = np.bincount((stream[:-1] * len(spelt) + stream[1:])[inside], minlength=1)
            best = int(counts.argmax())
            if counts[best] < FEWEST:
                break
            left, right = divmod(best, len(spelt))
            letters = spelt[left] + spelt[right]
            # What two ways of joining spell alike is one token.
            token = known.setdefault(letters, len(spelt))
            if token == len(spelt):
                spelt.append(letters)
            self._pairs.append((left, right, token))
            stream = _joined(stream, left, right, token)
        self._spelt = spelt
        symbols = vocabulary.symbols
        self.vocabulary = Vocabulary(
            tuple("".join(symbols[letter - 2] for letter in letters) for letters in spelt[2:]),
            vocabulary.pattern,
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return sequences (n, T) in the new tokens, (n, t), t that of the longest.

        Raises ValueError for what are no tokens of the vocabulary, and sequences without END.
        """
        self._check(x)
        stream = _stream(x)
        for left, right, token in self._pairs:
            stream = _joined(stream, left, right, token)
        ends = np.flatnonzero(stream == END)
        lengths = np.diff(np.concatenate([[-1], ends]))
        rows = torch.full((len(x), int(lengths.max())), PAD)
        inside = torch.arange(rows.shape[1]) < torch.from_numpy(lengths)[:, None]
        rows[inside] = torch.from_numpy(stream)
        return rows.to(x.device)

    def decode(self, x: Tensor) -> Tensor:
        """Return sequences (n, t) of new tokens in those of before, (n, T), T that of the longest.

        A sequence that has no END gets none.
        """
        if x.dim() != 2 or x.is_floating_point() or bool(((x < 0) | (x >= len(self._spelt))).any()):
            raise ValueError(
                f"x should be tokens from 0 to {len(self._spelt) - 1} of shape (n, t) but is {x.dtype} of "
                f"{tuple(x.shape)}"
            )
        rows = []
        for row in x.tolist():
            ended = row.index(END) if END in row else len(row)
            letters = [letter for token in row[:ended] for letter in self._spelt[token]]
            rows.append(letters + [END] * (END in row))
        found = torch.full((len(x), max(1, *map(len, rows)) if rows else 1), PAD)
        for own, letters in zip(found, rows, strict=True):
            own[: len(letters)] = torch.tensor(letters, dtype=torch.int64)
        return found.to(x.device)

    def _check(self, x: Tensor) -> None:
        if x.dim() != 2 or x.is_floating_point() or not len(x):
            raise ValueError(f"x should be tokens of shape (n, T) but is {x.dtype} of {tuple(x.shape)}")
        if bool(((x < 0) | (x >= self.before.size)).any()):
            raise ValueError(
                f"x should be tokens from 0 to {self.before.size - 1} but has {int(x.min())} to "
                f"{int(x.max())}"
            )
        ends = (x == END).sum(1)
        odd = int((ends != 1).long().argmax())
        if int(ends[odd]) != 1:
            raise ValueError(f"sequences should each have one END but row {odd} has {int(ends[odd])}")


def _stream(x: Tensor) -> np.ndarray:
    """Return the sequences one after the other, each with its END, without PAD."""
    tokens = x.cpu().numpy()
    return tokens[tokens != PAD]


def _joined(stream: np.ndarray, left: int, right: int, token: int) -> np.ndarray:
    """Return a stream in which a pair is one token, from the left where pairs overlap."""
    places = np.flatnonzero((stream[:-1] == left) & (stream[1:] == right))
    if left == right and len(places):
        # In a run of equal tokens every second place starts a pair.
        run = np.concatenate([[0], np.cumsum(np.diff(places) > 1)])
        start = np.concatenate([[True], np.diff(run) > 0])
        first = places[start][run]
        places = places[(places - first) % 2 == 0]
    if not len(places):
        return stream
    kept = np.ones(len(stream), dtype=bool)
    kept[places + 1] = False
    joined = stream.copy()
    joined[places] = token
    return joined[kept]
