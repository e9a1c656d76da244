"""Models of lines of text, and what they make of lines that they have not seen: bits, draws, ways, probes."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen import data, nets, priors
from probgen.applications.frame.study import Study
from probgen.core import seeded
from probgen.data import END
from probgen.models import LanguageModel, NGram, SequenceVAE
from probgen.objectives import SVI, BetaELBO, MaximumLikelihood
from probgen.priors import Sentence
from probgen.training import schedules

ORDERS = (4, 5, 6, 7)
"""Of n-grams, of which the best on lines to choose on is taken."""

SHARES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
"""Of a network in a mixture with counts, likewise."""

LATENT, WIDTH = 32, 192
WORD_DROPOUT = 0.3
ROWS = 100
"""Lines that are scored at once."""


class Split(NamedTuple):
    """Lines as tokens (n, T) to learn from, to choose on and to test on, and who speaks them, −1 unknown."""

    train: Tensor
    chosen_on: Tensor
    test: Tensor
    labels: Tensor | None


def blocks(x: Tensor, labels: Tensor | None, repeat: int, *, parts: int) -> Split:
    """Return the lines without two of so many stretches of the text, to test and to choose on."""
    places = torch.arange(len(x)) * parts // len(x)
    test, choose = parts - 1 - repeat % parts, (parts // 2 - 1 - repeat) % parts
    learned = (places != test) & (places != choose)
    return Split(
        x[learned], x[places == choose], x[places == test], None if labels is None else labels[learned]
    )


def some(x: Tensor, n: int) -> Tensor:
    """Return n rows, evenly spaced over all, or all where these are fewer."""
    return x[torch.linspace(0, len(x) - 1, min(n, len(x)), dtype=torch.float64).round().long().to(x.device)]


def _steps(study: Study) -> int:
    return study.pick(full=2000, quick=150, tiny=2)


def _fit(study: Study, name: str, objective: Any, x: Tensor, seed: int, **plans: Any) -> None:
    rows = [row[:n] for row, n in zip(x, data.lengths_of(x).tolist(), strict=True)]
    steps = _steps(study)
    study.fit(
        name,
        objective,
        data.Ragged(rows, multiple=8),
        seed=seed,
        steps=steps,
        batch_size=32,
        optimizer=partial(torch.optim.Adam, lr=3e-3, fused=True),
        schedules={"lr": schedules.cosine(3e-3, 1e-4, steps=steps), **plans},
        max_gradient_norm=20.0,
    )
    objective.eval()


def learned_vae(study: Study, name: str, x: Tensor, size: int, *, repeat: int) -> SequenceVAE:
    """Return a sentence VAE, its KL annealed and words left out so that codes are used."""
    seed, steps = study.seed_of(name, repeat), _steps(study)
    with seeded(seed):
        encoder = nets.NormalHead(nets.TokenReader(size, LATENT, width=WIDTH // 2))
        net = nets.TokenGRU(size, x.shape[1], context=LATENT, width=WIDTH, word_dropout=WORD_DROPOUT)
        model = SequenceVAE(encoder, priors.Sentences(net)).to(study.device)
    plan = {"elbo.beta": schedules.linear(0.05, 1.0, steps=max(1, steps * 3 // 4))}
    _fit(study, f"vae-{repeat}", SVI(model, BetaELBO(0.05)), x, seed, **plan)
    return model


def learned_gru(study: Study, name: str, x: Tensor, size: int, *, repeat: int) -> LanguageModel:
    """Return a recurrent network of as many units without codes."""
    seed = study.seed_of(name, repeat)
    with seeded(seed):
        net = nets.TokenGRU(size, x.shape[1], width=WIDTH, dropout=0.1)
        model = LanguageModel(priors.Sentences(net)).to(study.device)
    _fit(study, f"gru-{repeat}", MaximumLikelihood(model), x, seed)
    return model


def learned_counts(split: Split, size: int) -> NGram:
    """Return the n-gram of the order that is best on lines to choose on."""
    found = [NGram(size, order=n, steps=split.train.shape[1]).learn(split.train) for n in ORDERS]
    return max(found, key=lambda model: float(model.log_prob(split.chosen_on).sum()))


def bits(log_probs: Tensor, x: Tensor) -> float:
    """Return bits per character, END counted as one, of lines with their log p in nats.

    >>> round(bits(torch.tensor([-math.log(4)]), torch.tensor([[5, END]])), 4)
    1.0
    """
    return -float(log_probs.double().sum()) / math.log(2) / int(data.lengths_of(x).sum())


@torch.no_grad()
def log_probs(
    model: SequenceVAE | LanguageModel,
    x: Tensor,
    *,
    counted: Tensor | None = None,
    share: float = 1.0,
    particles: int = 1,
    seed: int = 0,
) -> Tensor:
    r"""Return log p(x) of lines (n, T), of a VAE by importance sampling, shape (n,).

    With ``counted``, the log p_c of each token by counts, a token is drawn from the network with probability
    w, the ``share``, and else by counts: p(x_t | before, z) = w p_net + (1 − w) p_c. The code says what
    counts do not know.
    """
    own: Any = model.eval()
    found = []
    with seeded(seed):
        for start in range(0, len(x), ROWS):
            rows = x[start : start + ROWS]
            codes = model.encode(rows) if isinstance(model, SequenceVAE) else None
            z = None if codes is None else codes.sample((particles,))
            law = own.law() if z is None else own.decode(z)
            shape = rows.shape if z is None else (particles, *rows.shape)
            tokens = law.token_log_probs(rows.expand(shape))
            if counted is not None:
                counts = counted[start : start + ROWS].to(tokens)
                tokens = torch.logaddexp(tokens + _log(share), counts + _log(1 - share))
            total = tokens.sum(-1)
            if z is not None and codes is not None:
                weights = total + own.prior().log_prob(z) - codes.log_prob(z)
                total = weights.logsumexp(0) - math.log(particles)
            found.append(total)
    return torch.cat(found)


def _log(share: float) -> float:
    return math.log(share) if share > 0 else -math.inf


@torch.no_grad()
def drawn(law: Sentence, counts: NGram | None, share: float, n: int, *, seed: int) -> Tensor:
    """Return n lines, token by token from the law of a network, and by counts with probability 1 − share.

    Args:
        law: of n lines, or of one.
        counts: None for the law alone.
        share: w, of the network.
        n: lines.
        seed: of the draws.
    """
    with seeded(seed):
        before = np.full((n, (counts.order if counts else 1) - 1), law.size)

        def choose(logits: Tensor) -> Tensor:
            nonlocal before
            p = logits.softmax(-1)
            if counts is not None:
                by_counts = torch.from_numpy(counts.probabilities(before)).to(p)
                p = share * p + (1 - share) * by_counts
            token = torch.multinomial(p, 1)[:, 0]
            before = np.concatenate([before, token[:, None].cpu().numpy()], 1)[:, 1:]
            return token

        return law.drawn(choose, (n,))


def between(model: SequenceVAE, x: Tensor, *, steps: int) -> Tensor:
    """Return the likeliest lines on the straight way between the codes of two lines, (steps, T)."""
    first, last = model.encode(x).mean
    share = torch.linspace(0, 1, steps, device=first.device)[:, None]
    law: Any = model.decode(torch.lerp(first, last, share))
    return priors.greedy(law)


@torch.no_grad()
def restored(model: SequenceVAE, x: Tensor) -> float:
    """Return the share of characters that the likeliest line of a code has right, place by place."""
    law: Any = model.decode(model.encode(x).mean)
    back = torch.nn.functional.pad(priors.greedy(law), (0, x.shape[1]))[:, : x.shape[1]]
    inside = x > END
    return float((back == x)[inside].float().mean())


def _parts_of_lines(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return places to learn a probe from and to test it on: of each 30 lines the last 10 are test."""
    last = np.arange(n) % 30 >= 20
    return np.flatnonzero(~last), np.flatnonzero(last)


def probed(features: Any, labels: np.ndarray) -> float:
    """Return the accuracy of a logistic regression that tells labels by features, on stretches apart."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    train, test = _parts_of_lines(len(labels))
    probe = make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=2000))
    probe.fit(features[train], labels[train])
    return float(probe.score(features[test], labels[test]))


def majority(labels: np.ndarray) -> float:
    """Return the accuracy of the label that is the most frequent one among those to learn from."""
    train, test = _parts_of_lines(len(labels))
    return float((labels[test] == np.bincount(labels[train]).argmax()).mean())
