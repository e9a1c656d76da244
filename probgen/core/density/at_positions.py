"""Log-densities of laws at positions on the real line, where values round and positions do not.

Near the upper end of (0, 1) a value x is the nearest of the numbers that its dtype has, 6e-8 apart in
float32, and 1 − x is 0 where a law with a pole has much of its mass. Of many laws the density is known in
log x and log(1 − x), in the logarithms of a simplex' coordinates, or in the variable that they are
transforms of: these a position u has to all digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from pyro.distributions import AffineBeta, MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution, TorchDistribution
from pyro.distributions.transforms import CorrMatrixCholeskyTransform, OrderedTransform
from torch import Tensor
from torch.distributions import (
    Beta,
    Dirichlet,
    Distribution,
    Gamma,
    Independent,
    Kumaraswamy,
    MixtureSameFamily,
    RelaxedOneHotCategorical,
    TransformedDistribution,
    Uniform,
    Weibull,
    constraints,
)
from torch.distributions import transforms as maps
from torch.nn.functional import logsigmoid

from probgen.core.density.bijectors import CorrelationFactor, LogRatios, bijector_of
from probgen.core.supports import elementary, support_of


def log_prob_at(law: Distribution, position: Tensor) -> Tensor | None:
    r"""Return log p(T(u)) of a law at positions u, T the bijector of its support; None where it is not known.

    Args:
        law: a law whose values round at an end of its support.
        position: u, (\*sample, \*batch_shape, \*shape), the shape that of one position.

    Returns:
        the density of values, without the change of volume, (\*sample, \*batch_shape).

    >>> bool(log_prob_at(Beta(0.1, 0.1), torch.tensor(50.0)) > 40)  # where 1 - x is e^-50
    True
    """
    if isinstance(law, Independent):
        inner, dims = log_prob_at(law.base_dist, position), law.reinterpreted_batch_ndims
        return inner if inner is None or not dims else inner.flatten(-dims).sum(-1)
    if isinstance(law, ExpandedDistribution):
        return log_prob_at(law.base_dist, position)
    if isinstance(law, MaskedDistribution):
        inner = log_prob_at(law.base_dist, position)
        return None if inner is None else torch.where(torch.as_tensor(law._mask), inner, 0.0)
    if isinstance(law, MixtureSameFamily):
        inner = log_prob_at(law.component_distribution, position.unsqueeze(-1 - law._event_ndims))
        return (
            None if inner is None else (inner + law.mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)
        )
    for kind, log_prob in _KNOWN.items():
        if isinstance(law, kind) and type(law).log_prob is kind.log_prob:
            return log_prob(law, position)
    if isinstance(law, TransformedDistribution) and type(law).log_prob is TransformedDistribution.log_prob:
        return _of_transformed(law, position)
    return None


class Placed(TorchDistribution):
    """A law in a run of a model, its log-density that of a position, whatever value is asked for."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, law: Distribution, log_prob: Tensor) -> None:
        super().__init__(law.batch_shape, law.event_shape, validate_args=False)
        self.base_dist, self._log_prob = law, log_prob

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return support_of(self.base_dist)

    def log_prob(self, value: Tensor) -> Tensor:
        return self._log_prob


def _beta(law: Beta, u: Tensor) -> Tensor:
    a, b = law.concentration1, law.concentration0
    constant = torch.lgamma(a + b) - torch.lgamma(a) - torch.lgamma(b)
    return (a - 1) * logsigmoid(u) + (b - 1) * logsigmoid(-u) + constant


def _affine_beta(law: AffineBeta, u: Tensor) -> Tensor:
    return _beta(law.base_dist, u) - law.scale.abs().log()


def _kumaraswamy(law: Kumaraswamy, u: Tensor) -> Tensor:
    a, b, log_x = law.concentration1, law.concentration0, logsigmoid(u)
    # log(1 − x^a), which is log(−a log x) where x is next to 1 and log x is e^-u
    near = -a * log_x
    rest = torch.where(u > 30, a.log() - u, (-(-near).expm1()).clamp(min=torch.finfo(u.dtype).tiny).log())
    return a.log() + b.log() + (a - 1) * log_x + (b - 1) * rest


