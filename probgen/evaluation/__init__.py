"""Judging models and draws: metrics between samples, likelihoods, calibration of a posterior's sampler."""

from probgen.evaluation.calibration import (
    Calibration,
    JointTest,
    geweke_test,
    simulation_based_calibration,
)
from probgen.evaluation.likelihood import log_likelihood, log_likelihoods
from probgen.evaluation.neighbours import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    nearest_neighbour_ratio,
    precision_recall,
)
from probgen.evaluation.parzen import ParzenWindow, parzen_log_likelihood
from probgen.evaluation.two_sample import C2ST, classifier_two_sample

__all__ = [
    "C2ST",
    "Calibration",
    "DensityCoverage",
    "JointTest",
    "ParzenWindow",
    "PrecisionRecall",
    "classifier_two_sample",
    "density_coverage",
    "geweke_test",
    "log_likelihood",
    "log_likelihoods",
    "nearest_neighbour_ratio",
    "parzen_log_likelihood",
    "precision_recall",
    "simulation_based_calibration",
]
