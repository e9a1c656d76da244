"""The fast path: an objective's loss as a plain ATen graph, so that Pyro's Python runs only at capture.

The graph is a function of parameters, buffers and batch. Random numbers are drawn inside it, afresh at each
call and from the same generator as eagerly, so eager and captured steps give the same bits. Autograd flows
through it to the parameters. What Python computes from its own state is frozen at capture, so the graph is
held against the eager loss, with its gradients and buffers, at calls 1, 2, 4, 8, ...: where it cannot be
captured or disagrees, training goes on eagerly and one warning says why.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyro
import torch
from torch import Tensor
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.core import Objective, Terms

logger = logging.getLogger("probgen")

Loss = Callable[..., tuple[Tensor, Terms]]
MODES = ("auto", "eager", "graph", "compile")
GRADIENT = "the gradient of "


class Graph(NamedTuple):
    """A captured loss: the plain ATen graph, and what runs in its place (the compiled one, if asked)."""

    plain: Loss
    fast: Loss


class CapturedLoss:
    """An objective's loss, captured once per batch shape; a drop-in for calling the objective.

    Args:
        objective: the module whose forward pass is the loss.
        mode: ``"eager"`` never captures, ``"graph"`` runs the ATen graph, ``"compile"`` gives the graph to
            ``torch.compile``, ``"auto"`` is ``"graph"``.
    """

    def __init__(self, objective: Objective, mode: str = "auto") -> None:
        if mode not in MODES:
            raise ValueError(f"compile should be one of {', '.join(MODES)} but got {mode!r}")
        self.objective = objective
        self.mode = "graph" if mode == "auto" else mode
        self._graphs: dict[Hashable, Graph] = {}
        self._calls = 0

    def __call__(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss and its terms."""
        self._calls += 1
        if self._calls == 1:
            with self._undisturbed(batch):
                _check_outcome(self.objective(*batch), type(self.objective).__name__)
        if self.mode == "eager":
            return self.objective(*batch)
        key = (self.objective.training, *((x.shape, x.dtype, x.device) for x in batch))
        if key not in self._graphs or self._calls & (self._calls - 1) == 0:
            reason = self._verify(key, *batch)
            if reason:
                logger.warning("the loss runs eagerly, since its captured graph %s", reason)
                self.mode = "eager"
                return self.objective(*batch)
        return self._graphs[key].fast(*batch)

    def _verify(self, key: Hashable, *batch: Tensor) -> str | None:
        """Capture if need be; say how the graph differs from the eager loss on the same noise, or None."""
        with self._undisturbed(batch):
            eager = self._outcome(self.objective, *batch)  # a user's error surfaces here, in its own words
        if key not in self._graphs:
            try:
                with self._undisturbed(batch):
                    self._graphs[key] = self._capture(*batch)
            except Exception as error:  # whatever the story's Python does, the eager loss can still be right
                return f"could not be made: {(str(error).strip() or repr(error)).splitlines()[0]}"
        with self._undisturbed(batch):
            captured = self._outcome(self._graphs[key].plain, *batch)
        if eager.keys() != captured.keys():
            return f"reports {list(captured)} where the eager loss reports {list(eager)}"
        gradients = [value for name, value in eager.items() if name.startswith(GRADIENT) and value.numel()]
        largest = max((float(value.abs().nan_to_num().max()) for value in gradients), default=0.0)
        for name, expected in eager.items():
            found = captured[name]
            if not _close(found, expected, largest if name.startswith(GRADIENT) else 1.0):
                if expected.dim():
                    return f"gives other values of {name} than eager on the same noise"
                return f"gives {name} {found:.8g} where eager gives {expected:.8g} on the same noise"
        return None

    def _capture(self, *batch: Tensor) -> Graph:
        objective = self.objective
        state = dict(objective.named_parameters()) | dict(objective.named_buffers())
        tensors = list(state.values())
        term_names: list[str] = []

        def loss_of(tensors: list[Tensor], batch: tuple[Tensor, ...]) -> list[Tensor]:
            loss, terms = functional_call(objective, dict(zip(state, tensors, strict=True)), batch)
            term_names[:] = terms
            return [loss, *terms.values()]

        def named(function: Callable[..., list[Tensor]]) -> Loss:
            def loss(*batch: Tensor) -> tuple[Tensor, Terms]:
                value, *terms = function(tensors, batch)
                return value, dict(zip(term_names, terms, strict=True))

            return loss

        with pyro.validation_enabled(False):
            traced = make_fx(loss_of, pre_dispatch=True)(tensors, batch)
        for node in traced.graph.find_nodes(op="get_attr"):
            if getattr(getattr(traced, node.target), "grad_fn", None) is not None:
                raise ValueError("it would hold results of autograd, such as those of torch.autograd.grad")
        _simplify(traced)
        plain = named(traced)
        return Graph(plain, named(torch.compile(traced, fullgraph=True)) if self.mode == "compile" else plain)

    def _outcome(self, loss_of: Loss, *batch: Tensor) -> Terms:
        """Return the loss, its terms, its gradients and the buffers that it leaves."""
        with torch.enable_grad():
            loss, terms = loss_of(*batch)
        weights = {name: p for name, p in self.objective.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        return (
            {"loss": loss.detach(), **terms}
            | {
                f"{GRADIENT}{name}": torch.zeros_like(weight) if gradient is None else gradient
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            }
            | {f"the buffer {name}": b.detach().clone() for name, b in self.objective.named_buffers()}
        )

    @contextmanager
    def _undisturbed(self, batch: tuple[Tensor, ...]) -> Iterator[None]:
        """Put the random state and the buffers back as they were."""
        buffers = [
            (module, name, buffer, buffer.clone())
            for module in self.objective.modules()
            for name, buffer in module.named_buffers(recurse=False)
        ]
        devices = sorted({x.device.index for x in batch if x.device.type == "cuda"})
        with torch.random.fork_rng(devices=devices):
            yield
        with torch.no_grad():
            for module, name, buffer, before in buffers:
                setattr(module, name, buffer.copy_(before))


def _simplify(traced: GraphModule) -> None:
    """Take out what a graph of fixed shapes does not need: views that change nothing, results not used."""
    aten = torch.ops.aten
    for node in list(traced.graph.nodes):
        if node.target is aten.expand.default:
            source = node.args[0]
        elif node.target is operator.getitem and node.args[0].target is aten.broadcast_tensors.default:
            source = node.args[0].args[0][node.args[1]]
        elif node.target is aten.detach_.default and not node.users and len(node.args[0].users) == 1:
            traced.graph.erase_node(node)  # of a fresh constant that nothing else reads
            continue
        else:
            continue
        written = any(
            getattr(user.target, "_schema", None) and user.target._schema.is_mutable for user in node.users
        )
        if not written and node.meta["val"].shape == source.meta["val"].shape:
            node.replace_all_uses_with(source)
    traced.graph.eliminate_dead_code()
    traced.recompile()


def _check_outcome(outcome: object, name: str) -> None:
    """Raise unless an objective returned what the contract asks for."""
    if not (isinstance(outcome, tuple) and len(outcome) == 2 and isinstance(outcome[1], dict)):
        raise TypeError(f"{name} should return (loss, terms) but returned a {type(outcome).__name__}")
    loss, terms = outcome
    if not (isinstance(loss, Tensor) and loss.dim() == 0 and loss.requires_grad):
        raise ValueError(f"the loss of {name} should be a scalar tensor with a gradient but is {loss}")
    for term, value in terms.items():
        if not (isinstance(value, Tensor) and value.dim() == 0 and not value.requires_grad):
            raise ValueError(f"the term {term!r} of {name} should be a detached scalar tensor but is {value}")


def _close(found: Tensor, expected: Tensor, size: float) -> bool:
    """Say whether two tensors are equal to rounding, for values of about the given size."""
    if not expected.is_floating_point():
        return torch.equal(found, expected)
    tolerance = 1e3 * torch.finfo(expected.dtype).eps
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance * size, equal_nan=True)
