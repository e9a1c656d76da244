"""Recommendation: what users will like by what they liked, judged on users that no method has seen."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probgen import data
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.recommend import recommenders
from probgen.compare.columns import SHARE, Column
from probgen.models import VAE
from probgen.objectives import SVI, BetaELBO
from probgen.training import schedules

FOLDS = 10
WEIGHTS = (50.0, 100.0, 200.0, 400.0)
"""Of EASE, of which the best on validation users is taken."""

BETA = 0.2
"""The weight of the KL at the end of the training."""

LISTED = 20
"""Items of a list of recommendations."""

MEASURES = {
    "ndcg": Column("NDCG@100", "Held-out items near the top of a list of 100.", 1.0, SHARE),
    "recall_20": Column("Recall@20", "Held-out items among the first 20, of at most 20.", 1.0, SHARE),
    "recall_50": Column("Recall@50", "Held-out items among the first 50, of at most 50.", 1.0, SHARE),
    "coverage": Column("coverage", "Share of all items that are in some user's first 20.", None, SHARE),
    "popularity": Column(
        "popularity",
        "Share of the training users who like a recommended item, mean of the first 20.",
        None,
        SHARE,
    ),
}


class Fold(NamedTuple):
    """Users to learn from, and of others what is seen and what is held out: rows of 0 and 1."""

    train: Tensor
    seen: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    items: Tensor
    left_out: int


@application(
    "recommend",
    "What users will like",
    data="ratings: a CSV of columns user, item and, of which 4 and more is liking, rating; title",
    shipped=("movielens",),
    measures=MEASURES,
)
def recommend(study: Study) -> None:
    """Recommend to the users of each fold by those of eight others; one is to choose on."""
    rated = data.ratings(None if str(study.source) == "movielens" else study.source)
    users = int(rated.users.max()) + 1
    if users < 5 * FOLDS:
        raise ValueError(
            f"{rated.name} should have {5 * FOLDS} users at least, for {FOLDS} folds, but has {users}"
        )
    study.fact("events", rated.read)
    study.fact("repeats are", f"folds of users: {FOLDS - 2} to learn from, one to choose on, one to judge on")
    study.fact("held out", "a fifth of a user's items that some training user likes; the others are seen")
    study.ours(
        "Mult-VAE", f"A VAE with a multinomial likelihood; the weight of its KL rises to {BETA} in training."
    )
    study.baseline("popularity", "What most users like.")
    study.baseline("ItemKNN", "Items by their cosine similarity to those seen, 100 neighbours of each.")
    study.baseline("EASE", "A linear autoencoder in closed form, its weight chosen on validation users.")
    fold = functools.cache(functools.partial(_fold, study, rated, users))
    scores = functools.cache(lambda method, repeat: _scores(study, fold(repeat), method, repeat))
    repeats = study.pick(full=FOLDS, quick=3, tiny=2)
    for repeat in range(repeats):
        for method in study.methods:
            measured = functools.partial(lambda m, r: _judged(fold(r), scores(m, r)), method, repeat)
            study.measure(method, repeat, measured)
    left_out = [fold(repeat).left_out for repeat in range(repeats)]
    study.fact("users without a held-out item, not judged", ", ".join(map(str, left_out)))
    lists = {method: scores(method, 0) for method in study.methods}
    study.table(
        "recommendations", _titles(fold(0), lists, rated.titles), "The first users of the first fold."
    )


def _fold(study: Study, rated: data.Ratings, users: int, repeat: int) -> Fold:
    """Split users, and the items of those who do not train; items that none who trains likes are left out."""
    order = np.random.default_rng(study.seed_of("folds", 0)).permutation(users)
    parts = np.array_split(order, FOLDS)
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
        seen.append(torch.from_numpy((rows - apart)[kept]).to(study.device))
        held_out.append(torch.from_numpy(apart[kept]).to(study.device))
    return Fold(
        torch.from_numpy(train[:, items]).to(study.device),
        (seen[0], seen[1]),
        (held_out[0], held_out[1]),
        torch.from_numpy(items),
        left_out,
    )


def _scores(study: Study, fold: Fold, method: str, repeat: int) -> Tensor:
    """Return the scores of the judged users' items, −∞ where seen."""
    train, seen = fold.train, fold.seen[0]
    if method == "popularity":
        found = recommenders.popularity(train, seen)
    elif method == "ItemKNN":
        found = recommenders.item_neighbours(train, seen)
    elif method == "EASE":
        found = recommenders.ease(
            train, seen, weight=max(WEIGHTS, key=lambda weight: _chosen_by(fold, weight))
        )
    else:
        found = recommenders.vae_scores(_vae(study, fold, repeat), seen)
    return found.masked_fill(seen > 0, -math.inf)


def _chosen_by(fold: Fold, weight: float) -> float:
    seen = fold.seen[1]
    scores = recommenders.ease(fold.train, seen, weight=weight).masked_fill(seen > 0, -math.inf)
    return recommenders.ranking(scores, fold.held_out[1])["ndcg"]


def _vae(study: Study, fold: Fold, repeat: int) -> VAE:
    seed = study.seed_of("Mult-VAE", repeat)
    torch.manual_seed(seed)
    vae = recommenders.mult_vae(fold.train.shape[1]).to(study.device)
    steps = study.pick(full=1000, quick=150, tiny=2)
    study.fit(
        f"vae-{repeat}",
        SVI(vae, BetaELBO(0.0)),
        fold.train,
        seed=seed,
        method="Mult-VAE",
        steps=steps,
        batch_size=100,
        schedules={"elbo.beta": schedules.linear(0.0, BETA, steps=steps)},
    )
    vae.eval()
    return vae


def _judged(fold: Fold, scores: Tensor) -> dict[str, float]:
    """Return the measures of a method's scores."""
    lists = scores.topk(min(LISTED, scores.shape[1]), dim=1).indices
    shares = fold.train.mean(0)
    return {
        **recommenders.ranking(scores, fold.held_out[0]),
        "coverage": len(lists.unique()) / scores.shape[1],
        "popularity": float(shares[lists].mean()),
    }


def _titles(fold: Fold, lists: dict[str, Tensor], titles: list[str]) -> pd.DataFrame:
    """Return some titles that the first users liked, and what is recommended to them by each method."""

    def named(items: Tensor) -> str:
        return "; ".join(titles[int(fold.items[int(item)])] for item in items)

    rows = []
    for user in range(min(4, len(fold.seen[0]))):
        rows.append({"user": user + 1, "what": "seen", "items": named(fold.seen[0][user].nonzero()[:5, 0])})
        rows.append(
            {"user": user + 1, "what": "held out", "items": named(fold.held_out[0][user].nonzero()[:5, 0])}
        )
        for method, scores in lists.items():
            rows.append({"user": user + 1, "what": method, "items": named(scores[user].topk(5).indices)})
    return pd.DataFrame(rows)
