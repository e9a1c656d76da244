"""Laws that every sampler obeys: tests of draws at a declared false-alarm rate, with asserted power.

The goodness-of-fit test is that of Dvoretzky, Kiefer, Wolfowitz and Massart: for n independent draws from any
F, P(sup |F_n − F| > r) ≤ 2 exp(−2 n r²). Its false-alarm rate is at most ``alpha``, whatever F is.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from probgen.core import Density, Transition

ALPHA = 1e-6
Cdf = Callable[[Tensor], Tensor]


def dkw_radius(n: int, alpha: float = ALPHA) -> float:
    return math.sqrt(math.log(2 / alpha) / (2 * n))


def dkw_distance(draws: Tensor, cdf: Cdf) -> float:
    """Return sup |F_n − F|, which stands at a draw or just before it, for continuous and jumping F alike."""
    x, counts = draws.detach().flatten().double().cpu().unique(return_counts=True)
    reached = counts.cumsum(0) / counts.sum()
    before = torch.cat([torch.zeros(1), reached[:-1]])
    below = torch.nextafter(x, torch.full_like(x, -torch.inf))
    return float(torch.maximum((reached - cdf(x)).abs().max(), (before - cdf(below)).abs().max()))


def of_scipy(law) -> Cdf:
    """The CDF of one of SciPy's laws, on tensors."""
    return lambda x: torch.as_tensor(law.cdf(x.numpy()), dtype=torch.float64)


def check_goodness_of_fit(draws: Tensor, cdf: Cdf, *, alpha: float = ALPHA) -> None:
    """Independent draws of one number, against its CDF on float64 tensors."""
    distance, radius = dkw_distance(draws, cdf), dkw_radius(draws.numel(), alpha)
    assert distance <= radius, f"the draws are {distance:.5f} from the law, more than {radius:.5f}"


def assert_power(draws: Tensor, cdf: Cdf, *, shift: float, alpha: float = ALPHA) -> None:
    """The test would see draws that are ``shift`` standard deviations too high."""
    wrong = draws + shift * draws.double().std().to(draws.dtype)
    distance, radius = dkw_distance(wrong, cdf), dkw_radius(draws.numel(), alpha)
    assert distance > radius, f"no power: a shift of {shift} sd gives {distance:.5f}, within {radius:.5f}"


def check_moments(draws: Tensor, mean: float, variance: float) -> None:
    """The mean and variance of independent draws, each at a false-alarm rate of 1e-6 by the normal law.

    The test of the mean would see a shift of 0.02 standard deviations.
    """
    x = draws.double()
    quantile = math.sqrt(2) * float(torch.special.erfinv(torch.tensor(1 - ALPHA, dtype=torch.float64)))
    assert 0.02 * math.sqrt(x.numel()) > 1.8 * quantile, "too few draws to see 0.02 standard deviations"
    for value, expected in ((x, mean), ((x - mean) ** 2, variance)):
        distance, error = abs(float(value.mean()) - expected), float(value.std()) / math.sqrt(x.numel())
        assert distance <= quantile * error, f"{float(value.mean())} is {distance / error:.1f} errors away"


def cdf_from_log_prob(log_prob: Callable[[Tensor], Tensor], grid: Tensor) -> Cdf:
    """Integrate a density on an increasing grid by trapezoids; the mass outside it must be below 1e-3."""
    density = log_prob(grid).exp()
    steps = grid.diff() * (density[1:] + density[:-1]) / 2
    level = torch.cat([steps.new_zeros(1), steps.cumsum(0)])
    assert abs(float(level[-1]) - 1) < 1e-3, f"the density integrates to {float(level[-1])}"

    def cdf(x: Tensor) -> Tensor:
        left = (torch.searchsorted(grid, x, right=True) - 1).clamp(0, len(grid) - 2)
        share = ((x - grid[left]) / (grid[left + 1] - grid[left])).clamp(0, 1)
        return level[left] + share * (level[left + 1] - level[left])

    return cdf


