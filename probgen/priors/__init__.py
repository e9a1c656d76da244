"""Priors: modules that return distributions, and distributions, which models take as well."""

from probgen.priors.autoregressive import Autoregressive, TokenSequence
from probgen.priors.conditional import Conditional
from probgen.priors.elicited import Elicited, from_draws, from_quantiles, from_table
from probgen.priors.exemplar import Exemplar
from probgen.priors.flow import Flow
from probgen.priors.gaussian_mixture import GaussianMixture
from probgen.priors.given import Given
from probgen.priors.horseshoe import Horseshoe
from probgen.priors.logit_normal import LogitNormal
from probgen.priors.mixture import Mixture
from probgen.priors.normal import StandardNormal
from probgen.priors.normal_mixture import ManyNormals, NormalMixture
from probgen.priors.path import Path
from probgen.priors.rejection import Rejection, Resampled
from probgen.priors.side_by_side import SideBySide
from probgen.priors.smoothed_marginals import SmoothedMarginals
from probgen.priors.spike_and_slab import SpikeAndSlab
from probgen.priors.vamp import Vamp

__all__ = [
    "Autoregressive",
    "Conditional",
    "Elicited",
    "Exemplar",
    "Flow",
    "GaussianMixture",
    "Given",
    "Horseshoe",
    "LogitNormal",
    "ManyNormals",
    "Mixture",
    "NormalMixture",
    "Path",
    "Rejection",
    "Resampled",
    "SideBySide",
    "SmoothedMarginals",
    "SpikeAndSlab",
    "StandardNormal",
    "TokenSequence",
    "Vamp",
    "from_draws",
    "from_quantiles",
    "from_table",
]


def __dir__() -> list[str]:
    return __all__
