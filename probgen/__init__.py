"""probgen: generative models that a statistician can trust, on Pyro and PyTorch."""

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
