"""Recommendation: what users will like by what they liked, judged on users that no method has seen."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from probgen import data
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.recommend import rec_vae, recommenders
from probgen.applications.parts.recommend.folds import (
    FOLDS,
    Fold,
    added,
    check_size,
    chosen_share,
    chosen_weight,
    fold_of,
    judged,
    told,
    unseen,
)
from probgen.compare.columns import SHARE, Column
from probgen.core import Objective, seeded
from probgen.models import VAE
from probgen.objectives import SVI, BetaELBO
from probgen.training import schedules

BOTH = "EASE and both VAEs"

BETA, GAMMA = 0.2, 0.005
"""The weight of the KL at the end of the training of Mult-VAE, and in RecVAE for each item that is liked."""

VAES = {"Mult-VAE": recommenders.mult_vae, "RecVAE": rec_vae.rec_vae}

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
    check_size(rated)
    study.fact("events", rated.read)
    study.fact("repeats are", f"folds of users: {FOLDS - 2} to learn from, one to choose on, one to judge on")
    study.fact("held out", "a fifth of a user's items that some training user likes; the others are seen")
    study.fact(
        "chosen",
        "sizes, rate and steps of RecVAE, by trials on users to choose on of three folds of another seed, "
        "who are among those judged here",
    )
    study.ours(
        "Mult-VAE", f"A VAE with a multinomial likelihood; the weight of its KL rises to {BETA} in training."
    )
    study.ours(
        "RecVAE",
        "Encoder and decoder learn in turns; codes are held near those before; the KL weighs "
        f"{GAMMA} for each item that a user likes, so that the loss is no bound.",
    )
    study.ours(
        BOTH,
        "The log-odds of these VAEs, summed, added to the scores of EASE, each user's in units of their "
        "spread, by a share chosen on validation users: what is linear is EASE's, the VAEs have the rest.",
    )
    study.baseline("popularity", "What most users like.")
    study.baseline("ItemKNN", "Items by their cosine similarity to those seen, 100 neighbours of each.")
    study.baseline("EASE", "A linear autoencoder in closed form, its weight chosen on validation users.")
    fold = functools.cache(functools.partial(fold_of, study, rated))
    scores = functools.cache(lambda method, repeat: _scores(study, fold(repeat), method, repeat))
    repeats = study.pick(full=FOLDS, quick=3, tiny=2)
    for repeat in range(repeats):
        for method in study.methods:
            measured = functools.partial(lambda m, r: judged(fold(r), scores(m, r)), method, repeat)
            study.measure(method, repeat, measured)
    left_out = [fold(repeat).left_out for repeat in range(repeats)]
    study.fact("users without a held-out item, not judged", ", ".join(map(str, left_out)))
    frame = told(fold(0), {method: scores(method, 0) for method in study.methods}, rated.titles)
    study.table("recommendations", frame, "The first users of the first fold.")


def _scores(study: Study, fold: Fold, method: str, repeat: int) -> Tensor:
    """Return the scores of items for the users to judge on, −∞ where seen."""
    train, seen = fold.train, fold.seen[0]
    if method == "popularity":
        found = recommenders.popularity(train, seen)
    elif method == "ItemKNN":
        found = recommenders.item_neighbours(train, seen)
    elif method == "EASE":
        found = recommenders.ease(train, seen, weight=chosen_weight(fold))
    elif method == BOTH:
        weight, vaes = chosen_weight(fold), [_vae(study, fold, name, repeat) for name in VAES]
        judged_on, chosen_on = (
            (
                recommenders.ease(train, own, weight=weight),
                torch.stack([recommenders.vae_scores(vae, own).log_softmax(1) for vae in vaes]).sum(0),
            )
            for own in fold.seen
        )
        found = added(*judged_on, share=chosen_share(fold, *chosen_on))
    else:
        found = recommenders.vae_scores(_vae(study, fold, method, repeat), seen)
    return unseen(found, seen)


def _vae(study: Study, fold: Fold, method: str, repeat: int) -> VAE:
    """Return the VAE of a fold, trained."""
    seed, train = study.seed_of(method, repeat), fold.train
    settings: dict[str, Any]
    with seeded(seed):
        vae = VAES[method](train).to(study.device)
    if method == "RecVAE":
        objective: Objective = rec_vae.Alternating(vae, gamma=GAMMA, turns=(15, 5))
        steps, settings = study.pick(full=280, quick=60, tiny=2), {"optimizer": rec_vae.adam}
    else:
        objective, steps = SVI(vae, BetaELBO(0.0)), study.pick(full=1000, quick=150, tiny=2)
        settings = {"schedules": {"elbo.beta": schedules.linear(0.0, BETA, steps=steps)}}
    name = f"{method.lower()}-{repeat}"
    study.fit(name, objective, train, seed=seed, method=method, steps=steps, batch_size=100, **settings)
    return vae.eval()
