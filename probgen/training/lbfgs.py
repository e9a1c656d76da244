"""Minimising an objective on all of the data at once, for models of few weights."""

from __future__ import annotations

import torch
from torch import Tensor

from probgen.core import Objective, check_count


def fit_lbfgs(objective: Objective, *batch: Tensor, steps: int = 500, tolerance: float = 1e-6) -> float:
    r"""Minimise an objective without noise by L-BFGS, all data being one batch; return the loss.

    For likelihoods in closed form of models with some weights, such as ``models.GJRGARCH``, in float64: a
    maximum is found to all digits in some dozen steps, where :func:`fit` walks. No checkpoint is written.

    Args:
        objective: such as ``MaximumLikelihood(garch)``; its loss is the same at each call.
        batch: what it is called with: x, then its context.
        steps: at most so many.
        tolerance: how large a slope of the loss, by any weight, counts as none, as a share of the loss where
            that is above 1.

    Raises:
        ValueError: where a slope is above the tolerance at the end, or the loss is not finite.

    Source: Liu and Nocedal (1989), On the limited memory BFGS method for large scale optimization.

    >>> class Square(Objective):
    ...     def __init__(self) -> None:
    ...         super().__init__()
    ...         self.at = torch.nn.Parameter(torch.zeros(()).double())
    ...
    ...     def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    ...         return ((self.at - x) ** 2).mean(), {}
    >>> round(fit_lbfgs(Square(), torch.tensor([1.0, 3.0]).double()), 6)
    1.0
    """
    weights = [weight for weight in objective.parameters() if weight.requires_grad]
    steps = check_count("steps", steps)
    scale = max(1.0, abs(float(objective(*batch)[0].detach())))
    optimizer = torch.optim.LBFGS(
        weights,
        max_iter=steps,
        max_eval=10 * steps,
        history_size=20,
        tolerance_grad=tolerance * scale / 10,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss, _ = objective(*batch)
        loss.backward()
        return loss

    optimizer.step(closure)
    loss = float(closure().detach())
    slope = max(float(weight.grad.abs().max()) for weight in weights if weight.grad is not None)
    optimizer.zero_grad()
    if not slope <= tolerance * max(1.0, abs(loss)):
        raise ValueError(
            f"the loss should have no slope at its end but one is {slope:.2g} after {steps} steps of L-BFGS, "
            f"at a loss of {loss:.6g}: give more steps, float64 weights, or data of a scale near 1"
        )
    return loss
