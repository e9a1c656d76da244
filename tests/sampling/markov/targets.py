"""Densities with exact draws, on which every transition must leave the law as it is."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Dirichlet,
    Gamma,
    MultivariateNormal,
    Normal,
    Poisson,
    constraints,
)

from probgen.core import Density
from tests.laws import Cdf

COVARIANCE = torch.tensor([[1.0, 1.2], [1.2, 4.0]])
NAMES = ["normal", "correlated normal", "gamma", "dirichlet", "mixture", "banana", "funnel", "batch"]

DISCRETE = ["poisson", "labels", "table"]


class Target(NamedTuple):
    density: Density
    draw: Callable[[int], Tensor]
    marginals: list[tuple[Callable[[Tensor], Tensor], Cdf]]


def of_scipy(law) -> Cdf:
    return lambda x: torch.from_numpy(np.asarray(law.cdf(x.numpy())))


def of_mass(mass: Tensor) -> Cdf:
    level = torch.cat([torch.zeros(1), mass.double().cpu().cumsum(0)])
    return lambda x: level[(x.floor().long() + 1).clamp(0, len(mass))]


def part(*index):
    return lambda x: x[(..., *index)]


def target(name: str, dtype: torch.dtype, device: torch.device) -> Target:
    def on(law: torch.distributions.Distribution, *marginals) -> Target:
        return Target(Density.from_distribution(law), lambda n: law.sample((n,)), list(marginals))

    def t(values) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    def plane(log_prob) -> Density:
        return Density(
            log_prob, support=constraints.real_vector, event_shape=(2,), dtype=dtype, device=device
        )

    def pairs(n: int) -> Tensor:
        return torch.randn(n, 2, dtype=dtype, device=device)

    normal = of_scipy(scipy.stats.norm())
    if name == "normal":
        return on(Normal(t(1.0), t(2.0)), (lambda x: (x - 1) / 2, normal))
    if name == "correlated normal":
        apart = math.sqrt(1 + 4 - 2 * 1.2)
        return on(
            MultivariateNormal(t([0.0, 0.0]), t(COVARIANCE)),
            (part(0), normal),
            (lambda x: x[..., 1] / 2, normal),
            (lambda x: (x[..., 0] - x[..., 1]) / apart, normal),
        )
    if name == "gamma":
        return on(Gamma(t(0.7), t(2.0)), (lambda x: x, of_scipy(scipy.stats.gamma(0.7, scale=0.5))))
    if name == "dirichlet":
        return on(
            Dirichlet(t([0.8, 2.0, 3.0])),
            (part(0), of_scipy(scipy.stats.beta(0.8, 5.0))),
            (part(2), of_scipy(scipy.stats.beta(3.0, 2.8))),
        )
    if name == "mixture":
        two, share = Normal(t([-2.0, 2.0]), t([0.7, 1.0])), t([0.3, 0.7])

        def draw(n: int) -> Tensor:
            which = (torch.rand(n, device=device) > 0.3).long()
            return two.sample((n,)).gather(-1, which.unsqueeze(-1)).squeeze(-1)

        return Target(
            Density(
                lambda x: (two.log_prob(x.unsqueeze(-1)) + share.log()).logsumexp(-1),
                dtype=dtype,
                device=device,
            ),
            draw,
            [(lambda x: x, lambda x: 0.3 * normal((x + 2) / 0.7) + 0.7 * normal(x - 2))],
        )
    if name == "banana":

        def bend(x: Tensor) -> Tensor:
            return torch.stack([x[..., 0], x[..., 1] - x[..., 0] ** 2], -1)

        return Target(
            plane(lambda x: -0.5 * (bend(x) ** 2).sum(-1)),
            lambda n: (z := pairs(n)) + torch.stack([torch.zeros_like(z[:, 0]), z[:, 0] ** 2], -1),
            [(part(0), normal), (lambda x: bend(x)[..., 1], normal)],
        )
    if name == "funnel":
        return Target(
            plane(lambda x: -0.5 * (x[..., 0] ** 2 + x[..., 1] ** 2 * torch.exp(-x[..., 0]) + x[..., 0])),
            lambda n: (z := pairs(n)) * torch.stack([torch.ones_like(z[:, 0]), (z[:, 0] / 2).exp()], -1),
            [(part(0), normal), (lambda x: x[..., 1] * torch.exp(-x[..., 0] / 2), normal)],
        )
    if name == "poisson":
        return on(Poisson(t(2.5)), (lambda k: k.double(), of_scipy(scipy.stats.poisson(2.5))))
    if name == "labels":  # one of them has no mass
        mass = t([0.3, 0.0, 0.4, 0.05, 0.25])
        return on(Categorical(mass), (lambda k: k.double(), of_mass(mass)))
    if name == "table":  # of two numbers, 30 x 4, by their joint mass
        i, j = torch.arange(30.0), torch.arange(4.0)
        mass = (-0.02 * (i.unsqueeze(-1) - 15 - 2 * j) ** 2 + 0.3 * j).flatten().softmax(-1).to(device, dtype)
        joint = Categorical(mass)
        return Target(
            Density(
                lambda k: mass[4 * k[..., 0] + k[..., 1]].log(),
                support=constraints.independent(constraints.integer_interval(t([0, 0]), t([29, 3])), 1),
                event_shape=(2,),
                dtype=dtype,
                device=device,
            ),
            lambda n: torch.stack([(k := joint.sample((n,))) // 4, k % 4], -1),
            [(lambda k: 4.0 * k[..., 0] + k[..., 1], of_mass(mass))],
        )
    assert name == "batch"
    means, scales = t([-3.0, 0.0, 50.0]), t([0.5, 1.0, 2.0])
    return on(
        Normal(means, scales),
        *((lambda x, i=i: (x[:, i] - means[i]) / scales[i], normal) for i in range(3)),
    )
