"""Conditionals, generative models, pairs, objectives, transitions."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core.arrays import tensor_of
from probgen.core.counts import check_count
from probgen.core.density.handlers import check_enumerable
from probgen.core.density.normal_scores import refuse_atoms
from probgen.core.density.pair_density import PairDensity
from probgen.core.randomness import seed_of, seeded
from probgen.core.summed_out import enumerated, log_joint_prob
from probgen.core.supports import support_of
from probgen.core.traces import evaluating, is_data, plate_nesting, sample_sites, shared_values

Shared = TypeVar("Shared")

Terms = dict[str, Tensor]
"""Named, detached scalars that an objective reports beside its loss, means per datum: reconstruction, kl, ...

A term that is no mean per datum but a ratio of two, as of nats and steps, is a :func:`ratio`.
"""


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return a term that is a ratio of two means per datum, as nats per step of sequences of unequal length.

    What is reported, of several batches, parts of batches, processes and reports, is the ratio of the means,
    Σ nats / Σ steps, which the mean of the ratios is not.

    >>> nats, lengths = torch.tensor([30.0, 10.0]), torch.tensor([10, 2])
    >>> terms = {"nats_per_step": ratio(nats.mean(), lengths.float().mean())}

    Returns:
        shape (2,), detached.
    """
    return torch.stack([numerator.detach(), denominator.detach().to(numerator)])


def per_step(model: nn.Module, nats: Tensor, *batch: Tensor) -> Terms:
    r"""Return the term ``nats_per_step``, Σ nats / Σ steps, of a model of sequences, which tells their steps.

    Such a model has a method ``steps_of(x, \*context)``, the number of steps of each datum, shape (n,); of
    others there is no term. ``nats`` is minus the bound or log-likelihood, a mean per datum.
    """
    steps_of = getattr(model, "steps_of", None)
    return {} if steps_of is None else {"nats_per_step": ratio(nats, steps_of(*batch).to(nats).mean())}


class Conditional(Protocol):
    """A module that returns a distribution: a prior (no context), an encoder or a decoder."""

    def __call__(self, *context: Tensor) -> Distribution: ...


@runtime_checkable
class Coded(Protocol):
    r"""Whatever has a code, pair or not: what judges codes asks for it.

    Both return laws, and run in evaluation mode and without gradient. A point is a ``Delta``: the code of an
    autoencoder.
    """

    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        r"""Return the law of the code of each row of x, shape (n, \*event)."""
        ...

    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        r"""Return the law of the datum of each code, shape (\*batch, \*code)."""
        ...


class GenerativeModel(nn.Module, ABC):
    """Anything that can be sampled: a VAE, a moment-matching network, a GAN, a flow."""

    @abstractmethod
    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        r"""Tell the generative story in Pyro and return x.

        With ``x``, shape (n, \*event), the story is scored on it; without, ``n`` new x are drawn.
        """

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *context: Tensor,
        seed: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        r"""Draw ``n`` new x, shape (n, \*event), in evaluation mode and without gradient.

        The same ``seed`` gives the same bits and leaves torch's global random state as it was; a
        ``generator`` in its place gives the seed. A context has
        a row for each draw.
        """
        n = check_count("n", n)
        context = tuple(tensor_of(part, "context", dtype=weights_dtype(self)) for part in context)
        for place, part in enumerate(context, 1):
            if part.shape[:1] != (n,):
                raise ValueError(
                    f"context {place} should have {n} rows, one a draw, but has shape {tuple(part.shape)}"
                )
        with seeded(seed_of(seed, generator)), evaluating(self):
            return self.model(None, *context, n=n)


class Pair(GenerativeModel):
    """A model p(z, x) and a guide q(z | x): same arguments, same plates, side by side in one file.

    The data points stand in one plate, ``pyro.plate("data", n)``, at dimension -1.
    """

    @abstractmethod
    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Any:
        """Approximate the posterior, q(z | x), in Pyro."""

    def shared(self, name: str, compute: Callable[[], Shared]) -> Shared:
        """Return what model and guide both compute of a batch, computed once for both.

        ``h = self.shared("h", lambda: self.net(x))`` in ``guide`` and in ``model`` runs the net once a
        bound. It should depend on the batch alone and on nothing drawn. Outside of a bound it is computed at
        each call.
        """
        values = shared_values()
        if values is None:
            return compute()
        if name not in values:
            values[name] = compute()
        return values[name]

    def posterior(self, x: Tensor, *context: Tensor) -> PairDensity:
        r"""Return log p(z, x) as a function of z: a target for any Markov sampler.

        The rows of ``x``, shape (n, \*event), are independent data points, so the density has
        ``batch_shape`` (n,): a sampler runs its chains for all of them at once. The model is run in
        evaluation mode. Discrete latent sites of finitely many values are summed out. The density also knows
        ``observed``, ``log_likelihood``, ``log_prior``, ``predict`` and ``simulate``, which ArviZ is given.
        """
        rows = len(x)
        with seeded(0), evaluating(self):  # of its sites, their shapes and supports alone
            trace = poutine.trace(self.model).get_trace(x, *context)
        latent, discrete = _latent_sites(trace, type(self).__name__, rows)
        nesting = plate_nesting(trace)

        def left_of_plates(name: str, value: Tensor) -> Tensor:
            shape = value.shape[: value.dim() - 1 - len(latent[name].event_shape)]
            return value.reshape(*shape, *[1] * (nesting - 1), *value.shape[len(shape) :])

        def log_joint(values: Mapping[str, Tensor]) -> Tensor:
            data = {name: left_of_plates(name, value) for name, value in values.items()}
            (name, value), *_ = values.items()
            sample = value.shape[: value.dim() - 1 - len(latent[name].event_shape)]
            story = poutine.condition(self.model, data=data)
            if discrete:
                story = enumerated(story, discrete, nesting, sample)
            with evaluating(self):
                joint = poutine.trace(story).get_trace(x, *context)
            return log_joint_prob(joint, rows, nesting=nesting)

        supports = {name: support_of(law) for name, law in latent.items()}
        shapes = {name: law.event_shape for name, law in latent.items()}
        dtype = x.dtype  # of counts: that in which the prior draws
        if not x.is_floating_point():
            drawn = (site["value"].dtype for name, site in sample_sites(trace).items() if name in latent)
            dtype = functools.reduce(torch.promote_types, drawn)
        sites = sample_sites(trace)
        where: dict[str, Any] = {
            "observed": {name: site["value"] for name, site in sites.items() if is_data(site)},
            "nesting": nesting,
            "enumerates": bool(discrete),
            "dtype": dtype,
            "device": x.device,
        }
        if len(latent) > 1:
            return PairDensity(self, x, context, log_joint, support=supports, event_shape=shapes, **where)
        (name,) = latent
        return PairDensity(
            self,
            x,
            context,
            lambda z: log_joint({name: z}),
            support=supports[name],
            event_shape=shapes[name],
            name=name,
            **where,
        )


