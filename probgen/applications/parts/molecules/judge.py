"""How good drawn molecules are: valid, different, new, and in what they differ from held-out ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen import evaluation, priors
from probgen.applications.parts.molecules import chemistry
from probgen.applications.parts.molecules.texts import Molecules, Writing
from probgen.compare.columns import POSITIVE, SHARE, Column
from probgen.core import GenerativeModel, Pair
from probgen.models import PropertyVAE

MEASURES = {
    "frechet": Column(
        "Fréchet distance",
        "Of the means and covariances of 32 principal components (fewer of small data, see the protocol) of "
        "the logarithms of 1 and the counts of 1,024 kinds of neighbourhoods (Morgan, radius 2): as FCD, but "
        "not of ChemNet's features.",
        "lower",
        POSITIVE,
    ),
    "w1_logp": Column("W₁ of logP", "Wasserstein's distance to held-out molecules.", "lower", POSITIVE),
    "w1_qed": Column("W₁ of QED", "Likewise, of drug-likeness.", "lower", POSITIVE),
    "w1_sa": Column("W₁ of SA", "Likewise, of how hard the synthesis is, 1 to 10.", "lower", POSITIVE),
    "best_ten": Column(
        "ten best sought",
        "Mean of 5 QED − SA of the ten best new molecules, all by equally many calls of the oracle.",
        "higher",
    ),
    "valid": Column("valid", "Share of draws that RDKit takes for molecules.", 1.0, SHARE),
    "unique": Column("unique", "Share of valid draws that differ, canonical.", 1.0, SHARE),
    "novel": Column(
        "novel", "Share of these that are no training molecules, both sides canonical.", 1.0, SHARE
    ),
    "w1_weight": Column("W₁ of weight", "Wasserstein's distance of the weights in Da.", "lower", POSITIVE),
    "scaffolds": Column(
        "scaffolds", "Cosine of how often each ring system occurs, and among held-out ones.", "higher", SHARE
    ),
    "nearest": Column(
        "nearest", "Tanimoto's likeness to the nearest held-out molecule, mean.", "floor", SHARE
    ),
    "diversity": Column("diversity", "1 less the mean likeness of two draws.", "floor", SHARE),
    "nats": Column(
        "nats",
        "−log p of a held-out molecule's text, an upper bound: for codes and for pieces others could be "
        "summed over.",
        "lower",
    ),
    "restored": Column("restored", "Held-out molecules that are decoded from their own codes.", 1.0, SHARE),
    "told": Column(
        "R² of the head", "Variance of logP, QED and SA of held-out ones that codes tell, mean.", 1.0
    ),
    "best": Column("best sought", "5 QED − SA of the best new molecule, by as many calls.", "higher"),
    "calls": Column("calls", "Of the oracle that were made: new molecules whose value was asked for."),
}

LOSSES = (("w1_logp", "logP"), ("w1_qed", "QED"), ("w1_sa", "SA"), ("w1_weight", "weight"))
FEATURES = 32
"""Principal components of fingerprints, at most."""

TRIES = 12
"""Draws for each valid molecule that is wanted, at most."""


class Judge:
    """Draws against held-out molecules, equally many valid ones of each method.

    Args:
        molecules: of which the training part is known to the methods.
        n: valid draws that are judged.

    Attributes:
        features: principal components of the fingerprints, of training molecules: as many as the draws and
            the held-out molecules give covariances of, 32 at most.
    """

    def __init__(self, molecules: Molecules, *, n: int) -> None:
        from sklearn.decomposition import PCA

        self.train, self.n = set(molecules.train), n
        self.reference = molecules.test[: 2 * n]
        self.properties = chemistry.properties(self.reference)
        self.scaffolds = chemistry.scaffolds(self.reference)
        self.prints = chemistry.fingerprints(self.reference)
        shown = np.log1p(chemistry.fingerprints(molecules.train[:2000]))
        self.features = min(FEATURES, min(n, len(self.reference)) // 2 - 1)
        self._components = PCA(self.features, svd_solver="covariance_eigh").fit(shown)

    def drawn(self, draw: Callable[[int], Sequence[str]]) -> tuple[list[str], int]:
        """Return n valid draws, or those of 12 n or of all that there are, and how many were drawn."""
        valid: list[str] = []
        number = 0
        while len(valid) < self.n and number < TRIES * self.n:
            texts = draw(self.n)
            if not texts:
                break
            number += len(texts)
            valid += [smiles for text in texts if (smiles := chemistry.canonical(text))]
        return valid, number

    def measures(self, draw: Callable[[int], Sequence[str]]) -> tuple[dict[str, float], list[str]]:
        """Return what is measured of draws, and the valid ones; too few are not compared with others."""
        valid, number = self.drawn(draw)
        found = {"valid": len(valid) / number}
        valid = valid[: self.n]
        if valid:
            different = list(dict.fromkeys(valid))
            found["unique"] = len(different) / len(valid)
            found["novel"] = sum(smiles not in self.train for smiles in different) / len(different)
        if len(valid) == self.n:
            found |= self.likeness(valid)
        return found, valid

    def likeness(self, molecules: Sequence[str]) -> dict[str, float]:
        """Return how like molecules are to the held-out ones."""
        from scipy.stats import wasserstein_distance

        prints, values = chemistry.fingerprints(molecules), chemistry.properties(molecules)
        own, others = (
            torch.from_numpy(self._components.transform(np.log1p(x))) for x in (prints, self.prints)
        )
        found = {"frechet": evaluation.frechet_distance(own, others).value}
        for name, of in LOSSES:
            column = chemistry.PROPERTIES.index(of)
            found[name] = float(wasserstein_distance(values[:, column], self.properties[:, column]))
        found["scaffolds"] = chemistry.cosine(chemistry.scaffolds(molecules), self.scaffolds)
        found["nearest"] = float(chemistry.likeness(prints, self.prints).max(1).mean())
        pairs = chemistry.likeness(prints, prints)
        found["diversity"] = float(1 - (pairs.sum() - np.trace(pairs)) / (pairs.size - len(pairs)))
        return found


@torch.no_grad()
def of_texts(model: GenerativeModel, writing: Writing, *, rows: int, particles: int) -> dict[str, float]:
    """Return minus the log-likelihood of held-out texts, of a VAE by importance sampling."""
    x = writing.test[:rows]
    if isinstance(model, Pair):
        return {"nats": -evaluation.log_likelihood(model, x, particles=particles, seed=0).value}
    model.eval()
    return {"nats": -float(model.log_prob(x).mean())}  # type: ignore[operator]


def of_codes(model: PropertyVAE, writing: Writing, test: Sequence[str], y: Tensor) -> dict[str, float]:
    """Return what codes of held-out molecules, canonical, keep of them and tell of their properties y."""
    codes = model.encode(writing.tokens(test).to(writing.test.device)).mean
    law: Any = model.decode(codes)
    back = writing.smiles(priors.greedy(law))
    restored = np.mean([chemistry.canonical(text) == own for text, own in zip(back, test, strict=True)])
    error = (model.predict(codes).mean.cpu() - y).square().mean(0)
    return {"restored": float(restored), "told": float((1 - error / y.var(0, correction=0)).mean())}
