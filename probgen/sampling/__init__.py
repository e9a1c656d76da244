"""Samplers: exact laws that are Pyro distributions, and Markov chains by the thousand."""

from probgen.sampling.adaptation import adapt_random_walk
from probgen.sampling.barker import barker
from probgen.sampling.chains import Chains, RunState
from probgen.sampling.discrete import DiscreteInverse, Empirical
from probgen.sampling.hmc import hmc
from probgen.sampling.inverse_cdf import InverseCDF, InverseReport
from probgen.sampling.mala import mala
from probgen.sampling.methods import sample
from probgen.sampling.positions import initial_positions
from probgen.sampling.random_walk import random_walk
from probgen.sampling.rejection import Rejection, RejectionReport
from probgen.sampling.run import run

__all__ = [
    "Chains",
    "DiscreteInverse",
    "Empirical",
    "InverseCDF",
    "InverseReport",
    "Rejection",
    "RejectionReport",
    "RunState",
    "adapt_random_walk",
    "barker",
    "hmc",
    "initial_positions",
    "mala",
    "random_walk",
    "run",
    "sample",
]