def check_shapes(law, dtype: torch.dtype) -> None:
    """``expand``, ``to_event`` and ``mask`` work, and expanded draws are independent."""
    batch, event = law.batch_shape, law.event_shape
    assert law.sample().shape == batch + event
    assert law.sample((5, 2)).shape == (5, 2, *batch, *event)
    assert law.sample((5,)).dtype == dtype
    wide = law.expand((3, *batch))
    draws = wide.sample((4,))
    assert wide.batch_shape == (3, *batch)
    assert draws.shape == (4, 3, *batch, *event)
    assert not torch.equal(wide.sample((50,))[:, 0], wide.sample((50,))[:, 1])
    assert wide.log_prob(draws).shape == (4, 3, *batch)
    assert torch.equal(wide.log_prob(draws), law.log_prob(draws))
    assert wide.log_prob(draws[:1, :1]).shape == (1, 3, *batch)
    joint = wide.to_event(1 + len(batch))
    assert joint.log_prob(draws).shape == (4,)
    torch.testing.assert_close(joint.log_prob(draws), wide.log_prob(draws).flatten(1).sum(-1))
    assert joint.mask(False).log_prob(draws).abs().sum() == 0


def check_gradient(function: Callable[..., Tensor], *parameters: float) -> None:
    """The gradient to every parameter is that of central differences, in float64."""
    inputs = tuple(torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in parameters)
    assert torch.autograd.gradcheck(function, inputs, eps=1e-6, atol=1e-6, rtol=1e-5)


def check_stationary(
    density: Density,
    transition: Transition,
    exact: Tensor,
    marginals: Sequence[tuple[Callable[[Tensor], Tensor], Cdf]],
    *,
    generator: torch.Generator,
    steps: int = 10,
) -> None:
    r"""Chains that start at exact draws, (chains, \*batch, \*event), have the same law after some steps.

    Each marginal is a function of one site's values and its CDF. Every test would see a shift of a twentieth
    of a standard deviation, and at least a tenth of the chains must have moved.
    """
    start = density.unconstrain(exact)
    state = transition.init(start)
    for _ in range(steps):
        state, _ = transition.step(state, generator)
    (values,) = density.constrain(state.position).values()
    moved = (state.position != start).any(-1).double().mean()
    assert moved > 0.1, f"only {float(moved):.1%} of the chains moved"
    for marginal, cdf in marginals:
        draws = marginal(values)
        check_goodness_of_fit(draws, cdf)
        assert_power(draws, cdf, shift=0.05)


def check_reversible(
    density: Density, transition: Transition, exact: Tensor, *, generator: torch.Generator
) -> None:
    r"""A pair (x, y), x an exact draw and y one step later, has the law of (y, x): detailed balance.

    So every antisymmetric function of the pair has a law that is symmetric about 0. Given their sizes, the
    signs of independent pairs are then fair coins, and P(max |S_k| ≥ λ) ≤ 2 exp(−λ² / 2n) for their partial
    sums in order of size (Hoeffding). The false-alarm rate is at most 1e-6 for each function.
    """
    start = density.unconstrain(exact)
    end, _ = transition.step(transition.init(start), generator)
    x, y = (values.reshape(-1, values.shape[-1]).double() for values in (start, end.position))
    assert (x != y).any(-1).double().mean() > 0.1
    first, last = x[:, 0] * y[:, -1].tanh(), y[:, 0] * x[:, -1].tanh()
    for apart in (y[:, 0] - x[:, 0], y[:, -1] - x[:, -1], first - last):
        apart = apart[apart != 0]
        signs = apart[apart.abs().argsort()].sign()
        farthest, bound = float(signs.cumsum(0).abs().max()), math.sqrt(2 * len(signs) * math.log(2 / ALPHA))
        assert farthest <= bound, f"signs add up to {farthest:.0f}, more than {bound:.0f}"
