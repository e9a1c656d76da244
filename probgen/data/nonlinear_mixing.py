"""Sources whose scales change from segment to segment, mixed by a network: nonlinear ICA with a truth."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from probgen.core import check_count

CANDIDATES = 10_000
"""Matrices drawn at random, of whose condition numbers a mixing has one of the lower quarter."""

LOWEST, HIGHEST = 0.5, 3.0
"""Between which standard deviations of sources are drawn."""


class NonlinearICA(NamedTuple):
    r"""Mixed sources, the segment of each row, and the sources themselves.

    Attributes:
        x: what is seen, float32, shape (n, sources).
        segments: the auxiliary variable u, int64, shape (n,); row i is of segment i mod their number, so that
            any first part of the rows has all of them alike.
        sources: float32, shape (n, sources).
        scales: standard deviation of each source in each segment, shape (segments, sources).
    """

    x: Tensor
    segments: Tensor
    sources: Tensor
    scales: Tensor


def nonlinear_ica(
    *,
    segments: int = 40,
    rows: int = 1000,
    sources: int = 5,
    layers: int = 3,
    generator: torch.Generator | None = None,
) -> NonlinearICA:
    r"""Return sources that are independent and normal in each segment, mixed by an invertible network.

    s_i | u ~ N(0, λ_i(u)²) with λ_i(u) ~ U(0.5, 3), and x = f(s): as many linear maps as ``layers``, with
    tanh(a) + a/10 between them. The columns of a map have length 1, entries drawn from U(−1, 1) before,
    and its condition number is below the 25th percentile of such maps. There is no noise.

    Without segments, rotations of the sources would have the same law, and nothing could find them; with
    enough segments they are known but for order, scale and sign.

    Args:
        segments: values of u.
        rows: of each segment.
        sources: as many coordinates as x has.
        layers: linear maps; one is linear ICA.
        generator: of all randomness, on the CPU; seeded with 0 where not given.

    Source: Khemakhem, Kingma, Monti and Hyvärinen (2020), Variational autoencoders and nonlinear ICA, section
    5.1, after Hyvärinen and Morioka (2016). λ is the standard deviation, as in the published code; the
    text has it for the variance.

    >>> data = nonlinear_ica(segments=4, rows=10, sources=3)
    >>> data.x.shape, data.segments[:5].tolist()
    (torch.Size([40, 3]), [0, 1, 2, 3, 0])
    """
    segments, rows = check_count("segments", segments), check_count("rows", rows)
    sources, layers = check_count("sources", sources, least=2), check_count("layers", layers)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    uniform = torch.rand(segments, sources, generator=generator, dtype=torch.float64)
    scales = LOWEST + (HIGHEST - LOWEST) * uniform
    u = torch.arange(segments * rows) % segments
    normals = torch.randn(len(u), sources, generator=generator, dtype=torch.float64)
    s = scales[u] * normals
    x = s
    for layer in range(layers):
        x = (x if layer == 0 else x.tanh() + x / 10) @ _well_conditioned(sources, generator)
    return NonlinearICA(x.float(), u, s.float(), scales.float())


def _well_conditioned(size: int, generator: torch.Generator) -> Tensor:
    """Return a matrix with columns of length 1 whose condition number is in the lower quarter of many."""
    entries = torch.rand(CANDIDATES, size, size, generator=generator, dtype=torch.float64)
    matrices = torch.nn.functional.normalize(2 * entries - 1, dim=1)
    singular = torch.linalg.svdvals(matrices)
    conditions = torch.where(singular[:, -1] > 0, singular[:, 0] / singular[:, -1], math.inf)
    # The first that is good enough is a draw from all that are.
    good = conditions < conditions.quantile(0.25)
    return matrices[int(good.to(torch.uint8).argmax())]
