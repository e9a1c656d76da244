"""A density in a Python file of the user's own: every method that suits it, compared, drawn and reported."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from probgen.capture.traced_function import first_line
from probgen.cli import playing
from probgen.compare import Comparison, Method, compare
from probgen.compare.density_methods import line_of, reference_draws
from probgen.core import Density
from probgen.sampling import InverseCDF
from probgen.sampling.markov.target_density import density_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from probgen.plots import Page

REFERENCE = 2000
"""Draws that methods are compared with, and that each gives."""

SUPPORTS = {
    "real": constraints.real,
    "positive": constraints.positive,
    "unit_interval": constraints.unit_interval,
    "simplex": constraints.simplex,
}


def is_density(name: str) -> bool:
    """Say whether a name means something in a Python file: ``FILE.py:NAME``, or the file alone."""
    return Path(name.rpartition(":")[0] or name).suffix == ".py"


def load(name: str, *, dim: int | None, support: str | None, device: torch.device) -> Density | Distribution:
    """Run the file of ``FILE.py:NAME`` and return what it calls NAME, ``log_density`` if not given.

    It is a :class:`Density`, a distribution, a Pyro model without arguments, or a function of values that
    returns log-densities, whose ``dim`` and ``support`` are names of the file too, unless they are given.
    Values are float64 where the function takes that.

    Raises:
        ValueError, TypeError: where there is no such file or name, the file fails, or it is no density.
    """
    path, _, wanted = name.rpartition(":") if not name.endswith(".py") else (name, "", "log_density")
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"there is no file {path!r} to run: name it as FILE.py:NAME")
    found = _run(file)
    if wanted not in found:
        known = [key for key, value in found.items() if callable(value) and not key.startswith("_")]
        near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.4) or known
        hint = f"did you mean {', '.join(near)}?" if near else "it has no function"
        raise ValueError(f"{file.name} should have a {wanted!r} at its top level but has not: {hint}")
    target = found[wanted]
    if isinstance(target, Density | Distribution):
        return target
    dim = found.get("dim") if dim is None else dim
    constraint = _support(found.get("support") if support is None else support)
    if dim is None and constraint is None:
        return _model(target, wanted)
    return _of_function(target, file, dim, _of_vectors(constraint, dim), device)


def _of_function(
    function: Any, file: Path, dim: int | None, support: Constraint | None, device: torch.device
) -> Density:
    """Return the density of a function, in float64 where it takes that, else in torch's default type."""
    plain = density_of(function, (), dim=dim, support=support)
    for dtype in (torch.float64, torch.get_default_dtype()):
        density = Density(
            function, support=plain.support, event_shape=plain.shapes["x"], dtype=dtype, device=device
        )
        try:
            density.unconstrained_log_prob(torch.zeros(3, density.dim, dtype=dtype, device=device))
        except (ValueError, TypeError):  # what Density says of it, in its own words
            raise
        except Exception as error:
            failed = _failed(file, error)
        else:
            return density
    raise failed


def _run(file: Path) -> dict[str, Any]:
    """Return the names of a Python file, after it was run as Python runs a script's neighbours."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(file.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _failed(file, error) from error
    finally:
        sys.path.remove(str(file.parent.resolve()))
    return vars(module)


def _failed(file: Path, error: Exception) -> ValueError:
    """Say where a user's file failed, by its last line on the way to the error."""
    line, place = getattr(error, "lineno", None), error.__traceback__
    while place is not None:
        if Path(place.tb_frame.f_code.co_filename).name == file.name:
            line = place.tb_lineno
        place = place.tb_next
    return ValueError(f"{file.name} fails at line {line}: {type(error).__name__}: {first_line(error)}")


def _support(support: Any) -> Constraint | None:
    if isinstance(support, str):
        if support not in SUPPORTS:
            raise ValueError(f"--support should be one of {', '.join(SUPPORTS)} but got {support!r}")
        return SUPPORTS[support]
    return support


