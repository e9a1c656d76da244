"""Letters of a font from some of them: by the mean, the nearest font, a bilinear model; measures of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from probgen.compare.columns import POSITIVE, SHARE, Column
from probgen.core.intervals import mean_interval

MEASURES = {
    "error": Column("error", "1,000 times the mean squared error of a pixel of ink from 0 to 1.", "lower"),
    "read": Column(
        "read",
        "Drawn letters whose nearest letter of the training fonts is the one meant: always so of those that "
        "are taken from these fonts.",
        1.0,
        SHARE,
    ),
    "font": Column("own font", "Drawn letters that are nearest to those of their own font.", 1.0, SHARE),
    "content_leak": Column(
        "font in content",
        "A font told from the content of a letter, times chance: 1 is no leak.",
        1.0,
        POSITIVE,
    ),
    "style_leak": Column(
        "letter in style", "A letter told from the style it gives, times chance: 1 is no leak.", 1.0, POSITIVE
    ),
}
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Variances of a given letter's pixels, summed over them, of which the best within the training is taken."""

SLANT, WIDTH, HEIGHT, SHIFT = 0.15, 0.15, 0.08, 0.05
"""Standard deviations of how fonts are moved: a shear, log-scales, and a shift in halves of the picture."""


class Fold(NamedTuple):
    """Fonts to learn from with their families, fonts of another family, and the letters in a random order."""

    train: Tensor
    families: Tensor
    test: Tensor
    order: Tensor


def mean_letter(train: Tensor, x: Tensor, given: Tensor) -> Tensor:
    """Return the mean of each letter over fonts, for each font, (n, letters, pixels)."""
    return train.mean(0).expand(x.shape)


def nearest_font(train: Tensor, x: Tensor, given: Tensor) -> Tensor:
    """Return all letters of the training font whose given letters are nearest.

    Args:
        train: fonts (N, letters, pixels).
        x: fonts (n, letters, pixels), of which the given letters alone are looked at.
        given: the numbers of letters that are given, (k,).
    """
    apart = torch.cdist(x[:, given].flatten(1), train[:, given].flatten(1))
    return train[apart.argmin(1)]


def bilinear(train: Tensor, x: Tensor, given: Tensor, *, noise: float) -> Tensor:
    r"""Return letters by x_l = m_l + W_l s + ε with s ~ N(0, I) at its posterior mean given some of them.

    Letters have a matrix W_l each, fonts a vector s each, and W is that of the singular value decomposition
    of all fonts' letters, so that W Wᵀ is their covariance. The mean of s given some letters is a ridge
    regression; with W Wᵀ = AᵀA / N it is found from products of fonts alone.

    Args:
        train, x, given: as of :func:`nearest_font`.
        noise: the variance of ε over the pixels of a letter, in the unit of squared ink.

    Source: Tenenbaum and Freeman (2000), Separating style and content with bilinear models; Tipping and
    Bishop (1999), Probabilistic principal component analysis.
    """
    return bilinear_by_noise(train, x, given, (noise,))[0]


def bilinear_by_noise(train: Tensor, x: Tensor, given: Tensor, noises: Sequence[float]) -> list[Tensor]:
    """Return what :func:`bilinear` does for each noise, by one decomposition."""
    mean = train.mean(0)
    apart = (train - mean) / len(train) ** 0.5
    known = apart[:, given].flatten(1)
    told = (x[:, given] - mean[given]).flatten(1)
    values, vectors = torch.linalg.eigh(known @ known.T)
    inner = vectors.T @ (known @ told.T)
    weights = [vectors @ (inner / (values + noise)[:, None]) for noise in noises]
    return [mean + (own.T @ apart.flatten(1)).reshape(x.shape) for own in weights]


def splits_of(
    train: Tensor, families: Tensor, *, more: Callable[[Tensor], Tensor] = lambda fonts: fonts, most: int = 4
) -> list[tuple[Tensor, Tensor]]:
    """Return the fonts to learn from, and those of a family left out, for the first families one by one.

    Args:
        train: fonts (N, letters, pixels).
        families: of them, (N,).
        more: makes the fonts to learn from of those that are left.
        most: families that are left out, at most.
    """
    outs = [families == family for family in families.unique()[:most]]
    return [(more(train[~out]), train[out]) for out in outs]


def chosen_noise(splits: Sequence[tuple[Tensor, Tensor]], given: Tensor) -> float:
    """Return the noise by which :func:`bilinear` completes the fonts best that are left out in splits."""
    errors = torch.zeros(len(NOISES), dtype=torch.float64)
    for learned, apart in splits:
        rest = torch.ones(apart.shape[1], dtype=torch.bool, device=apart.device)
        rest[given] = False
        found = bilinear_by_noise(learned, apart, given, NOISES)
        errors += torch.tensor([float((own - apart)[:, rest].square().mean()) for own in found])
    return NOISES[int(errors.argmin())]


def moved(fonts: Tensor, size: int, *, copies: int, seed: int) -> Tensor:
    """Return fonts, and copies of each that are slanted, widened, heightened and shifted as a whole.

    Args:
        fonts: (N, letters, size · size).
        size: pixels across.
        copies: of each font.
        seed: of the movements.

    Returns:
        ((1 + copies) N, letters, size · size).
    """
    source = torch.Generator().manual_seed(seed)
    turns = [movements(len(fonts), source).to(fonts) for _ in range(copies)]
    return torch.cat([fonts, *(moved_by(fonts, own, size) for own in turns)])


def movements(n: int, source: torch.Generator) -> Tensor:
    """Return n affine maps, (n, 2, 3), of a slant, a width, a height and a shift up or down."""
    normal = torch.randn(4, n, generator=source)
    turn = torch.zeros(n, 2, 3)
    turn[:, 0, 0], turn[:, 0, 1] = (WIDTH * normal[0]).exp(), SLANT * normal[1]
    turn[:, 1, 1], turn[:, 1, 2] = (HEIGHT * normal[2]).exp(), SHIFT * normal[3]
    return turn


def moved_by(fonts: Tensor, turns: Tensor, size: int) -> Tensor:
    """Return fonts (n, letters, size · size), all letters of each moved by its affine map, (n, 2, 3)."""
    letters = fonts.reshape(len(fonts), -1, size, size)
    grid = affine_grid(turns, list(letters.shape), align_corners=False)
    return grid_sample(letters, grid, align_corners=False).flatten(2)


def retrieved(drawn: Tensor, truth: Tensor, others: Tensor) -> float:
    """Return how often a drawn letter is nearest to that of its own font, of all fonts that there are.

    Args:
        drawn, truth: letters (n, letters, pixels).
        others: of other fonts, (N, letters, pixels).
    """
    fonts = torch.cat([truth, others])
    apart = torch.cdist(drawn.transpose(0, 1), fonts.transpose(0, 1))  # letter by letter
    own = torch.arange(len(drawn), device=drawn.device)
    return float((apart.argmin(-1) == own).double().mean())


def recognised(train: Tensor, drawn: Tensor, letters: Tensor) -> float:
    """Return how often the nearest letter of all training fonts is the one that was meant.

    Args:
        train: fonts (N, letters, pixels).
        drawn: (n, k, pixels), of the letters with these numbers, (k,).
    """
    nearest = torch.cdist(drawn.flatten(0, 1), train.flatten(0, 1)).argmin(1) % train.shape[1]
    return float((nearest.reshape(drawn.shape[:2]) == letters).double().mean())


def said_of_leaks(rows: Sequence[tuple[str, str, int, float]]) -> str:
    """Return in a sentence whether codes leak, from what was measured: method, measure, repeat and value.

    They do where the 95 % interval of the mean over repeats lies above 1, which is chance.
    """
    told, leaking = [], False
    for name, what in (("content_leak", "a font from a content"), ("style_leak", "a letter from a style")):
        mean, low, _ = mean_interval([value for _, measure, _, value in rows if measure == name])
        told.append(f"{what} {mean:.1f} times as often as by chance")
        leaking |= low > 1
    verdict = "Codes leak" if leaking else "No leak of codes is told from chance"
    return f"{verdict}: a linear probe tells {' and '.join(told)}."


def leak(codes: Tensor, classes: Tensor, probed: Tensor) -> float:
    """Return how well a linear discriminant tells classes from codes, over chance: 1 is no leak.

    Args:
        codes: (n, coordinates).
        classes: (n,).
        probed: bool (n,), those that the discriminant is judged on, and does not learn from.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, y, out = (part.cpu().numpy() for part in (codes, classes, probed))
    probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(x[~out], y[~out])
    return float(probe.score(x[out], y[out])) * len(classes.unique())
