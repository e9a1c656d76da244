"""Which rows of a data set are test, by a rule that depends on nothing but their places."""

from __future__ import annotations

import hashlib

import numpy as np


def by_digest(rows: int, test: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and those to test on, both in their order.

    The ``test`` rows whose place, written in decimal, has the smallest SHA-256 (by its first 64 bits) are
    test. So the two parts are exchangeable, and the same on every machine; neighbours in the file are not
    dealt out evenly, which would make the parts more alike than chance.

    >>> by_digest(6, 2)
    (array([0, 1, 2, 5]), array([3, 4]))
    """
    digests = b"".join(hashlib.sha256(b"%d" % row).digest()[:8] for row in range(rows))
    order = np.frombuffer(digests, ">u8").argsort(kind="stable")
    return np.sort(order[test:]), np.sort(order[:test])


def shuffled(rows: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to learn from and those to test on, each in its order, as scikit-learn splits them.

    They are those of ``sklearn.model_selection.train_test_split(..., test_size=share, random_state=0)``, at
    least two to learn from and one to test on.
    """
    test = min(max(1, int(np.ceil(share * rows))), rows - 2)
    order = np.random.RandomState(0).permutation(rows)  # a stream that NumPy keeps
    return np.sort(order[test:]), np.sort(order[:test])
