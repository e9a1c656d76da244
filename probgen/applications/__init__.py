"""Applications: one file each, from real data to a report that the field itself would ask for.

``apply(name)`` runs one in a folder, on the data that are shipped for it or a file of your own, and goes on
there where it was interrupted; ``applications()`` lists them with the data that they take. What each learns
stands beside the baselines of its field, on the same splits, over repeats, and the report says who wins. To
add one, write a function of a ``Study`` under ``application``. Read first ``apply``, then ``Study``.
"""

from probgen.applications.frame.registry import Application, application, applications, optional
from probgen.applications.frame.running import apply
from probgen.applications.frame.study import Study

__all__ = ["Application", "Study", "application", "applications", "apply", "optional"]


def __dir__() -> list[str]:
    return __all__
