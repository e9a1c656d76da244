"""Samplers: exact laws that are Pyro distributions, Markov chains by the thousand, refined generators.

Exact and independent, each a prior at once: ``InverseCDF`` (from a log-density, a CDF or a quantile
function), ``Rejection`` and its automatic kin, ``truncate``, copulas, ``Rosenblatt``, empirical laws. By
chains: ``sample`` draws from any density in one call and returns ``Chains``, which diagnose themselves; the
moves (``random_walk``, ``hmc``, ...) can be run alone by ``run``. ``refine`` corrects a generator by a
discriminator's scores. Read first ``InverseCDF`` for one number, ``sample`` for several.
"""

from probgen.sampling.discriminator.refine import Refined, Refinement, refine
from probgen.sampling.exact.copulas import EmpiricalCopula, GaussianCopula
from probgen.sampling.exact.discrete import DiscreteInverse, Empirical
from probgen.sampling.exact.families import Beta, Chi2, Gamma, StudentT, VonMises
from probgen.sampling.exact.inverse_cdf import InverseCDF, InverseReport
from probgen.sampling.exact.quasi_random import sample_qmc
from probgen.sampling.exact.rejection.adaptive_rejection import AdaptiveRejection, AdaptiveReport
from probgen.sampling.exact.rejection.ratio_of_uniforms import RatioOfUniforms
from probgen.sampling.exact.rejection.rejection import Rejection, RejectionReport, Trials
from probgen.sampling.exact.rejection.transformed_rejection import (
    TransformedDensityRejection,
    TransformedReport,
)
from probgen.sampling.exact.rosenblatt import Rosenblatt
from probgen.sampling.exact.smoothed import SmoothedEmpirical
from probgen.sampling.exact.truncate import truncate
from probgen.sampling.markov.chains import Chains, RunState
from probgen.sampling.markov.gathered_chains import gathered
from probgen.sampling.markov.moves.barker import barker
from probgen.sampling.markov.moves.component_wise import component_wise
from probgen.sampling.markov.moves.delayed_rejection import delayed_rejection
from probgen.sampling.markov.moves.differential_evolution import differential_evolution
from probgen.sampling.markov.moves.discrete_random_walk import discrete_random_walk
from probgen.sampling.markov.moves.hmc import hmc
from probgen.sampling.markov.moves.mala import mala
from probgen.sampling.markov.moves.metropolis_hastings import independence, metropolis_hastings
from probgen.sampling.markov.moves.multiple_try import multiple_try
from probgen.sampling.markov.moves.pcn import pcn
from probgen.sampling.markov.moves.random_walk import random_walk
from probgen.sampling.markov.moves.stretch import stretch
from probgen.sampling.markov.moves.tempered import tempered
from probgen.sampling.markov.run import run
from probgen.sampling.markov.sample import sample
from probgen.sampling.markov.starting_positions import initial_positions
from probgen.sampling.markov.warmup.adaptive_metropolis import adapt_haario, adapt_robust
from probgen.sampling.markov.warmup.component_wise_adaptation import adapt_component_wise
from probgen.sampling.markov.warmup.pcn_adaptation import adapt_pcn
from probgen.sampling.markov.warmup.step_size_and_shape import adapt, adapt_random_walk
from probgen.sampling.markov.warmup.temperature_ladder import adapt_tempered
from probgen.sampling.markov.warmup.trajectory_lengths import adapt_hmc

__all__ = [
    "AdaptiveRejection",
    "AdaptiveReport",
    "Beta",
    "Chains",
    "Chi2",
    "DiscreteInverse",
    "Empirical",
    "EmpiricalCopula",
    "Gamma",
    "GaussianCopula",
    "InverseCDF",
    "InverseReport",
    "RatioOfUniforms",
    "Refined",
    "Refinement",
    "Rejection",
    "RejectionReport",
    "Rosenblatt",
    "RunState",
    "SmoothedEmpirical",
    "StudentT",
    "TransformedDensityRejection",
    "TransformedReport",
    "Trials",
    "VonMises",
    "adapt",
    "adapt_component_wise",
    "adapt_haario",
    "adapt_hmc",
    "adapt_pcn",
    "adapt_random_walk",
    "adapt_robust",
    "adapt_tempered",
    "barker",
    "component_wise",
    "delayed_rejection",
    "differential_evolution",
    "discrete_random_walk",
    "gathered",
    "hmc",
    "independence",
    "initial_positions",
    "mala",
    "metropolis_hastings",
    "multiple_try",
    "pcn",
    "random_walk",
    "refine",
    "run",
    "sample",
    "sample_qmc",
    "stretch",
    "tempered",
    "truncate",
]


def __dir__() -> list[str]:
    return __all__
