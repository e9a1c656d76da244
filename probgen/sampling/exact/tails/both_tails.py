"""Both tails of a law on the line, in logs, and its quantiles from them, for torch's and Pyro's laws."""

from __future__ import annotations

import torch
import torch.distributions as td
from torch import Tensor
from torch.distributions import Distribution

from probgen.core import seeded
from probgen.core.density.mapped import is_mapped
from probgen.core.supports import support_of
from probgen.sampling.exact.bisection import first_reaching
from probgen.sampling.exact.families import with_quantiles
from probgen.sampling.exact.given_density import GivenDensity
from probgen.sampling.exact.implicit_derivatives import implicit
from probgen.sampling.exact.inverse_cdf import InverseCDF
from probgen.sampling.exact.inversion.quadrature_panels import TAIL
from probgen.sampling.exact.laws_from_quantiles import ByInversion, next_number
from probgen.sampling.exact.tables.step_laws import StepLaw
from probgen.sampling.exact.tails.closed_tails import CLOSED, LOGISTIC, Tails
from probgen.sampling.exact.verification import somewhere

_LEVELS = 2**12
"""At how many levels a law is held to have no atoms."""


def tails(law: Distribution) -> Tails:
    """Return the two tails of a continuous law on the line.

    Raises:
        TypeError: for a law that is discrete, has events, or has no CDF.
    """
    if law.event_shape or isinstance(law, StepLaw) or support_of(law).is_discrete:
        raise TypeError(f"a law should be continuous, and on the line, but got {type(law).__name__}")
    law = with_quantiles(law)
    if isinstance(law, ByInversion):
        inner = getattr(law, "_tails", None)
        known = (True, True) if inner is None else (inner.exact, inner.endless)
        return Tails(law._log_tails, law._quantile, *known)
    if isinstance(law, InverseCDF) and law.by_density is not None:
        return _of_density(law.by_density)
    for kind, build in CLOSED.items():
        if isinstance(law, kind):
            return build(law)
    if isinstance(law, td.MixtureSameFamily):
        return _mixture(law)
    if isinstance(law, td.TransformedDistribution):
        return _transformed(law)
    return _by_cdf(law)


def quantile(law: Distribution, u: Tensor, least: torch.dtype = torch.bool) -> Tensor:
    """Return the quantile of any law on the line at u in (0, 1), as exactly as is known.

    It is in the law's dtype, or in ``least`` where that has more digits.
    """
    law, u = with_quantiles(law), u.to(torch.float64)
    if isinstance(law, StepLaw):
        return law.placed(u, least)
    if isinstance(law, (ByInversion, InverseCDF)):
        return law.placed(u, torch.promote_types(law._dtype, least))
    x = tails(law).quantile(u.log(), (-u).log1p())
    return between_ends(x, law, torch.promote_types(example(law).dtype, least))


def between_ends(x: Tensor, law: Distribution, dtype: torch.dtype) -> Tensor:
    """Round quantiles at levels inside (0, 1) to a dtype, and never onto an end of the law's support."""
    low, high = ends_of(law, x)
    near = x.to(dtype)
    inner = near.clamp(next_number(low, dtype, torch.inf), next_number(high, dtype, -torch.inf))
    return torch.where(inner == near, near, inner)


