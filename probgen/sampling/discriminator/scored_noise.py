"""A generator as a map of its noise, with the scores that a discriminator gives to what it makes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from probgen.core import (
    Density,
    GenerativeModel,
    is_derived,
    is_factor,
    sample_sites,
    seeded,
    tensor_of,
    weights_dtype,
)
from probgen.core.supports import support_of

Discriminator = Callable[..., Tensor]

_ROWS = 4096
"""Draws that go through the networks at a time, where no gradient is wanted."""


class ScoredNoise:
    r"""The noise z ~ p₀ of a generative model, x = G(z), and d(x): model and discriminator as they are now.

    Both are copied, in evaluation mode, so that training that goes on changes nothing here.

    Args:
        model: one whose data are a function of a single site, its noise.
        discriminator: from x of shape (n, \*event), and its context, to a logit each, (n,) or (n, 1).
        context: that of one draw, without a dimension of rows.

    Attributes:
        law: p₀, of batch shape (1,).

    Raises:
        TypeError, ValueError: for a model with other sites, or randomness beside its noise.
    """

    def __init__(
        self, model: GenerativeModel, discriminator: Discriminator, context: tuple[Any, ...]
    ) -> None:
        own = discriminator is getattr(model, "discriminator", None)
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        if own:
            self._discriminator: Discriminator = self._model.discriminator  # type: ignore[assignment]
        elif isinstance(discriminator, nn.Module):
            self._discriminator = copy.deepcopy(discriminator).eval().requires_grad_(False)
        else:
            self._discriminator = discriminator
        parts = [tensor_of(part, "context", dtype=weights_dtype(model)) for part in context]
        self._context = tuple(torch.as_tensor(part).unsqueeze(0) for part in parts)
        self.site, self.law = self._noise()
        with seeded(0):
            draws = self.draw(8)
            try:
                self.like, first = draws, self.made(draws)
            except RuntimeError as error:
                shapes = [tuple(part.shape) for part in parts]
                raise ValueError(
                    "context should be that of one draw, without a dimension of rows, but 8 draws cannot be "
                    f"made where it has shapes {shapes}: {str(error).splitlines()[0]}"
                ) from error
        with seeded(1):
            again = self.made(draws)
        if not torch.equal(first, again):
            raise ValueError(
                f"{type(model).__name__}'s data should be a function of its noise {self.site!r} but differ "
                "where it is the same: all that is random should be in that site"
            )
        self.scores(first)

    @torch.no_grad()
    def draw(self, n: int) -> Tensor:
        r"""Draw noise of the generator, (n, \*noise), from torch's global generator."""
        return self.law.expand((n,)).sample()

    def made(self, z: Tensor) -> Tensor:
        r"""Return G(z), (n, \*event), of noise (n, \*noise)."""
        if not torch.is_grad_enabled() and len(z) > _ROWS:
            return torch.cat([self.made(part) for part in z.split(_ROWS)])
        story = poutine.condition(self._model.model, data={self.site: z})
        return story(None, *self._rows(len(z)), n=len(z))

    def scores(self, x: Tensor) -> Tensor:
        """Return d(x), shape (n,)."""
        found = self._discriminator(x, *self._rows(len(x)))
        if not isinstance(found, Tensor) or found.shape not in ((len(x),), (len(x), 1)):
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"discriminator should return a logit for each x, shape {(len(x), 1)}, but returned {shape}"
            )
        return found.reshape(len(x))

    def scores_of_noise(self, z: Tensor) -> Tensor:
        r"""Return d(G(z)) of noise (\*sample, \*noise), shape (\*sample)."""
        event = self.law.event_shape
        leading = z.shape[: z.dim() - len(event)]
        flat = z.reshape(-1, *event).to(self.like.dtype)
        if torch.is_grad_enabled() or len(flat) <= _ROWS:
            return self.scores(self.made(flat)).reshape(leading)
        return torch.cat([self.scores(self.made(part)) for part in flat.split(_ROWS)]).reshape(leading)

    def log_prob(self, z: Tensor) -> Tensor:
        r"""Return log p₀(z) of noise (\*sample, \*noise), shape (\*sample)."""
        event = self.law.event_shape
        leading = z.shape[: z.dim() - len(event)]
        return self.law.log_prob(z.reshape(-1, *event).to(self.like.dtype)).reshape(leading)

    def density(self, slope: float) -> Density:
        """Return log p₀(z) + slope d(G(z)), from which Markov chains draw."""
        return Density(
            lambda z: self.log_prob(z) + slope * self.scores_of_noise(z),
            support=support_of(self.law),
            event_shape=self.law.event_shape,
            name=self.site,
            dtype=self.like.dtype if self.like.is_floating_point() else None,
            device=self.like.device,
        )

    def _rows(self, n: int) -> tuple[Tensor, ...]:
        return tuple(part.expand(n, *part.shape[1:]) for part in self._context)

    def _noise(self) -> tuple[str, Any]:
        """Return name and law of the site that the data are made of."""
        named = type(self._model).__name__
        with seeded(0), torch.no_grad(), pyro.validation_enabled(False):  # which no graph can hold
            trace = poutine.trace(self._model.model).get_trace(None, *self._rows(1), n=1)
        sites = {
            name: site["fn"]
            for name, site in sample_sites(trace).items()
            if not (is_derived(site) or is_factor(site))
        }
        if len(sites) != 1:
            raise ValueError(
                f"a model to refine should be a function of one site, its noise, but {named} draws "
                f"{list(sites)}: a GAN or a GMMN is one"
            )
        ((name, law),) = sites.items()
        if law.batch_shape != (1,):
            raise ValueError(
                f"site {name!r} should have a law for each draw, batch shape (1,) for one, but has "
                f"{tuple(law.batch_shape)}"
            )
        return name, law
