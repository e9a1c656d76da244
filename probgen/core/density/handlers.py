"""What is done to the sites of a Pyro model while it runs: started, transported, drawn anew, enumerated."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Distribution, Transform
from torch.distributions.constraints import Constraint

from probgen.core.density.at_positions import Placed, log_prob_at
from probgen.core.density.bijectors import bijector_of
from probgen.core.density.density import drawn
from probgen.core.density.mapped import Values
from probgen.core.density.normal_scores import FromScores, from_scores, log_prob_of_scores
from probgen.core.supports import element_support, named_support, outside, support_of, supported
from probgen.core.traces import is_data, sample_sites


def bijector(name: str, law: Distribution) -> Transform:
    """Return the map from the real line to the support of a site."""
    support = support_of(law)
    try:
        return bijector_of(support)
    except NotImplementedError:
        raise ValueError(
            f"site {name!r} should have a support that the real line can be mapped to but has {support}: "
            f"write it in other variables, or by poutine.reparam"
        ) from None


def _is_latent(message: Any) -> bool:
    law = message["fn"]
    while hasattr(law, "base_dist"):
        law = law.base_dist
    return not (message["is_observed"] or poutine.util.site_is_subsample(message) or isinstance(law, Delta))


class Starter(Messenger):
    """Starts each continuous latent site at a standard normal position, or draws it from its prior.

    Discrete sites are drawn, and sites with an improper prior have a standard normal position.
    """

    def __init__(self, example: Tensor, *, gradients: bool = False, prior: bool = False) -> None:
        super().__init__()
        self._example, self._gradients, self._prior = example, gradients, prior
        self.positions: dict[str, Tensor] = {}
        self.values: dict[str, Tensor] = {}
        self.transforms: dict[str, Transform] = {}
        self.discrete: dict[str, Any] = {}
        self.scored: set[str] = set()
        """Sites whose positions are normal scores: none after a discrete one, on which quantiles may hang."""

    def _pyro_sample(self, message: Any) -> None:
        if not _is_latent(message):
            return
        name, law = message["name"], message["fn"]
        if support_of(law).is_discrete:
            check_enumerable(name, law)
            self.discrete[name] = law
            return
        scores = from_scores(message, after_discrete=bool(self.discrete))
        transform = bijector(name, law) if scores is None else scores
        try:
            draw = drawn(law)
        except NotImplementedError:  # an improper law
            draw = None
        if scores is not None:
            self.scored.add(name)
        if self._prior and draw is not None and scores is None:
            position = transform.inv(draw)
        else:
            like = self._example if draw is None else draw
            position = torch.randn(transform.inverse_shape(law.shape()), dtype=like.dtype, device=like.device)
        value = transform(position.requires_grad_() if self._gradients else position)
        if value.shape != law.shape():
            raise ValueError(
                f"site {name!r} should have values of shape {tuple(law.shape())} but its support gives "
                f"{tuple(value.shape)}"
            )
        self.positions[name], self.values[name], self.transforms[name] = position, value, transform
        message["value"], message["is_observed"] = value, True


class Transport(Messenger):
    """Gives each latent site the value T(u), T the bijector of its support as it is in this run.

    Where its law is known at positions, its log-density is that, to all digits.
    """

    def __init__(self, positions: Values, scored: Collection[str]) -> None:
        super().__init__()
        self._positions, self._scored = positions, scored
        self.values: dict[str, Tensor] = {}
        self.log_volume: Tensor | float = 0.0

    def _pyro_sample(self, message: Any) -> None:
        name = message["name"]
        if name not in self._positions:
            return
        position = self._positions[name]
        if name in self._scored:
            of_scores = log_prob_of_scores(message["fn"], position)
            self.values[name] = message["value"] = FromScores(message["fn"])(position)
            message["is_observed"], message["fn"] = True, Placed(message["fn"], of_scores)
            return
        transform = bijector(name, message["fn"])
        value = transform(position)
        if _batch(value, transform.codomain) != _batch(position, transform.domain):
            raise ValueError(f"the support of site {name!r} should not depend on a discrete site but does")
        self.log_volume = self.log_volume + transform.log_abs_det_jacobian(position, value).sum()
        self.values[name] = value
        message["value"], message["is_observed"] = value, True
        log_prob = log_prob_at(message["fn"], position)
        if log_prob is not None:
            message["fn"] = Placed(message["fn"], log_prob)


def _batch(x: Tensor, constraint: Constraint) -> torch.Size:
    return x.shape[: x.dim() - constraint.event_dim]


class Bounded(Messenger):
    """Gives observations density 0 outside of a support that moves with what is latent.

    Laws with such a support, as a Pareto with a latent scale, may have any density beyond it.
    """

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = names

    def _pyro_sample(self, message: Any) -> None:
        if message["name"] in self._names and message["value"] is not None:
            message["fn"] = supported(message["fn"])


def moving(trace: Any, *, always: bool) -> frozenset[str]:
    """Return the observations whose support has ends that depend on what needs a gradient, or any ends."""
    names = set()
    for name, site in sample_sites(trace).items():
        if not is_data(site):
            continue
        support = named_support(site["fn"])
        ends = [] if support is None else vars(element_support(support)).values()
        if any(isinstance(end, Tensor) and (always or end.requires_grad) for end in ends):
            names.add(name)
    return frozenset(names)


class Unobserved(Messenger):
    """Draws the observations anew."""

    def _pyro_sample(self, message: Any) -> None:
        if is_data(message):
            message["is_observed"], message["value"] = False, None
            message["infer"]["was_observed"] = True


class Marked(Messenger):
    """Asks for the enumeration of sites."""

    def __init__(self, names: Collection[str]) -> None:
        super().__init__()
        self._names = names

    def _pyro_sample(self, message: Any) -> None:
        if message["name"] in self._names:
            message["infer"]["enumerate"] = "parallel"


class Enumeration(EnumMessenger):
    """Pyro's enumeration, which reads ``value.data`` for its shape only: vmap does not allow that."""

    def _pyro_post_sample(self, msg: Any) -> None:
        if isinstance(msg["value"], Tensor):
            msg = {**msg, "value": torch.empty(msg["value"].shape, device="meta")}
        super()._pyro_post_sample(msg)


