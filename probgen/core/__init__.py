"""The contracts on which every room stands.

A *conditional* is a module that returns a distribution: prior, encoder and decoder are one thing.
A *generative model* is anything that can be sampled; a *pair* adds a guide q(z | x) to a model p(z, x).
A *density* is what Markov samplers draw from, a *transition* is how they move, and an *objective* is what
:func:`probgen.fit` minimises. Read first ``Pair``, then ``Density`` and ``Objective``.
"""

from probgen.core.arrays import sample_of, taking_arrays, tensor_of
from probgen.core.contracts import (
    Coded,
    Conditional,
    Estimate,
    GenerativeModel,
    Objective,
    Pair,
    Terms,
    Transition,
    per_step,
    ratio,
    takes_missing,
    weights_dtype,
)
from probgen.core.counts import check_count
from probgen.core.density.density import Density
from probgen.core.density.evaluation_counts import (
    Evaluations,
    count_evaluations,
    evaluations,
    set_evaluations,
)
from probgen.core.density.model_density import ModelDensity
from probgen.core.density.pair_density import PairDensity
from probgen.core.faults import FaultFinder, NotFinite
from probgen.core.randomness import check_seed, default_generator, drawing_from, seed_of, seeded, source_of
from probgen.core.summed_out import log_joint_prob
from probgen.core.traces import (
    evaluating,
    is_data,
    is_derived,
    is_factor,
    plate_nesting,
    sample_sites,
    sharing,
    site_log_prob,
)

__all__ = [
    "Coded",
    "Conditional",
    "Density",
    "Estimate",
    "Evaluations",
    "FaultFinder",
    "GenerativeModel",
    "ModelDensity",
    "NotFinite",
    "Objective",
    "Pair",
    "PairDensity",
    "Terms",
    "Transition",
    "check_count",
    "check_seed",
    "count_evaluations",
    "default_generator",
    "drawing_from",
    "evaluating",
    "evaluations",
    "is_data",
    "is_derived",
    "is_factor",
    "log_joint_prob",
    "per_step",
    "plate_nesting",
    "ratio",
    "sample_of",
    "sample_sites",
    "seed_of",
    "seeded",
    "set_evaluations",
    "sharing",
    "site_log_prob",
    "source_of",
    "takes_missing",
    "taking_arrays",
    "tensor_of",
    "weights_dtype",
]


def __dir__() -> list[str]:
    return __all__
