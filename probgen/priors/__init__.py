"""Priors: modules that return distributions."""

from probgen.priors.normal import StandardNormal
from probgen.priors.path import Path

__all__ = ["Path", "StandardNormal"]


def __dir__() -> list[str]:
    return __all__