def _uniform(law: Uniform, u: Tensor) -> Tensor:
    return -(law.high - law.low).log() + torch.zeros_like(u)


def _gamma(law: Gamma, u: Tensor) -> Tensor:
    a, b = law.concentration, law.rate
    return (a - 1) * u + a * b.log() - b * u.exp() - torch.lgamma(a)


def _weibull(law: Weibull, u: Tensor) -> Tensor:
    k, relative = law.concentration, u - law.scale.log()
    return k.log() + (k - 1) * relative - law.scale.log() - (k * relative).exp()


def _dirichlet(law: Dirichlet, u: Tensor) -> Tensor:
    a = law.concentration
    constant = torch.lgamma(a.sum(-1)) - torch.lgamma(a).sum(-1)
    return ((a - 1) * LogRatios().log_value(u)).sum(-1) + constant


def _relaxed_label(law: RelaxedOneHotCategorical, u: Tensor) -> Tensor:
    log_x = LogRatios().log_value(u)
    return law.base_dist.log_prob(log_x) - log_x.sum(-1)


_KNOWN: dict[Any, Callable[[Any, Tensor], Tensor]] = {
    Beta: _beta,
    AffineBeta: _affine_beta,
    Kumaraswamy: _kumaraswamy,
    Uniform: _uniform,
    Gamma: _gamma,
    Weibull: _weibull,
    Dirichlet: _dirichlet,
    RelaxedOneHotCategorical: _relaxed_label,
}


def _of_transformed(law: TransformedDistribution, u: Tensor) -> Tensor | None:
    """Go back by the last transform to the position of the law before it."""
    *before, last = elementary(law.transforms)
    inner = TransformedDistribution(law.base_dist, before, validate_args=False) if before else law.base_dist
    support, dims = support_of(inner), len(law.event_shape)
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    real = support in (constraints.real, constraints.real_vector)
    bounded = hasattr(support, "lower_bound") + hasattr(support, "upper_bound")  # ends
    if isinstance(last, maps.SigmoidTransform) and real:
        w, log_volume = u, logsigmoid(u) + logsigmoid(-u)
    elif isinstance(last, maps.AffineTransform) and bounded:
        scale = torch.as_tensor(last.scale, dtype=u.dtype, device=u.device)
        log_volume = scale.abs().log() + torch.zeros_like(u)
        w = u * scale.sign() if bounded == 2 else u - log_volume
    elif isinstance(last, maps.ExpTransform) and real:
        w, log_volume = u, u
    elif isinstance(last, maps.PowerTransform) and support in (constraints.positive, constraints.nonnegative):
        w = u / last.exponent
        log_volume = last.exponent.abs().log() + (last.exponent - 1) * w
    elif isinstance(last, maps.StickBreakingTransform) and real:
        log_x = LogRatios().log_value(u)
        rest = log_x.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:]
        many = torch.arange(u.shape[-1], 0, -1, dtype=u.dtype, device=u.device)
        w, log_volume, dims = log_x[..., :-1] - rest + many.log(), log_x.sum(-1), dims - 1
    elif isinstance(last, OrderedTransform) and real:
        w, log_volume, dims = u, u[..., 1:].sum(-1), dims - 1
    elif isinstance(last.inv, CorrMatrixCholeskyTransform) and support is constraints.corr_cholesky:
        w, factor = u, CorrelationFactor()(u)
        log_volume, dims = last.log_abs_det_jacobian(factor, factor), dims - 2
    else:
        return None
    log_prob = log_prob_at(inner, w)
    if log_prob is None:
        log_prob = inner.log_prob(bijector_of(support)(w))
    return log_prob - (log_volume.flatten(-dims).sum(-1) if dims else log_volume)
