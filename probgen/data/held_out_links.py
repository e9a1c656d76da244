"""Links of a graph set apart, with pairs that are not linked beside them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import check_count


class HeldOut(NamedTuple):
    """Pairs of nodes i < j that no method sees, int64 (k, 2) each.

    ``links`` are linked. As many are not linked: ``uniform`` ones, all pairs alike, and ``matched`` ones,
    drawn with weights deg(i) deg(j), so that their ends have about the degrees of the ends of links.
    """

    links: Tensor
    uniform: Tensor
    matched: Tensor


class LinkSplit(NamedTuple):
    """What :func:`split_links` gives.

    ``x`` (n, n) is the graph without the links of ``valid`` and ``test``; ``seen``, boolean (n, n), is False
    at all pairs of these, linked or not, and on the diagonal.
    """

    x: Tensor
    seen: Tensor
    valid: HeldOut
    test: HeldOut


def split_links(x: Tensor, *, valid: float = 0.0, test: float = 0.1, seed: int) -> LinkSplit:
    r"""Set links of a graph apart, to be predicted, and as many pairs without links of two kinds.

    Nothing that is set apart is in what is left: links are removed in both directions, and pairs without
    links, which a method would learn to be none, are not ``seen`` either. A pair of ``valid`` is none of
    ``test``. With uniform pairs beside links a method scores well that knows of degrees alone; with matched
    ones it does not.

    Args:
        x: the graph, (n, n), symmetric, of 0 and 1, its diagonal 0.
        valid, test: shares of links, in [0, 1), together below 1; of ``test`` one link at least.
        seed: of the split.

    Raises:
        ValueError: for an ``x`` that is no such matrix, shares that are none, and where there are not enough
            pairs without links.

    Source: Aiyappa, Wang, Kim, Seckin, Ahn and Kojaku (2024), Implicit degree bias in the link prediction
    task, for matched pairs.

    >>> ring = torch.eye(10).roll(1, 0) + torch.eye(10).roll(-1, 0)
    >>> split = split_links(ring, test=0.2, seed=0)
    >>> len(split.test.links), len(split.test.matched), int(split.x.sum()) // 2
    (2, 2, 8)
    """
    check_graph(x)
    check_count("seed", seed, least=0)
    for name, share in (("valid", valid), ("test", test)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} should be a share of links in [0, 1) but is {share}")
    n = len(x)
    pairs = torch.triu_indices(n, n, 1).T
    linked = x.cpu()[pairs[:, 0], pairs[:, 1]] == 1
    number = int(linked.sum())
    counts = {"test": max(1, round(test * number)), "valid": round(valid * number)}
    held_out = sum(counts.values())
    if held_out >= number:
        raise ValueError(
            f"valid and test should leave links to learn from but take {held_out} of {number}: lower them"
        )
    generator = torch.Generator().manual_seed(seed)
    degrees = x.cpu().double().sum(1)
    weights = degrees[pairs].prod(1)
    free = torch.ones(len(pairs), dtype=torch.bool)
    parts = {}
    for part, k in counts.items():
        chosen = []
        for name, which, weight in (
            ("linked", linked, None),
            ("uniform", ~linked, None),
            ("matched", ~linked, weights),
        ):
            found = _drawn(which & free, weight, k, generator, f"{part}, {name},")
            chosen.append(found)
        for found in chosen:
            free[found] = False
        parts[part] = HeldOut(*(pairs[found].to(x.device) for found in chosen))
    seen = torch.zeros(n, n, dtype=torch.bool)
    seen[pairs[free, 0], pairs[free, 1]] = True
    seen = (seen | seen.T).to(x.device)
    return LinkSplit(torch.where(seen, x, 0), seen, parts["valid"], parts["test"])


def check_graph(x: Tensor) -> None:
    """Raise ValueError unless ``x`` is (n, n), symmetric, of 0 and 1, its diagonal 0."""
    if x.ndim != 2 or len(x) != x.shape[1] or len(x) < 3:
        raise ValueError(f"x should be (n, n), of at least 3 nodes, but has shape {tuple(x.shape)}")
    if not ((x == 0) | (x == 1)).all() or x.diagonal().any():
        raise ValueError("x should hold 0 and 1, and 0 on its diagonal, but does not")
    if not torch.equal(x, x.T):
        raise ValueError("x should be symmetric, x_ij = x_ji, but is not: take x.maximum(x.T)")


def _drawn(allowed: Tensor, weights: Tensor | None, k: int, generator: torch.Generator, what: str) -> Tensor:
    """Return the places of k that are allowed, drawn one after the other without replacement by weights."""
    allowed = allowed if weights is None else allowed & (weights > 0)
    if int(allowed.sum()) < k:
        raise ValueError(
            f"there should be {k} pairs for {what} but there are {int(allowed.sum())}: lower the shares"
        )
    waits = torch.empty(len(allowed), dtype=torch.float64).exponential_(generator=generator)
    if weights is not None:
        waits = waits / weights.clamp(min=1e-300)
    return torch.where(allowed, waits, torch.inf).topk(k, largest=False).indices
