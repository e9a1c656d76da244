"""Targets with closed forms: banana, funnel, checkerboard."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.special import ndtr

from probgen.data.targets.base import Target, normals
from probgen.data.uniform import inner_uniform


def banana() -> Target:
    """Banana, version 1 (Haario et al., 1999): X0 ~ N(0, 10²), X1 | X0 ~ N(m(X0), 1), m(x) = 0.03 (x² - 100).

    Envelope: q is Laplace(0, b) x Laplace(-3, c) with b = 10 √3, c = 9. Since m(x) >= -3,
    |x1 + 3|/c <= 0.03 x0²/c + |x1 - m|/c, and -e²/2 + |e|/c <= 1/(2c²), so that
    log p/q <= log(4bc/(20π)) + 1/(2c²) + |x0|/b - (1/200 - 0.03/c) x0², whose maximum over x0 is
    log M = log(bc/(5π)) + 1/(2c²) + 1/2.
    """
    b, c = 10 * math.sqrt(3), 9.0

    def mean(x0: Tensor) -> Tensor:
        return 0.03 * (x0**2 - 100)

    def log_prob(x: Tensor) -> Tensor:
        x0, x1 = x.unbind(-1)
        return -0.5 * (x0 / 10) ** 2 - 0.5 * (x1 - mean(x0)) ** 2 - math.log(20 * math.pi)

    def draw(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        z0, z1 = normals(n, generator, dtype, device).unbind(-1)
        return torch.stack([10 * z0, mean(10 * z0) + z1], -1)

    def propose(dtype: torch.dtype, device: torch.device) -> dist.TorchDistribution:
        loc = torch.tensor([0.0, -3.0], dtype=dtype, device=device)
        return dist.Laplace(loc, torch.tensor([b, c], dtype=dtype, device=device)).to_event(1)

    return Target(
        name="banana",
        version="1",
        what="a curved Gaussian: N(0, 10²), then N(0.03 (x0² - 100), 1)",
        log_prob=log_prob,
        conditional_cdfs=(lambda x0: ndtr(x0 / 10), lambda x1, x0: ndtr(x1 - mean(x0))),
        log_bound=math.log(b * c / (5 * math.pi)) + 1 / (2 * c**2) + 0.5 + 1e-4,
        draw=draw,
        propose=propose,
    )


def funnel() -> Target:
    """Neal's funnel in the plane, version 1 (Neal, 2003): X0 ~ N(0, 3²), X1 | X0 ~ N(0, exp(X0)), a variance.

    Envelope: q is t₃₀(0, 6) x Cauchy(0, s) with s = 0.86. For given x0 and v = exp(x0), the ratio
    N(x1; 0, v) / Cauchy(x1; 0, s) is largest at x1² = max(2v - s², 0); what is left is a function of x0
    alone, whose maximum, found on a grid, is log M = 2.2847 at x0 = -6.
    """

    def log_prob(x: Tensor) -> Tensor:
        x0, x1 = x.unbind(-1)
        return -0.5 * (x0 / 3) ** 2 - 0.5 * (x1 * (-x0 / 2).exp()) ** 2 - x0 / 2 - math.log(6 * math.pi)

    def draw(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        z0, z1 = normals(n, generator, dtype, device).unbind(-1)
        return torch.stack([3 * z0, z1 * (1.5 * z0).exp()], -1)

    def propose(dtype: torch.dtype, device: torch.device) -> dist.TorchDistribution:
        df = torch.tensor([30.0, 1.0], dtype=dtype, device=device)
        scale = torch.tensor([6.0, 0.86], dtype=dtype, device=device)
        return dist.StudentT(df, torch.zeros_like(df), scale).to_event(1)

    return Target(
        name="funnel",
        version="1",
        what="Neal's funnel: N(0, 3²), then N(0, exp(x0))",
        log_prob=log_prob,
        conditional_cdfs=(lambda x0: ndtr(x0 / 3), lambda x1, x0: ndtr(x1 * (-x0 / 2).exp())),
        log_bound=2.2847 + 1e-4,
        draw=draw,
        propose=propose,
    )


def checkerboard() -> Target:
    """Checkerboard, version 1 (as in FFJORD, Grathwohl et al., 2019): uniform on 8 squares of side 2.

    X0 ~ U(-4, 4); X1 = 2 (U - 2B + ⌊X0/2⌋ mod 2) with B ~ Bernoulli(1/2): density 1/32 on its support, the
    black squares of the board [-4, 4]².

    Envelope: q is uniform on the board, so that p/q is 2 or 0.
    """

    def odd(x0: Tensor) -> Tensor:
        return (x0 / 2).floor().remainder(2)

    def log_prob(x: Tensor) -> Tensor:
        black = (x / 2).floor().sum(-1).remainder(2) == 0
        inside = (x >= -4).all(-1) & (x < 4).all(-1)
        outside = torch.full_like(x[..., 0], -math.inf)
        log_p = torch.where(black & inside, -math.log(32), outside)
        return torch.where(x.isnan().any(-1), math.nan, log_p)

    def cdf1(x1: Tensor, x0: Tensor) -> Tensor:
        height = x1 / 2 - odd(x0)
        return 0.5 * (height + 2).clamp(0, 1) + 0.5 * height.clamp(0, 1)

    def draw(n: int, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        u = inner_uniform((n, 2), integer_bits=2, generator=generator, dtype=dtype, device=device)
        source = device if generator is None else generator.device
        lower = torch.randint(2, (n,), generator=generator, device=source).to(device)
        x0 = 8 * u[:, 0] - 4
        return torch.stack([x0, 2 * (u[:, 1] - 2 * lower + odd(x0))], -1)

    def propose(dtype: torch.dtype, device: torch.device) -> dist.TorchDistribution:
        corner = torch.full((2,), 4.0, dtype=dtype, device=device)
        return dist.Uniform(-corner, corner).to_event(1)

    return Target(
        name="checkerboard",
        version="1",
        what="uniform on the black squares of a 4x4 board",
        log_prob=log_prob,
        conditional_cdfs=(lambda x0: ((x0 + 4) / 8).clamp(0, 1), cdf1),
        log_bound=math.log(2) + 1e-4,
        draw=draw,
        propose=propose,
    )
