"""Samplers: exact laws that are Pyro distributions, and Markov chains by the thousand."""

from probgen.sampling.adaptation import adapt, adapt_random_walk
from probgen.sampling.adaptive_metropolis import adapt_haario, adapt_robust
from probgen.sampling.adaptive_rejection import AdaptiveRejection, AdaptiveReport
from probgen.sampling.barker import barker
from probgen.sampling.chains import Chains, RunState
from probgen.sampling.chees import adapt_hmc
from probgen.sampling.component_wise import adapt_component_wise, component_wise
from probgen.sampling.copulas import EmpiricalCopula, GaussianCopula
from probgen.sampling.delayed_rejection import delayed_rejection
from probgen.sampling.differential_evolution import differential_evolution
from probgen.sampling.discrete import DiscreteInverse, Empirical
from probgen.sampling.discrete_random_walk import discrete_random_walk
from probgen.sampling.gathered import gathered
from probgen.sampling.hmc import hmc
from probgen.sampling.inverse_cdf import InverseCDF, InverseReport
from probgen.sampling.ladder import adapt_tempered
from probgen.sampling.mala import mala
from probgen.sampling.methods import sample
from probgen.sampling.metropolis_hastings import independence, metropolis_hastings
from probgen.sampling.multiple_try import multiple_try
from probgen.sampling.pcn import adapt_pcn, pcn
from probgen.sampling.positions import initial_positions
from probgen.sampling.quantiles import Beta, Chi2, Gamma, StudentT, VonMises
from probgen.sampling.quasi_random import sample_qmc
from probgen.sampling.random_walk import random_walk
from probgen.sampling.ratio_of_uniforms import RatioOfUniforms
from probgen.sampling.rejection import Rejection, RejectionReport
from probgen.sampling.rosenblatt import Rosenblatt
from probgen.sampling.run import run
from probgen.sampling.smoothed import SmoothedEmpirical
from probgen.sampling.stretch import stretch
from probgen.sampling.tempered import tempered
from probgen.sampling.transformed_rejection import TransformedDensityRejection, TransformedReport
from probgen.sampling.truncate import truncate

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
    "Rejection",
    "RejectionReport",
    "Rosenblatt",
    "RunState",
    "SmoothedEmpirical",
    "StudentT",
    "TransformedDensityRejection",
    "TransformedReport",
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
    "run",
    "sample",
    "sample_qmc",
    "stretch",
    "tempered",
    "truncate",
]
