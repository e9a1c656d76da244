"""Which site of a model or a guide went wrong first, where a loss is NaN or infinite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor

from probgen.core import FaultFinder, GenerativeModel, NotFinite, Objective


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
    finder = FaultFinder()
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
        except NotFinite as found:
            return str(found)
        except Exception as error:  # say, of a matrix that cannot be factorised
            message = (str(error).strip() or repr(error)).splitlines()[0]
            return f"{f'after {finder.site}' if finder.site else 'before any site'} it raised: {message}"
    return None


@contextmanager
def _telling(part: GenerativeModel, finder: FaultFinder) -> Iterator[None]:
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
