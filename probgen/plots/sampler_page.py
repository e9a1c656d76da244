"""A page on which draws are made step by step: inverse transform, rejection, a Metropolis walk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from probgen.core import Density, Transition, check_count, seeded
from probgen.plots.page import Page, filled, packed, rounded
from probgen.plots.style import array

CURVE = 401
"""Points of a curve."""

SMALL_CURVE = 101
"""Points of a curve of which each draw has its own."""

Span = list[tuple[float, float]]

PLANE = 121
"""Points of a map along each axis."""


def sampler_page(
    law: Distribution | Density,
    *,
    inverse: Any = None,
    rejection: Any = None,
    move: Callable[[Density], Transition] | None = None,
    draws: int = 300,
    seed: int = 0,
    title: str = "How draws are made",
) -> Page:
    r"""Return a page that shows draws of a law on the line or in the plane being made, one by one.

    It has up to three parts, each with buttons to play, to stop and to step:

    - the **inverse transform**, of a law with ``icdf`` and ``cdf`` (:class:`probgen.sampling.InverseCDF`) or,
      in the plane, one that knows each coordinate's law given those before
      (:class:`probgen.sampling.Rosenblatt`): a uniform number goes to the CDF and down to its quantile;
    - **rejection**, where it is given: proposals under the envelope M q, and which of them lie below p;
    - a **Metropolis walk**, where a move is given: the position, the proposal and what became of it.

    All numbers are those of the laws and the move themselves, drawn here with the seed: the page only shows
    them. The walk starts at the law's first draw or, where the law draws nothing, at the position 0 of the
    unconstrained scale.

    Args:
        law: with ``log_prob``, on the line or in the plane; a density may be unnormalised.
        inverse: what the inverse transform is shown of, where ``law`` knows no quantiles or is slow.
        rejection: a :class:`probgen.sampling.Rejection` of the same density.
        move: from a density to a transition that asks for the density once a step, as
            ``lambda density: sampling.random_walk(density, scale=2.4)``.
        draws: steps of each part.
        seed: of all draws.
        title: at the head of the page.

    Raises:
        ValueError: for a law that is a batch, or not on the line or in the plane, where there is nothing to
            show, and for a move that asks for the density more than once a step.

    >>> from probgen import sampling
    >>> law = sampling.InverseCDF(log_prob=lambda x: -0.5 * x**2)
    >>> sampler_page(law, move=lambda density: sampling.random_walk(density, scale=2.4))
    Page('How draws are made', ... kB)
    """
    draws = check_count("draws", draws)
    dim = _dim(law)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad(), seeded(seed):
        record: dict[str, Any] = {"dim": dim}
        quantiles = law if inverse is None else inverse
        drawn = _inverse(quantiles, draws, dim, generator)
        start = None if drawn is None else drawn["x"][0]
        tried = None if rejection is None else rejection.trials(draws, generator=generator)
        walk = None if move is None else _walk(law, move, start, draws, dim, generator)
        if drawn is None and tried is None and walk is None:
            raise ValueError(
                f"{type(law).__name__} has no icdf, and neither rejection nor move is given: nothing to show"
            )
        shown = [] if drawn is None else [drawn["x"]]
        shown += [] if tried is None else [_points(tried.x[tried.accepted], dim)]
        shown += [] if walk is None else [walk["x"]]
        span = _span(np.concatenate(shown))
        record |= {"span": rounded(span)} | _density(law, span, dim)
        if drawn is not None:
            record["inverse"] = _curves(quantiles, drawn, span, dim)
        if tried is not None:
            record["rejection"] = _tried(law, rejection, tried, span, dim)
        if walk is not None:
            record["walk"] = {name: rounded(part) for name, part in walk.items()}
    return filled("sampler", title, record)


def _dim(law: Distribution | Density) -> int:
    if isinstance(law, Density):
        shapes, batch = list(law.shapes.values()), law.batch_shape
        shape = shapes[0] if len(shapes) == 1 else torch.Size([-1])
    else:
        shape, batch = law.event_shape, law.batch_shape
    if batch or shape not in (torch.Size(), torch.Size([2])):
        raise ValueError(
            f"law should be one law on the line or in the plane, event shape () or (2,), but has event shape "
            f"{tuple(shape)} and batch shape {tuple(batch)}"
        )
    return len(shape) + 1


def _points(x: Tensor, dim: int) -> np.ndarray:
    """Return points as rows of 1 or 2 numbers."""
    return array(x, "draws").astype(float).reshape(-1, dim)


def _span(points: np.ndarray) -> Span:
    """Return the range of all but the outermost points, with a margin, of each coordinate."""
    low, high = np.quantile(points, [0.005, 0.995], axis=0)
    margin = 0.08 * (high - low) + 1e-9
    return [(float(a), float(b)) for a, b in zip(low - margin, high + margin, strict=True)]


def _values(law: Any, x: Tensor) -> np.ndarray:
    """Return the density at points, 0 where there is none."""
    support = law.support
    inside = support.check(x)
    found = torch.zeros(inside.shape, dtype=torch.float64)
    if inside.any():
        found[inside] = law.log_prob(x[inside]).exp().to(found)
    return array(found, "the density")


def _grid(span: Span, dim: int, law: Any) -> Tensor:
    dtype = law.dtype if isinstance(law, Density) else torch.float64
    if dim == 1:
        return torch.linspace(*span[0], CURVE, dtype=dtype)
    ends = (torch.linspace(*side, PLANE, dtype=dtype) for side in span)
    return torch.stack(torch.meshgrid(*ends, indexing="xy"), -1)


def _density(law: Any, span: Span, dim: int) -> dict[str, Any]:
    """Return the density on the span: a curve whose area there is 1, or a map in 256 levels of its root."""
    x = _grid(span, dim, law)
    p = _values(law, x)
    if dim == 1:
        return {"density": rounded(p / np.trapezoid(p, x.numpy()))}
    return {"side": PLANE, "density": packed((255 * np.sqrt(p / p.max())).round(), "u1")}


def _inverse(law: Any, draws: int, dim: int, generator: torch.Generator) -> dict[str, np.ndarray] | None:
    """Return uniforms and the draws that they become; None of a law that has no quantile function."""
    u = torch.rand(draws, dim, dtype=torch.float64, generator=generator)
    if dim == 2:
        if not hasattr(law, "law_of"):
            return None
        return {"u": u.numpy(), "x": _points(law.from_uniform(u), 2)}
    try:
        return {"u": u.numpy(), "x": _points(law.icdf(u[:, 0]), 1)}
    except (AttributeError, NotImplementedError):
        return None


def _curves(law: Any, drawn: dict[str, np.ndarray], span: Span, dim: int) -> dict[str, Any]:
    """Return the draws with the CDF on the span; in the plane also each draw's second CDF given its first."""
    found: dict[str, Any] = {name: rounded(part) for name, part in drawn.items()}
    if dim == 1:
        found["cdf"] = rounded(_cdf(law, torch.linspace(*span[0], CURVE)))
    else:
        at = [torch.linspace(*side, SMALL_CURVE) for side in span]
        given = law.law_of(1, [torch.as_tensor(drawn["x"][:, 0])])
        found["cdf"] = rounded(_cdf(law.law_of(0, []), at[0]))
        found["given"] = rounded(_cdf(given, at[1][:, None].expand(-1, len(drawn["x"]))).T, 4)
    return found


