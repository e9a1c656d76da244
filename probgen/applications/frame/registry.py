"""What an application is, and the registry: each application is registered where it stands."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from probgen.compare.columns import Column
from probgen.data import suggest

if TYPE_CHECKING:
    from probgen.applications.frame.study import Study


class Application(NamedTuple):
    """An application as it is registered.

    Attributes:
        name: on the command line.
        title: heads the report.
        data: what is learned from, and the form of a file of the user's own.
        shipped: names of data sets that ``--data`` takes beside a file, the first where nothing is given.
        measures: what is reported of each method, the most important first: name -> its column.
        run: what does it all, given a :class:`Study`.
    """

    name: str
    title: str
    data: str
    shipped: tuple[str, ...]
    measures: Mapping[str, Column]
    run: Callable[[Study], None]


_APPLICATIONS: dict[str, Application] = {}


def application(
    name: str, title: str, *, data: str, shipped: Sequence[str], measures: Mapping[str, Column]
) -> Callable[[Callable[[Study], None]], Callable[[Study], None]]:
    """Register the function below as an application; see :class:`Application`."""

    def register(run: Callable[[Study], None]) -> Callable[[Study], None]:
        _APPLICATIONS[name] = Application(name, title, data, tuple(shipped), dict(measures), run)
        return run

    return register


def applications() -> dict[str, Application]:
    """Return all applications by name."""
    import probgen.applications as room

    for module in pkgutil.iter_modules(room.__path__):
        importlib.import_module(f"{room.__name__}.{module.name}")
    return dict(sorted(_APPLICATIONS.items()))


def called(name: str) -> Application:
    """Return the application of that name, or raise ValueError."""
    known = applications()
    if name not in known:
        raise ValueError(f"there is no application {name!r}: {suggest(name, known)}")
    return known[name]


def optional(module: str, extra: str) -> ModuleType:
    """Return a module that an extra of probgen brings, or say in one sentence how to get it.

    >>> optional("no_such_module", "molecules")
    Traceback (most recent call last):
        ...
    ValueError: this needs no_such_module, which is not here: pip install 'probgen[molecules]'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        package = module.partition(".")[0]
        raise ValueError(f"this needs {package}, which is not here: pip install 'probgen[{extra}]'") from None
