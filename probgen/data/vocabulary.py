"""Symbols as whole numbers: a vocabulary that encodes texts and decodes tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PAD, END = 0, 1
"""The token of places after the end of a sequence, and the one that ends it; symbols are 2, 3, ..."""

CHARACTER = r"(?s:.)"
"""A symbol of a text: a character, a line break too."""


@dataclass(frozen=True)
class Vocabulary:
    r"""Symbols, each a whole number from 2 on, beside END and PAD, which are in every vocabulary.

    A sequence of tokens has its symbols, then END, then PAD up to the width of what it lies in, so that it
    carries its own length.

    Args:
        symbols: all that there are, without repeats.
        pattern: a regular expression of one symbol; a character by default.

    >>> vocabulary = Vocabulary.of(["hat", "the"])
    >>> vocabulary.size, vocabulary.encode("tea").tolist()
    (6, [5, 3, 2, 1])
    >>> vocabulary.decode(vocabulary.encode_all(["tea", "a"]))
    ['tea', 'a']
    """

    symbols: tuple[str, ...]
    pattern: str = CHARACTER

    def __post_init__(self) -> None:
        twice = next((symbol for symbol in self.symbols if self.symbols.count(symbol) > 1), None)
        if not self.symbols or twice is not None:
            told = "has none" if twice is None else f"has {twice!r} more than once"
            raise ValueError(f"a vocabulary should have symbols, each once, but {told}")

    @classmethod
    def of(cls, texts: Iterable[str], *, pattern: str = CHARACTER) -> Vocabulary:
        """Return the vocabulary of all symbols in some texts, in the order of their code points."""
        found = {symbol for text in texts for symbol in re.findall(pattern, text)}
        return cls(tuple(sorted(found)), pattern)

    @property
    def size(self) -> int:
        """The number of different tokens, END and PAD counted."""
        return len(self.symbols) + 2

    def split(self, text: str) -> list[str]:
        """Return a text as its symbols.

        Raises ValueError, with the place, for what is no symbol of this vocabulary.
        """
        known = set(self.symbols)
        if self.pattern == CHARACTER and known.issuperset(text):
            return list(text)
        found, place = [], 0
        for match in re.finditer(self.pattern, text):
            if match.start() != place or match.group() not in known:
                break
            found.append(match.group())
            place = match.end()
        if place < len(text):
            odd = re.compile(self.pattern).match(text, place)
            raise ValueError(
                f"a text should be of the {len(self.symbols)} symbols of the vocabulary but has "
                f"{(odd.group() if odd else text[place])!r} at place {place}: leave it out, or make the "
                "vocabulary of such texts too"
            )
        return found

    def encode(self, text: str, *, end: bool = True) -> Tensor:
        """Return the tokens of a text, int64 of shape (t,), with END at its end unless ``end`` is false."""
        numbers = {symbol: number for number, symbol in enumerate(self.symbols, 2)}
        tokens = [numbers[symbol] for symbol in self.split(text)]
        return torch.tensor([*tokens, END] if end else tokens, dtype=torch.int64)

    def encode_all(self, texts: Sequence[str], *, steps: int | None = None) -> Tensor:
        """Return texts as tokens with END and PAD, int64 of shape (n, steps); of the longest where not given.

        Raises ValueError where there is no text, or one with its END is longer than ``steps``.
        """
        if not len(texts):
            raise ValueError("texts should be at least one but there is none")
        rows = [self.encode(text) for text in texts]
        longest = max(map(len, rows))
        if steps is not None and longest > steps:
            text = next(text for text, row in zip(texts, rows, strict=True) if len(row) == longest)
            raise ValueError(
                f"texts should have at most {steps - 1} symbols, and END, but {text[:40]!r} has {longest - 1}"
            )
        tokens = torch.full((len(rows), steps or longest), PAD)
        for row, own in zip(tokens, rows, strict=True):
            row[: len(own)] = own
        return tokens

    def decode(self, tokens: Tensor) -> str | list[str]:
        """Return tokens (t,) as a text, up to END where there is one; of (n, t) a list of texts.

        Raises ValueError for what is no token, and for PAD that no END comes before.
        """
        if tokens.dim() == 2:
            return [self._text(row) for row in tokens.tolist()]
        if tokens.dim() != 1:
            raise ValueError(f"tokens should have shape (t,) or (n, t) but have {tuple(tokens.shape)}")
        return self._text(tokens.tolist())

    def _text(self, tokens: list[int]) -> str:
        ended = tokens[: tokens.index(END)] if END in tokens else tokens
        odd = next((token for token in ended if not 2 <= token < self.size), None)
        if odd is not None:
            raise ValueError(f"tokens before END should be from 2 to {self.size - 1} but one is {odd}")
        return "".join(self.symbols[token - 2] for token in ended)


def lengths_of(tokens: Tensor) -> Tensor:
    r"""Return how many tokens each sequence has, END counted and PAD not, shape (\*batch,).

    >>> lengths_of(torch.tensor([[3, END, PAD], [3, 4, 5]]))
    tensor([2, 3])
    """
    return (tokens != PAD).sum(-1)
