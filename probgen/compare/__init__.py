"""Methods, metrics and repeats brought together: a table, figures and a report."""

from probgen.compare.comparison import Comparison
from probgen.compare.methods import Fitted, Method, Sampler
from probgen.compare.metrics import METRICS
from probgen.compare.run import compare

__all__ = ["METRICS", "Comparison", "Fitted", "Method", "Sampler", "compare"]


def __dir__() -> list[str]:
    return __all__
