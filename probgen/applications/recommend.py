"""Recommendation: what users will like by what they liked, judged on users that no method has seen."""

from __future__ import annotations

import functools

from torch import Tensor

from probgen import data
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.recommend import recommenders
from probgen.applications.parts.recommend.folds import (
    FOLDS,
    Fold,
    added,
    chosen_share,
    chosen_weight,
    fold_of,
    judged,
    told,
    unseen,
)
from probgen.compare.columns import SHARE, Column
from probgen.core import seeded
from probgen.models import VAE
from probgen.objectives import SVI, BetaELBO
from probgen.training import schedules

BOTH = "EASE and Mult-VAE"

BETA = 0.2
"""The weight of the KL at the end of the training."""

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
    study.ours(
        BOTH,
        "The log-odds of this VAE added to the scores of EASE, each user's in units of their spread, by a "
        "share chosen on validation users: what is linear is EASE's, the VAE has the rest.",
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
    elif method == "Mult-VAE":
        found = recommenders.vae_scores(_vae(study, fold, repeat), seen)
    else:
        weight, vae = chosen_weight(fold), _vae(study, fold, repeat)
        judged_on, chosen_on = (
            (recommenders.ease(train, own, weight=weight), recommenders.vae_scores(vae, own))
            for own in fold.seen
        )
        found = added(*judged_on, share=chosen_share(fold, *chosen_on))
    return unseen(found, seen)


def _vae(study: Study, fold: Fold, repeat: int) -> VAE:
    """Return the VAE of a fold, trained."""
    seed = study.seed_of("Mult-VAE", repeat)
    with seeded(seed):
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
    return vae.eval()
