"""Judging models and draws: metrics between samples, and likelihoods."""

from probgen.evaluation.likelihood import log_likelihood, log_likelihoods
from probgen.evaluation.neighbours import (
    DensityCoverage,
    PrecisionRecall,
    density_coverage,
    nearest_neighbour_ratio,
    precision_recall,
)
from probgen.evaluation.two_sample import C2ST, classifier_two_sample

__all__ = [
    "C2ST",
    "DensityCoverage",
    "PrecisionRecall",
    "classifier_two_sample",
    "density_coverage",
    "log_likelihood",
    "log_likelihoods",
    "nearest_neighbour_ratio",
    "precision_recall",
]
