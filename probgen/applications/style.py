"""Style: the letters of a font that are not there, from a few that are, with the truth beside them."""

from __future__ import annotations

import functools

import pandas as pd
import torch
from torch import Tensor

from probgen import data, plots
from probgen.applications.frame.registry import application
from probgen.applications.frame.study import Study
from probgen.applications.parts.style import completion, grouped_letters
from probgen.applications.parts.style.posed_fonts import PosedFonts

GIVEN = 4
"""Letters of a font that are seen."""

COUNTS = (1, 2, 4, 8, 16)
"""Of letters that are seen, in the table of errors."""

SHOWN = "AEGQRSaegkqst"

FEWEST = 3
"""Families of fonts: two to learn from."""

POSED = "bilinear VAE, posed"
OURS = {
    "grouped VAE": "A style for each font and a content for each letter; the style is told by the letters "
    "that are seen, each adding its precision; learned from fonts that are moved too.",
    POSED: "A style s ~ N(0, I) and a pose for each font, a matrix of the style for each letter: what is "
    "known of fonts put into the story, that slanted, widened, heightened, shifted ones are fonts too. The "
    "guide is the exact posterior of the style given a pose, and weighs poses that are drawn.",
}
BASELINES = {
    "nearest font": "The letters of the training font whose given letters are nearest.",
    "nearest font, moved": "The same among the training fonts and their copies, moved as for ours (4 each).",
    "bilinear SVD": "A bilinear model by singular values, its style by ridge regression on given letters.",
    "bilinear SVD, moved": "The same, learned from these copies too.",
    "mean letter": "The mean of each letter over the training fonts.",
}


@application(
    "style",
    "Letters of a font from a few of its letters",
    data="a folder of .ttf and .otf files, of three families at least: names that begin with the same word",
    shipped=("fonts", "matplotlib"),
    measures=completion.MEASURES,
)
def style(study: Study) -> None:
    """Complete the fonts of each family by what is learned from all others."""
    fonts = data.fonts(study.source)
    size, families = fonts.images.shape[-1], int(fonts.families.max()) + 1
    if families < FEWEST:
        raise ValueError(
            f"{study.source} should have fonts of {FEWEST} families at least, whose names begin with other "
            f"words, but has {families}"
        )
    study.fact("fonts", f"{len(fonts.names)} of {families} families, 52 letters of {size} by {size} pixels")
    study.fact("left out", "; ".join([f"{len(fonts.left_out)} files", *fonts.left_out[:5]]))
    study.fact("repeats are", "families: the one whose fonts are completed, learned from all others")
    study.fact("given", f"{GIVEN} letters, drawn anew for each repeat, the same for all methods")
    study.fact("chosen", "the power by which poses are weighed, .3, beside families judged here")
    for name, about in OURS.items():
        study.ours(name, about)
    for name, about in BASELINES.items():
        study.baseline(name, about)
    images = fonts.images.flatten(2).to(study.device)

    @functools.cache
    def fold(repeat: int) -> completion.Fold:
        source = torch.Generator().manual_seed(study.seed_of("letters", repeat))
        out = fonts.families == repeat
        order = torch.randperm(images.shape[1], generator=source).to(study.device)
        return completion.Fold(images[~out], fonts.families[~out], images[out], order)

    def more(train: Tensor) -> Tensor:
        copies = study.pick(full=4, quick=4, tiny=1)
        return completion.moved(train, size, copies=copies, seed=study.seed)

    @functools.lru_cache(2)  # copies are large
    def learned_from(repeat: int, copied: bool) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        own, enlarged = fold(repeat), more if copied else lambda fonts: fonts
        return enlarged(own.train), completion.splits_of(own.train, own.families, more=enlarged, most=2)

    @functools.lru_cache(1)
    def posed(repeat: int) -> PosedFonts:
        poses, seed = study.pick(full=60, quick=20, tiny=4), study.seed_of(POSED, repeat)
        return PosedFonts(learned_from(repeat, True)[0], size, poses=poses, seed=seed)

    vae = functools.cache(
        lambda repeat: grouped_letters.learned(study, learned_from(repeat, True)[0], repeat)
    )

    @functools.cache
    def drawn(method: str, repeat: int, count: int) -> Tensor:
        own = fold(repeat)
        given = own.order[:count]
        if method == "grouped VAE":
            return grouped_letters.completed(vae(repeat), own.test, given)
        if method == "mean letter":
            return completion.mean_letter(own.train, own.test, given)
        train, splits = learned_from(repeat, "moved" in method or method == POSED)
        if method.startswith("nearest font"):
            return completion.nearest_font(train, own.test, given)
        noise = completion.chosen_noise(splits, given)
        if method == POSED:
            return posed(repeat).completed(own.test, given, noise=noise)
        return completion.bilinear(train, own.test, given, noise=noise)

    def judged(method: str, repeat: int) -> dict[str, float]:
        own = fold(repeat)
        rest, made = own.order[GIVEN:], drawn(method, repeat, GIVEN)
        found = {
            "error": 1000 * float((made - own.test)[:, rest].square().mean()),
            "read": completion.recognised(own.train, made[:, rest], rest),
            "font": completion.retrieved(made[:, rest], own.test[:, rest], own.train[:, rest]),
        }
        return found | (grouped_letters.leaks(vae(repeat), own.train) if method == "grouped VAE" else {})

    repeats, errors = min(families, study.pick(full=12, quick=3, tiny=2)), []
    for repeat in range(repeats):
        own = fold(repeat)
        for method in study.methods:
            study.measure(method, repeat, functools.partial(judged, method, repeat))
            for k in COUNTS:
                apart = (drawn(method, repeat, k) - own.test)[:, own.order[k:]]
                errors.append((method, str(k), 1000 * float(apart.square().mean())))
    study.say(completion.said_of_leaks(study.rows))
    frame = pd.DataFrame(errors, columns=["method", "letters", "error"])
    table = frame.pivot_table(index="method", columns="letters", values="error", sort=False).reset_index()
    study.table("errors", table.round(2), "1,000 times the mean squared error, by how many letters are seen.")
    shown = torch.tensor([fonts.letters.index(letter) for letter in SHOWN], device=study.device)
    for repeat in range(min(repeats, 3)):
        own = fold(repeat)
        sheets = {"the truth": own.test} | {name: drawn(name, repeat, GIVEN) for name in study.methods}
        some = {name: x[:3][:, shown].flatten(0, 1).clamp(0, 1) for name, x in sheets.items()}
        seen = " ".join(fonts.letters[k] for k in own.order[:GIVEN].tolist())
        names = ", ".join(fonts.names[k] for k in (fonts.families == repeat).nonzero()[:3, 0].tolist())
        figure = plots.image_grid(some, image_shape=(size, size), columns=len(SHOWN))
        study.figure(f"family {repeat + 1}", figure, f"{names}, a row each, from the letters {seen}.")
