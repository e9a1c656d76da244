"""How well scores of pairs of nodes tell links from pairs that are not linked."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class LinkScores(NamedTuple):
    """Area under the ROC curve and average precision, in [0, 1]; chance is 1/2 and the share of links."""

    auc: float
    average_precision: float


def link_prediction(scores: Tensor, links: Tensor, others: Tensor) -> LinkScores:
    """Judge scores of pairs by pairs that are linked and others that are not.

    Args:
        scores: of all pairs, (n, n), more where a link is more probable.
        links, others: pairs, int64 (k, 2), as of :func:`probgen.data.split_links`.

    Raises:
        ValueError: where there are no links or no others, or a score of one is not finite.

    Source: Lu and Zhou (2011), Link prediction in complex networks: a survey.

    >>> scores = torch.tensor([[0.0, 2.0, 1.0], [2.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    >>> link_prediction(scores, torch.tensor([[0, 1]]), torch.tensor([[0, 2], [1, 2]])).auc
    1.0
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    if not len(links) or not len(others):
        raise ValueError(f"there should be links and others but there are {len(links)} and {len(others)}")
    found = torch.cat([scores[pairs[:, 0], pairs[:, 1]] for pairs in (links, others)])
    if not found.isfinite().all():
        raise ValueError("scores should be finite but some of the pairs' are not")
    truth = torch.cat([torch.ones(len(links)), torch.zeros(len(others))])
    found = found.detach().double().cpu()
    return LinkScores(float(roc_auc_score(truth, found)), float(average_precision_score(truth, found)))
