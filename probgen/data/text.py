"""Texts as tokens: a stream of characters, and lines one by one; Shakespeare, and a user's own."""

from __future__ import annotations

import bisect
from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.data.files import SOURCES, read
from probgen.data.vocabulary import Vocabulary

STARTS = {
    "Coriolanus": 1,
    "Richard III": 5954,
    "Richard II": 11699,
    "Romeo and Juliet": 15601,
    "Henry VI, part 3": 20334,
    "The Winter's Tale": 24849,
    "Measure for Measure": 29645,
    "The Taming of the Shrew": 34194,
    "The Tempest": 38566,
}
"""The plays in the file of Shakespeare, and the lines, counted from 1, at which they start."""

HELD_OUT = ("The Taming of the Shrew", "The Tempest")
"""Whole plays that are test, the last ones, in which the last tenth of the file lies."""

LONGEST = 127
"""Characters in a line of a user's own text; a longer one is cut at the last space before."""


class Text(NamedTuple):
    """A text as tokens, a character each, int64 of shape (n,).

    The last tenth is test, as it follows the other; so the two are not exchangeable.
    """

    train: Tensor
    test: Tensor
    vocabulary: Vocabulary
    name: str
    version: str = "its own"

    def string(self, tokens: Tensor) -> str:
        """Return tokens as characters.

        >>> vocabulary = Vocabulary.of("ab")
        >>> Text(torch.tensor([2, 3]), torch.tensor([3]), vocabulary, "x").string(torch.tensor([3, 2]))
        'ba'
        """
        return str(self.vocabulary.decode(tokens))

    def lines(self) -> Sentences:
        """Return the lines that are not empty as sequences of their own, those of the two parts.

        A line of more than 127 characters is cut at its last space before.
        """
        parts = [_lines(self.string(part)) for part in (self.train, self.test)]
        if not all(parts):
            raise ValueError(f"{self.name!r} should have lines in its first nine tenths and its last one")
        steps = max(len(line) for lines in parts for line in lines) + 1
        vocabulary = Vocabulary.of([*parts[0], *parts[1]])
        train, test = (vocabulary.encode_all(lines, steps=steps) for lines in parts)
        return Sentences(train, test, vocabulary, self.name, self.version)


class Sentences(NamedTuple):
    """Sequences of tokens with END and PAD, int64 of shape (n, steps), in two parts.

    ``train_labels`` and ``test_labels`` are classes, int64 (n,), −1 where there is none, and ``classes``
    their names; ``train_attributes`` and ``test_attributes`` numbers (n, k) and ``attributes`` their names;
    None and () where there are none.
    """

    train: Tensor
    test: Tensor
    vocabulary: Vocabulary
    name: str
    version: str
    train_labels: Tensor | None = None
    test_labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    train_attributes: Tensor | None = None
    test_attributes: Tensor | None = None
    attributes: tuple[str, ...] = ()


def text() -> Text:
    """Return a megabyte of Shakespeare as a stream of tokens: 1,003,854 characters, and 111,540 for test.

    The file is read from the folder ``shakespeare`` under PROBGEN_DATA or in the user's cache, or downloaded
    there. Raises ValueError where it is damaged, ConnectionError where it cannot be had.

    Source: Karpathy (2015), char-rnn, who put the plays together.
    """
    content = _shakespeare()
    vocabulary = Vocabulary.of([content])
    tokens = vocabulary.encode(content, end=False)
    cut = len(tokens) * 9 // 10
    return Text(tokens[:cut], tokens[cut:], vocabulary, "shakespeare", SOURCES["shakespeare"].version)


def verse_lines(*, speakers: int = 40) -> Sentences:
    """Return the 25,555 lines spoken in nine plays by Shakespeare, two whole plays of them for test.

    The Taming of the Shrew and The Tempest are test. The label of a line is who speaks it, of the
    ``speakers`` with the most lines in all plays; −1 where it is someone else. Plays have speakers of their
    own, so a speaker's lines are nearly always in one part. Lines are in their order. The file is that of
    :func:`text`.
    """
    content = _shakespeare()
    spoken = _spoken(content)
    vocabulary = Vocabulary.of([line for _, _, line in spoken])
    plays, starts = list(STARTS), list(STARTS.values())
    play = [plays[bisect.bisect(starts, number) - 1] for number, _, _ in spoken]
    names = [who for who, _ in Counter(who for _, who, _ in spoken).most_common(speakers)]
    labels = torch.tensor([names.index(who) if who in names else -1 for _, who, _ in spoken])
    tokens = vocabulary.encode_all([line for _, _, line in spoken])
    test = torch.tensor([name in HELD_OUT for name in play])
    return Sentences(
        tokens[~test],
        tokens[test],
        vocabulary,
        "verse",
        SOURCES["shakespeare"].version,
        labels[~test],
        labels[test],
        tuple(names),
    )


def _shakespeare() -> str:
    (file,) = SOURCES["shakespeare"].files
    return read("shakespeare", file).decode("ascii")


def _spoken(content: str) -> list[tuple[int, str, str]]:
    """Return the lines that are spoken: their number in the file, from 1 on, who speaks, and the line."""
    found, speaker = [], None
    for number, line in enumerate(content.splitlines(), 1):
        if not line:
            speaker = None
        elif speaker is None:
            speaker = line.removesuffix(":")
        else:
            found.append((number, speaker, line))
    return found


def _lines(content: str) -> list[str]:
    """Return the lines of a text that are not empty, cut where they are long."""
    lines = []
    for line in content.splitlines():
        rest = line.strip()
        while len(rest) > LONGEST:
            cut = rest.rfind(" ", 1, LONGEST + 1)
            cut = LONGEST if cut < 0 else cut
            lines.append(rest[:cut].rstrip())
            rest = rest[cut:].strip()
        lines += [rest] if rest else []
    return lines