def check_enumerable(name: str, law: Any) -> None:
    """Raise for a discrete law whose values cannot be enumerated."""
    try:
        law.enumerate_support(expand=False)
    except NotImplementedError:
        raise ValueError(
            f"site {name!r} should be continuous, or have finitely many values to be summed out, but is "
            f"{type(law).__name__} with support {support_of(law)}"
        ) from None


def check_sites(trace: Any, starter: Starter, moving: Collection[str]) -> None:
    """Raise for what would make the log-density wrong: sub-samples, impossible data, masks, scales."""
    if not starter.positions:
        raise ValueError("the model should have a continuous latent site but has none")
    for name, site in sample_sites(trace).items():
        for frame in site["cond_indep_stack"]:
            if frame.full_size not in (None, frame.size):
                raise ValueError(
                    f"plate {frame.name!r} should hold all of its {frame.full_size} elements but is "
                    f"sub-sampled to {frame.size}"
                )
        if is_data(site) and name not in moving:
            _check_observation(name, site)
        if name in starter.positions and _masked_in_part(site):
            raise ValueError(
                f"site {name!r} should have a prior everywhere but is masked in part: sample only the "
                f"entries that are missing"
            )
        if starter.discrete and (torch.as_tensor(site["scale"]) != 1).any():
            raise ValueError(
                f"site {name!r} should not be scaled where discrete sites are summed out, but is"
            )


def _check_observation(name: str, site: Any) -> None:
    """Raise for data that no parameters make possible, since they lie outside of their law's support."""
    support = named_support(site["fn"])
    if support is None:
        return
    log_prob = supported(site["fn"]).log_prob(site["value"])
    impossible = outside(support, site["value"]) & (scale_and_mask(log_prob, 1.0, site["mask"]) == -torch.inf)
    if impossible.any():
        row = int(impossible.nonzero()[0, -1]) if impossible.dim() else 0
        raise ValueError(
            f"site {name!r} should observe values of its law's support, {element_support(support)}, but row "
            f"{row} holds others"
        )


def _masked_in_part(site: Any) -> bool:
    masks = [mask for mask in (site["mask"], getattr(site["fn"], "_mask", None)) if isinstance(mask, Tensor)]
    return any(bool(mask.any() and not mask.all()) for mask in masks)
