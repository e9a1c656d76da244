"""Learning: objectives, the trainer, its fast path and its checkpoints."""

from probgen.inference import schedules
from probgen.inference.elbo import ELBO, SVI, BetaELBO
from probgen.inference.fit import fit
from probgen.inference.history import History

__all__ = ["ELBO", "SVI", "BetaELBO", "History", "fit", "schedules"]
