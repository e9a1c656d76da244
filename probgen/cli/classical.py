"""The classical methods that the commands compare: laws drawn by inversion, rejection and Markov chains."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import constraints

from probgen import data, sampling
from probgen.compare import Fitted, Method
from probgen.core import Density, seeded
from probgen.recipes import Task

CHAINS = 256
"""Chains that warm up and are diagnosed; the draws come from one chain each, so that they are independent."""

EM_ROWS = 10_000
"""Most training images that a mixture is fitted to."""


def pixels(task: Task) -> Method:
    """Each pixel on its own, by the generalised inverse of its empirical CDF."""
    levels = task.levels

    def fit(train: Tensor, seed: int) -> Fitted:
        level = (train * (levels - 1)).round()
        counts = torch.stack([(level == value).sum(0) for value in range(levels)], -1).double()
        probabilities = (counts + 1 / levels) / (len(train) + 1)
        law = sampling.DiscreteInverse(probabilities)

        def sample(n: int, *, seed: int) -> Tensor:
            with seeded(seed):
                return (law.sample((n,)) / (levels - 1)).to(train.dtype)

        def log_prob(x: Tensor) -> Tensor:
            return law.log_prob((x * (levels - 1)).round()).sum(-1)

        return Fitted(sample, log_prob)

    return Method(
        fit,
        "each pixel on its own, by the generalised inverse of its empirical CDF; one pseudo-observation, "
        "spread over the levels, makes none impossible",
    )


def mixture(task: Task, *, components: int = 40, steps: int = 1000) -> Method:
    """A Gaussian mixture fitted to dequantised images, drawn by random-walk Metropolis–Hastings."""
    levels = task.levels

    def fit(train: Tensor, seed: int) -> Fitted:
        noise = torch.Generator(train.device).manual_seed(seed)
        spread = data.dequantise(train.double(), levels, generator=noise)
        density = Density(
            _fit_mixture(spread, components, seed),
            support=constraints.real_vector,
            event_shape=train.shape[1:],
            dtype=spread.dtype,
            device=train.device,
        )

        def start(n: int, noise: torch.Generator) -> Tensor:
            return spread[torch.randint(len(spread), (n,), generator=noise, device=train.device)]

        draw, notes = _chains(density, start, steps, noise, covariance="diagonal")

        def sample(n: int, *, seed: int) -> Tensor:
            y = draw(n, torch.Generator(train.device).manual_seed(seed))
            inside = y.clamp(0, 1)  # the outer levels take what lies beyond them
            return data.quantise(inside, levels).to(train.dtype)

        def log_prob(x: Tensor) -> Tensor:
            noise = torch.Generator(x.device).manual_seed(0)
            ys = (data.dequantise(x.double(), levels, generator=noise) for _ in range(20))
            log_probs = torch.stack([density.log_prob(y) for y in ys])
            return log_probs.logsumexp(0) - math.log(20) - x.shape[1] * math.log(levels)

        return Fitted(sample, log_prob, notes=notes)

    return Method(
        fit,
        f"random-walk Metropolis–Hastings, {steps} steps from training images, on a mixture of {components} "
        "Gaussians (diagonal) fitted to the dequantised training images; its likelihood is the bound by "
        "dequantisation of Theis and others (2016)",
    )


def inverse(task: Task) -> Method:
    """Both coordinates by inverse CDF, the second given the first."""
    assert task.target is not None
    first, second = task.target.conditional_cdfs

    def fit(train: Tensor, seed: int) -> Fitted:
        marginal = sampling.InverseCDF(cdf=first, dtype=torch.float64, device=train.device)

        def given(x0: Tensor, *, verify: bool) -> sampling.InverseCDF:
            return sampling.InverseCDF(
                cdf=lambda x1: second(x1, x0),
                batch_shape=x0.shape,
                dtype=x0.dtype,
                device=x0.device,
                validate_args=verify,
            )

        errors = [law.report().u_error for law in (marginal, given(marginal.sample((16,)), verify=True))]

        def sample(n: int, *, seed: int) -> Tensor:
            with seeded(seed):
                x0 = marginal.sample((n,))
                return torch.stack([x0, given(x0, verify=False).sample()], -1).to(train.dtype)

        return Fitted(sample, _exact(task), notes={"largest u-error": max(errors)})

    return Method(
        fit, "inverse CDF, found by bisection: x₀ from its marginal CDF, then x₁ from its CDF given x₀"
    )


def rejection(task: Task) -> Method:
    """Rejection sampling under the target's envelope."""
    target = task.target
    assert target is not None

    def fit(train: Tensor, seed: int) -> Fitted:
        proposal = target.proposal(dtype=torch.float64, device=train.device)
        law = sampling.Rejection(target.log_prob, proposal=proposal, log_bound=target.log_bound)

        def sample(n: int, *, seed: int) -> Tensor:
            with seeded(seed):
                return law.sample((n,)).to(train.dtype)

        return Fitted(sample, _exact(task), notes={"acceptance": math.exp(-target.log_bound)})

    return Method(
        fit, "rejection from a wider law, with a proven bound that every proposal is checked against"
    )


