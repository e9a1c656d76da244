"""Training: ``fit`` and what it stands on: runs, checkpoints, history, schedules, callbacks, processes."""

from probgen.training import schedules
from probgen.training.callbacks import Callback
from probgen.training.fit import fit
from probgen.training.history import History
from probgen.training.where_not_finite import where_not_finite

__all__ = ["Callback", "History", "fit", "schedules", "where_not_finite"]


def __dir__() -> list[str]:
    return __all__
