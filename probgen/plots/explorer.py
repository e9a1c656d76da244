"""A page on which a model's codes are explored: the map of the data beside the picture at the pointer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from probgen.core import tensor_of
from probgen.core.contracts import Coded
from probgen.plots.decoder_program import NotPlain, program
from probgen.plots.page import COLOURS, Page, filled, packed, rounded
from probgen.plots.samples import as_images
from probgen.plots.style import array

SHOWN = 500
"""Most data of the map."""

CHECKS = 16
"""Codes at which the page compares itself with the model."""

GRID_BYTES = 1_000_000
"""About how much room a grid of pictures may take."""


def explorer(
    model: Coded,
    x: Tensor,
    labels: Tensor | ArrayLike | None = None,
    *,
    image_shape: tuple[int, int],
    title: str = "What the codes of a model decode to",
) -> Page:
    r"""Return a page with the map of codes beside the picture that is decoded at the pointer.

    The map shows the mean code of each datum. A click or a touch, a mouse that moves, and arrow keys move the
    pointer; codes of more than two coordinates have a slider for each further one, and the two that are
    drawn can be chosen. Beside it stand the nearest datum and what its code decodes to, and below nine
    pictures on the straight way between the codes of two data.

    Pictures are means of p(x | z), in the grey scale of ``x``: what lies outside is black or white. Codes of
    two coordinates are decoded beforehand, on a grid over 98 % of the codes and a margin, kept in 256 levels,
    between which the page goes linearly. Of more coordinates the page holds the decoder itself, its weights
    in float32, if that is made of linear layers and functions of single numbers, as an MLP under any head
    is. It compares itself with the model at 16 codes of the data, and says by how much it differs.

    Args:
        model: what encodes and decodes: a :class:`probgen.core.Coded`, such as a VAE.
        x: pictures, shape (n, height · width) or as the model takes them; the first 500 are shown.
        labels: one class a datum, shape (n,), at most 10 classes.
        image_shape: (height, width) in pixels.
        title: at the head of the page.

    Raises:
        ValueError: a shape that does not fit, more than 10 classes, a value that is not finite, or codes of
            one coordinate.
        NotPlain: a ValueError: a decoder of more than two coordinates that a page cannot run.

    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(64, 2)), nets.BernoulliHead(nets.MLP(2, 64)))
    >>> explorer(vae, torch.rand(20, 64), image_shape=(8, 8), title="Untrained")
    Page('Untrained', ... kB)
    """
    x = tensor_of(x, "x")[:SHOWN]
    pictures = as_images(x, image_shape, "x")
    codes = model.encode(x).mean.detach()
    if codes.dim() != 2 or codes.shape[1] < 2:
        raise ValueError(
            f"codes should have shape (n, d) with d of at least 2 but have shape {tuple(codes.shape)}"
        )
    found = array(codes, "codes")
    classes = np.zeros(len(found), int) if labels is None else array(labels, "labels")[:SHOWN]
    if classes.shape != (len(found),):
        raise ValueError(f"labels should have shape ({len(found)},) but have shape {classes.shape}")
    names, which = np.unique(classes, return_inverse=True)
    if len(names) > len(COLOURS):
        raise ValueError(f"labels should have at most {len(COLOURS)} classes but have {len(names)}")

    def decode(z: Tensor) -> Tensor:
        return model.decode(z).mean.reshape(len(z), -1)

    low, high = float(pictures.min()), float(pictures.max())
    if low == high:
        raise ValueError(f"x should have more than one grey level but is {low:g} everywhere")
    ranges = [_range(column) for column in found.T]
    some = np.linspace(0, len(found) - 1, min(CHECKS, len(found))).round().astype(int)
    checks, where = array(decode(codes[some]), "decoded pictures"), codes[some]
    if checks.shape[1] != math.prod(image_shape):
        raise ValueError(f"decoded pictures should have {image_shape} pixels but have {checks.shape[1]}")
    if codes.shape[1] == 2:
        decoder, how = _grid(decode, codes, ranges, math.prod(image_shape))
    else:
        decoder, how = _own(decode, codes)
    record = {
        "shape": list(image_shape),
        "grey": [low, high],
        "codes": rounded(found),
        "labels": which.tolist(),
        "names": [str(name) for name in names],
        "colours": COLOURS,
        "ranges": rounded(ranges),
        "data": packed((255 * (pictures - low) / (high - low)).round(), "u1"),
        "decoder": decoder,
        "how": how,
        "checks": {"codes": rounded(array(where, "codes"), 9), "values": packed(checks, "f4")},
    }
    return filled("explorer", title, record)


def _range(values: np.ndarray) -> tuple[float, float]:
    """Return the range of 98 % of the values, and a margin of a tenth on each side."""
    low, high = np.quantile(values, [0.01, 0.99])
    margin = 0.1 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _levels(values: np.ndarray) -> dict[str, Any]:
    """Return numbers as levels 0 to 255 between their least and their greatest."""
    low, high = float(values.min()), float(values.max())
    high = high if high > low else low + 1.0
    return {"low": low, "high": high, "values": packed((255 * (values - low) / (high - low)).round(), "u1")}


def _grid(
    decode: Any, codes: Tensor, ranges: list[tuple[float, float]], pixels: int
) -> tuple[dict[str, Any], str]:
    """Decode on a grid, z₂ row by row."""
    n = max(9, min(61, math.isqrt(GRID_BYTES // pixels)))
    first, second = (torch.linspace(*ends, n, dtype=codes.dtype, device=codes.device) for ends in ranges)
    z = torch.stack(torch.meshgrid(first, second, indexing="xy"), -1).reshape(-1, 2)
    decoded = array(torch.cat([decode(part) for part in z.split(512)]), "decoded pictures")
    how = f"Decoded beforehand at {n} × {n} codes, linear in between."
    return {"kind": "grid", "n": n, "ranges": ranges} | _levels(decoded), how


def _own(decode: Any, codes: Tensor) -> tuple[dict[str, Any], str]:
    """Write the decoder down."""
    try:
        written = program(decode, codes[:1])
    except NotPlain as error:
        raise NotPlain(
            f"model should have codes of two coordinates, or a decoder that a page can run, such as an MLP, "
            f"but has {codes.shape[1]} coordinates, and {error}"
        ) from error
    return {"kind": "program"} | written, "The page runs the decoder's own weights."
