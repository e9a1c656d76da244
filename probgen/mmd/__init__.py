"""Maximum mean discrepancy: distances between laws known from samples only, and tests built on them.

Estimators (``mmd2``, ``energy_distance``, cheaper ones with ``_blocks``, ``_fourier``, ``_nystrom``), the
loss ``mmd2_loss``, kernels, which add and multiply (``Gaussian(1.0) + Laplace(2.0)``), tests: ``mmd_test``
of two samples, ``relative_mmd_test`` of two models, ``ksd_test`` of a sample against a density. ``witness``
and ``most_different`` say where samples differ. Read first ``mmd_test``.
"""

from probgen.mmd.algebra import Kernel, PairKernel, Radial
from probgen.mmd.approximations import mmd2_blocks, mmd2_fourier, mmd2_incomplete, mmd2_nystrom
from probgen.mmd.bandwidths import bandwidth_grid, median_bandwidth
from probgen.mmd.deep_test import deep_kernel_test
from probgen.mmd.estimators import confidence_interval, energy_distance, mmd2, mmd2_profile
from probgen.mmd.feature_kernels import Deep, Linear, Polynomial, substring_counts
from probgen.mmd.goodness_of_fit import ksd_test
from probgen.mmd.kernels import (
    Energy,
    Gaussian,
    InverseMultiquadric,
    Laplace,
    Matern,
    RationalQuadratic,
)
from probgen.mmd.loss import mmd2_loss
from probgen.mmd.processes import shared
from probgen.mmd.relative import RelativeResult, relative_mmd_test
from probgen.mmd.result import TestResult
from probgen.mmd.stein import ksd2
from probgen.mmd.two_sample import mmd_test
from probgen.mmd.witness_function import Extremes, most_different, witness

__all__ = [
    "Deep",
    "Energy",
    "Extremes",
    "Gaussian",
    "InverseMultiquadric",
    "Kernel",
    "Laplace",
    "Linear",
    "Matern",
    "PairKernel",
    "Polynomial",
    "Radial",
    "RationalQuadratic",
    "RelativeResult",
    "TestResult",
    "bandwidth_grid",
    "confidence_interval",
    "deep_kernel_test",
    "energy_distance",
    "ksd2",
    "ksd_test",
    "median_bandwidth",
    "mmd2",
    "mmd2_blocks",
    "mmd2_fourier",
    "mmd2_incomplete",
    "mmd2_loss",
    "mmd2_nystrom",
    "mmd2_profile",
    "mmd_test",
    "most_different",
    "relative_mmd_test",
    "shared",
    "substring_counts",
    "witness",
]


def __dir__() -> list[str]:
    return __all__
