"""Recommenders, and how lists of items are judged by what users liked and was held out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, normalize

from probgen import models, nets
from probgen.nets.multinomial_head import MultinomialOfTotal
from probgen.priors import StandardNormal


def ranking(
    scores: Tensor, held_out: Tensor, *, recalls: Sequence[int] = (20, 50), depth: int = 100
) -> dict[str, float]:
    r"""Return NDCG and recalls of the best items of each user, means over users.

    NDCG@d = Σ_{r ≤ d, item r is relevant} 1/log₂(r + 1), over its value where the relevant ones stand first;
    Recall@k = relevant ones among the first k, over min(k, relevant ones).

    Args:
        scores: shape (users, items), −∞ where an item is not to be recommended.
        held_out: 1 where an item is relevant, else 0, the same shape; at least one for each user.
        recalls: values of k.
        depth: d.

    Source: Liang, Krishnan, Hoffman and Jebara (2018).

    >>> scores, held_out = torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    >>> {name: round(value, 4) for name, value in ranking(scores, held_out, recalls=(1, 2)).items()}
    {'ndcg': 0.6309, 'recall_1': 0.0, 'recall_2': 1.0}
    """
    relevant = held_out.sum(1)
    if not bool((relevant > 0).all()):
        raise ValueError(
            "held_out should have an item of each user, but of some there is none: leave them out"
        )
    if scores.isnan().any():
        raise ValueError("scores should be numbers but some are NaN")
    best = scores.topk(min(max(depth, *recalls), scores.shape[1]), dim=1)
    hits = held_out.gather(1, best.indices).double() * (best.values > -math.inf)
    discounts = 1 / torch.arange(2, 2 + hits.shape[1], device=hits.device).double().log2()
    gained = (hits * discounts)[:, :depth].sum(1)
    ideal = discounts[:depth].cumsum(0)[(relevant.long().clamp(max=min(depth, hits.shape[1])) - 1)]
    found = {"ndcg": float((gained / ideal).mean())}
    for k in recalls:
        found[f"recall_{k}"] = float((hits[:, :k].sum(1) / relevant.double().clamp(max=k)).mean())
    return found


def popularity(train: Tensor, seen: Tensor) -> Tensor:
    """Return how many users of ``train`` like each item, the same for all users, shape (n, items)."""
    return train.sum(0).expand(len(seen), -1)


def item_neighbours(train: Tensor, seen: Tensor, *, neighbours: int = 100, block: int = 500) -> Tensor:
    """Return the summed cosine similarity of items to those seen, each of which has so many neighbours."""
    columns = normalize(train, dim=0)
    scores = torch.zeros_like(seen)
    for liked in torch.arange(seen.shape[1], device=seen.device)[seen.sum(0) > 0].split(block):
        similar = columns[:, liked].T @ columns
        similar[torch.arange(len(liked), device=seen.device), liked] = 0
        best = similar.topk(min(neighbours, similar.shape[1]), dim=1)
        scores += seen[:, liked] @ torch.zeros_like(similar).scatter_(1, best.indices, best.values)
    return scores


def ease(train: Tensor, seen: Tensor, *, weight: float) -> Tensor:
    r"""Return scores of EASE: seen · B, B = I − P diag(P)⁻¹, P = (XᵀX + λI)⁻¹, in closed form.

    With fewer users than items P comes from the Gram matrix of users, P = (I − Xᵀ(XXᵀ + λI)⁻¹X) / λ, so that
    no matrix of items by items is made, and with fewer items none of users by users.

    Args:
        train: X, 0 and 1, shape (users, items).
        seen: of the users to recommend to, shape (n, items).
        weight: λ > 0.

    Source: Steck (2019), Embarrassingly shallow autoencoders for sparse data.
    """
    if not weight > 0:
        raise ValueError(f"weight should be above 0 but is {weight}")
    x, u = train.double(), seen.double()
    if x.shape[1] < len(x):
        p = torch.linalg.inv(x.T @ x + weight * torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
        return u - u @ p / p.diagonal()
    gram = x @ x.T + weight * torch.eye(len(x), dtype=x.dtype, device=x.device)
    solved = torch.linalg.solve(gram, x)
    diagonal = (1 - (x * solved).sum(0)) / weight
    return u - (u - (u @ x.T) @ solved) / weight / diagonal


class Liked(nn.Module):
    """Numbers of q(z | x) from what a user liked: a row of length 1, a share of it left out in training."""

    def __init__(self, items: int, latent: int, hidden: int, share: float = 0.5) -> None:
        super().__init__()
        self.share = share
        self.net = nets.MLP(items, 2 * latent, hidden=hidden, activation=nn.Tanh)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(dropout(normalize(x, dim=-1), self.share, self.training))


def mult_vae(train: Tensor, *, latent: int = 64, hidden: int = 200) -> models.VAE:
    """Return a VAE of what users like: z ~ N(0, I), x | z multinomial given how many items there are.

    Args:
        train: rows of 0 and 1, (users, items), whose items it has.
        latent, hidden: sizes.

    Source: Liang, Krishnan, Hoffman and Jebara (2018), Variational autoencoders for collaborative filtering.
    """
    items = train.shape[1]
    decoder = nets.MultinomialHead(nets.MLP(latent, items, hidden=hidden, activation=nn.Tanh))
    encoder = nets.NormalHead(Liked(items, latent, hidden))
    return models.VAE(encoder, decoder, prior=StandardNormal(latent))


@torch.no_grad()
def vae_scores(vae: models.VAE, seen: Tensor) -> Tensor:
    """Return the log-odds of items by the mean code of what was seen."""
    law = vae.decode(vae.encode(seen).mean)
    assert isinstance(law, MultinomialOfTotal)
    return law.logits
