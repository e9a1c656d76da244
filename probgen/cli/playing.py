"""Pages to play with, for reports: the codes of a model of pictures, and draws of a density step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Cauchy, constraints
from torch.distributions.constraints import Constraint

from probgen import sampling
from probgen.compare import Comparison
from probgen.compare.density_methods import Line, line_of
from probgen.core import Density, Transition
from probgen.recipes import Task

if TYPE_CHECKING:
    from probgen.plots import Page

LARGEST = 3_900_000
"""Bytes of a page beyond which a report goes without it."""


def of_task(task: Task, result: Comparison) -> dict[str, Page]:
    """Return the page of a model's codes, of pictures, or that of samplers, of a target in the plane."""
    from probgen import plots

    if task.target is not None:
        return {"samplers": _of_target(task)}
    if task.image_shape is None:
        return {}
    # Codes in the plane come first: their map is the whole of them.
    models = {name: fitted.coded for name, fitted in result.fitted.items() if fitted.coded is not None}
    x, labels = task.test.complete, task.test.labels
    known = None if labels is None or len(labels[: len(x)].unique()) > 10 else labels[: len(x)]
    places = {name: model.encode(x[:2]).mean.shape[1:] for name, model in models.items()}
    for name in sorted(models, key=lambda name: places[name] != (2,)):
        if len(places[name]) != 1 or places[name][0] < 2:
            continue
        try:
            page = plots.explorer(
                models[name], x, known, image_shape=task.image_shape, title=f"The codes of {name}"
            )
        except plots.NotPlain:
            continue  # a decoder that no page can run
        if len(page.html) <= LARGEST:
            return {"codes": page}
    return {}


def of_density(density: Density, reference: Tensor) -> dict[str, Page]:
    """Return the page of samplers of a density of one number or of two; none of others."""
    from probgen import plots

    line = line_of(density)
    title = "How draws of the density are made"
    if line is not None:
        law = sampling.InverseCDF(log_prob=line.log_prob, support=line.support, dtype=torch.float64)
        move = _walk(float(_middle_range(law)))
        return {"samplers": plots.sampler_page(law, rejection=_rejection(law, line), move=move, title=title)}
    (shape, *others) = density.shapes.values()
    if others or shape != (2,) or density.dim != 2 or density.cells is not None:
        return {}
    assert isinstance(density.support, Constraint)
    step = float(density.unconstrain(reference.to(density.dtype)).std(0).mean())
    return {"samplers": plots.sampler_page(density, move=_walk(step), title=title)}


def _walk(spread: float) -> Callable[[Density], Transition]:
    """Return the move of a random walk that is tuned for a normal law of this spread."""
    return lambda density: sampling.random_walk(density, scale=2.38 / math.sqrt(density.dim) * spread)


def _middle_range(law: Any) -> Tensor:
    """Return the spread of the middle half of a law on the unconstrained scale, as a normal's deviation."""
    density = Density(law.log_prob, support=law.support, dtype=torch.float64)
    quartiles = law.icdf(torch.tensor([0.25, 0.75], dtype=torch.float64))
    low, high = density.unconstrain(quartiles)[:, 0]
    return (high - low) / 1.349


def _rejection(law: Any, line: Line) -> sampling.Rejection | None:
    """Return rejection from a Cauchy law on the density's support; None where none covers it."""
    u = torch.linspace(0, 1, 4003, dtype=torch.float64)[1:-1]
    x = law.icdf(u)
    middle, width = x[len(x) // 2], (law.icdf(u.new_tensor(0.75)) - law.icdf(u.new_tensor(0.25))) / 2
    wide: Any = Cauchy(middle, 1.5 * width)
    low, high = (getattr(line.support, end, None) for end in ("lower_bound", "upper_bound"))
    if low is not None or high is not None:
        wide = sampling.truncate(wide, low, high)
    ratio = line.log_prob(x) - wide.log_prob(x)
    try:
        return sampling.Rejection(line.log_prob, proposal=wide, log_bound=float(ratio.max()) + 0.02)
    except ValueError:
        return None  # a pole, or a tail heavier than Cauchy's


def _of_target(task: Task) -> Page:
    from probgen import plots

    target = task.target
    assert target is not None
    first, second = target.conditional_cdfs
    double: dict[str, Any] = {"dtype": torch.float64, "device": torch.device("cpu")}
    law = Density(target.log_prob, support=constraints.real_vector, event_shape=(2,), **double)
    inverse = sampling.Rosenblatt(
        [
            sampling.InverseCDF(cdf=first, **double),
            lambda x0: sampling.InverseCDF(
                cdf=lambda x1: second(x1, x0), batch_shape=x0.shape, validate_args=False, **double
            ),
        ]
    )
    rejection = sampling.Rejection(
        target.log_prob, proposal=target.proposal(**double), log_bound=target.log_bound
    )
    spread = target.mode_scale or float(task.test.complete.double().std(0).mean()) / 4
    return plots.sampler_page(
        law,
        inverse=inverse,
        rejection=rejection,
        move=_walk(spread),
        title=f"How draws of {task.name} are made",
    )
