"""Priors: modules that return distributions, and distributions, which models take as well.

What you believe: ``from_quantiles``, ``from_draws`` and ``from_table`` make a law of it. What is known:
``Horseshoe``, ``SpikeAndSlab``, ``LogitNormal``, ``SideBySide`` for several. What is learned with the model:
``Mixture``, ``Vamp``, ``Flow``, ``Exemplar``, ``Rejection`` (LARS); what an encoder said before:
``Remembered``. For sequences of states: ``Path``. Read first ``from_quantiles``, then ``Given``, by which a
model holds any law of Pyro's or your own.
"""

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
from probgen.priors.molecules import Molecule, Molecules
from probgen.priors.normal import StandardNormal
from probgen.priors.normal_mixture import ManyNormals, NormalMixture
from probgen.priors.path import Path
from probgen.priors.rejection import Rejection, Resampled
from probgen.priors.remembered import Remembered
from probgen.priors.sentence_draws import beam_search, greedy, tempered
from probgen.priors.sentences import Sentence, Sentences
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
    "Molecule",
    "Molecules",
    "NormalMixture",
    "Path",
    "Rejection",
    "Remembered",
    "Resampled",
    "Sentence",
    "Sentences",
    "SideBySide",
    "SmoothedMarginals",
    "SpikeAndSlab",
    "StandardNormal",
    "TokenSequence",
    "Vamp",
    "beam_search",
    "from_draws",
    "from_quantiles",
    "from_table",
    "greedy",
    "tempered",
]


def __dir__() -> list[str]:
    return __all__
