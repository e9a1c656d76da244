"""probgen: generative models that a statistician can trust, on Pyro and PyTorch.

A generative story is written once, in Pyro, with any prior. It is then drawn from by every classical
sampler, learned from data as a pair of model and guide by SVI, or without a likelihood by moment matching or
a contest, and judged: by which draws, densities and codes are right, and which are not.

Read first ``help(probgen.fit)`` to learn, ``help(probgen.sampling.sample)`` to draw from a density,
``help(probgen.compare)`` to judge, and ``help(probgen.models.VAE)`` for a model. The rooms:

- ``sampling``: exact laws that are Pyro distributions, Markov chains. ``priors``: laws to begin a story
  with.
- ``models``: one file a graph. ``nets``: networks, and heads that make laws of them.
- ``objectives``: what ``fit`` minimises. ``training``: ``fit`` itself. ``mmd``: distances of samples, tests.
- ``data``: data sets and files of your own. ``recipes``: papers put together. ``evaluation``: judges.
- ``plots``: pictures, and pages to play with; loaded when it is first used.
- ``probgen.applications``, imported by name: uses on real data, beside the baselines of their fields.

On the command line: ``probgen compare``, ``train``, ``sample``, ``apply``, ``recipes``, each with ``--help``.
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from probgen import data, evaluation, mmd, models, nets, objectives, priors, recipes, sampling, training
from probgen.compare import compare
from probgen.core import Conditional, Density, Estimate, GenerativeModel, Objective, Pair, Transition
from probgen.objectives import SVI
from probgen.recipes.saved import load, save
from probgen.training import History, fit

if TYPE_CHECKING:
    from probgen import plots

__version__ = version("probgen")

__all__ = [
    "SVI",
    "Conditional",
    "Density",
    "Estimate",
    "GenerativeModel",
    "History",
    "Objective",
    "Pair",
    "Transition",
    "__version__",
    "compare",
    "data",
    "evaluation",
    "fit",
    "load",
    "mmd",
    "models",
    "nets",
    "objectives",
    "plots",
    "priors",
    "recipes",
    "sampling",
    "save",
    "training",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name == "plots":  # which brings matplotlib, half a second, and is not always wanted
        return importlib.import_module("probgen.plots")
    raise AttributeError(f"module 'probgen' has no attribute {name!r}")
