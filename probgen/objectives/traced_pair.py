"""What the traces of a model/guide pair say: log-probabilities, divergences, and how many data they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyro
import torch
from pyro.distributions import Delta, TorchDistribution
from pyro.distributions.util import broadcast_shape, scale_and_mask
from torch import Tensor
from torch.distributions import ContinuousBernoulli, Independent, Uniform, kl_divergence

from probgen.core import Pair, is_data, is_derived, is_factor, sample_sites
from probgen.core.plain_words import not_of_pyro
from probgen.core.summed_out import enumerated_dim
from probgen.core.traces import OwnParameters, start_of
from probgen.objectives.enumeration import Expectations
from probgen.objectives.masks_of_latent_sites import masked_as_in_model


class Parts(NamedTuple):
    """A bound taken apart, in sums over a batch or, after :meth:`per_datum`, in nats per datum.

    Attributes:
        reconstruction: log p(x | z).
        kl: by site of the guide, its KL, shape (coordinates,) or, known only as a whole, (1,).
        coordinates: by site, the KL of each latent coordinate, for sites where Pyro knows it.
        factor: what ``pyro.factor`` adds, in the model less in the guide; None where there is no such site.
        points: the continuous sites of which the guide is a point, so that the bound is none.
        unknown: the sites of a datum whose KL is not known for each coordinate.
    """

    reconstruction: Tensor
    kl: dict[str, Tensor]
    coordinates: dict[str, Tensor]
    factor: Tensor | None
    points: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def per_datum(self, size: int) -> Parts:
        """Divide by the number of data, or of draws, that the sums stand for."""
        kl = {site: value / size for site, value in self.kl.items()}
        coordinates = {site: kl[site] for site in self.coordinates}
        factor = None if self.factor is None else self.factor / size
        return self._replace(
            reconstruction=self.reconstruction / size, kl=kl, coordinates=coordinates, factor=factor
        )

    def __add__(self, other: Any) -> Parts:
        """Return the sum, part by part."""
        factor = self.factor if other.factor is None else self.factor + other.factor
        return Parts(
            self.reconstruction + other.reconstruction,
            {site: value + other.kl[site] for site, value in self.kl.items()},
            {site: value + other.coordinates[site] for site, value in self.coordinates.items()},
            factor,
            self.points,
            self.unknown,
        )


def parts_of(model_trace: Any, guide_trace: Any, *, reparameterised: bool = True) -> Parts:
    """Take the bound apart, from the traces of a guide and of the model on the guide's draws.

    Where discrete sites are enumerated, each part is its expectation over those of the guide, those of the
    model alone being summed out.
    """
    guide_sites, model_sites = sample_sites(guide_trace), sample_sites(model_trace)
    latent = check_sites(model_sites, guide_sites, reparameterised=reparameterised)
    guide_sites = masked_as_in_model(model_sites, guide_sites)
    points = tuple(point_sites(model_sites, drawn_sites(guide_sites)))
    if any(enumerated_dim(site) is not None for site in (*model_sites.values(), *guide_sites.values())):
        return _enumerated_parts(model_trace, guide_sites)._replace(points=points)
    kl = analytic_kl(model_sites, guide_sites)
    coordinates = by_coordinate(kl, guide_sites)
    for name, site in drawn_sites(guide_sites).items():
        if name not in kl:
            log_prior = _log_prob(model_sites[name]) if name in latent else 0.0
            kl[name] = (_log_prob(site) - log_prior).reshape(1)
    factors = [_log_prob(site) for site in model_sites.values() if is_factor(site)]
    factors += [-_log_prob(site) for site in guide_sites.values() if is_factor(site)]
    data = [_log_prob(site) for site in model_sites.values() if is_data(site)]
    factor = torch.as_tensor(sum(factors)) if factors else None
    reconstruction = torch.as_tensor(sum(data)) if data else factors[0].new_zeros(())
    unknown = not_by_coordinate(coordinates, guide_sites)
    return Parts(reconstruction, kl, coordinates, factor, points, unknown)


def _enumerated_parts(model_trace: Any, guide_sites: Mapping[str, Any]) -> Parts:
    model_sites, mean = sample_sites(model_trace), Expectations(model_trace, guide_sites)
    drawn = drawn_sites(guide_sites)
    # What depends on no site that is summed out: the expectation of each site's own part.
    kl = analytic_kl(model_sites, guide_sites, lambda name, kl: mean.of(kl, guide_sites[name], leading=1))
    kl = {name: value for name, value in kl.items() if name not in mean.tied}
    coordinates = by_coordinate(kl, guide_sites)
    data = [s for n, s in model_sites.items() if is_data(s) and n not in mean.tied]
    factors = [(1, s) for n, s in model_sites.items() if is_factor(s) and n not in mean.tied]
    factors += [(-1, site) for site in guide_sites.values() if is_factor(site)]
    reconstruction = [mean.of(log_prob_of(site), site).sum() for site in data]
    added = [sign * mean.of(log_prob_of(site), site).sum() for sign, site in factors]
    # What depends on one: sums over its values, by the chain rule.
    tied_data, log_priors, tied_factors = mean.of_the_tied([name for name in mean.tied if name in drawn])
    reconstruction += [] if tied_data is None else [tied_data]
    added += [] if tied_factors is None else [tied_factors]
    for name in drawn.keys() - kl.keys():
        log_ratio = log_prob_of(drawn[name])
        if name in model_sites and name not in log_priors:
            log_ratio = log_ratio - log_prob_of(model_sites[name])
        kl[name] = (mean.of(log_ratio, drawn[name]).sum() - log_priors.get(name, 0.0)).reshape(1)
    total = sum(reconstruction) if reconstruction else added[0].new_zeros(())
    return Parts(
        torch.as_tensor(total),
        {name: kl[name] for name in drawn},
        coordinates,
        torch.as_tensor(sum(added)) if added else None,
        unknown=not_by_coordinate(coordinates, guide_sites),
    )


def analytic_kl(
    model_sites: Mapping[str, Any],
    guide_sites: Mapping[str, Any],
    weigh: Callable[[str, Tensor], Tensor] = lambda name, kl: kl,
) -> dict[str, Tensor]:
    r"""Return the KL, summed over the batch, of the sites where Pyro knows it.

    It needs a guide that visits a site after all those that the model visits before it: then no parent of the
    site in the model descends from it in the guide. ``weigh`` is applied before the sum, to shape
    (coordinates, \*batch).
    """
    latent = [name for name, site in model_sites.items() if not site["is_observed"] and name in guide_sites]
    place = {name: index for index, name in enumerate(guide_sites)}
    after = [max(place[name] for name in latent[: index + 1]) for index in range(len(latent))]
    known = [name for name, last in zip(latent, after, strict=True) if place[name] == last]
    found = {name: _site_kl(guide_sites[name], model_sites[name]) for name in known}
    return {n: weigh(n, kl).reshape(len(kl), -1).sum(1) for n, kl in found.items() if kl is not None}


def by_coordinate(kl: Mapping[str, Tensor], guide_sites: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the KL of the sites where it is known for each latent coordinate of a datum.

    Sites that all data share are left out: per datum their KL vanishes as data grow, and is no collapse.
    """
    sizes = {n: guide_sites[n]["fn"].event_shape.numel() for n in kl if _is_of_a_datum(guide_sites[n])}
    return {name: kl[name] for name, size in sizes.items() if len(kl[name]) == size}


