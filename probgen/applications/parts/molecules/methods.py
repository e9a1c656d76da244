"""The methods of the application molecules: learned, drawn from and searched with, each once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from probgen.applications.frame.study import Study
from probgen.applications.parts.molecules import chemistry
from probgen.applications.parts.molecules.judge import Judge, of_codes, of_texts
from probgen.applications.parts.molecules.search import (
    Oracle,
    by_chance,
    by_mutation,
    in_codes,
    screened,
    searched,
)
from probgen.applications.parts.molecules.texts import (
    PAIRED,
    Molecules,
    Writing,
    drawn,
    learned_gru,
    learned_n_gram,
    learned_vae,
)

SELFIES, SMILES = VAES = ("VAE, SELFIES", "VAE, SMILES")
GRU, ADD_CARBON, FLOOR = "GRU, SMILES", "AddCarbon", "train against test"
N_GRAMS = {"n-gram, SMILES": 8, "n-gram, SELFIES": 6}
CODES, CHANCE, MUTATION = "latent optimisation", "random draws", "SELFIES mutation"
TOLD_MUTATION, KNOWN = "mutation by the head", "best of train"
TOLD = ("logP", "QED", "SA")
"""Properties that the head tells."""


class Methods:
    """What is learned, drawn and found of some molecules.

    Args:
        study: which keeps the trainings.
        found, judge: molecules, and what judges draws.
        calls: of the oracle, by each search.
    """

    def __init__(self, study: Study, found: Molecules, judge: Judge, *, calls: int) -> None:
        self.study, self.found, self.judge, self.calls = study, found, judge, calls
        self.writing = functools.cache(self._writing)
        self.values = functools.cache(lambda: chemistry.properties(found.train))
        self.learned = functools.cache(self._learned)
        self.searched = functools.cache(self._searched)

    def _writing(self, selfies: bool, pairs: bool) -> Writing:
        size = PAIRED if pairs else None
        return Writing(self.found, selfies=selfies, size=size, device=self.study.device)

    def units(self, values: np.ndarray) -> torch.Tensor:
        """Return what the head tells, in standard deviations of training molecules."""
        columns = [chemistry.PROPERTIES.index(name) for name in TOLD]
        own = self.values()[:, columns]
        return torch.tensor((values[:, columns] - own.mean(0)) / own.std(0), dtype=torch.float32)

    def score(self, told: torch.Tensor) -> torch.Tensor:
        """Return 5 QED − SA of what the head tells."""
        own = self.values()[:, [chemistry.PROPERTIES.index(name) for name in TOLD]]
        _, qed, sa = (told.double().cpu() * torch.tensor(own.std(0)) + torch.tensor(own.mean(0))).unbind(1)
        return 5 * qed - sa

    def _learned(self, name: str, repeat: int) -> tuple[Any, Writing]:
        writing = self.writing("SELFIES" in name, name in VAES)
        if name in VAES:
            y = self.units(self.values()).to(self.study.device)
            return learned_vae(self.study, name, writing, y, repeat=repeat), writing
        if name == GRU:
            return learned_gru(self.study, name, writing, repeat=repeat), writing
        return learned_n_gram(writing, order=N_GRAMS[name]), writing

    def draws(self, name: str, repeat: int) -> Callable[[int], list[str]]:
        """Return what draws SMILES by a method, other ones at each call."""
        source = np.random.default_rng(self.study.seed_of(name, repeat))
        train = self.found.train
        if name in (FLOOR, ADD_CARBON):
            rows = iter(source.permutation(len(train)))
            known = set(train).__contains__
            if name == FLOOR:
                return lambda n: [train[row] for _, row in zip(range(n), rows, strict=False)]
            return lambda n: [
                chemistry.with_a_carbon(train[row], source, seen=known)
                for _, row in zip(range(n), rows, strict=False)
            ]
        model, writing = self.learned(name, repeat)
        return lambda n: drawn(model, writing, n, seed=int(source.integers(2**31)))

    def judged(self, name: str, repeat: int) -> dict[str, float]:
        """Return the measures of a method's draws, and of its texts and codes where it has some."""
        measured, _ = self.judge.measures(self.draws(name, repeat))
        if name == FLOOR:
            del measured["novel"]
        if name in (FLOOR, ADD_CARBON):
            return measured
        model, writing = self.learned(name, repeat)
        pick = self.study.pick
        rows, particles = pick(full=500, quick=50, tiny=10), pick(full=50, quick=10, tiny=2)
        measured |= of_texts(model, writing, rows=rows, particles=particles)
        if name in VAES:
            test = self.judge.reference[:rows]
            measured |= of_codes(model, writing, test, self.units(self.judge.properties[:rows]))
        return measured

    def _searched(self, name: str, repeat: int) -> Oracle:
        seed = self.study.seed_of(name, repeat)
        known = dict(zip(self.found.train, chemistry.desirability(self.values()).tolist(), strict=True))
        oracle = Oracle(known, calls=self.calls)
        if name == MUTATION:
            return searched(oracle, by_mutation(seed=seed))
        model, writing = self.learned(SMILES, repeat)
        if name == CHANCE:
            return searched(oracle, by_chance(model, writing, seed=seed))
        candidates = by_mutation(seed=seed) if name == TOLD_MUTATION else in_codes(model, writing, seed=seed)
        return searched(oracle, screened(candidates, model, writing, self.score))

    def best(self, name: str, repeat: int) -> dict[str, float]:
        """Return what a search found, by how many calls; fewer than ten new molecules have no ten best."""
        if name == KNOWN:
            best = np.sort(chemistry.desirability(self.values()))[-10:]
            return {"best_ten": float(best.mean()), "best": float(best[-1]), "calls": 0}
        oracle = self.searched(name, repeat)
        values = [value for _, value in oracle.best(10)]
        told = {"best": values[0]} if values else {}
        told |= {"best_ten": float(np.mean(values))} if len(values) == 10 else {}
        return told | {"calls": len(oracle.found)}
