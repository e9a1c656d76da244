"""Runs of Pyro models: evaluation mode, what is shared, and the log-probabilities in a trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from pyro import poutine
from pyro.distributions import Unit
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import constraints

from probgen.core.plain_words import in_plain_words


class OwnParameters(Messenger):
    """Lets ``pyro.param`` and ``pyro.module`` return a module's own parameters.

    Pyro's global store keeps, by name, those of the first module that called it: another module of the same
    kind in the same process would be given these.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module
        self._ids: set[int] | None = None

    def owns(self, value: Any) -> bool:
        """Say whether a tensor is a parameter of the module, be it made since the last look."""
        if self._ids is None or id(value) not in self._ids:
            self._ids = {id(parameter) for parameter in self._module.parameters()}
        return id(value) in self._ids

    def _pyro_param(self, msg: Any) -> None:
        given = start_of(msg)
        free = msg["kwargs"].get("constraint", constraints.real) is constraints.real
        if free and isinstance(given, nn.Parameter) and self.owns(given):
            msg["value"], msg["done"] = given, True

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        super().__exit__(kind, value, traceback)
        if value is not None and (said := in_plain_words(value)) is not None:
            raise said from value
        if kind is NotImplementedError and "local param mode" in str(value):
            raise ValueError(
                "pyro.module and pyro.param should be left out of a model that an autoguide with "
                "module_local_params runs, since Pyro cannot tell whose parameters they name: modules that "
                "are attributes of the pair are learned without them"
            ) from value


def start_of(msg: Any) -> Any:
    """Return what a ``pyro.param`` statement is given to start at, if anything."""
    return msg["args"][1] if len(msg["args"]) > 1 else None


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, so that no dropout draws and no average moves, then back.

    Its Pyro statements see its own parameters (:class:`OwnParameters`).
    """
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with OwnParameters(module):
            yield
    finally:
        for part in training:
            part.training = True


_SHARED: ContextVar[dict[str, Any] | None] = ContextVar("shared", default=None)


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Have what model and guide of a pair share computed once within."""
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


def shared_values() -> dict[str, Any] | None:
    """Return what is shared so far, by name; None outside of :func:`sharing`."""
    return _SHARED.get()


def sample_sites(trace: Any) -> dict[str, Any]:
    """Return the sites of a Pyro trace that have a log-probability, by name: all but the plates."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not poutine.util.site_is_subsample(site)
    }


def is_derived(site: Any) -> bool:
    """Say whether a site of a trace was made by ``pyro.deterministic``: a named value."""
    return bool(site["infer"].get("_deterministic"))


def is_factor(site: Any) -> bool:
    """Say whether a site of a trace was made by ``pyro.factor``."""
    return isinstance(site["fn"], Unit)


def is_data(site: Any) -> bool:
    """Say whether a site of a trace is an observation, and neither a named value nor a factor."""
    return site["is_observed"] and not is_derived(site) and not is_factor(site)


def plate_nesting(trace: Any, *, laws: bool = True) -> int:
    """Return the number of batch dimensions in a trace, at least 1: of its plates, and of its ``laws``."""
    dims = [1]
    for site in sample_sites(trace).values():
        frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
        dims += [len(site["fn"].batch_shape) if laws else 1, *(-frame.dim for frame in frames)]
    return max(dims)


def site_log_prob(name: str, site: Any, rows: int, *, nesting: int = 1) -> Tensor:
    r"""Return the log-probability of a site for each datum, summed over inner plates, shape (\*sample, rows).

    Masks are applied; scales are not, since that of a sub-sampled plate would raise each law to a power.

    Args:
        name, site: the site in a trace.
        rows: the number of data, in the plate at -1.
        nesting: the number of plates; dimensions to their left are kept.

    Raises:
        ValueError: for a site that is not given datum by datum, or whose inner plate is sub-sampled.
    """
    log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    log_prob = scale_and_mask(log_prob, 1.0, site["mask"])
    return per_row(name, log_prob, site["cond_indep_stack"], rows, nesting=nesting)


def per_row(name: str, log_prob: Tensor, frames: Iterable[Any], rows: int, *, nesting: int) -> Tensor:
    """Sum a log-probability over the plates inside that of the data, as :func:`site_log_prob` does."""
    if log_prob.shape[-1:] != (rows,):
        raise ValueError(
            f"site {name!r} should stand in the plate of the data, with one log-probability for each of the "
            f"{rows} rows, but its log-probability has shape {tuple(log_prob.shape)}"
        )
    for frame in frames:
        if frame.dim != -1 and frame.full_size not in (None, frame.size):
            raise ValueError(
                f"plate {frame.name!r} should hold all of its {frame.full_size} elements to give the "
                f"probability of a datum, but is sub-sampled to {frame.size}"
            )
    inner = tuple(range(-min(nesting, log_prob.dim()), -1))
    return log_prob.sum(inner) if inner else log_prob