def metropolis(task: Task, *, steps: int = 2000) -> Method:
    """Random-walk Metropolis–Hastings on the target's density, from a standard normal start."""
    target = task.target
    assert target is not None

    def fit(train: Tensor, seed: int) -> Fitted:
        noise = torch.Generator(train.device).manual_seed(seed)
        where: dict[str, Any] = {"dtype": torch.float64, "device": train.device}
        density = Density(target.log_prob, support=constraints.real_vector, event_shape=(2,), **where)

        def start(n: int, noise: torch.Generator) -> Tensor:
            return sampling.initial_positions(density, n, generator=noise)

        draw, notes = _chains(density, start, steps, noise)

        def sample(n: int, *, seed: int) -> Tensor:
            return draw(n, torch.Generator(train.device).manual_seed(seed)).to(train.dtype)

        return Fitted(sample, _exact(task), notes=notes)

    return Method(fit, f"random-walk Metropolis–Hastings, {steps} steps from a standard normal start")


Start = Callable[[int, torch.Generator], Tensor]


def _chains(
    density: Density,
    start: Start,
    steps: int,
    generator: torch.Generator,
    *,
    covariance: Literal["dense", "diagonal"] = "dense",
) -> tuple[Start, dict[str, str | float]]:
    """Tune and diagnose a random walk; return what draws the last states of n fresh chains, and notes."""
    transition, position = sampling.adapt_random_walk(
        density, start(CHAINS, generator), steps=steps, covariance=covariance, generator=generator
    )
    pilot = sampling.run(
        transition, position, draws=100, thin=max(1, steps // 100), density=density, generator=generator
    )
    notes: dict[str, str | float] = {
        "acceptance": float(pilot.statistics["acceptance"].mean()),
        "largest R-hat": float(pilot.summary().r_hat.max()),
    }

    def draw(n: int, generator: torch.Generator) -> Tensor:
        chains = sampling.run(
            transition, start(n, generator), draws=1, thin=steps, density=density, generator=generator
        )
        return chains[density.names[0]][:, 0]

    return draw, notes


def _fit_mixture(y: Tensor, components: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Fit a mixture of Gaussians with diagonal covariances by EM; return its log-density.

    Σ_j (y_j − μ_j)² / σ_j² is expanded about the pooled mean into two matrix products, in float64.
    """
    from sklearn.mixture import GaussianMixture

    rows = y[:EM_ROWS].cpu().numpy()
    found = GaussianMixture(components, covariance_type="diag", random_state=seed % 2**32, max_iter=500)
    found.fit(rows)
    weights, means, variances = (
        torch.as_tensor(value, dtype=y.dtype, device=y.device)
        for value in (found.weights_, found.means_, found.covariances_)
    )
    centre = weights @ means
    means = means - centre
    constant = weights.log() - 0.5 * (means**2 / variances + (2 * math.pi * variances).log()).sum(1)
    square, linear = (-0.5 / variances).T, (means / variances).T

    def log_prob(y: Tensor) -> Tensor:
        x = y - centre
        return (constant + x**2 @ square + x @ linear).logsumexp(-1)

    return log_prob


def _exact(task: Task) -> Callable[[Tensor], Tensor]:
    assert task.target is not None
    log_prob = task.target.log_prob
    return lambda x: log_prob(x.double())
