"""Quasi-random draws: points that fill the unit cube more evenly than chance, and inversion."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent
from torch.quasirandom import SobolEngine

from probgen.core import source_of
from probgen.sampling.exact.laws_from_uniforms import ByUniforms
from probgen.sampling.exact.tails.both_tails import example, quantile

_BITS = 30
"""Of a Sobol point; a uniform inside its cell gives 22 more."""


def sample_qmc(
    law: Distribution,
    n: int,
    *,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    scramble: bool = True,
) -> Tensor:
    r"""Draw n points of a law from a Sobol sequence, shape (n, \*batch, \*event).

    The mean of a function over scrambled points is unbiased. Where n is a power of two its standard error
    falls as n^(−3/2) for functions that are smooth in the uniforms, and nearly as 1/n where quantiles go to
    infinity, against n^(−1/2) of independent draws. Each draw alone has exactly the law; draws are not
    independent, so take the error from repeats with other seeds. Members of a batch and coordinates of an
    event take dimensions of their own, 21201 in all at most.

    Points are scrambled by a random linear matrix and shift, and uniform within their cell of width 2⁻³⁰;
    unscrambled ones stand in its middle, so that 0 and 1 are never met.

    Args:
        law: on the line, with a quantile function or a CDF; a Rosenblatt law; a copula; or an ``Independent``
            of one of these. Draws have its derivatives to parameters.
        n: the number of points, at most 2³⁰; best a power of two.
        generator, seed: the source of randomness, one at most; torch's global generator where not given.
        scramble: whether to randomise the points.

    Raises:
        ValueError: for n out of range or too many dimensions.
        TypeError: for a law that has no quantiles.

    See Owen (1997), Scrambled Net Variance for Integrals of Smooth Functions; Matoušek (1998), On the
    L2-Discrepancy for Anchored Boxes.

    >>> from torch.distributions import Normal
    >>> points = sample_qmc(Normal(0.0, 1.0), 4096, seed=0)
    >>> abs(float((points**2).mean()) - 1) < 1e-3
    True
    """
    if not 1 <= n <= 2**_BITS:
        raise ValueError(f"n should be at least 1 and at most 2^{_BITS} but got {n}")
    while isinstance(law, Independent):
        law = law.base_dist
    if law.event_shape and not isinstance(law, ByUniforms):
        raise TypeError(
            f"a law should be on the line, a Rosenblatt law or a copula to take Sobol points but got "
            f"{type(law).__name__} with event shape {tuple(law.event_shape)}"
        )
    each = law.uniforms if isinstance(law, ByUniforms) else 1
    dimensions = law.batch_shape.numel() * each
    if dimensions > SobolEngine.MAXDIM:
        raise ValueError(
            f"Sobol points should have at most {SobolEngine.MAXDIM} dimensions but the law takes {dimensions}"
        )
    generator = generator if seed is None else source_of(generator, seed, "cpu")
    device = law.device if isinstance(law, ByUniforms) else example(law).device
    with torch.no_grad():
        u = _points(dimensions, n, scramble, generator).to(device)
    if isinstance(law, ByUniforms):
        return law.placed(u.reshape(n, *law.batch_shape, each))
    return quantile(law, u.reshape(n, *law.batch_shape))


def _points(dimensions: int, n: int, scramble: bool, generator: torch.Generator | None) -> Tensor:
    """Return points inside the unit cube, float64, on the CPU."""
    if not scramble:
        return SobolEngine(dimensions).draw(n, dtype=torch.float64) + 2.0 ** -(_BITS + 1)
    where = "cpu" if generator is None else generator.device
    seed = int(torch.randint(2**62, (), generator=generator, device=where))
    cells = SobolEngine(dimensions, scramble=True, seed=seed).draw(n, dtype=torch.float64)
    inside = torch.randint(2**22, cells.shape, generator=generator, device=where).to("cpu", torch.float64)
    return cells + (inside + 0.5) * 2.0 ** -(_BITS + 22)