def _cdf(law: Any, x: Tensor) -> np.ndarray:
    """Return the CDF at places that increase along the first dimension, 0 and 1 beside the support."""
    x = x.double()
    inside = law.support.check(x)
    middle = x[inside].median() if inside.any() else x.median()
    found = law.cdf(torch.where(inside, x, middle)).to(x)
    beyond = (~inside).to(x) * (x > middle)
    return array(torch.where(inside, found, beyond), "the CDF")


def _tried(law: Any, rejection: Any, tried: Any, span: Span, dim: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "x": rounded(_points(tried.x, dim)),
        "u": rounded(array(tried.u, "u")),
        "ratio": rounded(array(tried.ratio, "ratio")),
        "accepted": tried.accepted.int().tolist(),
    }
    log_hat = rejection.log_envelope(tried.x).double()
    scale = _scale(law, tried, log_hat)
    if dim == 1:  # the envelope, and the height of each proposal, in the units of the curve
        x = _grid(span, 1, law)
        inside = rejection.proposal.support.check(x)
        hat = torch.zeros(len(x), dtype=torch.float64)
        hat[inside] = (rejection.log_envelope(x[inside]).double() - scale).exp()
        area = np.trapezoid(_values(law, x), x.numpy())
        found["hat"] = rounded(array(hat, "the envelope") / area)
        found["height"] = rounded(array(tried.u * (log_hat - scale).exp(), "heights") / area)
    return found


def _scale(law: Any, tried: Any, log_hat: Tensor) -> float:
    """Return by how much the log-density of the rejection is above the law's, everywhere the same."""
    known = tried.ratio > 0
    apart = (tried.ratio.log() + log_hat)[known] - law.log_prob(tried.x[known]).double()
    if not float(apart.max() - apart.min()) < 1e-3:
        raise ValueError(
            f"rejection should be of the law's own density, up to a factor, but the logarithm of the factor "
            f"goes from {float(apart.min()):.4g} to {float(apart.max()):.4g}"
        )
    return float(apart.median())


def _walk(
    law: Any,
    move: Callable[[Density], Transition],
    start: np.ndarray | None,
    draws: int,
    dim: int,
    generator: torch.Generator,
) -> dict[str, np.ndarray]:
    """Walk; return positions, the start first, and proposals, how likely each was accepted, and whether."""
    asked: list[Tensor] = []
    plain = law if isinstance(law, Density) else Density.from_distribution(law)

    def recorded(x: Tensor) -> Tensor:
        asked.append(x.detach().clone())
        return plain.log_prob(x)

    (shape,) = plain.shapes.values()
    density = Density(
        recorded, support=law.support, event_shape=shape, dtype=plain.dtype, device=plain.device
    )
    (name,) = density.names
    position = torch.zeros(1, density.dim, dtype=density.dtype, device=density.device)
    if start is not None:
        position = density.unconstrain(torch.as_tensor(start, dtype=density.dtype).reshape(1, *shape))
    transition = move(density)
    state = transition.init(position)
    places, proposals, chances, moved = [position], [], [], []
    for _ in range(draws):
        asked.clear()
        before = state.position
        state, info = transition.step(state, generator)
        if len(asked) != 1:
            raise ValueError(
                f"move should ask for the density once a step but asked {len(asked)} times: take random_walk"
            )
        places.append(state.position)
        proposals.append(asked[0])
        chances.append(float(info.acceptance))
        moved.append(int(bool((state.position != before).any())))
    x = density.constrain(torch.cat(places))[name]
    return {
        "x": _points(x, dim),
        "proposal": _points(torch.cat(proposals), dim),
        "chance": np.array(chances),
        "accepted": np.array(moved),
    }