def _of_vectors(support: Constraint | None, dim: int | None) -> Constraint | None:
    """Return the support of vectors, where it is that of each of their numbers."""
    if support is None or dim is None or support.event_dim > 0:
        return support
    return constraints.independent(support, 1)


def _model(target: Any, name: str) -> Density:
    try:
        return density_of(target, (), dim=None, support=None)
    except TypeError as error:
        raise TypeError(
            f"{name} should be a Density, a distribution or a Pyro model without arguments, or a function of "
            f"values, which needs dim = ... or support = ... in the file, or --dim or --support, but: {error}"
        ) from None


def choose(target: Density | Distribution, wanted: Sequence[str] | None) -> dict[str, Method]:
    """Return the methods called ``wanted``, or those that suit the density."""
    density = _density(target)
    if wanted is None:
        exact = ["inverse", "rejection"] if line_of(density) is not None else []
        wanted = ["component_wise"] if density.cells is not None else [*exact, "hmc", "random_walk"]
    if not wanted:
        raise ValueError("methods should name at least one, such as hmc, but names none")
    return {name: Method.from_density(target, name) for name in wanted}


def run(
    name: str,
    target: Density | Distribution,
    methods: Mapping[str, Method],
    metrics: Sequence[str] | None,
    *,
    n: int | None,
    repeats: int | None,
    seed: int,
    jobs: int | None = None,
) -> tuple[Comparison, Tensor]:
    """Compare the methods with draws of the density, exact or of a long run; return these too."""
    reference = reference_draws(target, REFERENCE, seed=seed)
    facts = {
        "title": f"probgen compare {name}",
        "density": repr(target),
        "draws to compare with": reference.about,
    }
    result = compare(
        methods, reference.draws, metrics, n=n, repeats=repeats or 3, seed=seed, jobs=jobs, protocol=facts
    )
    return result, reference.draws


def pictures(
    target: Density | Distribution, reference: Tensor, result: Comparison
) -> tuple[dict[str, Figure], dict[str, str]]:
    """Draw a density of one number with histograms of draws, of two with contours; of others nothing."""
    from probgen import plots

    density = _density(target)
    samples = {"to compare with": reference} | result.draws
    line = line_of(density)
    if line is not None:
        law = InverseCDF(log_prob=line.log_prob, support=line.support, dtype=torch.float64)
        figure = plots.histograms(samples, _everywhere(lambda x: law.log_prob(x).exp(), line.support, 0.0))
        return {"draws": figure}, {
            "draws": "Draws of each method in the first repeat, and the density's own curve."
        }
    (shape, *others), support = density.shapes.values(), density.support
    if others or shape != (2,) or density.dim != 2 or density.cells is not None:
        return {}, {}
    assert isinstance(support, Constraint)
    figure = plots.contours(samples, _everywhere(density.log_prob, support, -torch.inf, density.dtype))
    return {"draws": figure}, {
        "draws": "Draws of each method in the first repeat; the contours hold 10, 50 and 90 % of the density."
    }


def pages(target: Density | Distribution, reference: Tensor) -> dict[str, Page]:
    """Return a page to play with, of a density of one number or of two."""
    return playing.of_density(_density(target), reference)


def _density(target: Density | Distribution) -> Density:
    return density_of(target, (), dim=None, support=None)


def _everywhere(
    function: Callable[[Tensor], Tensor],
    support: Constraint,
    outside: float,
    dtype: torch.dtype = torch.float64,
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of arrays that is a constant outside of a support."""

    def at(places: np.ndarray) -> np.ndarray:
        x = torch.as_tensor(places, dtype=dtype)
        inside = support.check(x)
        values = torch.full(inside.shape, outside, dtype=torch.float64)
        if inside.any():
            values[inside] = function(x[inside]).to(values).detach()
        return values.numpy()

    return at
