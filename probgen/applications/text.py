"""Lines of a text: a sentence VAE beside counts and a network, in bits, draws, ways between, speakers."""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd
import torch

from probgen import data, plots
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.text.methods import (
    BESIDE,
    COUNTS,
    FLOOR,
    GRU,
    GRU_BESIDE,
    MAJORITY,
    MEASURES,
    PARTS,
    VAE,
    WORDS,
    Methods,
)
from probgen.applications.parts.text.models import ORDERS, between, some

FEWEST, LARGEST, SYMBOLS = 200, 20_000_000, 1000
"""Lines at least, bytes at most of a file, and different characters at most."""

SPEAKERS = 10
"""Who has the most lines, told apart."""


@application(
    "text",
    "Lines of a text as points",
    data="a text: a .txt, each line a sequence, at least 200 of them",
    shipped=("shakespeare",),
    measures=MEASURES,
)
def text(study: Study) -> None:
    """Learn from eight tenths of the lines, choose on one and judge on another, stretches of the text."""
    found = _read(study.source)
    most = study.pick(full=50_000, quick=3000, tiny=400)
    x = some(_together(found), most).to(study.device)
    labels = None
    if found.train_labels is not None and found.test_labels is not None:
        labels = some(torch.cat([found.train_labels, found.test_labels]), most)
    study.fact(
        "lines", f"{len(x):,} of {len(found.train) + len(found.test):,}, evenly spaced, in their order"
    )
    study.fact("characters", f"{found.vocabulary.size - 2} different ones")
    study.fact("repeats are", f"stretches of the text held out, {PARTS} in all, and other first weights")
    study.ours(VAE, "A code for the whole line, then character by character; words left out, KL annealed.")
    study.ours(BESIDE, "Each character by the decoder or by counts: the code says what counts do not know.")
    study.baseline(COUNTS, f"n-grams of Kneser and Ney, of order {ORDERS[0]} to {ORDERS[-1]}.")
    study.baseline(GRU, "A recurrent network of as many units without codes.")
    study.baseline(GRU_BESIDE, "Each character by this network or by counts.")
    if labels is not None:
        study.baseline(WORDS, "Speakers by a logistic regression on weighted counts of words.")
        study.baseline(MAJORITY, "Speakers without a look at the line.")
    study.baseline(FLOOR, "Lines of the text judged as if they were drawn.", floor=True)
    work = Methods(study, found.vocabulary, x, labels)
    for repeat in range(study.pick(full=3, quick=2, tiny=2)):
        for name in study.methods:
            study.measure(name, repeat, functools.partial(work.judged, name, repeat))
    _show(study, work, found.classes)


def _read(source: str | Path) -> data.Sentences:
    if str(source) == "shakespeare":
        return data.verse_lines(speakers=SPEAKERS)
    path = Path(source)
    if path.suffix.lower() != ".txt":
        raise ValueError(f"a text should be a .txt but is {path}")
    if path.stat().st_size > LARGEST:
        raise ValueError(
            f"{path} should have {LARGEST // 10**6} MB at most but has {path.stat().st_size / 1e6:.0f}: "
            "take a part of it"
        )
    read = data.read(path)
    assert isinstance(read, data.Text)
    lines = read.lines()
    count, symbols = len(lines.train) + len(lines.test), lines.vocabulary.size - 2
    if count < FEWEST:
        raise ValueError(f"{path} should have {FEWEST} lines that are not empty but has {count}")
    if symbols > SYMBOLS:
        raise ValueError(f"{path} should have {SYMBOLS:,} different characters at most but has {symbols:,}")
    return lines


def _together(found: data.Sentences) -> torch.Tensor:
    width = max(found.train.shape[1], found.test.shape[1])
    return torch.cat(
        [torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in (found.train, found.test)]
    )


def _show(study: Study, work: Methods, speakers: tuple[str, ...]) -> None:
    """Show draws, ways between lines, and codes by speaker, of the first repeat."""
    string = work.strings
    draws = [
        {"method": name, "line": line} for name in (FLOOR, *work.drawing) for line in work.draws(name, 0)[:6]
    ]
    study.table("samples", pd.DataFrame(draws), "The first draws of each method, none picked out.")
    model = work.vae(0)
    ends = some(work.split(0).test, 6)
    ways = []
    for number in range(3):
        pair = ends[[number, number + 3]]
        line = string(pair)
        ways += [{"way": number + 1, "at": "from", "line": line[0]}]
        ways += [
            {"way": number + 1, "at": f"{25 * place} %", "line": own}
            for place, own in enumerate(string(between(model, pair, steps=5)))
        ]
        ways += [{"way": number + 1, "at": "to", "line": line[1]}]
    study.table(
        "ways",
        pd.DataFrame(ways),
        "The likeliest lines between the codes of two held-out lines, ends beside.",
    )
    lines = {name: work.draws(name, 0) for name in work.drawing}
    for name, own in lines.items():
        study.output(f"{name}.txt", "\n".join(own).encode() + b"\n", f"Lines drawn by {name}.")
    if speakers:
        codes, labels = work.map_of_speakers(0)
        study.figure(
            "speakers",
            plots.latent_map(codes, [speakers[label] for label in labels], axes=("first", "second")),
            "Codes of lines by who speaks them: the two linear discriminants that part speakers best.",
        )
