"""probgen: generative models that a statistician can trust, on Pyro and PyTorch."""

from probgen.compare import compare
from probgen.core import Conditional, Density, Estimate, GenerativeModel, Objective, Pair, Transition
from probgen.objectives import SVI
from probgen.training import History, fit

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
    "compare",
    "fit",
]
