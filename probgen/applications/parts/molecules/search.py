"""Better molecules sought by equally many calls of an oracle: in codes, by mutation, by chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen import priors
from probgen.applications.parts.molecules import chemistry
from probgen.applications.parts.molecules.texts import Writing, drawn
from probgen.core import seeded
from probgen.models import PropertyVAE

PARENTS = 100
"""The best molecules so far, of which new ones are made."""

CALLED = 50
"""Calls of the oracle in a round."""

TRIED = 10
"""Candidates for each call of the oracle, where the property head says which are called, at most."""

Propose = Callable[[dict[str, float], int, set[str]], list[str]]


class Oracle:
    """5 QED − SA of molecules by RDKit, so often and no more.

    Args:
        known: molecules whose values are known before, by canonical SMILES: they are neither new nor called.
        calls: most molecules that it says the value of.
    """

    def __init__(self, known: Mapping[str, float], *, calls: int) -> None:
        self.known, self.calls, self.found = known, calls, dict[str, float]()

    def seen(self, smiles: str) -> bool:
        """Return whether the value of a molecule is known or was asked for."""
        return smiles in self.known or smiles in self.found

    def ask(self, smiles: list[str]) -> None:
        """Ask for the values of molecules; of those that are new, as many as calls are left."""
        new = [text for text in dict.fromkeys(smiles) if not self.seen(text)]
        new = new[: self.calls - len(self.found)]
        values = chemistry.desirability(chemistry.properties(new))
        self.found.update(zip(new, values.tolist(), strict=True))

    def best(self, n: int) -> list[tuple[str, float]]:
        """Return the best n new molecules with their values, the best first."""
        return sorted(self.found.items(), key=lambda pair: -pair[1])[:n]

    def course(self, n: int) -> list[float]:
        """Return the mean of the best n new ones after each call, from the n-th on."""
        values = list(self.found.values())
        return [float(np.mean(sorted(values[:k])[-n:])) for k in range(n, len(values) + 1)]


def searched(oracle: Oracle, propose: Propose) -> Oracle:
    """Ask an oracle in rounds for what is proposed from the best molecules so far."""
    for _ in range(-(-oracle.calls // CALLED)):
        wanted = min(CALLED, oracle.calls - len(oracle.found))
        best = sorted({**oracle.known, **oracle.found}.items(), key=lambda pair: -pair[1])[:PARENTS]
        oracle.ask(propose(dict(best), wanted, {*oracle.known, *oracle.found}))
    return oracle


def by_chance(model: PropertyVAE, writing: Writing, *, seed: int) -> Propose:
    """Return what proposes draws of a model, whatever is known."""
    numbers = iter(range(10**6))

    def propose(best: dict[str, float], wanted: int, seen: set[str]) -> list[str]:
        found: dict[str, None] = {}
        for _ in range(TRIED):
            draws = drawn(model, writing, 2 * wanted, seed=seed + next(numbers))
            found |= dict.fromkeys(s for s in map(chemistry.canonical, draws) if s and s not in seen)
            if len(found) >= wanted:
                break
        return list(found)[:wanted]

    return propose


def by_mutation(*, seed: int) -> Propose:
    """Return what proposes molecules with a symbol of their SELFIES replaced, put in, or left out.

    Source: Nigam, Pollice, Krenn, dos Passos Gomes and Aspuru-Guzik (2021), Beyond generative models:
    superfast traversal, optimization, novelty, exploration and discovery (STONED).
    """
    source = np.random.default_rng(seed)
    alphabet = sorted(chemistry.selfies().get_semantic_robust_alphabet())

    def propose(best: dict[str, float], wanted: int, seen: set[str]) -> list[str]:
        parents = list(best)
        found: dict[str, None] = {}
        for _ in range(50 * wanted):
            word = chemistry.to_selfies(parents[source.integers(len(parents))])
            if word is None:
                continue
            symbols = list(chemistry.selfies().split_selfies(word))
            place, kind = int(source.integers(len(symbols))), int(source.integers(3))
            new = [] if kind == 2 else [alphabet[source.integers(len(alphabet))]]
            symbols[place : place + (kind > 0)] = new
            smiles = chemistry.canonical(chemistry.from_selfies("".join(symbols)))
            if smiles and smiles not in seen:
                found[smiles] = None
            if len(found) == wanted:
                break
        return list(found)

    return propose


def screened(
    candidates: Propose, model: PropertyVAE, writing: Writing, score: Callable[[Tensor], Tensor]
) -> Propose:
    """Return what proposes the best of up to ten candidates for each call, by what the property head says.

    Args:
        candidates: proposes as many as it is asked for, or fewer.
        model: whose head tells properties (n, k) by the code of a molecule.
        writing: by which the model reads; candidates with symbols that it does not have are left out.
        score: properties that the head tells to what is sought, (n,).
    """

    @torch.no_grad()
    def propose(best: dict[str, float], wanted: int, seen: set[str]) -> list[str]:
        own = [smiles for smiles in candidates(best, TRIED * wanted, seen) if writing.can_write(smiles)]
        if not own:
            return []
        told = model.predict(model.encode(writing.tokens(own).to(writing.train.device)).mean).mean
        order = score(told.cpu()).argsort(descending=True)
        return [own[int(place)] for place in order[:wanted]]

    return propose


def in_codes(model: PropertyVAE, writing: Writing, *, seed: int) -> Propose:
    """Return what proposes molecules that are decoded near the codes of the best and between two of them."""
    numbers, device = iter(range(10**6)), writing.train.device
    spread = model.encode(writing.train[:2000]).mean.std(0)

    @torch.no_grad()
    def propose(best: dict[str, float], wanted: int, seen: set[str]) -> list[str]:
        found: dict[str, None] = {}
        codes = model.encode(writing.tokens(list(best)).to(device)).mean
        for _ in range(TRIED):
            with seeded(seed + next(numbers)):
                rows = torch.randint(len(codes), (2, wanted // 5 + 1), device=device)
                between, width = torch.rand(2, wanted // 5 + 1, 1, device=device)
                z = torch.lerp(codes[rows[0]], codes[rows[1]], between / 2)
                z = z + 0.5 * width * spread * torch.randn_like(z)
                law: Any = model.decode(z)
                tokens = priors.tempered(law, temperature=0.7)
            draws = map(chemistry.canonical, writing.smiles(tokens))
            found |= dict.fromkeys(s for s in draws if s and s not in seen)
            if len(found) >= wanted:
                break
        return list(found)[:wanted]

    return propose
