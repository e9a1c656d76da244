"""What samplers draw from: a log-density on a support."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import Transform, identity_transform

from probgen.core.density.at_positions import log_prob_at
from probgen.core.density.bijectors import at_ends, bijector_of, innermost
from probgen.core.density.evaluation_counts import COUNT
from probgen.core.density.mapped import tolerant
from probgen.core.density.normal_scores import refuse_atoms
from probgen.core.density.whole_number_cells import Cells
from probgen.core.randomness import seeded
from probgen.core.supports import support_of

if TYPE_CHECKING:
    from probgen.core.density.model_density import ModelDensity


class Density:
    r"""A log-density, maybe unnormalised, that samplers draw from.

    ``log_prob`` maps a value of shape (\*sample, \*batch_shape, \*event_shape) to (\*sample, \*batch_shape).
    A batch is a family of independent targets, one chain of each moving at a time. With several sites
    (``support`` and ``event_shape`` as mappings from name), ``log_prob`` takes a mapping of values instead.

    Samplers walk on the unconstrained scale: a *position* of shape (\*sample, \*batch_shape, dim) is the
    concatenation, site by site, of T⁻¹(x), where T maps onto the support; its log-density is
    log p(T(u)) + log |det ∂T/∂u|. Values round next to an end of the support, positions do not: laws whose
    log-density is known at positions are right to the end, of others :meth:`at_ends` tells which draws may
    not be. Whole numbers are int64, in ``log_prob`` and in the draws; a position is
    anywhere in the cell of length 1 around its number, with the number's log-density, so that a walk on the
    line is right for them too.

    Args:
        log_prob: the log-density up to a constant, on the constrained scale.
        support: the constraint that values satisfy; gives the bijector. Whole numbers are ``boolean``,
            ``integer``, ``integer_interval``, ``nonnegative_integer`` or the like.
        event_shape: shape of one value.
        batch_shape: shape of the family of targets.
        name: the site's name in the draws, where there is one site.
        dtype, device: of the positions; torch's defaults where not given.

    Attributes:
        cells: where the cells of whole numbers begin and end, \*batch_shape x dim each, NaN for continuous
            coordinates; None where all are continuous.

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
        if self.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"positions should be torch.float32 or torch.float64, with digits enough for chains to move, "
                f"but are {self.dtype}: give such a dtype, or parameters of one, and convert in log_prob"
            )
        self.device = torch.get_default_device() if device is None else torch.device(device)
        self._transforms: dict[str, Transform] = {
            site: _bijector(site, constraint) for site, constraint in supports.items()
        }
        self._inner_shapes = {
            site: torch.Size(self._transforms[site].inverse_shape(shape))
            for site, shape in self.shapes.items()
        }
        self._law: Distribution | None = None
        """The law, where its log-density is known at positions, at which values may have been rounded."""
        self.cells = self._cells() if any(isinstance(t, Cells) for t in self._transforms.values()) else None

    @classmethod
    def from_distribution(cls, law: Distribution, *, name: str = "x") -> Density:
        """Return the density of a torch or Pyro distribution, its parameters' dtype and device kept."""
        refuse_atoms(law, f"the target {name!r}")
        support = support_of(law)
        try:
            with seeded(0):  # of its dtype and device alone
                draw = drawn(law)
            with contextlib.suppress(ValueError):  # of a draw that rounding took out of the support
                law.log_prob(draw)
        except NotImplementedError:
            raise ValueError(
                f"{type(law).__name__} should have draws and a log_prob but lacks one of them: give Density "
                f"a log_prob of your own"
            ) from None
        log_prob, dtype = law.log_prob, draw.dtype
        if support.is_discrete:
            log_prob, dtype = (lambda value: law.log_prob(value.to(draw.dtype))), law.log_prob(draw).dtype
        density = cls(
            log_prob,
            support=support,
            event_shape=law.event_shape,
            batch_shape=law.batch_shape,
            name=name,
            dtype=dtype,
            device=draw.device,
        )
        if not support.is_discrete and log_prob_at(law, density._transforms[name].inv(draw)) is not None:
            density._law = law
        return density

    @classmethod
    def from_model(cls, model: Callable[..., Any], *args: Any, **kwargs: Any) -> ModelDensity:
        r"""Return the density log p(z, y) of a Pyro model with data y, in its continuous latent sites z.

        The model is written for one z, in any way: plates, matrix products, several latent sites, supports
        that depend on other sites, improper priors. Many chains are evaluated in one run by ``torch.vmap``,
        which is checked against single runs; where it fails, the model is run chain by chain, with a warning
        in the log. Discrete latent sites with finitely many values are summed out by Pyro's enumeration. The
        density also knows ``observed``, ``log_likelihood``, ``predict``, ``simulate`` and ``derived``.

        Args:
            model: a function or module with ``pyro.sample``; a module is run in evaluation mode. Positions
                have the dtype and device that its priors draw in, and its data where priors are improper; a
                wider dtype where the log-density has one, as for float64 data, and the model can run in it.
            args, kwargs: what the model is called with; the data are what it observes.

        Raises:
            ValueError: for a model without continuous latent sites, a site with infinitely many discrete
                values or a support that the real line cannot be mapped to, a sub-sampled plate, a latent site
                masked in part, or sites, shapes or log-probabilities that differ from run to run.

        >>> import pyro, pyro.distributions as dist
        >>> def coin(heads):
        ...     p = pyro.sample("p", dist.Beta(1.0, 1.0))
        ...     with pyro.plate("tosses", len(heads)):
        ...         pyro.sample("heads", dist.Bernoulli(p), obs=heads)
        >>> density = Density.from_model(coin, torch.tensor([1.0, 1.0, 0.0]))
        >>> density.log_prob({"p": torch.tensor([0.5, 0.9])}).exp()
        tensor([0.1250, 0.0810])
        """
        from probgen.core.density.model_density import ModelDensity

        return ModelDensity(model, args, kwargs)

    def __repr__(self) -> str:
        several = self.support if isinstance(self.support, Mapping) else {self.names[0]: self.support}
        sites = [f"{site}: {tuple(self.shapes[site])} on {several[site]}" for site in self.names]
        family = [f"batch_shape={tuple(self.batch_shape)}"] if self.batch_shape else []
        return f"{type(self).__name__}({', '.join([*sites, *self._about(), *family])})"

    def _about(self) -> list[str]:
        """Return what is to be said of the density beside its sites."""
        return []

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sites, in the order in which a position holds them."""
        return tuple(self.shapes)

    @property
    def dim(self) -> int:
        """The number of unconstrained coordinates of one position."""
        return sum(self.dims.values())

    @property
    def dims(self) -> dict[str, int]:
        """The number of unconstrained coordinates of each site."""
        return {site: shape.numel() for site, shape in self._inner_shapes.items()}

    def constrain(self, position: Tensor) -> dict[str, Tensor]:
        r"""Map positions (\*sample, \*batch_shape, dim) to named values on the constrained scale."""
        return {site: self._transforms[site](inner) for site, inner in self._split(position).items()}

    def unconstrain(self, values: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Map a value (or named values) to positions: the inverse of :meth:`constrain`."""
        named = values if isinstance(values, Mapping) else dict.fromkeys(self.names, values)
        parts = []
        for site, shape in self.shapes.items():
            leading = named[site].shape[: named[site].dim() - len(shape)]
            part = self._transforms[site].inv(named[site]).reshape(*leading, -1)
            parts.append(part.to(self.dtype) if isinstance(self._transforms[site], Cells) else part)
        return torch.cat(parts, -1)

    def unconstrained_log_prob(self, position: Tensor) -> Tensor:
        r"""Return log p(T(u)) + log |det ∂T/∂u| at positions u, shape (\*sample, \*batch_shape).

        They are counted (:func:`probgen.core.evaluations`), once where the log-density is made of another's.
        """
        leading, before = position.shape[:-1], COUNT.log_probs
        outside = None
        if self.cells is not None:
            first, last = self.cells
            beyond = (position < first) | (position >= last)
            position, outside = torch.where(beyond, first + 0.5, position), beyond.any(-1)
        values, log_volume = self._with_volume(position)
        log_prob = self._log_prob_at(position, values)
        _check_returned(log_prob, leading)
        if COUNT.log_probs == before:
            COUNT.log_probs += leading.numel()
        log_prob = log_prob + log_volume
        return log_prob if outside is None else torch.where(outside, -torch.inf, log_prob)

    def log_volume(self, position: Tensor) -> Tensor:
        r"""Return log |det ∂T/∂u| at positions u, shape (\*sample, \*batch_shape)."""
        return self._with_volume(position)[1]

    def at_ends(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        r"""Say by site which values are at an end of the support, where rounding hides what lies beyond.

        Sites whose log-density is known at positions are left out, and those without ends.

        Args:
            values: by site, (\*sample, \*batch_shape, \*event_shape).

        Returns:
            by site, (\*sample, \*batch_shape).
        """
        with tolerant():
            return {
                site: self._at_end(site, x)
                for site, x in values.items()
                if site in self.shapes and self._rounds(site)
            }

    def _at_end(self, site: str, x: Tensor) -> Tensor:
        leading = x.shape[: x.dim() - len(self.shapes[site])]
        return at_ends(self._transforms[site], x).reshape(*leading, -1).any(-1)

    def _rounds(self, site: str) -> bool:
        """Say whether the log-density sees a site by values that an end of the support rounds."""
        transform = innermost(self._transforms[site])
        return self._law is None and not isinstance(transform, Cells) and transform is not identity_transform

    def _log_prob_at(self, position: Tensor, values: dict[str, Tensor]) -> Tensor:
        (first, *_) = self.names
        if self._law is not None:
            return cast(Tensor, log_prob_at(self._law, self._split(position)[first]))
        return self.log_prob(values if self._several else values[first])

    def _with_volume(self, position: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        values: dict[str, Tensor] = {}
        log_volume = position.new_zeros(position.shape[:-1])
        for site, inner in self._split(position).items():
            values[site] = self._transforms[site](inner)
            volume = self._transforms[site].log_abs_det_jacobian(inner, values[site])
            log_volume = log_volume + volume.reshape(*log_volume.shape, -1).sum(-1)
        return values, log_volume

    def _cells(self) -> tuple[Tensor, Tensor]:
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        for site, shape in self._inner_shapes.items():
            transform = self._transforms[site]
            ends = transform.ends() if isinstance(transform, Cells) else (torch.tensor(torch.nan),) * 2
            for part, end in zip(parts, ends, strict=True):
                everywhere = end.to(self.device).expand((*self.batch_shape, *shape))
                part.append(everywhere.reshape(*self.batch_shape, -1))
        first, last = (torch.cat(part, -1).to(self.dtype) for part in parts)
        return first, last

    def _split(self, position: Tensor) -> dict[str, Tensor]:
        if position.shape[-1] != self.dim:
            raise ValueError(f"a position should have {self.dim} coordinates but has {position.shape[-1]}")
        parts = position.split(list(self.dims.values()), -1)
        return {
            site: part.reshape((*position.shape[:-1], *shape))
            for (site, shape), part in zip(self._inner_shapes.items(), parts, strict=True)
        }


def drawn(law: Distribution) -> Tensor:
    """Return a draw, without torch's warning of singular matrices, which its Wishart laws always give."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Singular sample detected")
        return law.sample()


def _bijector(site: str, support: Constraint) -> Transform:
    """Return the map from the real line to the support of a site."""
    if support.is_discrete:
        return Cells(support)
    try:
        return bijector_of(support)
    except NotImplementedError:
        raise ValueError(
            f"site {site!r} should have a support that the real line can be mapped to but has {support}: "
            f"write it in other variables, such as angles or factors"
        ) from None


def _check_returned(log_prob: Any, shape: torch.Size) -> None:
    if not isinstance(log_prob, Tensor):
        raise TypeError(
            f"log_prob should return a tensor of shape {tuple(shape)}, a number for each value, but returned "
            f"a {type(log_prob).__name__}: compute it by operations of torch"
        )
    if log_prob.is_complex() or log_prob.dtype in (torch.float16, torch.bfloat16):
        raise TypeError(
            f"log_prob should return numbers of torch.float32 or torch.float64 but returned "
            f"{log_prob.dtype}: convert before terms are summed, which are large beside their differences"
        )
    if log_prob.shape != shape:
        raise ValueError(
            f"log_prob should return shape {tuple(shape)} but returned {tuple(log_prob.shape)}: a number for "
            f"each value, summed over the event alone"
        )
