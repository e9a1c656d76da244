"""Methods that draw from a density, and draws of it to compare them with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from probgen import sampling
from probgen.compare.methods import Fitted, Method
from probgen.compare.thinned_chains import APART, thinned_chains
from probgen.core import Density, count_evaluations, evaluations, seeded
from probgen.sampling.markov.moves.metropolis import has_gradient
from probgen.sampling.markov.sample import METHODS, method_called
from probgen.sampling.markov.target_density import Target, density_of

CHAINS_ABOUT = {
    "hmc": "Hamiltonian Monte Carlo, the length of its trajectories tuned",
    "mala": "the Metropolis-adjusted Langevin algorithm",
    "barker": "Barker's proposal along the gradient",
    "random_walk": "random-walk Metropolis–Hastings with a Gaussian proposal",
    "component_wise": "Metropolis–Hastings a coordinate at a time",
    "stretch": "the affine-invariant stretch move of an ensemble",
    "differential_evolution": "differential evolution, steps along the difference of two other chains",
    "haario": "random-walk Metropolis–Hastings, tuned at every step of the warm-up (adaptive Metropolis)",
    "robust": "random-walk Metropolis–Hastings, tuned by its acceptance alone",
    "delayed_rejection": "Metropolis–Hastings with a second, smaller step where the first is refused",
    "multiple_try": "Metropolis–Hastings with a choice among five proposals",
    "tempered": "parallel tempering, chains at several temperatures that swap",
}


class Line(NamedTuple):
    """A density on an interval: its logarithm as a function of numbers, and the interval."""

    log_prob: Callable[[Tensor], Tensor]
    support: Constraint


def method_of_density(
    target: Target,
    how: str,
    arguments: tuple[Any, ...],
    *,
    dim: int | None,
    support: Constraint | None,
    options: dict[str, Any],
) -> Method:
    """See :meth:`Method.from_density`."""
    density = density_of(target, arguments, dim=dim, support=support)
    if density.batch_shape:
        raise ValueError(
            f"a density to compare should be one law but is a batch {tuple(density.batch_shape)}"
        )
    if not isinstance(how, str):
        raise TypeError(f"method should be a name, such as 'hmc', but got {how!r}")
    name = how.lower().replace("-", "_").replace(" ", "_")
    if name not in EXACT:
        name = _chains_called(name)
        return Method(
            lambda train, seed: _fit_chains(density, name, train, seed, options),
            _about(name),
            needs_data=False,
        )
    if name == "rejection" and options.keys() & {"proposal", "log_bound"}:
        make: Callable[[Line], Any] = lambda line: sampling.Rejection(line.log_prob, **options)  # noqa: E731
        line = Line(_as_function(density), constraints.real)
    else:
        make, found = (lambda line: EXACT[name].make(line, density, options)), line_of(density)
        if found is None:
            raise ValueError(
                f"method {name!r} is for a continuous density of one number but this is {density}: use 'hmc' "
                f"or 'random_walk', or 'rejection' with proposal= and log_bound="
            )
        line = found
    return Method(
        lambda train, seed: _fit_law(density, make, line, train), EXACT[name].about, needs_data=False
    )


def _chains_called(name: str) -> str:
    if name != "nuts" and name not in METHODS:
        raise ValueError(f"method should be one of {', '.join([*EXACT, *METHODS])} but got {name!r}")
    return method_called(name)


def _about(name: str) -> str:
    return (
        f"{CHAINS_ABOUT[name]}: chains from points that know nothing of the law, run until they agree; draws "
        f"are {APART} autocorrelation times apart"
    )


def _fit_chains(density: Density, method: str, train: Any, seed: int, options: dict[str, Any]) -> Fitted:
    generator = torch.Generator(density.device).manual_seed(seed)
    chains = thinned_chains(density, method, generator=generator, **options)
    return Fitted(
        lambda n, *, seed: _like(train, chains.draw(n, seed)),
        notes=chains.notes,
        findings=chains.findings,
        density=density,
    )


def _fit_law(density: Density, make: Callable[[Line], Any], line: Line, train: Any) -> Fitted:
    """Make an exact law, whose evaluations of the log-density are counted."""

    def counted(x: Tensor) -> Tensor:
        log_prob = line.log_prob(x)
        count_evaluations(log_prob.numel())
        return log_prob

    before = evaluations()
    law = make(Line(counted, line.support))
    with seeded(0):
        law.sample((1000,))
    notes: dict[str, str | float] = {"drawn by": type(law).__name__}
    report = law.report()
    for field, words in {"acceptance": "acceptance", "u_error": "largest error of a quantile, in u"}.items():
        if hasattr(report, field):
            notes[words] = float(getattr(report, field))
    notes["log-densities to set up"] = float(evaluations().since(before).log_probs)

    def sample(n: int, *, seed: int) -> Tensor:
        # What an adaptive hat draws depends on what it drew before, but the same seed gives the same draws.
        own = copy.deepcopy(law) if isinstance(law, sampling.AdaptiveRejection) else law
        with seeded(seed):
            x = own.sample((n,))
        return _like(train, x.reshape(n, *next(iter(density.shapes.values()))).to(density.dtype))

    return Fitted(sample, notes=notes, density=density)


def _like(train: Any, draws: Tensor) -> Tensor:
    """Return draws in the type and on the device of the training data, where there are any."""
    return draws.to(train) if isinstance(train, Tensor) else draws


def line_of(density: Density) -> Line | None:
    """Return a density of one number as a function of numbers; None for another."""
    (name, shape), *others = density.shapes.items()
    if others or shape.numel() != 1 or density.cells is not None or density.batch_shape:
        return None
    given = density.support
    support = given[name] if isinstance(given, Mapping) else given
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    function = _as_function(density)
    return Line(lambda x: function(x.reshape(x.shape + shape)), support)


def _as_function(density: Density) -> Callable[[Tensor], Tensor]:
    """Return the log-density as a function of one site's values."""
    if isinstance(density.support, Mapping):
        return lambda x: density.log_prob({density.names[0]: x})
    return density.log_prob


