"""The classical methods that the commands compare: laws drawn by inversion, rejection and Markov chains."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, constraints

from probgen import data, sampling
from probgen.compare import Fitted, Method
from probgen.core import Density, seeded
from probgen.recipes import Task

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


def mixture(task: Task, *, components: int = 40) -> Method:
    """A Gaussian mixture fitted to dequantised images, drawn exactly."""
    levels = task.levels

    def fit(train: Tensor, seed: int) -> Fitted:
        law = _fit_mixture(dequantised(train, levels, seed), components, seed)

        def sample(n: int, *, seed: int) -> Tensor:
            with seeded(seed):
                return as_images(law.sample((n,)), levels).to(train.dtype)

        return Fitted(sample, dequantised_log_prob(law.log_prob, levels))

    return Method(
        fit,
        f"exact draws of a mixture of {components} Gaussians (diagonal) fitted to the dequantised training "
        "images; its likelihood is the bound by dequantisation of Theis and others (2016)",
    )


def dequantised(train: Tensor, levels: int, seed: int) -> Tensor:
    noise = torch.Generator(train.device).manual_seed(seed)
    return data.dequantise(train.double(), levels, generator=noise)


def as_images(y: Tensor, levels: int) -> Tensor:
    return data.quantise(y.clamp(0, 1), levels)  # the outer levels take what lies beyond them


def dequantised_log_prob(log_prob: Callable[[Tensor], Tensor], levels: int) -> Callable[[Tensor], Tensor]:
    """Return log mean exp of a density at 20 dequantised copies of images, less their volume: a bound."""

    def bound(x: Tensor) -> Tensor:
        noise = torch.Generator(x.device).manual_seed(0)
        ys = (data.dequantise(x.double(), levels, generator=noise) for _ in range(20))
        log_probs = torch.stack([log_prob(y) for y in ys])
        return log_probs.logsumexp(0) - math.log(20) - x.shape[1] * math.log(levels)

    return bound


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
    proposal = target.proposal(dtype=torch.float64, device=task.train.x.device)
    return _of_target(
        task,
        Method.from_density(_density(task), "rejection", proposal=proposal, log_bound=target.log_bound),
        "rejection from a wider law, with a proven bound that every proposal is checked against",
    )


def metropolis(task: Task) -> Method:
    """Random-walk Metropolis–Hastings on the target's density, from standard normal starting points."""
    method = Method.from_density(_density(task), "random_walk")
    return _of_target(task, method, method.about)


def hmc(task: Task) -> Method:
    """Hamiltonian Monte Carlo on the target's density."""
    method = Method.from_density(_density(task), "hmc")
    return _of_target(task, method, method.about)


def tempered(task: Task) -> Method:
    """Parallel tempering on the target's density."""
    method = Method.from_density(_density(task), "tempered")
    return _of_target(task, method, method.about)


def _density(task: Task) -> Density:
    assert task.target is not None
    where: dict[str, Any] = {"dtype": torch.float64, "device": task.train.x.device}
    return Density(task.target.log_prob, support=constraints.real_vector, event_shape=(2,), **where)


def _of_target(task: Task, method: Method, about: str) -> Method:
    """A method that draws from the target's density, scored by it as recipes are by theirs."""

    def fit(train: Tensor, seed: int) -> Fitted:
        return method.fit(train, seed)._replace(log_prob=_exact(task))

    return Method(fit, about)


def _fit_mixture(y: Tensor, components: int, seed: int) -> MixtureSameFamily:
    """Fit a mixture of Gaussians with diagonal covariances by EM."""
    from sklearn.mixture import GaussianMixture

    rows = y[:EM_ROWS].cpu().numpy()
    found = GaussianMixture(components, covariance_type="diag", random_state=seed % 2**32, max_iter=500)
    found.fit(rows)
    weights, means, variances = (
        torch.as_tensor(value, dtype=y.dtype, device=y.device)
        for value in (found.weights_, found.means_, found.covariances_)
    )
    parts = Independent(Normal(means, variances.sqrt(), validate_args=False), 1, validate_args=False)
    return MixtureSameFamily(Categorical(weights), parts, validate_args=False)


def _exact(task: Task) -> Callable[[Tensor], Tensor]:
    assert task.target is not None
    log_prob = task.target.log_prob
    return lambda x: log_prob(x.double())
