"""Which site of a model or a guide went wrong first, where a loss is NaN or infinite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import torch
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Distribution

from probgen.core import GenerativeModel, Objective


def where_not_finite(objective: Objective, *batch: Tensor) -> str | None:
    """Name the first Pyro site that is not finite when an objective is run on a batch, and what of it.

    The objective runs eagerly, in the mode that it is in, on noise of its own. Of a site that is not finite
    the parameters of its law are looked at first, then its value, then its log-probability.

    Args:
        objective: the objective whose loss was not finite.
        batch: the batch that it was given.

    Returns:
        A sentence such as "guide site 'z': its scale is nan at row 3" (rows are counted from 0); or what the
        story raised, and after which site; or None where all sites are finite, or where there is none.

    >>> import probgen as pg
    >>> from probgen import models, nets
    >>> vae = models.VAE(nets.NormalHead(nets.MLP(3, 1)), nets.NormalHead(nets.MLP(1, 3)))
    >>> _ = torch.nn.init.constant_(vae.encoder.net.last.bias, torch.nan)
    >>> where_not_finite(pg.SVI(vae), torch.zeros(2, 3))
    "guide site 'z': its loc is nan at row 0"
    """
    finder = _Finder()
    with ExitStack() as stack:
        devices = {x.device for x in batch if x.device.type == "cuda"}
        stack.enter_context(torch.random.fork_rng(devices=devices))
        stack.enter_context(pyro.validation_enabled(False))  # which would raise before the site is reached
        for part in objective.modules():
            if isinstance(part, GenerativeModel):
                stack.enter_context(_telling(part, finder))
        stack.enter_context(finder)
        try:
            objective(*batch)
        except _NotFinite as found:
            return str(found)
        except Exception as error:  # say, of a matrix that cannot be factorised
            message = (str(error).strip() or repr(error)).splitlines()[0]
            return f"{f'after {finder.site}' if finder.site else 'before any site'} it raised: {message}"
    return None


class _NotFinite(Exception):
    """Ends the run at the first site that is not finite, which it names."""


class _Finder(Messenger):
    """Looks at each site when it is drawn or observed."""

    def __init__(self) -> None:
        super().__init__()
        self.story = ""
        self.site = ""

    def _pyro_post_sample(self, msg: Any) -> None:
        law, value = msg["fn"], msg["value"]
        if not isinstance(law, Distribution):  # the indices of a plate
            return
        self.site = f"{self.story} site {msg['name']!r}".strip()
        log_prob = scale_and_mask(law.log_prob(value, *msg["args"], **msg["kwargs"]), 1.0, msg["mask"])
        if value.isfinite().all() and log_prob.isfinite().all():
            return
        found = [(name, tensor, _event_dim(tensor, law)) for name, tensor in _parameters(law)]
        found += [("value", value, len(law.event_shape)), ("log_prob", log_prob, 0)]
        for name, tensor, event_dim in found:
            if not tensor.isfinite().all():
                raise _NotFinite(f"{self.site}: its {name} is {_first(tensor.detach(), event_dim)}")


@contextmanager
def _telling(part: GenerativeModel, finder: _Finder) -> Iterator[None]:
    """Have the model and the guide of a part tell the finder which of them runs."""

    def telling(name: str, story: Callable[..., Any]) -> Callable[..., Any]:
        def told(*args: Any, **kwargs: Any) -> Any:
            before, finder.story = finder.story, name
            try:
                return story(*args, **kwargs)
            finally:
                finder.story = before

        return told

    own: dict[str, Any] = {name: part.__dict__[name] for name in ("model", "guide") if name in part.__dict__}
    stories = {name: getattr(part, name) for name in ("model", "guide") if hasattr(part, name)}
    part.__dict__.update({name: telling(name, story) for name, story in stories.items()})
    try:
        yield
    finally:
        for name in stories:
            del part.__dict__[name]
        part.__dict__.update(own)


def _parameters(law: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters that a law, or the laws of which it is made, were given; a point has its value."""
    for name in () if isinstance(law, Delta) else law.arg_constraints:
        value = law.__dict__.get(name)
        if isinstance(value, Tensor):
            yield name, value
    for inner in ("base_dist", "_mixture_distribution", "_component_distribution"):
        if isinstance(law.__dict__.get(inner), Distribution):
            yield from _parameters(law.__dict__[inner])


def _event_dim(parameter: Tensor, law: Distribution) -> int | None:
    """Return the number of a parameter's dimensions to the right of the batch's, if it has the batch's."""
    dims = len(law.batch_shape)
    return parameter.dim() - dims if parameter.shape[:dims] == law.batch_shape else None


def _first(tensor: Tensor, event_dim: int | None) -> str:
    """Return an element that is not finite, and the datum that it belongs to."""
    first = (~tensor.isfinite()).nonzero()[0]
    value = float(tensor[tuple(first)])
    if event_dim is None or tensor.dim() <= event_dim:
        return str(value)
    return f"{value} at row {int(first[tensor.dim() - 1 - event_dim])}"
