"""What is compared: methods that are fitted to data, and samplers that are ready."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor
from torch.distributions.constraints import Constraint

from probgen.core import Coded, Density, GenerativeModel
from probgen.sampling.markov.target_density import Target

Sampler = Callable[..., Tensor]
r"""Called as ``f(n, seed=seed)``; returns n draws, shape (n, \*event). ``vae.sample`` is one."""


class Fitted(NamedTuple):
    r"""A method after it was fitted.

    ``sample(n, seed=seed)`` returns draws of shape (n, \*event); ``log_prob``, where the method has one, maps
    data of shape (m, \*event) to log-likelihoods in nats, shape (m,); ``model`` is kept for pictures;
    ``notes`` are diagnostics for the report (acceptance rate, R-hat, why the training ended). ``findings``
    say, a sentence each, what the method's own diagnosis found wrong (chains that disagree, divergences, a
    collapsed posterior): the method is then marked wherever it is shown, and never called the best. What
    probgen warns of in its log while a method is fitted and draws is found by itself. ``density`` is what the
    method draws from, where that is known: draws are tested against it, and its evaluations are counted.
    ``coded`` is what encodes data and decodes codes, where the metrics of codes should judge it: often the
    model. ``of_class(n, seed=seed, label=label)`` returns draws of one class, of a method that is told it.
    ``of_sequences`` maps data of sequences to their likelihood a step, by the columns of the metric
    "sequences".
    """

    sample: Sampler
    log_prob: Callable[[Tensor], Tensor] | None = None
    model: GenerativeModel | None = None
    notes: Mapping[str, str | float] = MappingProxyType({})
    findings: Sequence[str] = ()
    density: Density | None = None
    coded: Coded | None = None
    of_class: Sampler | None = None
    of_sequences: Callable[[Any], Mapping[str, float]] | None = None

    def __repr__(self) -> str:
        words = ["log_prob"] if self.log_prob is not None else []
        words += [
            f"{name}: {type(part).__name__}"
            for name, part in {"model": self.model, "density": self.density}.items()
            if part is not None
        ]
        told = f"; finding: {self.findings[0]}" if self.findings else ""
        return f"Fitted({', '.join(words) or 'draws alone'}{told})"


@dataclass(frozen=True)
class Method:
    r"""A way to learn a law from data: ``fit(train, seed)`` returns a :class:`Fitted`.

    ``train`` has shape (n, \*event); ``seed`` decides everything random in the fit. ``about`` is one line for
    the report. What needs no data is given None where there are none.
    """

    fit: Callable[[Any, int], Fitted]
    about: str = ""
    needs_data: bool = True

    def __repr__(self) -> str:
        return f"Method({self.about!r})"

    @classmethod
    def from_density(
        cls,
        density: Target,
        method: str,
        *arguments: Any,
        dim: int | None = None,
        support: Constraint | None = None,
        **options: Any,
    ) -> Method:
        r"""Return a method that draws from a density, learning nothing from data.

        Markov chains (a ``method`` of :func:`probgen.sampling.sample`: "hmc", "random_walk", "tempered", ...)
        run until they agree, and are thinned by their effective sample size until draws are nearly
        independent, two autocorrelation times apart. What their diagnosis finds wrong marks their row; the
        report tells R-hat, effective draws a second and a gradient, and how often the log-density was
        evaluated.

        Draws are exact and independent by ``"inverse"`` (:class:`probgen.sampling.InverseCDF`),
        ``"rejection"`` (transformed density rejection where the density is T-concave, else the ratio of
        uniforms), ``"adaptive_rejection"``, ``"transformed_density_rejection"`` and ``"ratio_of_uniforms"``,
        of a density of one number; and, of any, by ``"rejection"`` with a ``proposal`` and a ``log_bound``.

        Draws have the density's own type, or that of the training data, where there are any. The numbers of
        several sites stand side by side, in the order of the sites.

        Args:
            density: a :class:`Density`, a distribution, a Pyro model with its ``arguments``, or a function of
                values that returns log-densities, with ``dim`` or ``support``.
            method: how it is drawn from.
            dim, support: of a function, as for :func:`probgen.sampling.sample`.
            options: of the chains (``chains``, ``warmup``, ``init``, ``target_acceptance``, ``compile``) or
                of the exact law (``points``, ``proposal``, ``log_bound``, ...).

        Raises:
            ValueError, TypeError: for an unknown method, one that does not suit the density, or a density of
                no such form.

        >>> from torch.distributions import Gamma
        >>> fitted = Method.from_density(Gamma(3.0, 1.0), "inverse").fit(None, 0)
        >>> fitted.sample(4, seed=1).shape
        torch.Size([4])
        """
        from probgen.compare.density_methods import method_of_density

        return method_of_density(density, method, arguments, dim=dim, support=support, options=options)


def about(method: Method | Sampler | Fitted) -> str:
    """Return what is said of a method in the report: of a function the first line of its docstring."""
    if isinstance(method, Method):
        return method.about
    said = inspect.getdoc(method) if inspect.isfunction(method) else None
    return (said or "").strip().partition("\n")[0].removesuffix(".")
