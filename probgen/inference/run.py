"""A training under way: everything that a checkpoint must hold to go on to the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from probgen.core import Objective, seeded
from probgen.data import batches
from probgen.inference import checkpoint as checkpoints
from probgen.inference.capture import CapturedLoss
from probgen.inference.history import History
from probgen.inference.schedules import Schedule

Noise = dict[str, Tensor]


class Run:
    """The state of a training: weights, optimizer, noise, place in the data, and the record so far."""

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        columns: tuple[Any, ...],
        batch_size: int,
        schedules: Mapping[str, Schedule],
    ) -> None:
        self.objective = objective
        self.optimizer = optimizer
        self.columns = columns
        self.batch_size = batch_size
        self.schedules = {_setter(name, objective, optimizer): s for name, s in schedules.items()}
        self.history = History()
        self.reports_since_best = 0

        self._device = next(objective.parameters()).device
        self._order = torch.Generator(self._device)
        self._order.manual_seed(int(torch.randint(2**62, ())))
        self._order_state = self._order.get_state()  # at the start of this epoch
        self._epoch = 0
        self._taken = 0  # batches taken in this epoch
        self._noise: Noise | None = None  # to put back before the next batch
        self._names: list[str] = []
        self._pending: list[Tensor] = []  # the terms of each step since the last report
        self._sizes: list[int] = []  # and its number of data
        self._best_loss = math.inf
        self._best_step = 0
        self._best_weights: dict[str, Tensor] = {}

    def batches(self, total: int) -> Iterator[tuple[Tensor, ...]]:
        """Yield batches, epoch after epoch, until ``total`` steps are taken."""
        self.objective.train()
        while self.history.step < total:
            self._order.set_state(self._order_state)
            epoch = batches(self.columns, self.batch_size, generator=self._order)
            for _ in range(self._taken):
                next(epoch)
            if self._noise is not None:
                _set_noise(self._noise, self._device)
                self._noise = None
            for batch in epoch:
                yield batch
                if self.history.step >= total:
                    return
            self._order_state = self._order.get_state()
            self._epoch += 1
            self._taken = 0

    def take_step(self, loss_of: CapturedLoss, batch: tuple[Tensor, ...]) -> None:
        """Set what is scheduled, then take one gradient step."""
        for set_value, schedule in self.schedules.items():
            set_value(schedule(self.history.step))
        loss, terms = loss_of(*batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.history.step += 1
        self._taken += 1
        self._names = ["loss", *terms]
        self._pending.append(torch.stack([loss.detach(), *terms.values()]))
        self._sizes.append(len(batch[0]))

    def report(self, held_out: tuple[Any, ...] | None) -> None:
        """Record the means since the last report and the validation terms; remember the best weights."""
        self.check_finite()
        terms = self._means(self._pending, self._sizes)
        self._pending, self._sizes = [], []
        self.history.add(self.history.step, self._epoch + 1, "train", terms)
        if held_out is not None:
            terms = self._evaluate(held_out)
            self.history.add(self.history.step, self._epoch + 1, "validation", terms)
        self.reports_since_best += 1
        judged = self.objective.judge(terms)
        if judged < self._best_loss:
            self._best_loss, self._best_step, self.reports_since_best = judged, self.history.step, 0
            self._best_weights = {k: v.detach().clone() for k, v in self.objective.state_dict().items()}

    def latest(self) -> dict[str, str]:
        """Return the latest loss of each split, for a progress bar."""
        latest = {split: self.history.values("loss", split)[-1:] for split in ("train", "validation")}
        return {split: f"{values[0]:.4g}" for split, values in latest.items() if values}

    def check_finite(self) -> None:
        """Raise if a term since the last report, or a weight, is NaN or infinite, naming it and the step."""
        if not self._pending:
            return
        table = torch.stack(self._pending)
        bad = ~torch.isfinite(table)
        weights = dict(self.objective.named_parameters())
        bad_weights = ~torch.stack([weight.isfinite().all() for weight in weights.values()])
        kept = self.history.folder is not None and checkpoints.exists(self.history.folder)
        where = f"; the last good checkpoint is in {self.history.folder}" if kept else ""
        if bad.any():
            row = int(bad.any(1).nonzero()[0])
            columns = bad[row].nonzero().flatten().tolist()
            column = next((c for c in columns if self._names[c] not in ("loss", "elbo")), columns[0])
            step = self.history.step - len(self._pending) + row + 1
            raise ValueError(
                f"the loss should be finite but at step {step} the term {self._names[column]!r} "
                f"is {float(table[row, column])}{where}"
            )
        if bad_weights.any():
            name = list(weights)[int(bad_weights.nonzero()[0])]
            raise ValueError(
                f"weights should be finite but after step {self.history.step} {name!r} holds NaN or infinity"
                f"{where}"
            )

    def restore_best(self) -> None:
        """Put the weights of the best report back."""
        self.objective.load_state_dict(self._best_weights)

    def save(self, folder: Path) -> None:
        """Write the last checkpoint, and the best if there is a new one."""
        self.check_finite()
        state = {
            "data": [len(self.columns[0]), self.batch_size],
            "optimizer": self.optimizer.state_dict(),
            "noise": _noise(self._device),
            "order": [self._order_state, self._epoch, self._taken],
            "pending": [self._names, self._pending, self._sizes],
            "best": [self._best_loss, self._best_step, self.reports_since_best],
            "history": [self.history.rows, self.history.step, self.history.seconds],
        }
        sets = {"last": (self.history.step, self.objective.state_dict())}
        if self._best_weights:
            sets["best"] = (self._best_step, self._best_weights)
        checkpoints.save(folder, sets, state)

    def load(self, folder: Path) -> None:
        """Take up the training where the last checkpoint left it."""
        state = checkpoints.load_state(folder)
        if state["data"] != [len(self.columns[0]), self.batch_size]:
            raise ValueError(
                f"a resumed run should have the rows and batch_size of the run in {folder}, {state['data']}, "
                f"but got {[len(self.columns[0]), self.batch_size]}"
            )
        self._best_loss, self._best_step, self.reports_since_best = state["best"]
        if self._best_step:
            checkpoints.load_weights(folder, self.objective, name="best")
            self._best_weights = {k: v.detach().clone() for k, v in self.objective.state_dict().items()}
        checkpoints.load_weights(folder, self.objective, name="last")
        self.optimizer.load_state_dict(state["optimizer"])
        self._noise = state["noise"]
        self._order_state, self._epoch, self._taken = state["order"]
        self._names, pending, self._sizes = state["pending"]
        self._pending = [row.to(self._device) for row in pending]
        self.history.rows, self.history.step, self.history.seconds = state["history"]

    def _means(self, rows: list[Tensor], sizes: list[int]) -> dict[str, float]:
        table = torch.stack(rows).cpu().double()
        weights = table.new_tensor(sizes)
        return dict(zip(self._names, (weights @ table / weights.sum()).tolist(), strict=True))

    @torch.no_grad()
    def _evaluate(self, held_out: tuple[Any, ...]) -> dict[str, float]:
        """Return the mean terms over held-out data, in evaluation mode and on the same noise each time."""
        self.objective.eval()
        rows, sizes = [], []
        with seeded(0):
            for batch in batches(held_out, max(self.batch_size, 1024), shuffle=False):
                loss, terms = self.objective(*batch)
                rows.append(torch.stack([loss, *terms.values()]))
                sizes.append(len(batch[0]))
        self.objective.train()
        return self._means(rows, sizes)


def _setter(name: str, objective: Objective, optimizer: Optimizer) -> Callable[[float], object]:
    """Return the function that writes a scheduled value where it belongs."""
    if name == "lr":

        def set_learning_rate(value: float) -> None:
            for group in optimizer.param_groups:
                group["lr"] = value

        return set_learning_rate
    buffers = dict(objective.named_buffers())
    if name not in buffers:
        raise ValueError(
            f"a schedule should name 'lr' or a buffer of the objective, {list(buffers)}, not {name!r}"
        )
    return buffers[name].fill_


def _noise(device: torch.device) -> Noise:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_noise(state: Noise, device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
