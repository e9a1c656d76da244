"""Maximum likelihood of a law that a module returns, or of a model that knows its own: codes, sequences."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from probgen.core import GenerativeModel, Objective, Terms, per_step


class MaximumLikelihood(Objective):
    r"""The mean of −log p(x | context) over a batch, in nats, of a conditional: a mixture, a flow, a head.

    Args:
        law: a module that returns the law of x from the context, such as a prior of ``priors``; or a model
            with ``log_prob(x, *context)``, shape (n,), such as ``models.HiddenMarkov``.

    Of sequences the term ``nats_per_step`` is the loss over the steps of a datum, a ratio of means.

    >>> import torch
    >>> from probgen.priors import GaussianMixture
    >>> loss, _ = MaximumLikelihood(GaussianMixture(2, 3))(torch.zeros(5, 2))
    """

    def __init__(self, law: nn.Module) -> None:
        super().__init__()
        if isinstance(law, GenerativeModel) and not hasattr(law, "log_prob"):
            raise TypeError(
                f"law should have a log_prob but {type(law).__name__} has none: train a pair by SVI"
            )
        self.law = law

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss per datum, and of sequences per step."""
        x, *context = batch
        law: Any = self.law
        if isinstance(law, GenerativeModel):
            log_prob = law.log_prob(x, *context)  # type: ignore[operator]
        else:
            log_prob = law(*context).log_prob(x)
        return -log_prob.mean(), per_step(law, -log_prob.mean(), *batch)
