"""Priors: modules that return distributions."""

from probgen.priors.normal import StandardNormal
from probgen.priors.path import Path

__all__ = ["Path", "StandardNormal"]
