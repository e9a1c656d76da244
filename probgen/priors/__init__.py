"""Priors: modules that return distributions, and distributions, which models take as well."""

from probgen.priors.conditional import Conditional
from probgen.priors.elicited import Elicited, from_draws, from_quantiles, from_table
from probgen.priors.given import Given
from probgen.priors.horseshoe import Horseshoe
from probgen.priors.logit_normal import LogitNormal
from probgen.priors.mixture import Mixture
from probgen.priors.normal import StandardNormal
from probgen.priors.path import Path
from probgen.priors.spike_and_slab import SpikeAndSlab

__all__ = [
    "Conditional",
    "Elicited",
    "Given",
    "Horseshoe",
    "LogitNormal",
    "Mixture",
    "Path",
    "SpikeAndSlab",
    "StandardNormal",
    "from_draws",
    "from_quantiles",
    "from_table",
]


def __dir__() -> list[str]:
    return __all__
