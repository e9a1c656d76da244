"""Objectives: what ``fit`` minimises.

``SVI(pair, bound)`` with a bound (``ELBO``, ``BetaELBO``, ``IWAE``, ...) for pairs; ``MaximumLikelihood``,
``Reconstruction`` and penalties on codes; ``MomentMatching`` and ``MMDGAN`` without a likelihood;
``Contest`` and other games; ``Sum`` of several with weights. Each returns a loss per datum, in nats, and
named terms. Read first ``SVI`` and ``ELBO``; then :class:`probgen.Objective`, to write one.
"""

from probgen.objectives.adversarial import adam_of_players, adversarial_loss, lazy_turns
from probgen.objectives.aggregate_posterior import CodeGAN, CodeMMD
from probgen.objectives.agreement import Agreement
from probgen.objectives.class_balance import ClassBalance
from probgen.objectives.classification import Classification
from probgen.objectives.code_covariance import DIP
from probgen.objectives.code_penalties import AbsoluteCodes, Contraction, TargetActivation
from probgen.objectives.conditional_moment_matching import ConditionalMomentMatching
from probgen.objectives.contest import Contest
from probgen.objectives.elbo import ELBO, BetaELBO, Bound, Capacity, FreeBits
from probgen.objectives.factor_gan import FactorGAN
from probgen.objectives.importance_weighted import IWAE, Renyi
from probgen.objectives.lagging_inference import LaggingInference
from probgen.objectives.maximum_likelihood import MaximumLikelihood
from probgen.objectives.mmd_gan import MMDGAN
from probgen.objectives.moment_matching import MomentMatching
from probgen.objectives.mutual_information import MutualInformation
from probgen.objectives.reconstruction import PairReconstruction, Reconstruction
from probgen.objectives.stepwise_importance import StepwiseIWAE
from probgen.objectives.sums import Sum
from probgen.objectives.svi import SVI
from probgen.objectives.total_correlation import (
    KLParts,
    TotalCorrelation,
    gaussian_total_correlation,
    kl_parts,
)
from probgen.objectives.vae_gan import VAEGAN
from probgen.objectives.vector_quantisation import VQ

__all__ = [
    "DIP",
    "ELBO",
    "IWAE",
    "MMDGAN",
    "SVI",
    "VAEGAN",
    "VQ",
    "AbsoluteCodes",
    "Agreement",
    "BetaELBO",
    "Bound",
    "Capacity",
    "ClassBalance",
    "Classification",
    "CodeGAN",
    "CodeMMD",
    "ConditionalMomentMatching",
    "Contest",
    "Contraction",
    "FactorGAN",
    "FreeBits",
    "KLParts",
    "LaggingInference",
    "MaximumLikelihood",
    "MomentMatching",
    "MutualInformation",
    "PairReconstruction",
    "Reconstruction",
    "Renyi",
    "StepwiseIWAE",
    "Sum",
    "TargetActivation",
    "TotalCorrelation",
    "adam_of_players",
    "adversarial_loss",
    "gaussian_total_correlation",
    "kl_parts",
    "lazy_turns",
]


def __dir__() -> list[str]:
    return __all__
