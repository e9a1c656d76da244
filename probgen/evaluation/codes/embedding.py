"""Codes of many coordinates as points of the plane, for a picture."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import Tensor

from probgen.core import seed_of
from probgen.evaluation.codes.labelled_codes import codes_of, one_unit
from probgen.evaluation.codes.transfer import principal_components


def embedding(
    codes: Any,
    *,
    method: Literal["pca", "t-sne", "umap"] = "pca",
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return codes as points of the plane, shape (n, 2), for :func:`probgen.plots.latent_map`.

    "pca" keeps the two directions of largest variance, and distances along them. "t-sne" (scikit-learn's, of
    perplexity 30 or a third of the codes where they are few, started from the principal components) and
    "umap" keep neighbours together: how far clusters lie apart there, and how large they are, says nothing.

    Args:
        codes: shape (n, coordinates), at least 3 codes.
        method: "umap" needs the package umap-learn.
        seed, generator: one at most; seed 0 where not given.

    Raises:
        ValueError: for codes that do not fit, and for "t-sne" and "umap" where all are the same.
        ImportError: for "umap" where umap-learn is not installed.

    Source: van der Maaten and Hinton (2008) for t-SNE; McInnes, Healy and Melville (2018) for UMAP.

    >>> embedding(torch.randn(50, 5)).shape
    torch.Size([50, 2])
    """
    if method not in ("pca", "t-sne", "umap"):
        raise ValueError(f"method should be 'pca', 't-sne' or 'umap' but got {method!r}")
    z = codes_of(codes, "codes")
    if len(z) < 3 or z.shape[1] < 2:
        raise ValueError(f"codes should be at least 3, of at least 2 coordinates, but have shape {z.shape}")
    state = seed_of(seed, generator, default=0) % 2**32
    if method == "pca":
        points, _ = principal_components(torch.from_numpy(z), torch.from_numpy(z), 2)
        return points
    if method == "umap" and find_spec("umap") is None:
        raise ImportError("method 'umap' needs the package umap-learn: install it, or take 't-sne'")
    # Of float32 inside: the digits are for differences of codes, in units of theirs.
    centre, scale = one_unit(z)
    if scale == 0:
        raise ValueError(f"codes should vary, to be embedded by {method!r}, but are all the same")
    z = (z - centre) / scale
    if method == "t-sne":
        from sklearn.manifold import TSNE

        perplexity = min(30.0, len(z) / 3)
        return torch.from_numpy(TSNE(perplexity=perplexity, init="pca", random_state=state).fit_transform(z))
    from umap import UMAP

    return torch.from_numpy(UMAP(random_state=state).fit_transform(z))
