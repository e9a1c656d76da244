"""Stochastic variational inference as an objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.infer
from torch import Tensor

from probgen.core import Objective, Pair, Terms, per_step, sharing
from probgen.core.supports import Supported
from probgen.objectives.elbo import ELBO, Bound
from probgen.objectives.plate_rows import Rows
from probgen.objectives.pyro_bounds import recorded, terms_of_pyro
from probgen.objectives.shared_sites import SharedSites
from probgen.objectives.traced_pair import Watch
from probgen.training.rows_of_data import rows_of_data


class SVI(Objective):
    r"""Stochastic variational inference of a pair: the objective that ``fit`` minimises.

    The loss is minus the evidence lower bound, per datum in nats, whatever the batch size, sub-sampling
    or plate scale. Latent sites outside of the plate of the data, which all data share, are learned from
    mini-batches where the plate says how many data there are, in model and guide:
    ``pyro.plate("data", n, subsample=torch.arange(len(x)))``. In a training ``plate("data", len(x))``, which
    would take a batch for all the data, is refused beside such sites.

    Args:
        pair: the model/guide pair. Its parameters live in its modules, never in Pyro's global store.
        elbo: the bound; :class:`ELBO` by default, which enumerates discrete sites of finitely many values by
            itself, or ``BetaELBO``, ``FreeBits``, ``IWAE``, ``Renyi``. Any Pyro ELBO with a differentiable
            loss serves too, such as ``pyro.infer.Trace_ELBO()``, which draws discrete sites. It reports the
            terms of :class:`ELBO`, as far as they can be told apart.

    Of models of sequences, which have ``steps_of``, ``nats_per_step`` is minus the bound over the steps of a
    datum, a ratio of means.
    """

    def __init__(self, pair: Pair, elbo: Bound | pyro.infer.ELBO | None = None) -> None:
        super().__init__()
        if not isinstance(pair, Pair):
            raise TypeError(f"pair should be a probgen.Pair but is a {type(pair).__name__}")
        if not (elbo is None or isinstance(elbo, Bound) or hasattr(elbo, "differentiable_loss")):
            raise TypeError(f"elbo should have a differentiable loss but {type(elbo).__name__} has none")
        self.pair = pair
        self.elbo: Any = ELBO() if elbo is None else elbo

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return minus the bound, per datum, and its terms."""
        if batch[0].dim() == 0 or not len(batch[0]):
            raise ValueError(f"a batch should have at least one row but has shape {tuple(batch[0].shape)}")
        with SharedSites(len(batch[0]), rows_of_data()):
            loss, terms = self._bound(*batch)
        nats = -terms["elbo"] if "elbo" in terms else loss.detach()
        return loss, terms | per_step(self.pair, nats, *batch)

    def _bound(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        if isinstance(self.elbo, Bound):
            return self.elbo(self.pair, *batch)
        guides: list[Any] = []
        models: list[Any] = []
        rows = Rows(self.pair, batch)
        with Watch(self.pair, len(batch[0])) as watch, Supported(), sharing():
            total = self.elbo.differentiable_loss(
                recorded(self.pair.model, models), recorded(rows.guide, guides), *batch
            )
        loss = total / watch.size
        draws = watch.size * getattr(self.elbo, "num_particles", 1)
        return loss, terms_of_pyro(-loss.detach(), guides, models, draws=draws)

    def judge(self, terms: Mapping[str, float]) -> float:
        """Return minus the unweighted ELBO where the loss is a weighted one, else the loss."""
        if not isinstance(self.elbo, ELBO):
            return terms["loss"]
        return -terms["log_joint" if "log_joint" in terms else "elbo"]
