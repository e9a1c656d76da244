"""probgen: generative models that a statistician can trust, on Pyro and PyTorch."""

from probgen.core import Conditional, Density, Estimate, GenerativeModel, Objective, Pair, Transition

__all__ = ["Conditional", "Density", "Estimate", "GenerativeModel", "Objective", "Pair", "Transition"]