def not_by_coordinate(coordinates: Mapping[str, Tensor], guide_sites: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the sites of a datum that :func:`by_coordinate` leaves out."""
    drawn = drawn_sites(guide_sites)
    return tuple(name for name, site in drawn.items() if _is_of_a_datum(site) and name not in coordinates)


def _is_of_a_datum(site: Any) -> bool:
    return any(frame.dim == -1 for frame in site["cond_indep_stack"])


def check_sites(
    model_sites: Mapping[str, Any], guide_sites: Mapping[str, Any], *, reparameterised: bool = True
) -> list[str]:
    """Return the latent sites that model and guide share; raise unless they fit each other.

    Importance weights need draws and densities, gradients need draws that are ``reparameterised`` too.
    """
    latent = [name for name, site in model_sites.items() if not site["is_observed"]]
    missing = [
        name for name in latent if name not in guide_sites and enumerated_dim(model_sites[name]) is None
    ]
    if missing:
        raise ValueError(f"every latent site of the model should be in the guide, which lacks {missing[0]!r}")
    latent = [name for name in latent if name in guide_sites]
    every = (*model_sites.values(), *guide_sites.values())
    enumerated = {dim for dim in map(enumerated_dim, every) if dim is not None}
    if not any(is_data(site) or is_factor(site) for site in model_sites.values()):
        raise ValueError("the model should observe its data: pyro.sample(..., obs=x)")
    for name, site in drawn_sites(guide_sites).items():
        if name not in latent and not site["infer"].get("is_auxiliary"):
            raise ValueError(
                f"guide site {name!r} should be a latent site of the model, or be marked as auxiliary with "
                "infer={'is_auxiliary': True}"
            )
        drawn = not site["is_observed"] and enumerated_dim(site) is None
        if reparameterised and drawn and not site["fn"].has_rsample:
            raise ValueError(
                f"guide site {name!r} should be reparameterised but {type(site['fn']).__name__} has no "
                "rsample: where it has finitely many values, and no .to_event(), ELBO() weighs them by the "
                "guide's probabilities, and a guide that leaves it out has the model summed over them; else "
                "take one of Pyro's bounds, such as Trace_ELBO()"
            )
        if name in latent:
            _check_shapes(name, model_sites[name]["fn"], site["fn"], enumerated)
    for name, site in model_sites.items():
        if is_data(site):
            _check_value(name, site, enumerated)
    return latent


def point_sites(model_sites: Mapping[str, Any], guide_sites: Mapping[str, Any]) -> list[str]:
    """Return the continuous sites of which a guide is a point (Delta), and no map of an auxiliary site."""
    if any(site["infer"].get("is_auxiliary") for site in guide_sites.values()):
        return []
    return [
        name
        for name, site in guide_sites.items()
        if name in model_sites and _is_point(site["fn"]) and not model_sites[name]["fn"].support.is_discrete
    ]


def refuse_points(model_sites: Mapping[str, Any], guide_sites: Mapping[str, Any]) -> None:
    """Raise for a guide that is a point in a continuous space."""
    for name in point_sites(model_sites, drawn_sites(guide_sites)):
        raise ValueError(
            f"guide site {name!r} should be a law with a density but is a point (Delta), by which no draw "
            "can be weighed: give it a width, as a Normal has, or judge the pair by its draws"
        )


def _is_point(law: Any) -> bool:
    while hasattr(law, "base_dist"):
        law = law.base_dist
    return isinstance(law, Delta)


def drawn_sites(guide_sites: Mapping[str, Any]) -> dict[str, Any]:
    """Return the guide's sites that are neither named values nor factors."""
    return {name: site for name, site in guide_sites.items() if not is_derived(site) and not is_factor(site)}


def _check_value(name: str, site: Any, enumerated: set[int]) -> None:
    """Raise where a value is held against other laws than its plates say, once more for each."""
    law, found = site["fn"], site["value"].shape
    if not hasattr(law, "shape"):  # which laws of Pyro have, and those of torch have not
        raise not_of_pyro(f"site {name!r}", type(law).__name__)
    shape, events = law.shape(), len(law.event_shape)
    plates = {frame.dim - events for frame in site["cond_indep_stack"] if frame.vectorized}
    if not plates:
        return
    plates |= {dim - events for dim in enumerated}
    own = (1,) * (len(shape) - len(found)) + tuple(found)
    fits = len(own) == len(shape) and all(
        size == full or (size == 1 and (dim in plates or dim >= -events))
        for dim, (size, full) in enumerate(zip(own, shape, strict=True), start=-len(shape))
    )
    if not fits:
        raise ValueError(
            f"site {name!r} should observe values of the shape of its law, {tuple(shape)}, but got "
            f"{tuple(found)}"
        )


def _check_shapes(name: str, p: TorchDistribution, q: TorchDistribution, enumerated: set[int]) -> None:
    plates = -max(enumerated) - 1 if enumerated else None  # what is enumerated is left of all plates
    ps, qs = p.batch_shape[::-1][:plates], q.batch_shape[::-1][:plates]
    fits = len(ps) <= len(qs) and all(size in (1, full) for size, full in zip(ps, qs, strict=False))
    if p.event_shape != q.event_shape or not fits:
        shapes = " and ".join(f"{tuple(law.batch_shape)}, {tuple(law.event_shape)}" for law in (p, q))
        raise ValueError(
            f"site {name!r} should have the same batch and event shape in model and guide but has {shapes}"
        )


def _site_kl(guide_site: Any, model_site: Any) -> Tensor | None:
    r"""Return the analytic KL, scaled and masked, shape (coordinates, \*batch); None where there is none.

    The masks of both sites are taken to be the same. A law that knows its divergence along what was drawn,
    ``kl_along(p, value)``, as a path of states, is asked for that, whose mean is the KL.
    """
    p, q = model_site["fn"], guide_site["fn"]
    same_weight = guide_site["scale"] is model_site["scale"] or (
        isinstance(guide_site["scale"], float | int) and guide_site["scale"] == model_site["scale"]
    )
    point = isinstance(q, Delta)  # Pyro's divergence from a point leaves its log-density out
    if point or not same_weight:
        return None
    shape = broadcast_shape(q.batch_shape, p.batch_shape)  # p's may have a dimension that is enumerated
    try:
        q, p = (law if law.batch_shape == shape else law.expand(shape) for law in (q, p))
        if hasattr(q, "kl_along"):
            kl = q.kl_along(p, guide_site["value"]).unsqueeze(0)
        else:
            kl = _kl_of_coordinates(q, p)
    except NotImplementedError:
        return None
    return scale_and_mask(kl, guide_site["scale"], guide_site["mask"])


def _kl_of_coordinates(q: TorchDistribution, p: TorchDistribution) -> Tensor:
    r"""Return the analytic KL, shape (coordinates, \*batch); one where coordinates depend."""
    independent = isinstance(q, Independent) and isinstance(p, Independent)
    if not independent or q.reinterpreted_batch_ndims != p.reinterpreted_batch_ndims:
        return _divergence(q, p).expand(q.batch_shape).unsqueeze(0)
    kl = _divergence(q.base_dist, p.base_dist)
    if kl.shape != q.batch_shape + q.event_shape:  # the base has events of its own
        return _divergence(q, p).expand(q.batch_shape).unsqueeze(0)
    return kl.flatten(len(q.batch_shape)).movedim(-1, 0)


def _divergence(q: TorchDistribution, p: TorchDistribution) -> Tensor:
    """Return torch's KL, but not where it is wrong: on [0, 1] itself it takes a uniform law for too short."""
    if isinstance(q, ContinuousBernoulli) and isinstance(p, Uniform):
        raise NotImplementedError
    return kl_divergence(q, p)


def log_prob_of(site: Any) -> Tensor:
    r"""Return the log-probability of a site, scaled and masked, shape (\*batch)."""
    log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    return scale_and_mask(log_prob, site["scale"], site["mask"])


def _log_prob(site: Any) -> Tensor:
    return log_prob_of(site).sum()


class Watch(OwnParameters):
    """Reads how many data the log-probabilities stand for; refuses parameters that are not the pair's.

    A batch of ``rows`` stands for the full size of the plate at -1 that holds it, or for itself.
    """

    def __init__(self, pair: Pair, rows: int) -> None:
        super().__init__(pair)
        self._foreign: dict[str, Any] = {}
        self.size = self._rows = rows

    def _pyro_post_sample(self, msg: Any) -> None:
        for frame in msg["cond_indep_stack"]:
            if frame.dim == -1 and frame.size == self._rows:
                self.size = max(self.size, frame.full_size or frame.size)

    def _pyro_post_param(self, msg: Any) -> None:
        value = msg["value"]
        leaf = value.unconstrained() if hasattr(value, "unconstrained") else value
        if isinstance(leaf, torch.Tensor) and leaf.requires_grad and not self.owns(leaf):
            self._foreign[msg["name"]] = leaf, start_of(msg)

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        super().__exit__(kind, value, traceback)
        if kind is None:
            for name, (leaf, start) in self._foreign.items():
                if not self.owns(leaf):  # it may have become a parameter of the pair, as those of autoguides
                    raise ValueError(self._words(name, start))

    def _words(self, name: str, start: Any) -> str:
        should = f"parameter {name!r} should be in a module of the pair but is"
        if name not in pyro.get_param_store():
            return f"{should} in another module: make that module an attribute of the pair"
        if self.owns(start):
            return (
                f"parameter {name!r} should be used as it is but has a constraint, under which Pyro's global "
                "store trains a copy: constrain it in the story, say by .exp(), without pyro.param"
            )
        return (
            f"{should} in Pyro's global store, where it is not trained: make it an nn.Parameter of a module "
            "that is an attribute of the pair (PyroModules need "
            "pyro.settings.set(module_local_params=True) before they are made)"
        )
