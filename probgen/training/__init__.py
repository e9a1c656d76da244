"""Training: ``fit`` and what it stands on: runs, checkpoints, history, schedules, callbacks, processes.

``fit(objective, data, steps=...)`` minimises any objective and returns a ``History``, which diagnoses itself
(``diagnose``), draws itself (``plot``) and says how it ended. With ``checkpoint=`` it writes what it is, and
with ``resume=True`` goes on to the same bits. ``schedules`` move rates and weights; a ``Callback`` is called
as it goes. Read first ``fit``.
"""

from probgen.training import schedules
from probgen.training.callbacks import Callback
from probgen.training.fit import fit
from probgen.training.history import History
from probgen.training.lbfgs import fit_lbfgs
from probgen.training.where_not_finite import where_not_finite

__all__ = [
    "Callback",
    "History",
    "fit",
    "fit_lbfgs",
    "schedules",
    "where_not_finite",
]


def __dir__() -> list[str]:
    return __all__
