"""The methods of the application text: learned, scored, drawn from and probed, each once."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen import data, evaluation
from probgen.applications.frame.study import Study
from probgen.applications.parts.text import models
from probgen.compare.columns import SHARE, Column
from probgen.models import LanguageModel, NGram, SequenceVAE

PARTS = 10
"""Stretches of the text, of which one is test and one is to choose on in each repeat."""

VAE, BESIDE = "sentence VAE", "sentence VAE beside counts"
COUNTS, GRU, GRU_BESIDE = "Kneser-Ney", "GRU", "GRU beside counts"
WORDS, MAJORITY, FLOOR = "TF-IDF of words", "the most frequent speaker", "held-out lines"

MEASURES = {
    "bits": Column("bits per character", "−log₂ p of held-out lines, of a VAE an upper bound.", "lower"),
    "speakers": Column(
        "speakers told",
        "Accuracy of a logistic regression on up to ten speakers, judged on ten lines of each thirty. Codes "
        "and weights of words were learned from all of these lines, without their speakers.",
        1.0,
        SHARE,
    ),
    "words": Column(
        "known words",
        "Share of the words in drawn lines that occur in the lines learned from.",
        "floor",
        SHARE,
    ),
    "new": Column("new lines", "Share of drawn lines that are not in the lines learned from.", None, SHARE),
    "elbo": Column("bits by the ELBO", "The bound without importance weights.", "lower"),
    "kl": Column("KL", "Nats that a code holds of a held-out line, mean."),
    "active": Column("active units", "Coordinates of the code whose mean varies by more than 0.01."),
    "restored": Column(
        "restored", "Characters that are right, place by place, decoded from codes.", 1.0, SHARE
    ),
    "share": Column(
        "share", "Of the network in its mixture with counts, chosen on other lines.", None, SHARE
    ),
}


class Methods:
    """What is learned of some lines.

    Args:
        study: which keeps the trainings.
        vocabulary: of the lines.
        x: lines as tokens (n, T), in the order of the text.
        labels: who speaks them, −1 where unknown; None where nothing is known.
    """

    drawing = (VAE, BESIDE, COUNTS, GRU, GRU_BESIDE)

    def __init__(self, study: Study, vocabulary: data.Vocabulary, x: Tensor, labels: Tensor | None) -> None:
        self.study, self.vocabulary, self.x, self.labels = study, vocabulary, x, labels
        self.split = functools.cache(lambda repeat: models.blocks(x, labels, repeat, parts=PARTS))
        self.vae = functools.cache(self._vae)
        self.gru = functools.cache(self._gru)
        self.counts = functools.cache(
            lambda repeat: models.learned_counts(self.split(repeat), vocabulary.size)
        )
        self.share = functools.cache(self._share)
        self.draws = functools.cache(self._draws)
        self.rows = study.pick(full=1000, quick=200, tiny=20)
        self.particles = study.pick(full=50, quick=10, tiny=2)

    def strings(self, x: Tensor) -> list[str]:
        """Return lines as texts."""
        found = self.vocabulary.decode(x.cpu())
        assert isinstance(found, list)
        return found

    def judged(self, name: str, repeat: int) -> dict[str, float]:
        """Return what is measured of a method."""
        if name in (WORDS, MAJORITY):
            return {"speakers": self._told(name, repeat)}
        found = {} if name == FLOOR else {"bits": self._bits(name, repeat)}
        lines = self.draws(name, repeat)
        learned = set(self.strings(self.split(repeat).train))
        known = {word for line in learned for word in _words(line)}
        words = [word for line in lines for word in _words(line)]
        if words:
            found["words"] = float(np.mean([word in known for word in words]))
        found["new"] = float(np.mean([line not in learned for line in lines]))
        if name in (BESIDE, GRU_BESIDE):
            found["share"] = self.share(name, repeat)
        if name == VAE:
            found |= self._of_codes(repeat)
        return found

    def _vae(self, repeat: int) -> SequenceVAE:
        return models.learned_vae(
            self.study, VAE, self.split(repeat).train, self.vocabulary.size, repeat=repeat
        )

    def _gru(self, repeat: int) -> LanguageModel:
        return models.learned_gru(
            self.study, GRU, self.split(repeat).train, self.vocabulary.size, repeat=repeat
        )

    def _network(self, name: str, repeat: int) -> SequenceVAE | LanguageModel:
        return self.vae(repeat) if name in (VAE, BESIDE) else self.gru(repeat)

    def _share(self, name: str, repeat: int) -> float:
        """Return the share of a network in a mixture that is best on lines to choose on."""
        x = models.some(self.split(repeat).chosen_on, self.rows // 2)
        model, counted = self._network(name, repeat), self.counts(repeat).token_log_probs(x)
        particles = max(1, self.particles // 5)
        scores = {
            share: float(
                models.log_probs(model, x, counted=counted, share=share, particles=particles).double().sum()
            )
            for share in models.SHARES
        }
        return max(scores, key=scores.__getitem__)

    def _bits(self, name: str, repeat: int) -> float:
        x = models.some(self.split(repeat).test, self.rows)
        if name == COUNTS:
            return models.bits(self.counts(repeat).log_prob(x), x)
        mixed = name in (BESIDE, GRU_BESIDE)
        found = models.log_probs(
            self._network(name, repeat),
            x,
            counted=self.counts(repeat).token_log_probs(x) if mixed else None,
            share=self.share(name, repeat) if mixed else 1.0,
            particles=self.particles,
        )
        return models.bits(found, x)

    def _draws(self, name: str, repeat: int) -> list[str]:
        n, seed = self.study.pick(full=500, quick=100, tiny=10), self.study.seed_of(name, repeat)
        if name == FLOOR:
            return self.strings(models.some(self.split(repeat).test, n))
        if name == COUNTS:
            return self.strings(self.counts(repeat).sample(n, seed=seed))
        model = self._network(name, repeat)
        with torch.no_grad():
            if isinstance(model, SequenceVAE):
                generator = torch.Generator().manual_seed(seed)
                z = torch.randn(n, models.LATENT, generator=generator).to(self.x.device)
                law: Any = model.decode(z)
            else:
                law = model.law()
        mixed = name in (BESIDE, GRU_BESIDE)
        counts: NGram | None = self.counts(repeat) if mixed else None
        share = self.share(name, repeat) if mixed else 1.0
        return self.strings(models.drawn(law, counts, share, n, seed=seed))

    def _of_codes(self, repeat: int) -> dict[str, float]:
        """Return the bound of the VAE, how its code is used, and what is told and kept by it."""
        model, x = self.vae(repeat), models.some(self.split(repeat).test, self.rows)
        q = model.encode(x)
        kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(-1)
        with torch.no_grad():
            law: Any = model.decode(q.sample())
            bound = law.log_prob(x) - kl
        found = {
            "elbo": models.bits(bound, x),
            "kl": float(kl.mean()),
            "active": float((q.mean.var(0) > 0.01).sum()),
            "restored": models.restored(model, x),
        }
        return found | ({"speakers": self._told(VAE, repeat)} if self.labels is not None else {})

    def _labelled(self, repeat: int) -> tuple[Tensor, np.ndarray]:
        split = self.split(repeat)
        assert split.labels is not None
        known = split.labels >= 0
        return split.train[known], split.labels[known].cpu().numpy()

    def _told(self, name: str, repeat: int) -> float:
        """Return how well speakers are told by codes, by words, or without a look."""
        x, labels = self._labelled(repeat)
        if name == WORDS:
            from sklearn.feature_extraction.text import TfidfVectorizer

            return models.probed(TfidfVectorizer(sublinear_tf=True).fit_transform(self.strings(x)), labels)
        if name == MAJORITY:
            return models.majority(labels)
        return models.probed(evaluation.encoded(self.vae(repeat), x).cpu().numpy(), labels)

    def map_of_speakers(self, repeat: int) -> tuple[np.ndarray, np.ndarray]:
        """Return codes in the plane that parts speakers best, and the speakers."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        x, labels = self._labelled(repeat)
        codes = evaluation.encoded(self.vae(repeat), x).cpu().numpy()
        some = slice(None, None, max(1, len(codes) // 1500))
        plane = LinearDiscriminantAnalysis(n_components=2).fit_transform(codes, labels)
        return plane[some], labels[some]


def _words(line: str) -> list[str]:
    return [word for word in "".join(c.lower() if c.isalpha() else " " for c in line).split() if word]