class ReferenceDraws(NamedTuple):
    """Draws to compare with, and how they were made, in words."""

    draws: Tensor
    about: str


def reference_draws(target: Target, n: int, *arguments: Any, seed: int, **described: Any) -> ReferenceDraws:
    r"""Return n draws that methods are compared with: exact ones where there is a way, else a long run's.

    A distribution draws itself, and a density of one number is drawn by inversion. Of others the reference is
    a run of its own: of "hmc" where there are gradients or, where its diagnosis finds something wrong, of
    "random_walk", then of "tempered". Nothing is then wrong with it: R-hat is 1.01 at most.

    Args:
        target: what is compared, as for :func:`probgen.sampling.sample`, with ``arguments``, and ``dim`` or
            ``support``.
        n: how many.
        seed: of the draws.

    Raises:
        ValueError: where something is wrong with all of these, so that nothing tells what is right.
    """
    density = density_of(target, arguments, dim=described.get("dim"), support=described.get("support"))
    if isinstance(target, Distribution):
        with seeded(seed):
            return ReferenceDraws(target.sample((n,)).to(density.dtype), "exact draws of the law itself")
    line = line_of(density)
    if line is not None:
        law = sampling.InverseCDF(log_prob=line.log_prob, support=line.support, device=density.device)
        with seeded(seed):
            draws = law.sample((n,)).to(density.dtype)
        shape = next(iter(density.shapes.values()))
        error = law.report().u_error
        return ReferenceDraws(draws.reshape(n, *shape), f"exact draws by inversion, to {error:.1g} in u")
    generator = torch.Generator(density.device).manual_seed(seed)
    smooth = has_gradient(density, sampling.initial_positions(density, 8, generator=generator))
    whole = ("component_wise",) if density.cells is not None else ("random_walk", "tempered")
    for method in (*(("hmc",) if smooth else ()), *whole):
        chains = thinned_chains(density, method, generator=generator)
        if not chains.findings:
            about = (
                f"no exact draws are known: those of a run of {method} of its own, whose chains agree (R-hat "
                f"{chains.notes['largest R-hat']:.4f}), {APART} autocorrelation times apart"
            )
            return ReferenceDraws(chains.draw(n, seed), about)
    raise ValueError(
        f"draws to compare with should be of chains in which nothing is wrong, but of {method!r} too: "
        f"{chains.findings[0]}"
    )


class _Exact(NamedTuple):
    make: Callable[[Line, Density, dict[str, Any]], Any]
    about: str


def _on_line(law: Callable[..., Any]) -> Callable[[Line, Density, dict[str, Any]], Any]:
    return lambda line, density, options: law(
        line.log_prob, support=line.support, dtype=torch.float64, device=density.device, **options
    )


def _inverse(line: Line, density: Density, options: dict[str, Any]) -> Any:
    return sampling.InverseCDF(
        log_prob=line.log_prob, support=line.support, dtype=torch.float64, device=density.device, **options
    )


def _rejection(line: Line, density: Density, options: dict[str, Any]) -> Any:
    """Under the hat of a T-concave density or, of another, in the rectangle of the ratio of uniforms."""
    try:
        return _on_line(sampling.TransformedDensityRejection)(line, density, options)
    except ValueError:
        return _on_line(sampling.RatioOfUniforms)(line, density, options)


EXACT = {
    "inverse": _Exact(_inverse, "the inverse of the CDF, found from the density by quadrature; exact"),
    "rejection": _Exact(
        _rejection,
        "rejection under an envelope that is checked at every proposal: the hat of a T-concave density, else "
        "the rectangle of the ratio of uniforms, or a proposal that was given; exact",
    ),
    "adaptive_rejection": _Exact(
        _on_line(sampling.AdaptiveRejection), "adaptive rejection, for log-concave densities; exact"
    ),
    "transformed_density_rejection": _Exact(
        _on_line(sampling.TransformedDensityRejection),
        "transformed density rejection, for T-concave densities; exact",
    ),
    "ratio_of_uniforms": _Exact(_on_line(sampling.RatioOfUniforms), "the ratio of uniforms; exact"),
}
"""Methods whose draws are exact and independent."""
