"""Learning: objectives, the trainer, its fast path and its checkpoints."""

from probgen.inference import schedules
from probgen.inference.callbacks import Callback
from probgen.inference.elbo import ELBO, BetaELBO, Bound, FreeBits
from probgen.inference.fit import fit
from probgen.inference.history import History
from probgen.inference.importance import IWAE, Renyi
from probgen.inference.svi import SVI

__all__ = [
    "ELBO",
    "IWAE",
    "SVI",
    "BetaELBO",
    "Bound",
    "Callback",
    "FreeBits",
    "History",
    "Renyi",
    "fit",
    "schedules",
]
