"""What codes of rows are worth: to probes of few labels, to clusters, and what they keep of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from probgen import evaluation
from probgen.applications.parts.features.codes_of_rows import Case
from probgen.applications.parts.features.codings import Coding

NEAREST, LOOKED_AT = 10, 2000
"""Neighbours that a code should keep, and test rows among which they are sought."""

PROBES = ("linear", "neighbours")


def by_labels(
    case: Case, codes: Mapping[str, Coding], *, each: Sequence[int], draws: int, seed: int
) -> pd.DataFrame:
    """Return the accuracy of probes of so many labels of each class, as ``evaluation.transfer`` has it.

    Numbers of labels that some class has not in the rows to learn from are left out. The same ``seed`` draws
    the same rows for all codes.
    """
    known, asked = case.labels >= 0, case.test_labels >= 0
    least = int(case.labels[known].unique(return_counts=True)[1].min())
    classes = len(case.labels[known].unique())
    return evaluation.transfer(
        {name: (own.train[known], own.test[asked]) for name, own in codes.items()},
        case.labels[known],
        case.test_labels[asked],
        sizes=[k * classes for k in each if k <= least],
        draws=draws,
        probes=PROBES,
        seed=seed,
    ).assign(each=lambda frame: frame["labels"] // classes)


def by_clusters(case: Case, codes: Coding, *, rows: int, seed: int) -> dict[str, float]:
    """Return how k-means clusters of test codes agree with classes that they have not seen."""
    asked = case.test_labels >= 0
    found = evaluation.clustering(
        codes.test[asked][:rows], case.test_labels[asked][:rows], repeats=1, seed=seed
    )
    return {"clusters": found.accuracy, "nmi": found.nmi, "ari": found.ari}


def by_rows(case: Case, codes: Coding) -> dict[str, float]:
    """Return the share of the variance of test rows that is lost, and the share of neighbours that is kept.

    The first is Σ (x − x̂)² / Σ (x − mean)² over values that are not missing.
    """
    if codes.restored is None:
        return {}
    seen, centre = ~case.test.isnan(), case.task.train.smooth.nanmean(0)
    error, spread = ((case.test - part)[seen].square().sum() for part in (codes.restored, centre))
    mine, theirs = (
        nearest(x, x, NEAREST + 1)[:, 1:] for x in (codes.test[:LOOKED_AT], case.test[:LOOKED_AT])
    )
    kept = (mine[:, :, None] == theirs[:, None, :]).any(2).double().mean()
    return {"lost": float(error / spread), "kept": float(kept)}


def nearest(x: Tensor, others: Tensor, count: int) -> Tensor:
    """Return the places of the nearest other rows, the nearest first; what is missing is 0."""
    return (
        torch.cdist(x.nan_to_num(0.0).double(), others.nan_to_num(0.0).double())
        .topk(min(count, len(others)), largest=False)
        .indices
    )


def correlations(codes: Tensor, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rank correlation (Spearman) of each column of a table with each coordinate of its codes."""
    columns = {
        str(name): column if pd.api.types.is_numeric_dtype(column) else column.astype("category").cat.codes
        for name, column in frame.items()
    }
    names = [f"z{i}" for i in range(1, codes.shape[1] + 1)]
    both = pd.DataFrame(np.asarray(codes.cpu()), columns=names).join(
        pd.DataFrame(columns).reset_index(drop=True)
    )
    found = both.corr("spearman").loc[list(columns), names]
    return found.rename_axis("column").reset_index()
