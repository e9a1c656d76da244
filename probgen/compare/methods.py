"""What is compared: methods that are fitted to data, and samplers that are ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from probgen.core import GenerativeModel

Sampler = Callable[..., Tensor]
r"""Called as ``f(n, seed=seed)``; returns n draws, shape (n, \*event). ``vae.sample`` is one."""


class Fitted(NamedTuple):
    r"""A method after it was fitted.

    ``sample(n, seed=seed)`` returns draws of shape (n, \*event); ``log_prob``, where the method has one, maps
    data of shape (m, \*event) to log-likelihoods in nats, shape (m,); ``model`` is kept for pictures;
    ``notes`` are diagnostics for the report (acceptance rate, R-hat, why the training ended). ``findings``
    say, a sentence each, what the method's own diagnosis found wrong (chains that disagree, divergences, a
    collapsed posterior): the method is then marked wherever it is shown, and never called the best. What
    probgen warns of in its log while a method is fitted and draws is found by itself.
    """

    sample: Sampler
    log_prob: Callable[[Tensor], Tensor] | None = None
    model: GenerativeModel | None = None
    notes: Mapping[str, str | float] = MappingProxyType({})
    findings: Sequence[str] = ()


@dataclass(frozen=True)
class Method:
    r"""A way to learn a law from data: ``fit(train, seed)`` returns a :class:`Fitted`.

    ``train`` has shape (n, \*event); ``seed`` decides everything random in the fit. ``about`` is one line for
    the report.
    """

    fit: Callable[[Tensor, int], Fitted]
    about: str = ""
