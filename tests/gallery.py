"""Laws on the line, easy and hard: an unnormalised log-density, and the two tails exactly, by other means.

Tails are SciPy's where those keep their digits, else a fixed quadrature on so many panels that it is exact to
rounding, which shares nothing with probgen's.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.special
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

LogProb = Callable[[Tensor], Tensor]
Tail = Callable[[np.ndarray], np.ndarray]


class Law(NamedTuple):
    log_prob: LogProb
    support: Constraint
    cdf: Tail
    sf: Tail
    points: tuple[float, ...] = ()


def closed(log_prob: LogProb, support: Constraint, law, **other) -> Law:
    """A law whose tails SciPy has."""
    return Law(log_prob, support, law.cdf, law.sf, **other)


def mixture(parts: Sequence[tuple[float, object, LogProb]], support: Constraint, **other) -> Law:
    """A mixture of laws whose tails SciPy has; their log-densities are normalised."""
    weights = [weight for weight, _, _ in parts]

    def log_prob(x: Tensor) -> Tensor:
        terms = [math.log(weight) + part(x) for weight, _, part in parts]
        return torch.logsumexp(torch.stack(terms), 0)

    def tail(name: str) -> Tail:
        return lambda x: sum(w * getattr(law, name)(x) for w, (_, law, _) in zip(weights, parts, strict=True))

    return Law(log_prob, support, tail("cdf"), tail("sf"), **other)


def quadrature(log_prob: LogProb, support: Constraint, edges: np.ndarray, **other) -> Law:
    """A law whose tails are integrated by 40 Gauss-Legendre nodes on each panel between the edges."""
    nodes, weights = np.polynomial.legendre.leggauss(40)

    def integrals(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        half = (high - low)[:, None] / 2
        x = low[:, None] + half * (nodes + 1)
        return (log_prob(torch.from_numpy(x)).exp().numpy() * weights * half).sum(1)

    masses = integrals(edges[:-1], edges[1:])
    below = np.concatenate([[0.0], np.cumsum(masses)])
    above = np.concatenate([np.cumsum(masses[::-1])[::-1], [0.0]])

    def cdf(x: np.ndarray) -> np.ndarray:
        k = np.clip(np.searchsorted(edges, x) - 1, 0, len(masses) - 1)
        return (below[k] + integrals(edges[k], x.ravel()).reshape(x.shape)) / below[-1]

    def sf(x: np.ndarray) -> np.ndarray:
        k = np.clip(np.searchsorted(edges, x) - 1, 0, len(masses) - 1)
        return (above[k + 1] + integrals(x.ravel(), edges[k + 1]).reshape(x.shape)) / below[-1]

    return Law(log_prob, support, cdf, sf, **other)


class CutNormal:
    """The standard normal given that it is beyond a."""

    def __init__(self, a: float) -> None:
        self.a = a

    def sf(self, x: np.ndarray) -> np.ndarray:
        return np.exp(scipy.special.log_ndtr(-x) - scipy.special.log_ndtr(-self.a))

    def cdf(self, x: np.ndarray) -> np.ndarray:
        return -np.expm1(scipy.special.log_ndtr(-x) - scipy.special.log_ndtr(-self.a))


def normal(m: float, s: float) -> tuple[object, LogProb]:
    log_scale = math.log(s) + 0.5 * math.log(2 * math.pi)
    return scipy.stats.norm(m, s), lambda x: -0.5 * ((x - m) / s) ** 2 - log_scale


def gamma(a: float) -> Law:
    return closed(lambda x: (a - 1) * x.log() - x, constraints.positive, scipy.stats.gamma(a))


def beta(a: float, b: float) -> Law:
    law = scipy.stats.beta(a, b)
    return closed(lambda x: (a - 1) * x.log() + (b - 1) * torch.log1p(-x), constraints.unit_interval, law)


def student(df: float) -> Law:
    return closed(lambda x: -(df + 1) / 2 * torch.log1p(x**2 / df), constraints.real, scipy.stats.t(df))


def mixed(*parts: tuple[float, float, float], **other) -> Law:
    """A mixture of normal laws: weight, mean and standard deviation."""
    return mixture([(w, *normal(m, s)) for w, m, s in parts], constraints.real, **other)


SOFTPLUS = torch.nn.functional.softplus
GRADED = np.concatenate([-np.logspace(3, -6, 400), np.logspace(-6, 3, 400)])
RIGHT = np.concatenate([[0.0], np.logspace(-14, 4, 800)])
UNIFORM = (scipy.stats.uniform(), lambda x: torch.zeros_like(x))

GALLERY: dict[str, Law] = {
    "normal": closed(lambda x: -(x**2) / 2, constraints.real, scipy.stats.norm()),
    "normal(1e6, 1e-3)": closed(
        lambda x: -(((x - 1e6) / 1e-3) ** 2) / 2, constraints.real, scipy.stats.norm(1e6, 1e-3)
    ),
    "normal, scale 1e-200": closed(
        lambda x: -((x * 1e200) ** 2) / 2, constraints.real, scipy.stats.norm(0, 1e-200)
    ),
    "gamma(0.05)": gamma(0.05),
    "gamma(0.3)": gamma(0.3),
    "gamma(0.5)": gamma(0.5),
    "gamma(1)": gamma(1.0),
    "gamma(2.5)": gamma(2.5),
    "gamma(100)": gamma(100.0),
    "gamma(1e4)": gamma(1e4),
    "beta(0.5, 0.5)": beta(0.5, 0.5),
    "beta(0.05, 3)": beta(0.05, 3.0),
    "beta(3, 0.5)": beta(3.0, 0.5),
    "beta(2, 5)": beta(2.0, 5.0),
    "beta(300, 2)": beta(300.0, 2.0),
    "uniform": closed(lambda x: torch.zeros_like(x), constraints.unit_interval, scipy.stats.uniform()),
    "cauchy": closed(lambda x: -torch.log1p(x**2), constraints.real, scipy.stats.cauchy()),
    "student(0.5)": student(0.5),
    "student(1.5)": student(1.5),
    "student(4)": student(4.0),
    "laplace": closed(lambda x: -x.abs(), constraints.real, scipy.stats.laplace()),
    "laplace(0.3, 1/7)": closed(
        lambda x: -7 * (x - 0.3).abs(), constraints.real, scipy.stats.laplace(0.3, 1 / 7)
    ),
    "skewed laplace": closed(
        lambda x: torch.where(x < 0.7, 3 * (x - 0.7), -0.5 * (x - 0.7)),
        constraints.real,
        scipy.stats.laplace_asymmetric(math.sqrt(0.5 / 3), 0.7, 1 / math.sqrt(1.5)),
    ),
    "exponential": closed(lambda x: -x, constraints.positive, scipy.stats.expon()),
    "exponential from 1": closed(lambda x: -x, constraints.greater_than(1.0), scipy.stats.expon(1.0)),
    "triangular": Law(
        lambda x: torch.where(x < 0.3, x / 0.3, (1 - x) / 0.7).log(),
        constraints.unit_interval,
        lambda x: np.where(x < 0.3, x**2 / 0.3, 1 - (1 - x) ** 2 / 0.7),
        lambda x: np.where(x < 0.3, 1 - x**2 / 0.3, (1 - x) ** 2 / 0.7),
    ),
    "log-normal": closed(
        lambda x: -(x.log() ** 2) / 2 - x.log(), constraints.positive, scipy.stats.lognorm(1.0)
    ),
    "log-normal(3)": closed(
        lambda x: -(x.log() ** 2) / 18 - x.log(), constraints.positive, scipy.stats.lognorm(3.0)
    ),
    "weibull(0.5)": closed(
        lambda x: -0.5 * x.log() - x.sqrt(), constraints.positive, scipy.stats.weibull_min(0.5)
    ),
    "pareto(0.7)": closed(lambda x: -1.7 * x.log(), constraints.greater_than(1.0), scipy.stats.pareto(0.7)),
    "gumbel": closed(lambda x: -x - (-x).exp(), constraints.real, scipy.stats.gumbel_r()),
    "logistic": closed(lambda x: -x - 2 * SOFTPLUS(-x), constraints.real, scipy.stats.logistic()),
    "inverse gamma(0.8)": closed(
        lambda x: -1.8 * x.log() - 1 / x, constraints.positive, scipy.stats.invgamma(0.8)
    ),
    "inverse Gaussian": closed(
        lambda x: -1.5 * x.log() - (x - 1) ** 2 / (2 * x), constraints.positive, scipy.stats.invgauss(1.0)
    ),
    "generalised inverse Gaussian": quadrature(
        lambda x: 1.3 * x.log() - 0.4 * (x + 1 / x), constraints.positive, RIGHT[1:]
    ),
    "hyperbolic": quadrature(lambda x: -2 * (1 + x**2).sqrt() + 0.8 * x, constraints.real, GRADED),
    "von Mises(4)": quadrature(
        lambda x: 4 * x.cos(), constraints.interval(-math.pi, math.pi), np.linspace(-math.pi, math.pi, 201)
    ),
    "x^-0.5 inside": quadrature(
        lambda x: -0.5 * x.abs().log(),
        constraints.interval(-1.0, 1.0),
        np.concatenate([-np.logspace(0, -30, 400), np.logspace(-30, 0, 400)]),
        points=(0.0,),
    ),
    "exp(-sqrt|x|)": quadrature(lambda x: -x.abs().sqrt(), constraints.real, GRADED * 10),
    "double well": quadrature(lambda x: -(x**4) + 8 * x**2, constraints.real, np.linspace(-5, 5, 401)),
    "two bumps with a gap": mixed((0.5, -5.0, 0.1), (0.5, 5.0, 0.1)),
    "two bumps far apart": mixed((0.3, -1e3, 1e-3), (0.7, 2e4, 5.0)),
    "three bumps": mixed((0.2, -3.0, 0.5), (0.5, 0.1, 1.0), (0.3, 40.0, 0.01)),
    "spike of 1e-6 on a slab": mixture(
        [(0.5, *normal(0.3, 1e-6)), (0.5, *UNIFORM)], constraints.unit_interval
    ),
    "spike of 1e-6 on a normal": mixed((0.5, 0.3, 1e-6), (0.5, 0.0, 1.0)),
    "spike and slab at 0": mixed((0.5, 0.0, 1e-6), (0.5, 0.0, 1.0)),
    "spike of 1e-9, named": mixed((0.5, 0.3, 1e-9), (0.5, 0.0, 1.0), points=(0.3,)),
    "normal beyond 8": closed(lambda x: -(x**2) / 2, constraints.greater_than(8.0), CutNormal(8.0)),
    "normal beyond 30": closed(lambda x: -(x**2) / 2, constraints.greater_than(30.0), CutNormal(30.0)),
    "uniform on the real line": closed(
        lambda x: torch.where((x > 0) & (x < 1), 0.0, -torch.inf).double(),
        constraints.real,
        scipy.stats.uniform(),
    ),
    "comb": quadrature(lambda x: 3 * (40 * x).sin() - x**2 / 2, constraints.real, np.linspace(-12, 12, 4001)),
}  # fmt: skip


def levels() -> np.ndarray:
    """Signed tail probabilities z, at which gallery laws are judged: u = z above 0, u = 1 + z below."""
    tail = 0.4999 * 2.0 ** -np.arange(0, 51.5, 0.5)
    even = np.linspace(-0.5, 0.5, 201)[1:-1] + 1e-3
    return np.concatenate([tail, even, -tail])


def errors(law: Law, density: np.ndarray, z: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Return the largest u-error of quantiles x at z, and their largest relative error in the tails.

    u is right where it lies between the CDF at the float64 numbers beside x. The error of x is that of u over
    the density, relative to the distance from the median, where the tail holds less than 1 %.
    """
    before, after = np.nextafter(x, -np.inf), np.nextafter(x, np.inf)
    with np.errstate(all="ignore"):
        over = np.where(z > 0, law.cdf(before) - z, -z - law.sf(before))
        under = np.where(z > 0, z - law.cdf(after), law.sf(after) + z)
        error = np.fmax(np.fmax(over, under), 0)
        median = x[np.abs(np.abs(z) - 0.5).argmin()]
        in_tails = (error / (density * np.abs(x - median)))[np.abs(z) < 0.01]
    wrong = ~np.isfinite(x)
    return float(np.where(wrong, np.inf, error).max()), float(np.nan_to_num(in_tails).max())
