"""Probabilities of n-grams by the discounted counts of Kneser and Ney."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class _Contexts(NamedTuple):
    """What is known of the contexts of j tokens, each numbered by its place in ``keys``.

    A key is the number of the context without its first token, times K + 1, plus that token; that of a gram
    is the number of its context, times K + 1, plus its last token.
    """

    keys: np.ndarray
    total: np.ndarray  # Σ_w c(h w)
    kinds: np.ndarray  # N(h ·)
    grams: np.ndarray  # keys of h w
    counts: np.ndarray  # c(h w)


class KneserNey:
    r"""p(w | h) of n-grams (h, w), interpolated down to a uniform law.

    With c the counts, p_k(w | h) = (max(c(h w) − D, 0) + D · N(h ·) · p_{k−1}(w | h′)) / c(h), N(h ·) the
    number of different tokens after h, h′ the context h without its first token. Below the highest order
    c(h w) is the number of different tokens before h w. After a context that was never seen p_k is p_{k−1}.
    The probabilities of all w after a context sum to 1.

    Args:
        grams: n-grams that occurred, whole numbers (m, n), no two alike; the last column below ``size``, the
            others at most that, which stands for no token.
        counts: how often each did, (m,).
        size: K.
        never: a token that never comes, such as that of padding.
        discount: D, in (0, 1).

    Source: Kneser and Ney (1995); interpolated as in Chen and Goodman (1999).

    >>> law = KneserNey(np.array([[0, 1], [0, 0]]), np.array([2, 1]), size=2, discount=0.5)
    >>> law.probability(np.array([[0, 0], [0, 1]]))
    array([0.33333333, 0.66666667])
    """

    def __init__(
        self,
        grams: np.ndarray,
        counts: np.ndarray,
        *,
        size: int,
        never: int | None = None,
        discount: float = 0.9,
    ) -> None:
        self.size, self.never, self.discount = size, never, discount
        rows = grams
        # From the highest order down: below it a gram counts the different tokens before it.
        found = [(rows, counts)]
        for _ in range(grams.shape[1] - 1):
            rows, where = np.unique(rows[:, 1:], axis=0, return_inverse=True)
            found.append((rows, np.bincount(where.ravel())))
        self._contexts: list[_Contexts] = []
        for rows, counts in reversed(found):
            keys, number = np.zeros(1, dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
            if rows.shape[1] > 1:
                # The rest of a context has a number already; with its first token it gets one of its own.
                for j, shorter in enumerate(self._contexts[1:], 1):
                    number, _ = _find(shorter.keys, number * (size + 1) + rows[:, -1 - j])
                keys, number = np.unique(number * (size + 1) + rows[:, 0], return_inverse=True)
                number = number.ravel()
            own = number * (size + 1) + rows[:, -1]
            order = np.argsort(own)
            total = np.bincount(number, counts)
            self._contexts.append(_Contexts(keys, total, np.bincount(number), own[order], counts[order]))

    def probability(self, grams: np.ndarray) -> np.ndarray:
        """Return p(w | h) of n-grams (m, n), shape (m,)."""
        last = grams[:, -1]
        p = np.full(len(grams), 1 / (self.size - (self.never is not None)))
        if self.never is not None:
            p[last == self.never] = 0.0
        number, known = np.zeros(len(grams), dtype=np.int64), np.ones(len(grams), dtype=bool)
        for j, contexts in enumerate(self._contexts):
            if j:
                place, there = _find(contexts.keys, number * (self.size + 1) + grams[:, -1 - j])
                known = known & there
                number = np.where(known, place, 0)
            place, there = _find(contexts.grams, number * (self.size + 1) + last)
            rest = np.where(there, contexts.counts[place] - self.discount, 0.0)
            longer = (rest + self.discount * contexts.kinds[number] * p) / contexts.total[number]
            p = np.where(known, longer, p)
        return p


def _find(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of numbers among sorted keys, and whether they are there."""
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted
