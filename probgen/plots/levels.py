"""What each level of a hierarchy of codes says: one is drawn anew, the others are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from pyro import poutine
from torch import Tensor

from probgen.core import Pair, check_count, evaluating, is_data, sample_sites, seed_of, seeded
from probgen.plots.samples import as_images, mosaic
from probgen.plots.style import across, panels, style


@torch.no_grad()
def levels(
    pair: Pair,
    x: Tensor,
    *context: Tensor,
    image_shape: tuple[int, int],
    draws: int = 8,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Figure:
    r"""Draw what becomes of images where one latent site is drawn anew and all others are kept.

    The codes of x are drawn from the guide, once. In the panel of a site it is drawn from its law in the
    model given the sites above it, and those below stay what they were. In each row stand a datum, the mean
    of its law at its codes, and the means at new draws of the site. A site that the model does not use gives
    a row of equal images.

    Args:
        pair: such as ``models.HierarchicalVAE`` or ``models.LadderVAE``; each latent site has a row for each
            datum.
        x: data, shape (n, height · width) or (n, height, width), a row of images each.
        context: what model and guide are given beside, each of n rows.
        image_shape: (height, width) in pixels.
        draws: new draws of a site for each datum.
        seed, generator: of the draws, one at most; seed 0 where not given.

    Raises:
        TypeError: for a model that is no pair.
        ValueError: for a pair without latent sites, with some that data share, or with other than one
            observed site.
    """
    if not isinstance(pair, Pair):
        raise TypeError(f"pair should have model and guide, as a VAE, but is a {type(pair).__name__}")
    draws = check_count("draws", draws)
    with seeded(seed_of(seed, generator, default=0)), evaluating(pair):
        codes = _codes(pair, x, context)
        kept = _means(pair, codes, x, context)[:, None]
        again, beside = _repeated(x, draws), [_repeated(part, draws) for part in context]
        boards = {}
        for name in codes:
            others = {other: _repeated(z, draws) for other, z in codes.items() if other != name}
            varied = _means(pair, others, again, beside).unflatten(0, (len(x), draws))
            boards[name] = torch.cat([x[:, None].to(varied), kept, varied], 1).flatten(0, 1)
    stacks = {name: as_images(images, image_shape, f"images of {name}") for name, images in boards.items()}
    low, high = float(x.min()), float(x.max())
    height, width = image_shape
    with style():
        size = 0.42 * (2 + draws)
        figure, axes = panels(
            len(stacks),
            columns=across(len(stacks)),
            width=size,
            height=size * len(x) * height / (width * (2 + draws)) + 0.4,
        )
        for axis, (name, stack) in zip(axes, stacks.items(), strict=True):
            board = mosaic(stack, 2 + draws, gap=low + 0.5 * (high - low))
            axis.imshow(board, cmap="gray", vmin=low, vmax=high)
            axis.set_title(f"{name} drawn anew")
            places = [column * (width + 1) + (width - 1) / 2 for column in (0, 1)]
            axis.set(xticks=places, xticklabels=["x", "mean"], yticks=[])
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
    return figure


def _codes(pair: Pair, x: Tensor, context: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Return a draw of each latent site from the guide, in the order of the model, the uppermost first."""
    drawn = sample_sites(poutine.trace(pair.guide).get_trace(x, *context))
    told = sample_sites(poutine.trace(pair.model).get_trace(x, *context))
    codes = {name: drawn[name]["value"] for name in told if name in drawn}
    if not codes:
        raise ValueError("pair should have a latent site, drawn by model and guide, but has none")
    for name, z in codes.items():
        if z.shape[:1] != x.shape[:1]:
            raise ValueError(
                f"each latent site should have a row for each of {len(x)} data, but {name!r} has shape "
                f"{tuple(z.shape)}: one that all data share has no level"
            )
    return codes


def _means(pair: Pair, codes: Mapping[str, Tensor], x: Tensor, context: Any) -> Tensor:
    """Return E[x | codes], latent sites that are not given being drawn from the model."""
    story = poutine.condition(pair.model, data=dict(codes))
    sites = sample_sites(poutine.trace(story).get_trace(x, *context))
    observed = [name for name, site in sites.items() if is_data(site) and name not in codes]
    if len(observed) != 1:
        raise ValueError(f"pair should have 1 observed site but has {len(observed)}: {', '.join(observed)}")
    mean: Tensor = sites[observed[0]]["fn"].mean
    return mean


def _repeated(values: Tensor, draws: int) -> Tensor:
    return values.repeat_interleave(draws, 0)