def ends_of(law: Distribution, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends of a law's support as float64 tensors; of a mixture those of all components."""
    low, high = moving_ends(law, like)
    return low.detach(), high.detach()


def moving_ends(law: Distribution, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ends of a law's support as :func:`ends_of`, with gradients to what they depend on."""
    support = support_of(law)
    low, high = (
        torch.as_tensor(getattr(support, f"{side}_bound", infinite), dtype=torch.float64, device=like.device)
        for side, infinite in (("lower", -torch.inf), ("upper", torch.inf))
    )
    return low, high


@torch.no_grad()
def middle_and_spread(law: Distribution, known: Tails) -> tuple[Tensor, Tensor]:
    """Return the median of a law, and half of the distance between its quartiles."""
    u = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64, device=example(law).device)
    u = u.reshape(-1, *[1] * len(law.batch_shape)).expand(-1, *law.batch_shape)
    first, middle, last = known.quantile(u.log(), u.flip(0).log())
    return middle, (last - first) / 2


def check_atoms(law: Distribution, known: Tails, name: str) -> None:
    """Raise where a law that is known by its CDF only has an atom of 1 / 2,048 of its mass or more.

    Raises:
        ValueError: with the place of the atom.
    """
    if known.exact:
        return
    u = (torch.arange(_LEVELS, dtype=torch.float64, device=example(law).device) + 0.5) / _LEVELS
    u = u.reshape(-1, *[1] * len(law.batch_shape)).expand(-1, *law.batch_shape)
    with torch.no_grad():
        x = known.quantile(u.log(), (-u).log1p())
    same = x[1:] == x[:-1]
    if same.any():
        share = float(same.to(torch.float64).mean(0).max())
        raise ValueError(
            f"{name} should have no atom but {type(law).__name__} has about {max(share, 1 / _LEVELS):.2g} of "
            f"its mass at x = {float(x[:-1][same][0])}; Rosenblatt draws laws with atoms"
        )


def example(law: Distribution) -> Tensor:
    """Return a tensor, empty or a draw, with the dtype and device of a law's draws."""
    law = with_quantiles(law)
    if isinstance(law, ByInversion):
        return law._ends()[0].to(law._dtype)
    if isinstance(law, InverseCDF):
        return torch.empty((), dtype=law.dtype, device=law.device)
    given = [getattr(law, name) for name in law.arg_constraints if name in vars(law)]
    inner = getattr(law, "base_dist", getattr(law, "component_distribution", None))
    if given:
        return sum(given[1:], given[0]).detach().new_empty(())
    if inner is not None:
        return example(inner)
    with seeded(0), torch.no_grad():
        return law.sample()


def _transformed(law: td.TransformedDistribution) -> Tails:
    base, transforms = tails(law.base_dist), list(law.transforms)
    rises: bool | Tensor = True
    if isinstance(law.base_dist, td.Uniform):
        if transforms[:1] != [td.SigmoidTransform().inv] or not _is_standard(law.base_dist):
            return _by_cdf(law)  # near its upper end a uniform number has few digits
        transforms, base = transforms[1:], LOGISTIC
    for transform in transforms:
        if not transform.bijective or transform.codomain.event_dim:
            return _by_cdf(law)
        rises = rises == _rises(transform)

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        for transform in reversed(transforms):
            x = transform.inv(x)
        return _turned(rises, *base.of(x))

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        x = base.quantile(*_turned(rises, log_lower, log_upper))
        for transform in transforms:
            x = transform(x)
        return x

    return Tails(of, quantile, base.exact, base.endless)


def _rises(transform: td.Transform) -> bool | Tensor:
    """Say whether a monotone map rises; for each law by itself where that is known of each alone."""
    sign = transform.sign
    if not isinstance(sign, Tensor):
        return bool(sign > 0)
    if is_mapped(sign) or not (sign == sign.reshape(-1)[0]).all():
        return sign > 0
    return bool(sign.reshape(-1)[0] > 0)


def _turned(rises: bool | Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return two tails as they are, or exchanged where a map falls."""
    if isinstance(rises, bool):
        return (first, second) if rises else (second, first)
    return torch.where(rises, first, second), torch.where(rises, second, first)


def _is_standard(law: td.Uniform) -> bool:
    return not is_mapped(law.low, law.high) and bool(((law.low == 0) & (law.high == 1)).all())


def _mixture(law: td.MixtureSameFamily) -> Tails:
    """Return F = Σ_k w_k F_k and 1 − F = Σ_k w_k (1 − F_k), and quantiles by bisection of the smaller one."""
    parts = law.component_distribution
    known = tails(parts)
    log_weight = law.mixture_distribution.logits.to(torch.float64).log_softmax(-1)

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.unsqueeze(-1)
        low, high = ends_of(parts, x)
        # A part is asked only inside of its own support; beyond its tails are 0 and 1.
        inside = (x > low) & (x < high)
        logs = known.of(torch.where(inside, x, somewhere(low, high)))
        outside = (torch.where(x <= low, -torch.inf, 0.0), torch.where(x <= low, 0.0, -torch.inf))
        lower, upper = (
            (log_weight + torch.where(inside, log, beyond)).logsumexp(-1)
            for log, beyond in zip(logs, outside, strict=True)
        )
        return lower, upper

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        lower = log_lower <= log_upper
        low, high = ends_of(law, log_lower)

        def excess(x: Tensor) -> Tensor:
            """Return the change of the smaller log-tail from what it should be, increasing in x."""
            below, above = of(x)
            return torch.where(lower, below - log_lower, log_upper - above)

        # Bisection of the tail that is smaller, in which no digits cancel; then the implicit derivative −∂F /
        # f, with f relative to that tail.
        with torch.no_grad():
            x = first_reaching(excess, torch.zeros_like(log_lower), low, high)
        if not torch.is_grad_enabled():
            return x
        near = torch.where(lower, *of(x)).detach()
        return implicit(x, -excess(x), (law.log_prob(x).detach() - near).exp())

    return Tails(of, quantile, known.exact, known.endless)


def _of_density(law: GivenDensity) -> Tails:
    """Return tails that are known down to 2⁻¹⁰⁰; beyond they are taken as empty."""

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = (
            torch.where(level < TAIL, -torch.inf, level.clamp(min=TAIL).log()) for level in law.tails(x)
        )
        return lower, upper

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        lower = log_lower <= log_upper
        return law.quantile_from(torch.where(lower, log_lower, log_upper).exp(), lower)

    return Tails(of, quantile, True, False)


def _by_cdf(law: Distribution) -> Tails:
    inside = somewhere(*ends_of(law, example(law)))
    try:
        with torch.no_grad():
            law.cdf(inside)
    except NotImplementedError:
        raise TypeError(
            f"{type(law).__name__} should have a CDF but has none; InverseCDF makes one from its log_prob"
        ) from None

    def of(x: Tensor) -> tuple[Tensor, Tensor]:
        level = law.cdf(x).to(torch.float64)
        return level.log(), (-level).log1p()

    def quantile(log_lower: Tensor, log_upper: Tensor) -> Tensor:
        try:
            return law.icdf(log_lower.exp()).to(torch.float64)
        except NotImplementedError:
            inverted = InverseCDF(
                cdf=law.cdf,
                log_prob=law.log_prob,
                support=support_of(law),
                batch_shape=law.batch_shape,
                dtype=torch.float64,
                validate_args=False,
            )
            return inverted.icdf(log_lower.exp())

    return Tails(of, quantile, False, False)
