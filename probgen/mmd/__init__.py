"""Maximum mean discrepancy: distances between laws known from samples only, and tests built on them."""

from probgen.mmd.estimators import energy_distance, mmd2, mmd2_loss
from probgen.mmd.kernels import Energy, Gaussian, Kernel, bandwidth_grid, median_bandwidth
from probgen.mmd.two_sample import TestResult, mmd_test

__all__ = [
    "Energy",
    "Gaussian",
    "Kernel",
    "TestResult",
    "bandwidth_grid",
    "energy_distance",
    "median_bandwidth",
    "mmd2",
    "mmd2_loss",
    "mmd_test",
]
