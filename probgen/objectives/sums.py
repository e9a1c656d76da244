"""Sums of objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from probgen.core import Objective, Terms


class Sum(Objective):
    r"""A weighted sum of objectives on the same batch: Σ_i w_i L_i.

    Each weight is a buffer ``weight_NAME``, so that ``schedules={"weight_mmd": schedules.linear(0, 10,
    steps=1000)}`` anneals it without a new capture. The buffers of a part are reached by its name, as in
    ``"svi.elbo.beta"``. Parts may share modules, such as one model/guide pair.

    Terms: ``NAME``, the part's loss, not weighted, and its own terms as ``NAME/TERM``. Weights are judged by
    Σ_i w_i judge_i over the parts that judge, where the w_i are those that the sum was made with: an annealed
    one does not move the goal.

    Args:
        parts: the objectives by name.
        weights: the weight of a part by its name, 1 where left out.

    >>> import probgen as pg
    >>> from probgen import mmd, models, nets, objectives
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 1)), nets.NormalHead(nets.MLP(1, 3)))
    >>> wae = objectives.Sum(
    ...     {"svi": pg.SVI(vae, objectives.BetaELBO(0.0)), "mmd": objectives.CodeMMD(vae, mmd.Energy())},
    ...     weights={"mmd": 10.0},
    ... )
    >>> loss, terms = wae(torch.randn(5, 3))
    >>> [name for name in terms if name != "svi/inactive"]
    ['svi', 'svi/elbo', 'svi/reconstruction', 'svi/kl', 'svi/active', 'mmd']
    """

    def __init__(self, parts: Mapping[str, Objective], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        weights = weights or {}
        if not parts:
            raise ValueError("parts should hold at least one objective but is empty")
        for name in weights:
            if name not in parts:
                raise ValueError(f"weights should name parts, {list(parts)}, but names {name!r}")
        for name, part in parts.items():
            if not isinstance(part, Objective):
                raise TypeError(f"part {name!r} should be a probgen.Objective but is a {type(part).__name__}")
            if not name.isidentifier() or hasattr(self, name):
                raise ValueError(
                    f"the name of a part should be an identifier that Sum has no use for but is {name!r}"
                )
            self.add_module(name, part)
            self.least_rows = max(self.least_rows, part.least_rows)
            self.row_multiple = math.lcm(self.row_multiple, part.row_multiple)
            self.is_game = self.is_game or part.is_game
        self._weights = {name: float(weights.get(name, 1.0)) for name in parts}
        for name, weight in self._weights.items():
            if not math.isfinite(weight):
                raise ValueError(f"the weight of {name!r} should be finite but is {weight}")
            if weight < 0 and self.get_submodule(name).is_game:
                raise ValueError(
                    f"the weight of {name!r}, a game, should not be negative but is {weight}: its players "
                    "would learn to lose"
                )
            self.register_buffer(f"weight_{name}", torch.tensor(weight))

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the weighted sum of the losses, and the terms of all parts."""
        weighted, terms = [], {}
        for name in self._weights:
            loss, own = self.get_submodule(name)(*batch)
            weighted.append(self.get_buffer(f"weight_{name}") * loss)
            terms[name] = loss.detach()
            terms |= {f"{name}/{term}": value for term, value in own.items()}
        return torch.as_tensor(sum(weighted)), terms

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return the weighted sum of what the parts judge, None where none of them does."""
        judged = []
        for name, weight in self._weights.items():
            part = self.get_submodule(name)
            assert isinstance(part, Objective)
            own = {term.removeprefix(f"{name}/"): value for term, value in terms.items()}
            found = part.judge(own | {"loss": terms[name]})
            judged += [] if found is None else [weight * found]
        return sum(judged) if judged else None
