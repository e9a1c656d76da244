"""The conditional inverse: a law of several coordinates from one-dimensional conditionals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, biject_to, constraints
from torch.distributions.constraints import Constraint

from probgen.core.density.bijectors import bijector_of
from probgen.core.descriptions import described
from probgen.core.supports import support_of
from probgen.sampling.exact.laws_from_uniforms import ByUniforms, joint_support, same_support
from probgen.sampling.exact.tails.both_tails import example, quantile, tails

Conditional = Distribution | Callable[..., Distribution]


class Rosenblatt(ByUniforms):
    r"""p(x) = p(x₁) p(x₂ | x₁) ··· p(x_d | x₁, ..., x_{d−1}), each conditional a law on the line.

    x_k = F_k⁻(u_k | x₁, ..., x_{k−1}) turns independent uniforms into draws, and u_k = F_k(x_k | ...) turns
    them back (:meth:`to_uniform`): uniform coordinates are the test that a model is calibrated. Where a
    support moves with the coordinates before it, chains walk on each coordinate's own scale in turn.

    Args:
        conditionals: one for each coordinate: a law, or a function of the coordinates before it, each of
            shape (\*sample, \*batch), that returns the law of the next one for each of them.

    Raises:
        ValueError: for no conditional.
        TypeError: for a conditional that is not a law on the line.

    See Rosenblatt (1952), Remarks on a Multivariate Transformation.

    >>> from torch.distributions import Normal
    >>> banana = Rosenblatt([Normal(0.0, 1.0), lambda x: Normal(x**2, 0.1)])
    >>> banana.from_uniform(torch.tensor([0.975, 0.5]))
    tensor([1.9600, 3.8415])
    >>> banana.to_uniform(torch.tensor([1.96, 3.8416])).to(torch.float32)
    tensor([0.9750, 0.5000])
    """

    def __init__(self, conditionals: Sequence[Conditional], *, validate_args: bool | None = None) -> None:
        if not conditionals:
            raise ValueError("Rosenblatt should be given at least one conditional but got none")
        self.conditionals = tuple(conditionals)
        self.uniforms = len(self.conditionals)
        low, high = self._laws_at(0.3), self._laws_at(0.7)
        for k, law in enumerate(low):
            if not isinstance(law, Distribution) or law.event_shape:
                raise TypeError(f"conditional {k} should give a law on the line but gave {law}")
        fixed = all(same_support(support_of(a), support_of(b)) for a, b in zip(low, high, strict=True))
        self._support = joint_support(low) if fixed else _InTurn(self)
        self.device = example(low[0]).device
        shape = torch.broadcast_shapes(*(law.batch_shape for law in low))
        super().__init__(shape, torch.Size([self.uniforms]), validate_args=validate_args)

    def __repr__(self) -> str:
        return described(self, f"{self.uniforms} coordinates, each given those before it")

    def law_of(self, k: int, before: Sequence[Tensor]) -> Distribution:
        """Return the law of coordinate k given the coordinates before it."""
        conditional = self.conditionals[k]
        return conditional if isinstance(conditional, Distribution) else conditional(*before)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return Σ_k log p(x_k | x₁, ..., x_{k−1}), with gradients to x and to parameters."""
        if self._validate_args:
            self._validate_sample(value)
        value = value.expand(*torch.broadcast_shapes(value.shape[:-1], self.batch_shape), -1)
        x = value.unbind(-1)
        return torch.stack([self.law_of(k, x[:k]).log_prob(x[k]) for k in range(self.uniforms)]).sum(0)

    def to_uniform(self, value: Tensor) -> Tensor:
        r"""Return u_k = F_k(x_k | x₁, ..., x_{k−1}), float64: uniform and independent where x has the law."""
        if self._validate_args:
            self._validate_sample(value)
        x = value.expand(*torch.broadcast_shapes(value.shape[:-1], self.batch_shape), -1).unbind(-1)
        logs = (tails(self.law_of(k, x[:k])).of(x[k].to(torch.float64))[0] for k in range(self.uniforms))
        return torch.stack([log_lower.exp().expand(x[0].shape) for log_lower in logs], -1)

    def _from_uniform(self, u: Tensor, least: torch.dtype) -> Tensor:
        """Return x_k = F_k⁻(u_k | x₁, ..., x_{k−1}): the inverse of :meth:`to_uniform`."""
        u = u.expand(*torch.broadcast_shapes(u.shape[:-1], self.batch_shape), -1)
        x: list[Tensor] = []
        for k in range(self.uniforms):
            x.append(quantile(self.law_of(k, x), u[..., k], least))
        return torch.stack(x, -1)

    @torch.no_grad()
    def _laws_at(self, level: float) -> list[Distribution]:
        """Return the laws met on the way to the draw of which every u is at a level."""
        laws: list[Distribution] = []
        x: list[Tensor] = []
        for k in range(self.uniforms):
            laws.append(self.law_of(k, x))
            if k + 1 == self.uniforms:
                break
            if isinstance(laws[-1], Distribution) and not laws[-1].event_shape:
                u = torch.full(
                    laws[-1].batch_shape, level, dtype=torch.float64, device=example(laws[-1]).device
                )
                x.append(quantile(laws[-1], u))
        return laws


class _EachInTurn(Transform):
    """Maps each real coordinate to the support of its conditional, given those before it."""

    domain = constraints.real_vector
    bijective = True

    def __init__(self, codomain: _InTurn) -> None:
        super().__init__()
        self.codomain = self._in_turn = codomain

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _EachInTurn) and other.codomain == self.codomain

    def __hash__(self) -> int:
        return hash(self.codomain)

    def _call(self, x: Tensor) -> Tensor:
        y: list[Tensor] = []
        for one in x.unbind(-1):
            y.append(self._in_turn.transform_of(y)(one))
        return torch.stack(torch.broadcast_tensors(*y), -1)

    def _inverse(self, y: Tensor) -> Tensor:
        y_k = y.unbind(-1)
        return torch.stack([self._in_turn.transform_of(y_k[:k]).inv(y_k[k]) for k in range(len(y_k))], -1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return Σ_k log |dy_k/dx_k|: y_k depends on x₁, ..., x_k only."""
        pairs = zip(x.unbind(-1), y.unbind(-1), strict=True)
        transforms = [self._in_turn.transform_of(y.unbind(-1)[:k]) for k in range(y.shape[-1])]
        steps = [t.log_abs_det_jacobian(*pair) for t, pair in zip(transforms, pairs, strict=True)]
        return torch.stack(torch.broadcast_tensors(*steps)).sum(0)


class _InTurn(Constraint):
    """Each coordinate is in the support of its conditional, which moves with the coordinates before it."""

    is_discrete = False
    event_dim = 1

    def __init__(self, law: Rosenblatt) -> None:
        self._law = law

    def check(self, value: Tensor) -> Tensor:
        x = value.unbind(-1)
        laws = (self._law.law_of(k, x[:k]) for k in range(len(x)))
        inside = [support_of(law).check(one) for law, one in zip(laws, x, strict=True)]
        return torch.stack(torch.broadcast_tensors(*inside)).all(0)

    def transform_of(self, before: Sequence[Tensor]) -> Transform:
        """Return the map from the line to the support of the coordinate that follows."""
        return bijector_of(support_of(self._law.law_of(len(before), before)))


@biject_to.register(_InTurn)
def _in_turn(support: _InTurn) -> _EachInTurn:
    return _EachInTurn(support)
