"""Whether a graph does what the eager function does: results, or loss, terms, gradients and buffers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from probgen.core import Terms

logger = logging.getLogger("probgen")

GRADIENT = "the gradient of "
LEFT = "what it leaves in "


def summary(
    loss: Tensor, terms: Terms, gradients: Mapping[str, Tensor], buffers: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return by name what a call computed, and left in the buffers, without holding on to its memory.

    A gradient is told by two numbers, its norm and a random projection a'Gb with a, b ~ N(0, I), whose
    standard deviation is that norm: two gradients that differ have different projections.
    """
    values = {"loss": loss, **terms} | {LEFT + name: buffer for name, buffer in buffers.items()}
    brief = {name: value.detach().clone() for name, value in values.items()}
    return brief | {GRADIENT + name: _fingerprint(gradient) for name, gradient in gradients.items()}


def difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], cast: torch.dtype) -> str | None:
    """Say in what a captured loss differs from the eager one beyond rounding, or return None.

    Args:
        found, expected: the summaries of the captured and of the eager loss, on the same noise.
        cast: the type whose rounding is allowed for, at least, beside each value's own.
    """
    if found.keys() != expected.keys():
        names = [[n for n in s if not n.startswith(LEFT)] for s in (found, expected)]
        return f"reports {names[0]} where the eager loss reports {names[1]}"
    sizes: dict[str, float] = {}
    for name, value in expected.items():
        group = _group(name, value)
        if value.numel():
            size = float(_numbers(value).abs().nan_to_num(0, 0, 0).amax())
            sizes[group] = max(sizes.get(group, 0.0), size)
    for name, value in expected.items():
        tolerance = max(_tolerance(value.dtype), _tolerance(cast))
        size = sizes.get(_group(name, value), 0.0)
        if not _close(found[name], value, relative=tolerance, absolute=tolerance * size).all():
            if value.dim():
                return f"gives other values of {name} than eager on the same noise"
            return f"gives {name} {found[name]:.8g} where eager gives {value:.8g} on the same noise"
    return None


def rows_agree(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Say whether results for many rows are the same up to rounding.

    One row in a thousand may differ, since rounding decides a comparison now and then.
    """
    for result, value in zip(found, expected, strict=True):
        if result.shape != value.shape or result.dtype != value.dtype:
            return False
        tolerance = torch.finfo(value.dtype).eps ** 0.5 if value.is_floating_point() else 0.0
        close = _close(result, value, relative=tolerance, absolute=tolerance)
        wrong = ~(close.flatten(1).all(1) if close.dim() > 1 else close)
        if int(wrong.sum()) > wrong.numel() // 1000:
            return False
    return True


def check_outcome(outcome: object, objective: nn.Module) -> None:
    """Raise unless an objective returned what the contract asks for; say where it learns less than it could.

    That is where its loss has a gradient for a parameter that is none of its own.
    """
    name = type(objective).__name__
    if not (isinstance(outcome, tuple) and len(outcome) == 2 and isinstance(outcome[1], dict)):
        raise TypeError(f"{name} should return (loss, terms) but returned a {type(outcome).__name__}")
    loss, terms = outcome
    if not (isinstance(loss, Tensor) and loss.dim() == 0 and loss.requires_grad):
        raise ValueError(f"the loss of {name} should be a scalar tensor with a gradient but is {loss}")
    for term, value in terms.items():
        if not (isinstance(value, Tensor) and value.shape in ((), (2,)) and not value.requires_grad):
            raise ValueError(
                f"the term {term!r} of {name} should be a detached scalar tensor, or a probgen.core.ratio, "
                f"but is {value}"
            )
    foreign = _foreign_weight(loss, objective.parameters())
    if foreign is not None:
        logger.warning(
            "the loss has a gradient for a parameter of shape %s that is none of %s's, so that it is not "
            "learned: make its module an attribute of the objective, or, where it should stay as it is, call "
            "requires_grad_(False) on it",
            tuple(foreign.shape),
            name,
        )


def _foreign_weight(loss: Tensor, owned: Iterable[Tensor]) -> Tensor | None:
    """Return a parameter that a loss has a gradient for and that is none of those owned, if there is one."""
    known = {id(weight) for weight in owned}
    leaves = (getattr(node, "variable", None) for node in autograd_nodes(loss))
    return next((x for x in leaves if isinstance(x, nn.Parameter) and id(x) not in known), None)


def autograd_nodes(loss: Tensor) -> Iterator[Node]:
    """Yield each operation that autograd would go back through, once."""
    queue, seen = [loss.grad_fn], set()
    while queue:
        node = queue.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            queue += (before for before, _ in node.next_functions)


def _fingerprint(gradient: Tensor) -> Tensor:
    if gradient.layout is not torch.strided:
        gradient = gradient.to_dense()
    rows = gradient.detach().reshape(len(gradient) if gradient.dim() else 1, -1).contiguous()
    source = torch.Generator().manual_seed(0)
    a, b = (torch.randn(size, generator=source, dtype=torch.float64).to(rows) for size in rows.shape)
    return torch.stack([rows.norm(), a @ (rows @ b)])


def _group(name: str, value: Tensor) -> str:
    """Return what a value's rounding is judged against: the size of all of its kind; counts have none."""
    if not value.dtype.is_floating_point:
        return name
    return next((kind for kind in (GRADIENT, LEFT) if name.startswith(kind)), "")


def _close(found: Tensor, expected: Tensor, *, relative: float, absolute: float) -> Tensor:
    """Say which numbers are the same up to rounding, NaN being NaN."""
    return torch.isclose(_numbers(found), _numbers(expected), rtol=relative, atol=absolute, equal_nan=True)


def _numbers(value: Tensor) -> Tensor:
    """Return the numbers in a tensor of any layout, complex ones in two parts."""
    dense = value if value.layout is torch.strided else value.to_dense()
    return (torch.view_as_real(dense.resolve_conj()) if dense.is_complex() else dense).double()


def _tolerance(dtype: torch.dtype) -> float:
    rounded = dtype.is_floating_point or dtype.is_complex
    return min(1e3 * torch.finfo(dtype).eps, 0.06) if rounded else 0.0
