"""Draws and what a model knows of them as the groups of ArviZ."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from probgen.core import ModelDensity, PairDensity

logger = logging.getLogger("probgen")

Groups = dict[str, dict[str, Tensor]]


def of_model(
    model: ModelDensity | PairDensity,
    draws: Mapping[str, Tensor],
    wanted: Mapping[str, bool],
    prior: int,
    seed: int | None,
) -> Groups:
    """Return what a model knows beside its draws: data, likelihood, priors, predictions."""
    groups: Groups = {"observed_data": dict(model.observed)} if model.observed else {}
    if model.enumerates:
        if any(wanted.values()):
            logger.info(
                "log_likelihood, log_prior and posterior_predictive are left out: discrete sites are summed "
                "out"
            )
    else:
        if wanted["log_likelihood"] and model.observed:
            groups["log_likelihood"] = _wide(model.log_likelihood(draws))
        if wanted["log_prior"]:
            groups["log_prior"] = _wide(model.log_prior(draws))
        if wanted["posterior_predictive"] and model.observed:
            groups["posterior_predictive"] = model.predict(draws, seed=seed)
    if prior and not (isinstance(model, ModelDensity) and model.batch_shape):
        try:
            values, data = model.simulate(prior, seed=seed)
        except ValueError as error:
            logger.info(f"prior and prior_predictive are left out: {error}")
            return groups
        derived = model.derived(values) if model.derived_names else {}
        for group, found in (("prior", values | derived), ("prior_predictive", data)):
            if found:
                groups[group] = {name: value.unsqueeze(0) for name, value in found.items()}
    return groups


def _wide(log_probs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return numbers of which ArviZ takes small differences, to powers next to 1, in float64."""
    return {name: value.double() for name, value in log_probs.items()}


def written(groups: Groups, coords: Mapping[str, Any], dims: Mapping[str, Sequence[str]]) -> Any:
    """Return groups as ArviZ has them, with names for the dimensions of sites, and labels along them."""
    _check_dims(groups, coords, dims)
    groups, dims = _apart_from_dimensions(groups, dims)
    arviz = import_arviz()
    arrays = {
        group: {name: value.detach().cpu().numpy() for name, value in values.items()}
        for group, values in groups.items()
    }
    datasets = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="More chains|Found chain dimension")
        for group, values in arrays.items():
            kind = "observed_data" if group == "observed_data" else "posterior"
            lead = 0 if group == "observed_data" else 2
            # a number for a whole event has the first dimensions of its site alone
            own = {n: list(dims[n])[: value.ndim - lead] for n, value in values.items() if n in dims}
            datasets[group] = _dataset(arviz, kind, values, {"coords": dict(coords), "dims": own})
        if _is_new(arviz):
            import xarray

            return xarray.DataTree.from_dict(datasets)
        return arviz.InferenceData(**datasets)


def _dataset(arviz: Any, kind: str, values: dict[str, Any], labels: dict[str, Any]) -> Any:
    if _is_new(arviz):
        return arviz.from_dict({kind: values}, **labels)[kind].to_dataset()
    return arviz.from_dict(**{kind: values}, **labels)[kind]


def _is_new(arviz: Any) -> bool:
    return int(arviz.__version__.split(".")[0]) >= 1


def import_arviz() -> Any:
    """Return ArviZ, imported without its word about its own future."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=r"\s*ArviZ is undergoing")
        import arviz
    return arviz


def _check_dims(groups: Groups, coords: Mapping[str, Any], dims: Mapping[str, Sequence[str]]) -> None:
    sites = {name: value.shape[2:] for name, value in groups["posterior"].items()}
    sites = {name: value.shape for name, value in groups.get("observed_data", {}).items()} | sites
    for name, names in dims.items():
        if name not in sites:
            raise ValueError(f"dims should name sites, of {list(sites)}, but name {name!r}")
        if isinstance(names, str) or len(names) != len(sites[name]):
            raise ValueError(
                f"dims of {name!r} should be {len(sites[name])} names, one for each dimension of "
                f"{tuple(sites[name])}, but are {names!r}"
            )
        for dim, size in zip(names, sites[name], strict=True):
            if dim in coords and len(coords[dim]) != size:
                raise ValueError(
                    f"coords of {dim!r} should be {size} labels, one for each element of {name!r}, but are "
                    f"{len(coords[dim])}"
                )


def _apart_from_dimensions(
    groups: Groups, dims: Mapping[str, Sequence[str]]
) -> tuple[Groups, Mapping[str, Sequence[str]]]:
    """Return the groups with other names for sites that are called as a dimension is."""
    shapes: dict[str, int] = {}
    for values in groups.values():
        shapes |= {name: max(value.dim(), shapes.get(name, 0)) for name, value in values.items()}
    dimensions = {"chain", "draw"} | {dim for names in dims.values() for dim in names}
    dimensions |= {f"{name}_dim_{i}" for name, many in shapes.items() for i in range(many)}
    taken, renamed = dimensions | set(shapes), {}
    for name in shapes.keys() & dimensions:
        other = f"{name}_"
        while other in taken:
            other += "_"
        taken.add(other)
        renamed[name] = other
        logger.info(f"site {name!r} is written as {other!r}, since a dimension has its name")
    apart = {
        group: {renamed.get(name, name): value for name, value in values.items()}
        for group, values in groups.items()
    }
    return apart, {renamed.get(name, name): names for name, names in dims.items()}
