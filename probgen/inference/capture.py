"""The fast path: an objective's loss as a plain ATen graph, so that Pyro's Python runs only at capture.

The graph is a function of parameters, buffers and batch. Random numbers are drawn inside it, afresh at each
call and from the same generator as eagerly, so eager and captured steps give the same bits. Autograd flows
through it to the parameters. What Python computes from its own state is frozen at capture, so the graph is
held against the eager loss, gradients included, at calls 1, 2, 4, 8, ...: where it cannot be captured or
disagrees, training goes on eagerly and one warning says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pyro
import torch
from torch import Tensor
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.core import Objective, Terms

logger = logging.getLogger("probgen")

Loss = Callable[..., tuple[Tensor, Terms]]
MODES = ("auto", "eager", "graph", "compile")


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
        for name, expected in eager.items():
            tolerance = 1e3 * torch.finfo(expected.dtype).eps
            if not torch.allclose(expected, captured[name], rtol=tolerance, atol=tolerance, equal_nan=True):
                return f"gives {name} {captured[name]:.8g} where eager gives {expected:.8g} on the same noise"
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
        plain = named(traced)
        return Graph(plain, named(torch.compile(traced, fullgraph=True)) if self.mode == "compile" else plain)

    def _outcome(self, loss_of: Loss, *batch: Tensor) -> Terms:
        """Return the loss, its terms and the norms of its gradients."""
        with torch.enable_grad():
            loss, terms = loss_of(*batch)
        weights = {name: p for name, p in self.objective.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        norms = [loss.new_zeros(()) if g is None else g.norm() for g in gradients]
        return {"loss": loss.detach(), **terms} | {
            f"the gradient of {n}": v for n, v in zip(weights, norms, strict=True)
        }

    @contextmanager
    def _undisturbed(self, batch: tuple[Tensor, ...]) -> Iterator[None]:
        """Put the random state and the buffers back as they were."""
        buffers = [(buffer, buffer.clone()) for buffer in self.objective.buffers()]
        devices = sorted({x.device.index for x in batch if x.device.type == "cuda"})
        with torch.random.fork_rng(devices=devices):
            yield
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
