"""The contracts on which every room stands.

A *conditional* is a module that returns a distribution: prior, encoder and decoder are one thing.
A *generative model* is anything that can be sampled; a *pair* adds a guide q(z | x) to a model p(z, x).
A *density* is what Markov samplers draw from, a *transition* is how they move, and an *objective* is what
:func:`probgen.fit` minimises.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.distributions.util import scale_and_mask
from torch import Tensor, nn
from torch.distributions import Distribution, MixtureSameFamily, biject_to, constraints
from torch.distributions.constraints import Constraint

Terms = dict[str, Tensor]
"""Named, detached scalars that an objective reports beside its loss: reconstruction, kl, mmd2, ..."""


class Conditional(Protocol):
    """A module that returns a distribution: a prior (no context), an encoder or a decoder."""

    def __call__(self, *context: Tensor) -> Distribution: ...


class GenerativeModel(nn.Module, ABC):
    """Anything that can be sampled: a VAE, a moment-matching network, a GAN, a flow."""

    @abstractmethod
    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        r"""Tell the generative story in Pyro and return x.

        With ``x``, shape (n, \*event), the story is scored on it; without, ``n`` new x are drawn.
        """

    @torch.no_grad()
    def sample(self, n: int, *context: Tensor, seed: int | None = None) -> Tensor:
        r"""Draw ``n`` new x, shape (n, \*event), without gradient.

        The same ``seed`` gives the same bits and leaves torch's global random state as it was.
        """
        if n < 1:
            raise ValueError(f"n should be at least 1 but got {n}")
        with seeded(seed):
            return self.model(None, *context, n=n)


class Pair(GenerativeModel):
    """A model p(z, x) and a guide q(z | x): same arguments, same plates, side by side in one file.

    The data points stand in one plate, ``pyro.plate("data", n)``, at dimension -1.
    """

    @abstractmethod
    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Any:
        """Approximate the posterior, q(z | x), in Pyro."""

    def posterior(self, x: Tensor, *context: Tensor) -> Density:
        r"""Return log p(z, x) as a function of z: a target for any Markov sampler.

        The rows of ``x``, shape (n, \*event), are independent data points, so the density has
        ``batch_shape`` (n,): a sampler runs its chains for all of them at once. The model is run in
        evaluation mode.
        """
        rows = len(x)
        with evaluating(self):
            trace = poutine.trace(self.model).get_trace(x, *context)
        latent, nesting = _latent_sites(trace, type(self).__name__, rows), plate_nesting(trace)

        def left_of_plates(name: str, value: Tensor) -> Tensor:
            shape = value.shape[: value.dim() - 1 - len(latent[name].event_shape)]
            return value.reshape(*shape, *[1] * (nesting - 1), *value.shape[len(shape) :])

        def log_joint(values: Mapping[str, Tensor]) -> Tensor:
            data = {name: left_of_plates(name, value) for name, value in values.items()}
            with evaluating(self):
                joint = poutine.trace(poutine.condition(self.model, data=data)).get_trace(x, *context)
            return log_joint_prob(joint, rows, nesting=nesting)

        supports = {name: law.support for name, law in latent.items()}
        shapes = {name: law.event_shape for name, law in latent.items()}
        where: dict[str, Any] = {"batch_shape": x.shape[:1], "dtype": x.dtype, "device": x.device}
        if len(latent) > 1:
            return Density(log_joint, support=supports, event_shape=shapes, **where)
        (name,) = latent
        return Density(
            lambda z: log_joint({name: z}),
            support=supports[name],
            event_shape=shapes[name],
            name=name,
            **where,
        )


class Density:
    r"""A log-density, maybe unnormalised, that samplers draw from.

    ``log_prob`` maps a value of shape (\*sample, \*batch_shape, \*event_shape) to (\*sample, \*batch_shape).
    A batch is a family of independent targets, one chain of each moving at a time. With several sites
    (``support`` and ``event_shape`` as mappings from name), ``log_prob`` takes a mapping of values instead.

    Samplers walk on the unconstrained scale: a *position* of shape (\*sample, \*batch_shape, dim) is the
    concatenation, site by site, of T⁻¹(x), where T is ``biject_to(support)``; its log-density is
    log p(T(u)) + log |det ∂T/∂u|.

    Args:
        log_prob: the log-density up to a constant, on the constrained scale.
        support: the constraint that values satisfy; gives the bijector.
        event_shape: shape of one value.
        batch_shape: shape of the family of targets.
        name: the site's name in the draws, where there is one site.
        dtype, device: of the positions; torch's defaults where not given.

    >>> half_normal = Density(lambda x: -0.5 * x**2, support=constraints.positive)
    >>> half_normal.constrain(torch.zeros(3, half_normal.dim))
    {'x': tensor([1., 1., 1.])}
    """

    def __init__(
        self,
        log_prob: Callable[[Any], Tensor],
        *,
        support: Constraint | Mapping[str, Constraint] = constraints.real,
        event_shape: Sequence[int] | Mapping[str, Sequence[int]] = (),
        batch_shape: Sequence[int] = (),
        name: str = "x",
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if isinstance(support, Mapping) != isinstance(event_shape, Mapping):
            raise TypeError("support and event_shape should both be mappings from site name, or neither")
        self._several = isinstance(support, Mapping)
        supports = dict(support) if isinstance(support, Mapping) else {name: support}
        shapes = dict(event_shape) if isinstance(event_shape, Mapping) else {name: event_shape}
        if supports.keys() != shapes.keys():
            raise ValueError(f"support names the sites {list(supports)} but event_shape {list(shapes)}")
        self.log_prob = log_prob
        self.support = support
        self.batch_shape = torch.Size(batch_shape)
        self.shapes = {site: torch.Size(shape) for site, shape in shapes.items()}
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        self.device = torch.get_default_device() if device is None else torch.device(device)
        self._transforms = {site: biject_to(constraint) for site, constraint in supports.items()}
        self._inner_shapes = {
            site: torch.Size(self._transforms[site].inverse_shape(shape))
            for site, shape in self.shapes.items()
        }

    @classmethod
    def from_distribution(cls, law: Distribution, *, name: str = "x") -> Density:
        """Return the density of a torch or Pyro distribution, its parameters' dtype and device kept."""
        component = law.component_distribution if isinstance(law, MixtureSameFamily) else law
        if component.support is None:
            raise ValueError(f"{type(law).__name__} should have a support but has none")
        draw = law.sample()
        return cls(
            law.log_prob,
            support=component.support,
            event_shape=law.event_shape,
            batch_shape=law.batch_shape,
            name=name,
            dtype=draw.dtype,
            device=draw.device,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sites, in the order in which a position holds them."""
        return tuple(self.shapes)

    @property
    def dim(self) -> int:
        """The number of unconstrained coordinates of one position."""
        return sum(shape.numel() for shape in self._inner_shapes.values())

    def constrain(self, position: Tensor) -> dict[str, Tensor]:
        r"""Map positions (\*sample, \*batch_shape, dim) to named values on the constrained scale."""
        return {site: self._transforms[site](inner) for site, inner in self._split(position).items()}

    def unconstrain(self, values: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Map a value (or named values) to positions: the inverse of :meth:`constrain`."""
        named = values if isinstance(values, Mapping) else dict.fromkeys(self.names, values)
        parts = []
        for site, shape in self.shapes.items():
            leading = named[site].shape[: named[site].dim() - len(shape)]
            parts.append(self._transforms[site].inv(named[site]).reshape(*leading, -1))
        return torch.cat(parts, -1)

    def unconstrained_log_prob(self, position: Tensor) -> Tensor:
        r"""Return log p(T(u)) + log |det ∂T/∂u| at positions u, shape (\*sample, \*batch_shape)."""
        leading = position.shape[:-1]
        values: dict[str, Tensor] = {}
        log_volume = position.new_zeros(leading)
        for site, inner in self._split(position).items():
            values[site] = self._transforms[site](inner)
            volume = self._transforms[site].log_abs_det_jacobian(inner, values[site])
            log_volume = log_volume + volume.reshape(*leading, -1).sum(-1)
        log_prob = self.log_prob(values if self._several else values[self.names[0]])
        if log_prob.shape != leading:
            raise ValueError(
                f"log_prob should return shape {tuple(leading)} but returned {tuple(log_prob.shape)}"
            )
        return log_prob + log_volume

    def _split(self, position: Tensor) -> dict[str, Tensor]:
        if position.shape[-1] != self.dim:
            raise ValueError(f"a position should have {self.dim} coordinates but has {position.shape[-1]}")
        parts = position.split([shape.numel() for shape in self._inner_shapes.values()], -1)
        return {
            site: part.reshape(*position.shape[:-1], *shape)
            for (site, shape), part in zip(self._inner_shapes.items(), parts, strict=True)
        }


class Objective(nn.Module, ABC):
    """What :func:`probgen.fit` minimises: a module whose forward pass is the loss."""

    @abstractmethod
    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return a scalar loss per datum and the named, detached terms to log."""

    def judge(self, terms: Mapping[str, float]) -> float:
        """Return what the best weights have least of, from the means of ``loss`` and the terms: the loss."""
        return terms["loss"]


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


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Draw from torch's global generators as seeded with ``seed``, then put their state back.

    With ``None`` the global generators are used as they stand.
    """
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, so that no dropout draws and no average moves, then back."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def sample_sites(trace: Any) -> dict[str, Any]:
    """Return the sites of a Pyro trace that have a log-probability, by name: all but the plates."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not poutine.util.site_is_subsample(site)
    }


def is_factor(site: Any) -> bool:
    """Say whether a site of a trace was made by ``pyro.factor``."""
    return isinstance(site["fn"], Unit)


def plate_nesting(trace: Any) -> int:
    """Return the number of batch dimensions in a trace, at least 1: those of its plates."""
    dims = [1]
    for site in sample_sites(trace).values():
        frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
        dims += [len(site["fn"].batch_shape), *(-frame.dim for frame in frames)]
    return max(dims)


def log_joint_prob(trace: Any, rows: int, *, nesting: int = 1, factors: bool = True) -> Tensor:
    r"""Return the log-probability of a Pyro trace for each datum, summed over its sites.

    Args:
        trace: of a model or a guide.
        rows, nesting: as in :func:`site_log_prob`, with its errors.
        factors: whether the sites of ``pyro.factor`` count.
    """
    sites = {
        name: site
        for name, site in sample_sites(trace).items()
        if not site["infer"].get("_deterministic") and (factors or not is_factor(site))
    }
    log_probs = (site_log_prob(name, site, rows, nesting=nesting) for name, site in sites.items())
    return torch.as_tensor(sum(log_probs))


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
    if log_prob.shape[-1:] != (rows,):
        raise ValueError(
            f"site {name!r} should stand in the plate of the data, with one log-probability for each of the "
            f"{rows} rows, but its log-probability has shape {tuple(log_prob.shape)}"
        )
    for frame in site["cond_indep_stack"]:
        if frame.dim != -1 and frame.full_size not in (None, frame.size):
            raise ValueError(
                f"plate {frame.name!r} should hold all of its {frame.full_size} elements to give the "
                f"probability of a datum, but is sub-sampled to {frame.size}"
            )
    inner = tuple(range(-min(nesting, log_prob.dim()), -1))
    return log_prob.sum(inner) if inner else log_prob


def _latent_sites(trace: Any, name_of_pair: str, rows: int) -> dict[str, Any]:
    latent = {name: site["fn"] for name, site in sample_sites(trace).items() if not site["is_observed"]}
    if not latent:
        raise ValueError(f"{name_of_pair}.model should have a latent site but has none")
    for name, law in latent.items():
        if law.batch_shape != (rows,):
            raise ValueError(
                f"site {name!r} should have batch shape ({rows},), one law per row of x, "
                f"but has {tuple(law.batch_shape)}"
            )
        if law.support.is_discrete:
            raise ValueError(
                f"site {name!r} should be continuous for a density to walk on but its support is discrete: "
                "sum it out in the model, as MixtureSameFamily does"
            )
    return latent