class Objective(nn.Module, ABC):
    """What :func:`probgen.fit` minimises: a module whose forward pass is the loss.

    A game is one scalar loss, in which each player sees the weights of the others detached, so that its
    gradient is that of its own loss. Where players take turns, the loss of a step is one that has gradients
    for ``turn`` alone; a weight without a gradient waits.

    Attributes:
        least_rows: how many rows a batch needs at least, say 2 for a loss on pairs.
        row_multiple: what the rows of a batch should divide by, say 2 for a loss on packs of two; ``fit``
            leaves out what is over at the end of an epoch.
        is_game: whether it is one, of players who each have a loss of their own.
        turns: who moves at each step, again and again, as ``("critic",) * 5 + ("generator",)``.
        turn: whose move it is, one of ``turns``; set before each step.
        summed: buffers that ``forward`` adds to over the parts of a batch; they are added up over processes
            before :meth:`after_step`, which uses them and sets them to 0.

    What moves once a step may lie in any module inside the objective, as a codebook or a prior: a module of
    any class with an ``after_step`` has it called once a step, inner modules before outer ones, and its
    ``summed``, where it has one, is added up before. It is called where ``forward`` has added nothing, too.
    """

    least_rows = 1
    row_multiple = 1
    is_game = False
    turns: tuple[str, ...] = ("",)
    turn: str = ""
    summed: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return a scalar loss per datum and the named, detached terms to log."""

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Return what the best weights have least of, from the means of ``loss`` and the terms: the loss.

        None says that nothing tells how good weights are, as in a game: then the last ones are kept.
        """
        return terms["loss"]

    def after_step(self) -> None:
        """Move what moves once a step and has no gradient: codebooks, averages of weights."""


def weights_dtype(module: nn.Module) -> torch.dtype | None:
    """Return the type of a module's weights, or buffers where it has none, that are real numbers."""
    tensors = (*module.parameters(), *module.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), None)


def takes_missing(module: nn.Module) -> bool:
    """Say whether a part of a module has a law of data that leaves out what is missing, NaN."""
    return any(getattr(part, "takes_missing", False) for part in module.modules())


class Estimate(NamedTuple):
    """A number estimated from a sample, with its standard error."""

    value: float
    stderr: float


class Transition(NamedTuple):
    r"""A Markov transition on a batch of chains; tuning is never in its state.

    ``init`` maps positions (\*chains, dim) to a state; ``step`` moves every chain once and returns the new
    state and an info, both NamedTuples of tensors. A state has the fields ``position`` and ``log_prob``, an
    info at least ``acceptance``: the probability, in [0, 1], with which each chain's proposal was accepted.
    """

    init: Callable[[Tensor], Any]
    step: Callable[[Any, torch.Generator], tuple[Any, Any]]


def _latent_sites(trace: Any, name_of_pair: str, rows: int) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the laws of the continuous latent sites, and the names of those that are summed out."""
    laws = {name: site["fn"] for name, site in sample_sites(trace).items() if not site["is_observed"]}
    discrete = frozenset(name for name, law in laws.items() if law.support.is_discrete)
    latent = {name: law for name, law in laws.items() if name not in discrete}
    if not latent:
        raise ValueError(
            f"{name_of_pair}.model should have a continuous latent site for a density to walk on but has "
            + (f"{sorted(discrete)} alone, which log_likelihood sums out" if discrete else "none")
        )
    for name in discrete:
        check_enumerable(name, laws[name])
    for name, law in latent.items():
        if law.batch_shape != (rows,):
            raise ValueError(
                f"site {name!r} should have batch shape ({rows},), one law per row of x, "
                f"but has {tuple(law.batch_shape)}; of a site that all rows share Density.from_model knows "
                "the posterior"
            )
        refuse_atoms(law, f"site {name!r}")
    return latent, discrete
