"""Gradients of draws and log-densities of InverseCDF to the density's parameters, against exact ones.

Where the quantile function has a closed form, its derivative by autograd is the truth. Where it has none, it
is Richardson's extrapolation of central differences of SciPy's quantiles and log-densities.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.stats
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from probgen.sampling import InverseCDF

Function = Callable[..., Tensor]
LEVELS = torch.linspace(-13.8, 13.8, 41, dtype=torch.float64).sigmoid()


class Family(NamedTuple):
    """A log-density of x and parameters, unnormalised; its quantile function or SciPy's law of them."""

    log_prob: Function
    support: Constraint
    parameters: tuple[float, ...]
    exact: Function | Callable[..., object]
    log_normaliser: Function | None = None


def student(df: float, scale: float) -> object:
    return scipy.stats.t(df, scale=scale)


CLOSED = {
    "normal": Family(
        lambda x, m, s: -(((x - m) / s) ** 2) / 2,
        constraints.real,
        (0.3, 2.0),
        lambda u, m, s: m + s * torch.special.ndtri(u),
        lambda m, s: s.log(),
    ),
    "Cauchy": Family(
        lambda x, m, s: -torch.log1p(((x - m) / s) ** 2),
        constraints.real,
        (0.3, 2.0),
        lambda u, m, s: m + s * torch.tan(torch.pi * (u - 0.5)),
        lambda m, s: s.log(),
    ),
    "logistic": Family(
        lambda x, m, s: -(x - m) / s - 2 * torch.nn.functional.softplus(-(x - m) / s),
        constraints.real,
        (-1.0, 0.5),
        lambda u, m, s: m + s * torch.logit(u),
        lambda m, s: s.log(),
    ),
    "Laplace": Family(
        lambda x, m, s: -(x - m).abs() / s,
        constraints.real,
        (0.1, 3.0),
        lambda u, m, s: m - s * (u - 0.5).sign() * torch.log1p(-2 * (u - 0.5).abs()),
        lambda m, s: s.log(),
    ),
    "Gumbel": Family(
        lambda x, m, s: -(x - m) / s - (-(x - m) / s).exp(),
        constraints.real,
        (0.1, 3.0),
        lambda u, m, s: m - s * (-u.log()).log(),
        lambda m, s: s.log(),
    ),
    "Weibull": Family(
        lambda x, k, s: (k - 1) * x.log() - (x / s) ** k,
        constraints.positive,
        (0.7, 2.0),
        lambda u, k, s: s * (-torch.log1p(-u)) ** (1 / k),
        lambda k, s: k * s.log() - k.log(),
    ),
    "log-normal": Family(
        lambda x, m, s: -(((x.log() - m) / s) ** 2) / 2 - x.log(),
        constraints.positive,
        (0.3, 1.2),
        lambda u, m, s: (m + s * torch.special.ndtri(u)).exp(),
        lambda m, s: s.log(),
    ),
    "Pareto": Family(
        lambda x, a: -(a + 1) * x.log(),
        constraints.greater_than(1.0),
        (1.7,),
        lambda u, a: (-torch.log1p(-u) / a).exp(),
        lambda a: -a.log(),
    ),
    "Kumaraswamy": Family(
        lambda x, a, b: (a - 1) * x.log() + (b - 1) * torch.log1p(-(x**a)),
        constraints.unit_interval,
        (0.8, 2.5),
        lambda u, a, b: (-torch.expm1(torch.log1p(-u) / b)) ** (1 / a),
        lambda a, b: -a.log() - b.log(),
    ),
}
BY_DIFFERENCES = {
    "Gamma": Family(
        lambda x, a, s: (a - 1) * x.log() - x / s,
        constraints.positive,
        (0.6, 2.0),
        lambda a, s: scipy.stats.gamma(a, scale=s),
    ),
    "Beta": Family(
        lambda x, a, b: (a - 1) * x.log() + (b - 1) * torch.log1p(-x),
        constraints.unit_interval,
        (0.7, 2.5),
        scipy.stats.beta,
    ),
    "Student t": Family(
        lambda x, df, s: -(df + 1) / 2 * torch.log1p((x / s) ** 2 / df), constraints.real, (4.0, 1.5), student
    ),
    "inverse Gamma": Family(
        lambda x, a: -(a + 1) * x.log() - 1 / x, constraints.positive, (1.8,), scipy.stats.invgamma
    ),
}  # fmt: skip


def columns(function: Callable[..., Tensor], parameters: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the derivative of a vector of values to each parameter."""
    inputs = tuple(value.detach().requires_grad_() for value in parameters)
    return list(torch.autograd.functional.jacobian(function, inputs))


def differences(function: Callable[..., np.ndarray], parameters: tuple[float, ...]) -> list[Tensor]:
    """Return Richardson's extrapolation, of order 6, of central differences."""
    found = []
    for k in range(len(parameters)):

        def central(step: float, k: int = k) -> np.ndarray:
            ends = [[p + sign * step * (i == k) for i, p in enumerate(parameters)] for sign in (1, -1)]
            return (function(*ends[0]) - function(*ends[1])) / (2 * step)

        step = 0.02 * parameters[k]
        rough = [central(step / 2**i) for i in range(3)]
        better = [(4 * rough[i + 1] - rough[i]) / 3 for i in range(2)]
        found.append(torch.from_numpy((16 * better[1] - better[0]) / 15))
    return found


def errors(family: Family, *, closed: bool) -> tuple[float, float]:
    """Return the largest relative error of the gradient of draws, and of log-densities."""
    parameters = tuple(torch.tensor(p, dtype=torch.float64) for p in family.parameters)

    def law(*p: Tensor) -> InverseCDF:
        return InverseCDF(log_prob=lambda x: family.log_prob(x, *p), support=family.support)

    x = law(*parameters).icdf(LEVELS).detach()
    if closed:
        assert family.log_normaliser is not None
        draws = columns(lambda *p: family.exact(LEVELS, *p), parameters)
        densities = columns(lambda *p: family.log_prob(x, *p) - family.log_normaliser(*p), parameters)
    else:
        level, place = LEVELS.numpy(), x.numpy()
        draws = differences(lambda *p: family.exact(*p).ppf(level), family.parameters)
        densities = differences(lambda *p: family.exact(*p).logpdf(place), family.parameters)
    ours = (
        columns(lambda *p: law(*p).icdf(LEVELS), parameters),
        columns(lambda *p: law(*p).log_prob(x), parameters),
    )
    worst = [
        max(
            float((a - b).abs().div(b.abs() + b.abs().median()).max())
            for a, b in zip(found, exact, strict=True)
        )
        for found, exact in zip(ours, (draws, densities), strict=True)
    ]
    return worst[0], worst[1]


def table() -> str:
    rows = ["| law | against | dx/dθ | ∂ log p/∂θ |", "|---" * 4 + "|"]
    for families, closed in ((CLOSED, True), (BY_DIFFERENCES, False)):
        for name, family in families.items():
            draw, density = errors(family, closed=closed)
            rows.append(
                f"| {name} | {'closed form' if closed else 'differences'} | {draw:.1e} | {density:.1e} |"
            )
    return "\n".join(rows)
