"""Judging models and draws: metrics between samples, likelihoods, guides, calibration of a sampler."""

from probgen.evaluation.calibration import (
    Calibration,
    JointTest,
    geweke_test,
    simulation_based_calibration,
)
from probgen.evaluation.guide import GuideAgainstChains, guide_against_chains
from probgen.evaluation.likelihood import log_likelihood, log_likelihoods
from probgen.evaluation.neighbours import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    nearest_neighbour_ratio,
    precision_recall,
)
from probgen.evaluation.pareto import pareto_k
from probgen.evaluation.parzen import ParzenWindow, parzen_log_likelihood
from probgen.evaluation.two_sample import C2ST, classifier_two_sample

__all__ = [
    "C2ST",
    "Calibration",
    "DensityCoverage",
    "GuideAgainstChains",
    "JointTest",
    "ParzenWindow",
    "PrecisionRecall",
    "classifier_two_sample",
    "density_coverage",
    "geweke_test",
    "guide_against_chains",
    "log_likelihood",
    "log_likelihoods",
    "nearest_neighbour_ratio",
    "pareto_k",
    "parzen_log_likelihood",
    "precision_recall",
    "simulation_based_calibration",
]
