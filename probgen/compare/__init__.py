"""Methods, metrics and repeats brought together: a table, figures and a report.

``compare({name: method}, held_out)`` fits, draws, measures and returns a ``Comparison``: print it, ``plot``
it, ``save`` it with its report. A method is a function ``f(n, seed=...)`` that draws, or a ``Method`` that
learns first; ``Method.from_density`` makes one of a density. ``METRICS`` says what each number means. Read
first ``compare``.
"""

from probgen.compare.comparison import Comparison
from probgen.compare.methods import Fitted, Method, Sampler
from probgen.compare.metrics import METRICS
from probgen.compare.run import compare

__all__ = ["METRICS", "Comparison", "Fitted", "Method", "Sampler", "compare"]


def __dir__() -> list[str]:
    return __all__
