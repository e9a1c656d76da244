"""Folds of users: who is learned from, chosen on and judged, what is held out of each, and what is told."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probgen import data
from probgen.applications.frame.study import Study
from probgen.applications.parts.recommend.recommenders import ease, ranking

FOLDS = 10
WEIGHTS = (50.0, 100.0, 200.0, 400.0)
"""Of EASE, of which the best on the users to choose on is taken."""

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0)
"""Of a second recommender beside EASE, of which the best on the users to choose on is taken."""

MOST = 10**8
"""Pairs of a user and an item: some 3 GB with the copies in float64 that EASE makes."""

LISTED = 20
"""Items of a list of recommendations."""


class Fold(NamedTuple):
    """Users to learn from, and of others what is seen and what is held out: rows of 0 and 1.

    ``seen`` and ``held_out`` are those of the users to judge on, then of those to choose on; ``items`` are
    numbers of items in the data; ``left_out`` users to judge on have too few items to hold one out.
    """

    train: Tensor
    seen: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    items: Tensor
    left_out: int


def check_size(rated: data.Ratings) -> None:
    """Raise ValueError for too few users for the folds, and for more pairs than memory holds."""
    users, items = int(rated.users.max()) + 1, len(rated.titles)
    if users < 5 * FOLDS:
        raise ValueError(
            f"{rated.name} should have {5 * FOLDS} users at least, for {FOLDS} folds, but has {users}"
        )
    if users * items > MOST:
        raise ValueError(
            f"{rated.name} should have {MOST:,} pairs of a user and an item at most, but has {users:,} users "
            f"and {items:,} items: take a part of the users, or items that several like"
        )


def fold_of(study: Study, rated: data.Ratings, repeat: int) -> Fold:
    """Split users, and the items of those who do not train; items that none who trains likes are left out."""
    users = int(rated.users.max()) + 1
    parts = np.array_split(np.random.default_rng(study.seed_of("folds", 0)).permutation(users), FOLDS)
    others = [parts[repeat], parts[(repeat + 1) % FOLDS]]
    likes = np.zeros((users, len(rated.titles)), dtype=np.float32)
    likes[rated.users, rated.items] = 1
    train = np.delete(likes, np.concatenate(others), 0)
    items = np.flatnonzero(train.sum(0))
    source = np.random.default_rng(study.seed_of("held out", repeat))
    seen, held_out, left_out = [], [], 0
    for number, part in enumerate(others):
        rows = likes[part][:, items]
        apart = np.zeros_like(rows)
        for row, liked in zip(apart, rows, strict=True):
            own = np.flatnonzero(liked)
            row[source.permutation(own)[: len(own) // 5]] = 1
        kept = apart.sum(1) > 0
        left_out += 0 if number else int((~kept).sum())
        if not kept.any():
            raise ValueError(
                f"users of {rated.name} should like items that others like too, 5 of them at least, but of "
                f"{len(part)} users of a fold none does"
            )
        seen.append(torch.from_numpy((rows - apart)[kept]).to(study.device))
        held_out.append(torch.from_numpy(apart[kept]).to(study.device))
    return Fold(
        torch.from_numpy(train[:, items]).to(study.device),
        (seen[0], seen[1]),
        (held_out[0], held_out[1]),
        torch.from_numpy(items),
        left_out,
    )


def unseen(scores: Tensor, seen: Tensor) -> Tensor:
    """Return scores that are −∞ where an item is seen."""
    return scores.masked_fill(seen > 0, -math.inf)


def chosen_weight(fold: Fold) -> float:
    """Return the weight by which EASE has the highest NDCG on the users to choose on."""

    def ndcg(weight: float) -> float:
        scores = unseen(ease(fold.train, fold.seen[1], weight=weight), fold.seen[1])
        return ranking(scores, fold.held_out[1])["ndcg"]

    return max(WEIGHTS, key=ndcg)


def added(scores: Tensor, others: Tensor, *, share: float) -> Tensor:
    """Return (1 − share) · scores + share · others, each row less its mean, over its standard deviation.

    A row of equal scores, as of a user whose items no one likes along with others, prefers nothing and is 0.
    """

    def in_units(part: Tensor) -> Tensor:
        apart = part.double() - part.double().mean(1, keepdim=True)
        spread = apart.std(1, keepdim=True)
        return apart / torch.where(spread > 0, spread, 1.0)

    return (1 - share) * in_units(scores) + share * in_units(others)


def chosen_share(fold: Fold, scores: Tensor, others: Tensor) -> float:
    """Return the share by which the scores of the users to choose on, added, have the highest NDCG."""

    def ndcg(share: float) -> float:
        found = unseen(added(scores, others, share=share), fold.seen[1])
        return ranking(found, fold.held_out[1])["ndcg"]

    return max(SHARES, key=ndcg)


def judged(fold: Fold, scores: Tensor) -> dict[str, float]:
    """Return the measures of scores of the users to judge on, −∞ where an item is seen."""
    best = scores.topk(min(LISTED, scores.shape[1]), dim=1)
    listed = best.indices[best.values > -math.inf]
    return {
        **ranking(scores, fold.held_out[0]),
        "coverage": len(listed.unique()) / scores.shape[1],
        "popularity": float(fold.train.mean(0)[listed].mean()),
    }


def told(fold: Fold, scores: dict[str, Tensor], titles: list[str]) -> pd.DataFrame:
    """Return some titles that the first users liked, and what is recommended to them by each method."""

    def named(items: Tensor) -> str:
        return "; ".join(titles[int(fold.items[int(item)])] for item in items)

    rows = []
    for user in range(min(4, len(fold.seen[0]))):
        liked = {"seen": fold.seen[0][user], "held out": fold.held_out[0][user]}
        lists = {what: row.nonzero()[:5, 0] for what, row in liked.items()}
        lists |= {method: own[user].topk(min(5, own.shape[1])).indices for method, own in scores.items()}
        rows += [{"user": user + 1, "what": what, "items": named(items)} for what, items in lists.items()]
    return pd.DataFrame(rows)
