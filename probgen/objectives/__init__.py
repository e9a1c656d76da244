"""Objectives: what ``fit`` minimises."""

from probgen.objectives.adversarial import adversarial_loss
from probgen.objectives.aggregate_posterior import CodeGAN, CodeMMD
from probgen.objectives.conditional_moment_matching import ConditionalMomentMatching
from probgen.objectives.elbo import ELBO, BetaELBO, Bound, FreeBits
from probgen.objectives.importance_weighted import IWAE, Renyi
from probgen.objectives.mmd_gan import MMDGAN
from probgen.objectives.moment_matching import MomentMatching
from probgen.objectives.reconstruction import Reconstruction
from probgen.objectives.sums import Sum
from probgen.objectives.svi import SVI

__all__ = [
    "ELBO",
    "IWAE",
    "MMDGAN",
    "SVI",
    "BetaELBO",
    "Bound",
    "CodeGAN",
    "CodeMMD",
    "ConditionalMomentMatching",
    "FreeBits",
    "MomentMatching",
    "Reconstruction",
    "Renyi",
    "Sum",
    "adversarial_loss",
]


def __dir__() -> list[str]:
    return __all__
