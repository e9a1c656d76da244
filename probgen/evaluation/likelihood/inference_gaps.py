"""What a guide loses, by its net and by its family of laws, and what Markov chains win back."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from probgen.core import (
    Density,
    Estimate,
    Pair,
    check_count,
    seed_of,
    seeded,
    takes_missing,
    weights_dtype,
)
from probgen.data import source
from probgen.evaluation.likelihood.annealed import (
    annealed_log_likelihood,
    in_evaluation,
    mean_over_rows,
    refuse_discrete,
)
from probgen.evaluation.likelihood.importance import batches_in_order, check_pair, weighted_draws

DRAWS, JUDGED = 10, 1000
"""Draws of a datum in a step of its local guide, and draws by which a bound is judged."""

RATE = 0.05
"""Of Adam at the first step, falling to 0 by a cosine, in standard deviations of the guide."""

REFINED = 10
"""Temperatures from the guide to the posterior of a refined guide."""


class InferenceGaps(NamedTuple):
    r"""Means over rows of x, in nats per datum, each with its standard error over rows.

    Attributes:
        evidence: log p(x), by annealed importance sampling from the guide.
        local: the bound of the best normal law of each row alone.
        guide: the bound of the guide.
        refined: the bound of the guide's draws after ten Hamiltonian trajectories towards the posterior.
        approximation: evidence − local, which a richer family of guides could win. Both are bounds from
            below: it is negative where the annealing fell shorter than the local laws.
        amortisation: local − guide, which a better net, or steps on each row, could win. It is negative
            where the guide's family holds better laws than the normal ones.
        refinement: refined − guide, which Markov chains win.
    """

    evidence: Estimate
    local: Estimate
    guide: Estimate
    refined: Estimate
    approximation: Estimate
    amortisation: Estimate
    refinement: Estimate


def inference_gaps(
    pair: Pair,
    x: Any,
    *context: Any,
    covariance: Literal["diagonal", "dense"] = "diagonal",
    steps: int = 500,
    temperatures: int = 500,
    chains: int = 16,
    leapfrog_steps: int = 5,
    seed: int | None = None,
    generator: torch.Generator | None = None,
) -> InferenceGaps:
    r"""Split what a guide loses, log p(x) − ELBO, into what its family and what its net is to blame for.

    log p(x) − ELBO = (log p(x) − ELBO of the best local law) + (that − ELBO of the guide), the approximation
    gap and the amortisation gap. The local law of a row is N(μ, S) on the unconstrained scale, for real
    codes that of the codes themselves, S diagonal or dense, fitted to the row alone by Adam from the guide's
    mean and standard deviations, the model as it is. Rows are fitted all at once.

    The refined bound is the mean of log w over single chains of :func:`annealed_log_likelihood` from the
    guide, with ten temperatures: in expectation below log p(x), whatever the chains do.

    Args:
        pair, x, context: as of :func:`annealed_log_likelihood`.
        covariance: of the local laws.
        steps: of Adam.
        temperatures, chains, leapfrog_steps: of the annealing for log p(x).
        seed, generator: of all draws, one at most; torch's global state where not given.

    Raises:
        ValueError: for what :func:`annealed_log_likelihood` refuses, such as a guide that is a point.

    Source: Cremer, Li and Duvenaud (2018), Inference suboptimality in variational autoencoders; Salimans,
    Kingma and Welling (2015), Markov chain Monte Carlo and variational inference: bridging the gap, for
    guides that chains refine.
    """
    check_pair(pair)
    steps = check_count("steps", steps)
    if covariance not in ("diagonal", "dense"):
        raise ValueError(f"covariance should be 'diagonal' or 'dense' but is {covariance!r}")
    data = source(
        (x, *context) if context else x, name="x", missing=takes_missing(pair), dtype=weights_dtype(pair)
    )
    seed = seed_of(seed, generator)
    # log p(x), and the bound of chains of few steps, both from the guide.
    with seeded(seed):
        evidence, refined = (
            annealed_log_likelihood(
                pair,
                x,
                *context,
                temperatures=many,
                chains=chains,
                leapfrog_steps=leapfrog_steps,
                start="guide",
            )
            for many in (temperatures, REFINED)
        )
        with in_evaluation(pair):
            bounds = [
                torch.stack(bounds_of_rows(pair, batch, dense=covariance == "dense", steps=steps))
                for batch in batches_in_order(pair, data, DRAWS)
            ]
    guide, local = torch.cat(bounds, 1)
    after = refined.log_weights.mean(0)
    return InferenceGaps(
        *map(mean_over_rows, (evidence.values, local, guide, after)),
        *map(mean_over_rows, (evidence.values - local, local - guide, after - guide)),
    )


def bounds_of_rows(
    pair: Pair, batch: tuple[Tensor, ...], *, dense: bool, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the bounds of the guide and of the local laws for each row, shape (n,), in float64."""
    refuse_discrete(pair, batch)
    density = pair.posterior(*batch)
    parts = []
    for _ in range(JUDGED // DRAWS):
        with torch.no_grad():
            draws, log_p, log_q = weighted_draws(pair, batch, DRAWS)
        parts.append((density.unconstrain(draws), (log_p - log_q).double().mean(0)))
    positions, bounds = zip(*parts, strict=True)
    law = _local(density, torch.cat(positions), dense=dense, steps=steps)
    local = torch.zeros_like(bounds[0])
    with torch.no_grad():
        for _ in range(JUDGED // DRAWS):
            z = law.sample((DRAWS,))
            local += (density.unconstrained_log_prob(z) - law.log_prob(z)).double().mean(0)
    return torch.stack(bounds).mean(0), local / (JUDGED // DRAWS)


def _local(density: Density, draws: Tensor, *, dense: bool, steps: int) -> Independent | MultivariateNormal:
    """Return the best normal law of each row, from draws of its guide (draws, n, dim)."""
    centre, unit = draws.mean(0), draws.std(0)
    # μ = centre + unit m and S = (unit L)(unit L)ᵀ, with m = 0 and L = I at the start.
    m = torch.zeros_like(centre).requires_grad_()
    factor = (torch.diag_embed(m) if dense else torch.zeros_like(m)).detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([m, factor], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        with torch.enable_grad():
            z = _normal(centre, unit, m, factor).rsample((DRAWS,))
            # The gradient goes through z alone, not through the law's density: it is 0 where the law is the
            # posterior, whatever z was drawn.
            held = _normal(centre, unit, m.detach(), factor.detach())
            loss = (held.log_prob(z) - density.unconstrained_log_prob(z)).mean(0).sum()
            m.grad, factor.grad = torch.autograd.grad(loss, [m, factor])
        optimizer.step()
        schedule.step()
    return _normal(centre, unit, m.detach(), factor.detach())


def _normal(centre: Tensor, unit: Tensor, m: Tensor, factor: Tensor) -> Independent | MultivariateNormal:
    if factor.dim() == m.dim():
        return Independent(Normal(centre + unit * m, unit * factor.exp()), 1)
    tril = factor.tril(-1) + torch.diag_embed(factor.diagonal(dim1=-2, dim2=-1).exp())
    return MultivariateNormal(centre + unit * m, scale_tril=unit.unsqueeze(-1) * tril)
