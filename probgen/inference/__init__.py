"""Learning: objectives, the trainer, its fast path and its checkpoints."""

from probgen.inference import schedules
from probgen.inference.adversarial import adversarial_loss
from probgen.inference.blame import where_not_finite
from probgen.inference.callbacks import Callback
from probgen.inference.codes import CodeGAN, CodeMMD
from probgen.inference.elbo import ELBO, BetaELBO, Bound, FreeBits
from probgen.inference.fit import fit
from probgen.inference.history import History
from probgen.inference.importance import IWAE, Renyi
from probgen.inference.objectives import Sum
from probgen.inference.svi import SVI

__all__ = [
    "ELBO",
    "IWAE",
    "SVI",
    "BetaELBO",
    "Bound",
    "Callback",
    "CodeGAN",
    "CodeMMD",
    "FreeBits",
    "History",
    "Renyi",
    "Sum",
    "adversarial_loss",
    "fit",
    "schedules",
    "where_not_finite",
]
