"""Judging models and draws: metrics between samples, likelihoods, guides, calibration of a sampler."""

from probgen.evaluation.codes.identifiability import (
    ChanceLevel,
    MeanCorrelation,
    chance_correlation,
    mean_correlation,
)
from probgen.evaluation.draws.classifier_test import C2ST, classifier_two_sample
from probgen.evaluation.draws.neighbours import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    nearest_neighbour_ratio,
    precision_recall,
)
from probgen.evaluation.likelihood.importance import log_likelihood, log_likelihoods
from probgen.evaluation.likelihood.parzen import ParzenWindow, parzen_log_likelihood
from probgen.evaluation.posterior.active_units import active_units
from probgen.evaluation.posterior.calibration import (
    Calibration,
    JointTest,
    geweke_test,
    simulation_based_calibration,
)
from probgen.evaluation.posterior.guide_against_chains import GuideAgainstChains, guide_against_chains
from probgen.evaluation.posterior.pareto import pareto_k

__all__ = [
    "C2ST",
    "Calibration",
    "ChanceLevel",
    "DensityCoverage",
    "GuideAgainstChains",
    "JointTest",
    "MeanCorrelation",
    "ParzenWindow",
    "PrecisionRecall",
    "active_units",
    "chance_correlation",
    "classifier_two_sample",
    "density_coverage",
    "geweke_test",
    "guide_against_chains",
    "log_likelihood",
    "log_likelihoods",
    "mean_correlation",
    "nearest_neighbour_ratio",
    "pareto_k",
    "parzen_log_likelihood",
    "precision_recall",
    "simulation_based_calibration",
]


def __dir__() -> list[str]:
    return __all__
