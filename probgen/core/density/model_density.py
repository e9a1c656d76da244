"""The density of a Pyro model with data."""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.utils._pytree import tree_map

from probgen.core.density.at_positions import log_prob_at
from probgen.core.density.bijectors import Logistic, innermost
from probgen.core.density.density import Density
from probgen.core.density.evaluation_counts import count_evaluations
from probgen.core.density.mapped import Named, Values, mapped, tolerant
from probgen.core.density.stories import Start, Story
from probgen.core.density.why_one_by_one import line_and_cure
from probgen.core.randomness import seed_of, seeded
from probgen.core.supports import support_of
from probgen.core.traces import is_data, is_derived, sample_sites

logger = logging.getLogger("probgen")

_STARTS = 4
_LOOKED_AT, _SLOPE = 8, 0.05
"""Draws at an end that are looked at, and the change of log-density, over 3, from which it is the rest's."""
_ELEMENTS = 2**24
"""Observed numbers in one pass over many draws: bounds memory, not the result."""


class ModelDensity(Density):
    r"""log p(z, y) of a Pyro model with data y, as a function of its continuous latent sites z.

    It is made by :meth:`Density.from_model`, whose rules hold.

    Args:
        model, args, kwargs: the model and what it is called with.
        data: observations instead of the model's own, by site, (n, \*shape): a family of n posteriors.

    Attributes:
        observed: the data y by site, for a family with the rows of ``data``.
        derived_names: the sites of ``pyro.deterministic``, where they do not hang on a discrete site.
        enumerates: whether discrete sites are summed out.
        vectorised: whether one run of the model evaluates all chains.

    A site whose law is known by its quantile function alone has its normal score for a position: x = Q(Φ(z)).
    """

    def __init__(
        self,
        model: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        data: Values | None = None,
    ) -> None:
        self._given = (model, args, dict(kwargs or {}))
        self._story = Story(*self._given)
        self._data = dict(data or {})
        rows = [len(value) for value in self._data.values()][:1]
        # A few runs of the story tell its sites, and which of them have laws that others move.
        starts = self._started()
        first, sites = starts[0], sample_sites(starts[0].trace)
        self._dependent = _dependent(starts) | self._story.scored
        laws = {name: sites[name]["fn"] for name in first.values}
        super().__init__(
            self._log_joint,
            support={
                name: constraints.independent(constraints.real, len(law.shape()))
                if name in self._dependent
                else support_of(law)
                for name, law in laws.items()
            },
            event_shape={name: law.shape() for name, law in laws.items()},
            batch_shape=rows,
            dtype=self._widest(first),
            device=next(iter(first.values.values())).device,
        )
        # Sites whose log-density is known at positions, which have digits where values have none.
        placed = {n: log_prob_at(law, first.positions[n]) is not None for n, law in laws.items()}
        self._placed = frozenset(name for name, known in placed.items() if known)
        self.enumerates = self._story.enumerates
        observed = {n: site["value"] for n, site in sites.items() if n not in laws and is_data(site)}
        self.observed = observed | self._data
        self.vectorised = self._is_vectorised(starts)
        self._chunk = max(1, _ELEMENTS // max(1, sum(value.numel() for value in self.observed.values())))
        derived = {name: site["value"] for name, site in sites.items() if is_derived(site)}
        with tolerant():
            found = self._story.derived(first.values, self._row(0)) if derived else {}
        self.derived_names = tuple(n for n, value in derived.items() if found[n].shape == value.shape)

    def _about(self) -> list[str]:
        return [f"given {site}: {tuple(value.shape)}" for site, value in self.observed.items()]

    def constrain(self, position: Tensor) -> Named:
        if not self._dependent:
            return super().constrain(position)
        return self._each(self._story.values_at, self._split(position), self._inner_shapes, self._chunk)

    def unconstrain(self, values: Tensor | Values) -> Tensor:
        if not self._dependent:
            return super().unconstrain(values)
        named = values if isinstance(values, Mapping) else dict.fromkeys(self.names, values)
        named = {name: named[name] for name in self.names}
        positions = self._each(self._story.positions_of, named, self.shapes, self._chunk)
        return torch.cat([positions[name].reshape(*self._leading(named), -1) for name in self.names], -1)

    def unconstrained_log_prob(self, position: Tensor) -> Tensor:
        if not self._dependent and not self._placed:
            return super().unconstrained_log_prob(position)
        count_evaluations(position.shape[:-1].numel())
        return self._each(self._story.log_joint_at, self._split(position), self._inner_shapes)

    def log_volume(self, position: Tensor) -> Tensor:
        if not self._dependent:
            return super().log_volume(position)
        return self.unconstrained_log_prob(position) - self.log_prob(self.constrain(position))

    def derived(self, values: Values) -> Named:
        r"""Return what ``pyro.deterministic`` names, at named values (\*sample, \*batch_shape, \*shape)."""
        found = self._each(self._story.derived, values, self.shapes, self._chunk)
        return {name: found[name] for name in self.derived_names}

    def log_likelihood(self, values: Values) -> Named:
        r"""Return the log-probability of each observation, by site, (\*sample, \*batch_shape, \*plates).

        Raises:
            ValueError: where discrete sites are summed out.
        """
        self._refuse_enumeration("the log-likelihood of each observation")
        return self._each(self._story.log_likelihood, values, self.shapes, self._chunk)

    def log_prior(self, values: Values) -> Named:
        r"""Return by site the log-prior of values given those before, (\*sample, \*batch_shape, \*plates).

        Raises:
            ValueError: where discrete sites are summed out.
        """
        self._refuse_enumeration("the log-prior of each site")
        return self._each(self._story.log_prior, values, self.shapes, self._chunk)

    def predict(
        self, values: Values, *, seed: int | None = None, generator: torch.Generator | None = None
    ) -> Named:
        r"""Draw new observations given latent values, by site, (\*sample, \*batch_shape, \*shape).

        Raises:
            ValueError: where discrete sites are summed out.
        """
        self._refuse_enumeration("the law of new observations")
        with seeded(seed_of(seed, generator)):
            return self._each(
                lambda given, _: self._story.simulated(given)[1], values, self.shapes, self._chunk, draws=True
            )

    def simulate(
        self, n: int, *, seed: int | None = None, generator: torch.Generator | None = None
    ) -> tuple[Named, Named]:
        r"""Draw n times from p(z, y): latent values and observations, by site, (n, \*shape).

        Raises:
            ValueError: where a site has an improper prior.
        """

        def draw(*_: Values) -> tuple[Named, Named]:
            values, data = self._story.simulated({})
            return {name: values[name] for name in self.names}, data

        numbers = {"": torch.zeros(n, device=self.device)}
        with seeded(seed_of(seed, generator)):
            try:
                return mapped(draw, numbers, {}, 1, self.vectorised, self._chunk, draws=True)
            except NotImplementedError:
                raise ValueError(
                    "every site should have a proper prior to draw from, but not all have"
                ) from None

    def prior_positions(self, n: int, *, seed: int | None = None) -> Tensor:
        r"""Draw n positions of the latent sites from their priors, (n, dim), not looking at the data.

        A site with an improper prior has a standard normal position.
        """
        data = self._row(0) if self.batch_shape else {}
        numbers = {"": torch.zeros(n, device=self.device)}
        with seeded(seed):
            drawn = mapped(
                lambda *_: self._story.prior(data), numbers, {}, 1, self.vectorised, self._chunk, draws=True
            )
        return torch.cat([drawn[name].reshape(n, -1).to(self.dtype) for name in self.names], -1)

    def fault_at(self, position: Tensor, row: int = 0) -> str | None:
        r"""Name the first site that is not finite at one position (dim,), and what of it; None where all are.

        Args:
            position: on the unconstrained scale.
            row: which member of a family.
        """
        with tolerant(), torch.no_grad():
            return self._story.fault_at(self._split(position), self._row(row) if self.batch_shape else {})

    def given(self, data: Values) -> ModelDensity:
        r"""Return the family of posteriors of n data sets, by site, (n, \*shape): its batch shape is (n,)."""
        return ModelDensity(*self._given, data=data)

    def at_ends(self, values: Values) -> Named:
        """As for any density; of a site known at positions, where the rest of the model still changes there.

        Between two pairs of positions, this side of the end and beyond, the law's own slope is the same, and
        what differs is the slope of a factor or a likelihood, which sees the values alone.
        """
        found = super().at_ends(values)
        if self.batch_shape or not self.shapes.keys() <= values.keys():
            return found
        for site in self._placed - self._dependent:
            if not isinstance(innermost(self._transforms[site]), Logistic):
                continue
            flags = self._at_end(site, values[site])
            if flags.any() and self._changes_beyond(
                site, {n: values[n][flags][:_LOOKED_AT] for n in self.names}
            ):
                found[site] = flags
        return found

    @torch.no_grad()
    def _changes_beyond(self, site: str, values: Values) -> bool:
        """Say of a few values at an end whether more than the law of their site changes there."""
        position = self.unconstrain(values)
        own = dict(zip(self.names, position.split(list(self.dims.values()), -1), strict=True))[site]
        start = list(itertools.accumulate(self.dims.values(), initial=0))[self.names.index(site)]
        place = start + own.abs().argmax(-1, keepdim=True)
        end = position.gather(-1, place)
        far_in, near, beyond, far = (
            self.unconstrained_log_prob(position.scatter(-1, place, end + step * end.sign()))
            for step in (-6.0, -3.0, 3.0, 6.0)
        )
        return bool((((near - far_in) - (far - beyond)).abs() > _SLOPE).any())

    def _rounds(self, site: str) -> bool:
        return site not in self._placed and super()._rounds(site)

    def _log_joint(self, values: Values) -> Tensor:
        return self._each(self._story.log_joint, values, self.shapes)

    def _each(
        self,
        function: Callable[..., Any],
        values: Values,
        shapes: Mapping[str, torch.Size],
        chunk: int | None = None,
        draws: bool = False,
    ) -> Any:
        """Apply a function of one draw's values, and of the data, to every draw of every member."""
        first = next(iter(values))
        leading = values[first].shape[: values[first].dim() - len(shapes[first])]
        batch = len(self.batch_shape)
        rows = (leading[: len(leading) - batch].numel(), *self.batch_shape)
        flat = {name: values[name].reshape(rows + shape) for name, shape in shapes.items()}
        result = mapped(function, flat, self._data, 1 + batch, self.vectorised, chunk, draws)
        return tree_map(lambda x: x.reshape((*leading, *x.shape[1 + batch :])), result)

    def _leading(self, values: Values) -> torch.Size:
        name = self.names[0]
        return values[name].shape[: values[name].dim() - len(self.shapes[name])]

    def _refuse_enumeration(self, what: str) -> None:
        if self.enumerates:
            raise ValueError(f"{what} is not known where discrete sites are summed out")

    def _row(self, index: int) -> Named:
        return {name: value[index] for name, value in self._data.items()}

    def _started(self) -> list[Start]:
        """Run the model from a few places, and from the first once more with gradients."""
        with seeded(0), tolerant():
            with torch.no_grad():
                starts = [self._story.start(self._row(-(i % 2))) for i in range(_STARTS)]
            with torch.enable_grad():
                starts.append(self._story.start(self._row(0), gradients=True))
        shapes = [{name: value.shape for name, value in start.values.items()} for start in starts]
        for other in shapes[1:]:
            for name in shapes[0].keys() ^ other.keys():
                raise ValueError(f"site {name!r} should be in every run of the model but is not")
            for name, shape in other.items():
                if shape != shapes[0][name]:
                    raise ValueError(
                        f"site {name!r} should have the same shape in every run of the model but has "
                        f"{tuple(shapes[0][name])} and {tuple(shape)}"
                    )
        return starts

    @torch.no_grad()
    def _widest(self, start: Start) -> torch.dtype:
        """Return the dtype of the priors' draws, or that of the log-density where it is wider.

        Data of float64 under priors of float32 so have positions that can tell as many places apart as they
        do; a model that runs in the priors' dtype alone, as with a matrix of float32, keeps that.
        """
        own = functools.reduce(torch.promote_types, (x.dtype for x in start.values.values()))
        positions, data = {n: x.detach().to(own) for n, x in start.positions.items()}, self._row(0)
        with tolerant():
            wide = torch.promote_types(own, self._story.log_joint_at(positions, data).dtype)
            if wide != own:
                try:
                    self._story.log_joint_at({n: x.to(wide) for n, x in positions.items()}, data)
                except RuntimeError as error:
                    reason = str(error).splitlines()[0]
                    logger.info(f"positions are {own} though the log-density is {wide}: {reason}")
                    return own
        return wide

    @torch.no_grad()
    def _is_vectorised(self, starts: Sequence[Start]) -> bool:
        """Say whether vmap gives what single runs give."""
        batch = len(self.batch_shape)
        data = {name: value[[0, -1]] for name, value in self._data.items()}
        # Few positions, with the first and the last datum: one by one, twice, and together under vmap.
        positions = {
            name: torch.stack([start.positions[name].detach().to(self.dtype) for start in starts])
            for name in self.names
        }
        if batch:
            positions = {name: torch.stack([value] * 2, 1) for name, value in positions.items()}

        def log_prob(vectorised: bool) -> Tensor:
            return mapped(self._story.log_joint_at, positions, data, 1 + batch, vectorised)

        singly = log_prob(False)
        if not torch.equal(singly.nan_to_num(), log_prob(False).nan_to_num()):
            raise ValueError(
                "the model should give the same values the same log-probability in every run but does not"
            )
        try:
            together = log_prob(True)
        except Exception as error:
            why = line_and_cure(error)
        else:
            tolerance = math.sqrt(torch.finfo(singly.dtype).eps)
            if torch.allclose(together, singly, rtol=tolerance, atol=tolerance, equal_nan=True):
                return True
            why = f"log_prob is {together.flatten()[0]:.6g} for all, {singly.flatten()[0]:.6g} for one"
        logger.warning(f"the model is run for one chain at a time, which is slow, since vmap fails ({why})")
        return False


def _dependent(starts: Sequence[Start]) -> frozenset[str]:
    """Return the sites whose support is not the same in every run."""
    names = set()
    for name, position in starts[0].positions.items():
        ends = [start.transforms[name](torch.full_like(position, 0.5)) for start in starts]
        if ends[-1].requires_grad or any(not torch.equal(end, ends[0]) for end in ends[1:]):
            names.add(name)
    return frozenset(names)
