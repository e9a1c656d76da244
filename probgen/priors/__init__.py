"""Priors: modules that return distributions."""

from probgen.priors.normal import StandardNormal

__all__ = ["StandardNormal"]
