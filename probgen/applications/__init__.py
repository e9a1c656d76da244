"""Applications: one file each, from real data to a report that the field itself would ask for."""

from probgen.applications.registry import Application, application, applications, optional
from probgen.applications.running import apply
from probgen.applications.study import Study

__all__ = ["Application", "Study", "application", "applications", "apply", "optional"]


def __dir__() -> list[str]:
    return __all__
