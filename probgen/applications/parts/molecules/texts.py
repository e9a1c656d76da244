"""Molecules as texts that models learn: read, written in SMILES or SELFIES, and drawn."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from probgen import data, nets, priors
from probgen.applications.frame.study import Study
from probgen.applications.parts.molecules import chemistry
from probgen.core import GenerativeModel, seeded
from probgen.data.csv_files import read_csv
from probgen.data.smiles import SYMBOL
from probgen.models import LanguageModel, NGram, PropertyVAE
from probgen.objectives import SVI, BetaELBO, MaximumLikelihood
from probgen.training import schedules

MOST = 50_000
"""Molecules that are read of a file; of more, so many are taken at random."""

LONGEST = 120
"""Characters of a SMILES; longer ones are left out."""

FEWEST = 200
"""Molecules of a file at least."""

PAIRED = 200
"""Tokens, where pairs of symbols are made tokens of their own."""

WIDTH = 192
"""Of the states of the units."""

LATENT, BETA = 32, 0.6
"""Coordinates of a code, and the weight of its KL at the end of the training."""

STEPS = {"full": 2500, "quick": 150, "tiny": 2}
"""Of each training, with codes and without, by the size of the study."""

COMPONENTS, CODED = 10, 10_000
"""Of the mixture that is the prior of the codes in the end, and molecules whose codes it describes."""


class Molecules(NamedTuple):
    """Molecules by their canonical SMILES, all different, and the same in SELFIES; a tenth is test."""

    train: list[str]
    test: list[str]
    selfies: dict[str, str]
    facts: dict[str, str]


class Writing:
    """How molecules are written in tokens: in SMILES or SELFIES, symbol by symbol or in larger pieces.

    Args:
        molecules: whose train part tells which pieces there are; what symbols there are, all tell.
        selfies: whether molecules are written in SELFIES.
        size: tokens, where pairs of symbols are made tokens; None for symbols alone.
        device: where ``train`` and ``test`` lie, the molecules as tokens (n, T).
    """

    def __init__(
        self, molecules: Molecules, *, selfies: bool, size: int | None, device: torch.device | str = "cpu"
    ) -> None:
        self._words, self._selfies = molecules.selfies, selfies
        train, test = ([self._text(smiles) for smiles in part] for part in molecules[:2])
        self._symbols = data.Vocabulary.of([*train, *test], pattern=r"\[[^\]]+\]|\." if selfies else SYMBOL)
        tokens = self._symbols.encode_all(train)
        least = self._symbols.size
        self._pairs = (
            None if size is None else data.PairEncoding(self._symbols, tokens, size=max(size, least))
        )
        self.vocabulary = self._symbols if self._pairs is None else self._pairs.vocabulary
        self.train, self.test = (self.tokens(part).to(device) for part in molecules[:2])
        self.steps = max(self.train.shape[1], self.test.shape[1])

    def tokens(self, smiles: Sequence[str]) -> Tensor:
        """Return molecules as tokens, (n, T); raise ValueError for one that :meth:`can_write` refuses."""
        tokens = self._symbols.encode_all([self._text(text) for text in smiles])
        return tokens if self._pairs is None else self._pairs.encode(tokens)

    def can_write(self, smiles: str) -> bool:
        """Return whether a molecule has no symbols but those that occur in the data."""
        try:
            self._symbols.split(self._text(smiles))
        except ValueError:
            return False
        return True

    def smiles(self, tokens: Tensor) -> list[str]:
        """Return tokens as SMILES, which need not be of molecules."""
        texts = self.vocabulary.decode(tokens.cpu())
        assert isinstance(texts, list)
        return [chemistry.from_selfies(text) for text in texts] if self._selfies else texts

    def told_grammar(self, net: nn.Module) -> nn.Module:
        """Return a net of these tokens that closes all branches and rings of SMILES before it ends.

        In SELFIES nothing is left open, and the net is returned as it is.
        """
        if self._selfies:
            return net
        spelt = [[], [], *(re.findall(SYMBOL, piece) for piece in self.vocabulary.symbols)]
        rings = sorted({symbol for piece in spelt for symbol in piece if symbol.lstrip("%").isdigit()})
        steps = [[(symbol == "(") - (symbol == ")") for symbol in piece] for piece in spelt]
        lowest = [min(itertools.accumulate(own, initial=0)) for own in steps]
        marks = [[piece.count(ring) % 2 for ring in rings] for piece in spelt]
        return nets.BalancedBrackets(
            net,
            change=torch.tensor([sum(own) for own in steps]),
            lowest=torch.tensor(lowest),
            marks=torch.tensor(marks).reshape(len(spelt), len(rings)),
            end=data.vocabulary.END,
        )

    def _text(self, smiles: str) -> str:
        if not self._selfies:
            return smiles
        word = self._words.get(smiles) or chemistry.to_selfies(smiles)
        if word is None:
            raise ValueError(f"{smiles} has no word in SELFIES")
        return word


def read(source: str | Path, *, most: int = MOST, seed: int) -> Molecules:
    """Return the molecules of ZINC's 20,000, or of a CSV with a column ``smiles``, a tenth of them as test.

    Each is written as RDKit writes it. What is no molecule, is there twice, is longer than 120 characters or
    has no word in SELFIES is left out, and counted. Of more than ``most`` so many are taken at random.

    Raises ValueError for a file without such a column, and where fewer than 200 molecules are left.
    """
    texts = _column(source)
    order = np.random.default_rng(seed).permutation(len(texts))[:most]
    found: dict[str, str] = {}
    lost = {"no molecules": 0, "there twice": 0, f"longer than {LONGEST}": 0, "without a word in SELFIES": 0}
    no_molecules, twice, long, wordless = lost
    for text in (texts[place] for place in order):
        smiles = chemistry.canonical(text) if len(text) <= 2 * LONGEST else ""
        if smiles is None:
            lost[no_molecules] += 1
        elif smiles in found:
            lost[twice] += 1
        elif not smiles or len(smiles) > LONGEST:
            lost[long] += 1
        elif (word := chemistry.to_selfies(smiles)) is None:
            lost[wordless] += 1
        else:
            found[smiles] = word
    if len(found) < FEWEST:
        told = ", ".join(f"{count} {name}" for name, count in lost.items() if count)
        raise ValueError(
            f"{source} should have {FEWEST} different molecules at least but has {len(found)}"
            + (f" ({told})" if told else "")
        )
    own = list(found)
    test = len(own) // 10
    lines = f"{len(order):,} lines" + (
        f", taken at random of {len(texts):,}" if len(order) < len(texts) else ""
    )
    facts = {
        "molecules": f"{len(own) - test:,} to learn from, {test:,} to test on, of {lines}",
        "left out": ", ".join(f"{count} {name}" for name, count in lost.items()),
    }
    return Molecules(own[test:], own[:test], found, facts)


def _column(source: str | Path) -> list[str]:
    if str(source) == "zinc":
        found = data.smiles()
        texts = [found.vocabulary.decode(part) for part in (found.train, found.test)]
        return [text for part in texts for text in part]
    frame, _ = read_csv(Path(source))
    name = next((name for name in frame.columns if str(name).lower() == "smiles"), None)
    if name is None:
        raise ValueError(f"{source} should have a column 'smiles' but has {[*map(str, frame.columns)]}")
    if frame[name].isna().any():
        line = int(frame[name].isna().to_numpy().argmax()) + 2
        raise ValueError(f"{source} should have a SMILES in each line but line {line} has none")
    return [str(text).strip() for text in frame[name]]


def learned_vae(study: Study, name: str, writing: Writing, y: Tensor, *, repeat: int) -> PropertyVAE:
    """Return a VAE of molecules and their properties y, in units of their own, with a learned prior.

    The KL has little weight while it learns, so that codes are used; then a mixture of normal laws of the
    training molecules' codes takes the place of the standard normal prior.
    """
    size, seed = writing.vocabulary.size, study.seed_of(name, repeat)
    with seeded(seed):
        encoder = nets.NormalHead(nets.TokenReader(size, LATENT, width=64))
        net = nets.TokenGRU(size, writing.steps, context=LATENT, width=WIDTH)
        decoder = priors.Sentences(writing.told_grammar(net))
        head = nets.NormalHead(nets.MLP(LATENT, y.shape[1], hidden=(128,)), scale="shared")
        model = PropertyVAE(encoder, decoder, head=head).to(study.device)
    steps = study.pick(**STEPS)
    _train(
        study,
        name,
        SVI(model, BetaELBO(BETA / 10)),
        (_ragged(writing.train), y),
        steps,
        repeat=repeat,
        schedules={"elbo.beta": schedules.linear(BETA / 10, BETA, steps=max(1, steps // 2))},
    )
    with seeded(seed):
        codes = model.encode(writing.train[:CODED]).sample()
        prior = priors.GaussianMixture(LATENT, study.pick(full=COMPONENTS, quick=3, tiny=1)).to(study.device)
        prior.fit(codes, seed=seed)
    model.prior = prior
    return model


def learned_gru(study: Study, name: str, writing: Writing, *, repeat: int) -> LanguageModel:
    """Return a recurrent network without codes."""
    with seeded(study.seed_of(name, repeat)):
        net = nets.TokenGRU(writing.vocabulary.size, writing.steps, width=WIDTH, dropout=0.1)
        model = LanguageModel(priors.Sentences(net)).to(study.device)
    x = _ragged(writing.train)
    _train(study, name, MaximumLikelihood(model), x, study.pick(**STEPS), repeat=repeat)
    return model


def learned_n_gram(writing: Writing, *, order: int) -> NGram:
    """Return counts of n-grams."""
    return NGram(writing.vocabulary.size, order=order, steps=writing.steps).learn(writing.train)


def drawn(model: GenerativeModel, writing: Writing, n: int, *, seed: int) -> list[str]:
    """Return n draws of a model as SMILES, which need not be of molecules."""
    return writing.smiles(model.sample(n, seed=seed))


def _ragged(x: Tensor) -> data.Ragged:
    return data.Ragged([row[:n] for row, n in zip(x, data.lengths_of(x).tolist(), strict=True)], multiple=4)


def _train(
    study: Study, name: str, objective: Any, x: Any, steps: int, *, repeat: int, **options: Any
) -> None:
    """Train by Adam with a learning rate that falls by a cosine."""
    plans: dict[str, Callable[[int], float]] = options.pop("schedules", {})
    study.fit(
        f"{name.replace(',', '')}-{repeat}",
        objective,
        x,
        seed=study.seed_of(name, repeat),
        steps=steps,
        batch_size=32,
        optimizer=partial(torch.optim.Adam, lr=3e-3, fused=True),
        schedules={"lr": schedules.cosine(3e-3, 1e-4, steps=steps), **plans},
        max_gradient_norm=20.0,
    )
    objective.eval()
