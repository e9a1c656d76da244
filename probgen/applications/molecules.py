"""Molecules: drawn by models of their texts, judged by their properties, and better ones sought."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd

from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.molecules import chemistry, pictures
from probgen.applications.parts.molecules.judge import MEASURES, Judge
from probgen.applications.parts.molecules.methods import (
    ADD_CARBON,
    CHANCE,
    CODES,
    FLOOR,
    GRU,
    KNOWN,
    MUTATION,
    N_GRAMS,
    SELFIES,
    SMILES,
    TOLD_MUTATION,
    Methods,
)
from probgen.applications.parts.molecules.texts import read

OURS = {
    SELFIES: "A VAE of molecules in SELFIES, of which each string is a molecule, in pieces of several "
    "symbols; a head tells properties by the code, and a mixture of normal laws is the prior in the end.",
    SMILES: "The same of SMILES, in pieces too, and told that rings and branches are closed in the end.",
    CODES: "Decoded near and between codes of the best so far; the head says which ones are called.",
}
BASELINES = {
    GRU: "A recurrent network of as many units without codes, symbol by symbol (a CharRNN).",
    **dict.fromkeys(N_GRAMS, "Each symbol given those before it, by the counts of Kneser and Ney."),
    ADD_CARBON: "A training molecule with one carbon put in: what passes as new without a model.",
    KNOWN: "The ten best training molecules, whose values are known: no call.",
    CHANCE: "Draws of the VAE of SMILES, all of them called.",
    MUTATION: "A symbol of one of the hundred best so far is replaced, put in, or left out (STONED).",
    TOLD_MUTATION: "Ten mutants for each call, and the head of the VAE says which one is called.",
}


@application(
    "molecules",
    "Molecules drawn, and better ones sought",
    data="molecules: a CSV with a column smiles, at least 200 of them",
    shipped=("zinc",),
    measures=MEASURES,
)
def molecules(study: Study) -> None:
    """Learn from nine tenths of the molecules, judge draws by the others, and seek better ones."""
    found = read(study.source, most=study.pick(full=50_000, quick=1200, tiny=300), seed=study.seed)
    n = min(study.pick(full=1000, quick=80, tiny=30), len(found.train))
    judge = Judge(found, n=n)
    calls = study.pick(full=500, quick=100, tiny=12)
    for key, value in found.facts.items():
        study.fact(key, value)
    study.fact(
        "judged",
        f"{n} valid draws of each method against {len(judge.reference):,} held-out molecules, Fréchet "
        f"distance of {judge.features} components",
    )
    study.fact("sought", f"5 QED − SA, by {calls} calls of RDKit; values of training molecules are known")
    for name, about in OURS.items():
        study.ours(name, about)
    for name, about in BASELINES.items():
        study.baseline(name, about)
    study.baseline(FLOOR, "Training molecules judged as if they were drawn.", floor=True)
    methods = Methods(study, found, judge, calls=calls)
    for repeat in range(study.pick(full=3, quick=2, tiny=1)):
        for name in study.methods:
            sought = name in (CODES, KNOWN, CHANCE, MUTATION, TOLD_MUTATION)
            of = methods.best if sought else methods.judged
            study.measure(name, repeat, functools.partial(of, name, repeat))
    _show(study, methods)


def _show(study: Study, methods: Methods) -> None:
    """Show draws, laws of properties, copies, ways between codes, and what was found; of the first repeat."""
    judge, train = methods.judge, methods.found.train
    shown = study.pick(full=8, quick=8, tiny=2)
    drawn = {"real, held out": judge.reference[: judge.n]}
    for name in (SELFIES, SMILES, GRU, *N_GRAMS, ADD_CARBON):
        valid = judge.drawn(methods.draws(name, 0))[0]
        if len(valid) >= shown:
            drawn[name] = valid[: judge.n]
        study.output(
            f"{name.replace(', ', '-')}.smi",
            "\n".join(valid).encode() + b"\n",
            f"Draws by {name}, valid ones.",
        )
    study.figure(
        "structures",
        chemistry.structures({k: [(s, "") for s in v[:shown]] for k, v in drawn.items()}, columns=shown),
        "Held-out molecules, and the first valid draws of each method, none picked out.",
    )
    study.figure(
        "properties",
        pictures.densities({name: chemistry.properties(own[:1000]) for name, own in drawn.items()}),
        "The laws of four properties: held-out molecules in grey, draws in lines.",
    )
    near = {name: own for name, own in drawn.items() if name in (SMILES, ADD_CARBON)}
    study.figure(
        "nearest training molecules",
        pictures.nearest(near, train, shown=shown),
        "AddCarbon is new by the letter: what it draws has its like among the training molecules.",
    )
    model, writing = methods.learned(SELFIES, 0)
    ends = judge.reference[:6]
    study.figure(
        "interpolations",
        pictures.interpolated(model, writing, list(zip(ends[::2], ends[1::2], strict=True)), steps=6),
        "Decoded on the straight way between codes of two held-out molecules, which stand beside; a place "
        "that is left out is no molecule.",
    )
    known = np.sort(chemistry.desirability(methods.values()))[-10:].mean()
    oracles = {name: methods.searched(name, 0) for name in (CODES, TOLD_MUTATION, MUTATION, CHANCE)}
    courses = {name: oracle.course(10) for name, oracle in oracles.items()}
    study.figure(
        "search",
        pictures.seeking(courses, float(known), first=10),
        "What each search has found by its calls.",
    )
    best = {
        name: [(smiles, f"{value:.2f}") for smiles, value in oracle.best(shown)]
        for name, oracle in oracles.items()
        if oracle.found
    }
    study.figure(
        "best molecules", chemistry.structures(best, columns=shown), "The best new ones, with 5 QED − SA."
    )
    rows = [
        {"search": name, "SMILES": smiles, "5 QED - SA": value}
        for name, oracle in oracles.items()
        for smiles, value in oracle.best(10)
    ]
    study.table("best", pd.DataFrame(rows), "The ten best new molecules of each search.")
    study.say(
        "AddCarbon learns nothing: what it scores, in likeness of laws and novelty, proves no invention. Its "
        "molecules stand beside those of training that they copy."
    )
