"""A training under way: everything that a checkpoint must hold to go on to the same bits."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from probgen.capture.captured_loss import CapturedLoss
from probgen.capture.casts import forget_casts
from probgen.core import Objective
from probgen.data import Source
from probgen.data.batches import share
from probgen.training import checkpoint as checkpoints
from probgen.training.applied_schedules import Plan, Planned
from probgen.training.beside_weights import Beside
from probgen.training.frozen import Modes
from probgen.training.history import History
from probgen.training.learned import Learned
from probgen.training.noise import Noise, noise_of, set_noise
from probgen.training.parameter_groups import clipped
from probgen.training.processes import Processes
from probgen.training.resumed_settings import BUFFER, check_same, settings_of
from probgen.training.settings import check_dtype, whole_numbers
from probgen.training.terms_by_name import Table, Tally, named
from probgen.training.turns import Turns
from probgen.training.validation import fault, validate
from probgen.training.where_not_finite import where_not_finite

logger = logging.getLogger("probgen")

FORM = 3
"""The form of what is saved of a training beside its weights."""

Batch = tuple[Tensor, ...]


class Run:
    """The state of a training: weights, optimizer, noise, place in the data, and the record so far.

    Args:
        objective, optimizer: what is minimised, by what.
        data: where its batches come from.
        batch_size: rows of a step, over all processes; None where the data have batches of their own.
        schedules: by name, as :func:`probgen.fit` takes them.
        accumulate: into how many parts a process cuts its share of a batch.
        max_gradient_norm: what the gradient's norm is cut down to.
        compile: how the loss is to run.
        processes: those that take part.
        least_rows: how few rows a batch, or a part of it, may have.
        patience: reports without better weights after which it ends, where there is such an end.
        settings: further ones, by name, that a resumed run must have in common with this one.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: Optimizer,
        data: Source,
        batch_size: int | None,
        schedules: Mapping[str, Plan],
        *,
        accumulate: int = 1,
        max_gradient_norm: float | None = None,
        compile: str = "auto",
        processes: Processes | None = None,
        least_rows: int = 1,
        patience: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.objective = objective
        self.optimizer = optimizer
        self.data = data
        self.batch_size = batch_size
        self.processes = Processes() if processes is None else processes
        self.compile = compile
        self.history = History()
        self.reports_since_best = 0

        self._planned = Planned(schedules, objective, optimizer)
        self._turns = Turns(objective)
        self._accumulate = accumulate
        self._max_gradient_norm = max_gradient_norm
        self._least_rows = least_rows
        self._patience = patience
        self._learned = Learned(objective, optimizer)
        self._modes = Modes(objective)
        self._plans, self._given = schedules, settings or {}
        self._settings = self._settings_now()  # as they are given
        self.processes.agree({k: v for k, v in self._settings.items() if not k.startswith(BUFFER)})
        self._beside = Beside(objective)
        self._device = next(objective.parameters()).device
        order_seed = self.processes.gather(int(torch.randint(2**62, ())))[0]
        self._order = torch.Generator(self._device)
        self._order.manual_seed(order_seed)
        self._order_state = self._order.get_state()  # at the start of this epoch
        self._epoch = 0
        self._taken = 0  # batches taken in this epoch
        self._noise: Noise | None = None  # to put back before the next batch
        self._tally = Tally()  # the terms of each step since the last report
        self._fault = ""  # what was wrong with the validation data where they were first judged wrong
        self._best_loss = math.inf
        self._best_step = 0
        self._best_weights: dict[str, Any] = {}
        self._last: Batch = ()
        if self.processes.world > 1:
            noise_seed = self.processes.gather(int(torch.randint(2**62, ())))[0]
            torch.manual_seed(noise_seed + self.processes.rank)
            self.processes.share([*objective.parameters(), *objective.buffers()])

    def batches(self, total: int, *, epoch_ended: Callable[[], bool] = lambda: False) -> Iterator[Batch]:
        """Yield batches until ``total`` steps are taken or ``epoch_ended``, asked after each, says so."""
        self._modes.train()
        looked = False
        while self.history.step < total:
            self._order.set_state(self._order_state)
            epoch = self.data.batches(
                self.batch_size,
                generator=self._order,
                shard=self.processes.shard,
                skip=self._taken,
                device=self._device,
            )
            if self._noise is not None:
                set_noise(self._noise, self._device)
                self._noise = None
            if self.processes.world > 1 and not self.data.tensors:
                epoch = self.processes.in_step(epoch, first=not self.history.step)
            for batch in epoch:
                if self.history.step >= total:
                    return
                if not looked:
                    check_dtype(self.objective, batch[0], "data")
                    looked = True
                yield batch
            self._order_state = self._order.get_state()
            self._epoch += 1
            self._taken = 0
            if epoch_ended():
                return

    def take_step(self, loss_of: CapturedLoss, batch: Batch) -> None:
        """Set what is scheduled, then take one gradient step."""
        self._planned.before_step(self.history.step)
        self._turns.before_step(self.history.step)
        learned = self._learned.weights
        for weight in learned:
            weight.grad = None
        step, rows, first = self.history.step + 1, len(batch[0]), not self._last
        with whole_numbers(batch[0], "data") if first else nullcontext():
            for part in _cut(batch, rows, self._accumulate):
                self._backward(loss_of, part, len(part[0]) / rows)
        if first:
            self._learned.check()  # what a first forward pass makes
        self.processes.average_gradients(learned, rows)
        if self._max_gradient_norm is not None:
            norms = clipped(self.optimizer, self._max_gradient_norm)
            self._tally.add(step, tuple(norms), torch.stack([*norms.values()]), rows)
        self.optimizer.step()
        forget_casts(self._device)
        self._planned.after_step()
        self._turns.after_step(self.processes)
        if self.processes.world > 1:
            self.processes.share(list(self.objective.buffers()))
        self.history.step += 1
        self._taken += 1

    def _backward(self, loss_of: CapturedLoss, part: Batch, share: float) -> None:
        """Add the gradient of a share of the batch, and note its loss and terms."""
        rows = len(part[0])
        if rows < self._least_rows:
            raise ValueError(
                f"a batch, or a part of it, should have at least {self._least_rows} rows for this objective "
                f"but that of step {self.history.step + 1} has {rows}: leave out such a batch "
                "(DataLoader(..., drop_last=True)) or make batches larger"
            )
        noise = noise_of(self._device) if self._device.type == "cpu" else None
        with self.processes.autocast():
            names, row = named(*loss_of.backward(*part, scale=share))
        if noise is not None and not all(
            map(math.isfinite, numbers := row.tolist())
        ):  # elsewhere reports look
            set_noise(noise, self._device)
            self._refuse(dict(zip(names, numbers, strict=True)), self.history.step + 1, part)
        self._last = part
        self._tally.add(self.history.step + 1, names, row, rows)

    def report(self, held_out: Source | None) -> None:
        """Record the means since the last report and the validation terms; remember the best weights."""
        terms = self._check().means()
        self._tally.restart(self.history.step)
        self._record("train", terms)
        if held_out is not None:
            terms = self._validate(held_out)
            self._record("validation", terms)
        self.reports_since_best += 1
        try:
            judged = self.objective.judge(terms)
        except KeyError as error:
            raise ValueError(
                f"{type(self.objective).__name__} is judged by the term {error}, which the report of step "
                f"{self.history.step} does not have: report it for all data, in evaluation mode too"
            ) from error
        if judged is None:
            self._unjudged()
            return
        self._planned.after_report(judged)
        if not math.isfinite(judged):
            self._say(f"at step {self.history.step} it is {judged}", "what weights are judged by")
        elif judged < self._best_loss:
            self._best_loss, self._best_step, self.reports_since_best = judged, self.history.step, 0
            self._best_weights = checkpoints.state_of(self.objective)

    def _unjudged(self) -> None:
        """Raise where something waits for a judgement of the weights, and the objective gives none."""
        waiting = "patience" if self._patience is not None else self._planned.waits
        if waiting:
            raise ValueError(
                f"{waiting} needs weights that are judged but {type(self.objective).__name__} judges none: "
                f"leave it out; the last weights are kept{self._last_good()}"
            )

    def _validate(self, held_out: Source) -> dict[str, float]:
        """Return the mean terms over held-out data, and say once where one of them is not finite."""
        where: dict[str, Any] = {"batch_size": self.batch_size or self.data.batch_size or 128}
        where["device"] = self._device
        self.objective.eval()
        forget_casts(self._device)
        terms = validate(self.objective, held_out, processes=self.processes, **where)
        if not self._fault:
            found = fault(self.objective, held_out, terms, **where)
            if found is not None:
                self._say(f"at step {self.history.step} {found}", "the validation terms")
        self._modes.train()
        forget_casts(self._device)
        return terms

    def _say(self, found: str, what: str) -> None:
        """Say once that weights cannot be judged."""
        if not self._fault and self.processes.rank == 0:
            logger.warning(
                "%s should be finite but %s: weights judged by such a number are not the best", what, found
            )
        self._fault = self._fault or found

    def latest(self) -> dict[str, str]:
        """Return the latest loss of each split, for a progress bar."""
        latest = {split: self.history.values("loss", split)[-1:] for split in ("train", "validation")}
        return {split: f"{values[0]:.4g}" for split, values in latest.items() if values}

    def _check(self) -> Table:
        """Return the terms of each step since the last report, over all processes.

        Raises if one of them, or a weight, is NaN or infinite, naming it and the step; and for a weight that
        came after the start.
        """
        self._learned.check()
        table = self._tally.table(self.history.step, self.processes, self._device)
        bad = table.not_finite()
        if bad is not None:
            self._refuse(bad[1], bad[0], self._last)
        weights = dict(self.objective.named_parameters())
        finite = torch.stack([weight.detach().isfinite().all() for weight in weights.values()]).tolist()
        if not all(finite):
            name = list(weights)[finite.index(False)]
            raise ValueError(
                f"weights should be finite but after step {self.history.step} {name!r} holds NaN or infinity"
                f"{self._last_good()}"
            )
        return table

    def finish(self, loss_of: CapturedLoss) -> None:
        """Hold the captured loss against the eager one for the last time."""
        with self.processes.autocast():
            loss_of.check()

    def restore_best(self) -> None:
        """Put the weights of the best report back; those of a training that was never judged stay.

        Raises:
            ValueError: where no report could be judged, since its validation loss was not finite.
        """
        if self._best_weights:
            checkpoints.put_back(self.objective, self._best_weights)
            forget_casts(self._device)
        elif self.reports_since_best:
            raise ValueError(
                "patience keeps the weights of the best validation loss but at none of "
                f"{self.reports_since_best} reports was it finite ({self._fault}): leave such rows out of "
                f"the validation data, or leave out patience{self._last_good()}"
            )

    def save(self, folder: Path) -> None:
        """Write the last checkpoint, and the best if there is a new one: the first process does."""
        table = self._check()
        noise = self.processes.gather(noise_of(self._device))
        beside = self.processes.gather(self._beside.state_dict())
        state = {
            "form": FORM,
            "run": self._settings,
            "now": self._settings_now(),
            "compile": self.compile,
            "optimizer": self.optimizer.state_dict(),
            "schedules": self._planned.state_dict(),
            "noise": noise,
            "beside": beside,
            "order": [self._order_state, self._epoch, self._taken],
            "pending": [*table],
            "best": [self._best_loss, self._best_step, self.reports_since_best, self._fault],
            "history": [self.history.rows, self.history.step, self.history.seconds],
        }
        sets: dict[str, Any] = {"last": (self.history.step, self.objective.state_dict())}
        if self._best_weights:
            sets["best"] = (self._best_step, self._best_weights)
        with self.processes.together():  # none goes on before it stands
            if self.processes.rank == 0:
                checkpoints.save(folder, sets, state)

    def load(self, folder: Path) -> None:
        """Take up the training where the last checkpoint left it."""
        state = checkpoints.load_state(folder)
        if state.get("form") != FORM:
            raise ValueError(
                f"the run in {folder} was saved by another version of probgen: its weights can be loaded "
                "(training.checkpoint.load_weights), but the run cannot go on"
            )
        check_same(folder, before=state["run"], later=state["now"], now=self._settings)
        self._settings = state["run"]
        if self.compile == "auto" and state["compile"] != "cudagraph":  # the bits are those of the mode
            self.compile = state["compile"]
        self._best_loss, self._best_step, self.reports_since_best, self._fault = state["best"]
        if self._best_step:
            checkpoints.load_weights(folder, self.objective, name="best", own=True)
            self._best_weights = checkpoints.state_of(self.objective)
        checkpoints.load_weights(folder, self.objective, name="last", own=True)
        self._beside.load_state_dict(state["beside"][self.processes.rank], folder)
        self.optimizer.load_state_dict(state["optimizer"])
        self._planned.load_state_dict(state["schedules"])
        self._noise = state["noise"][self.processes.rank]
        self._order_state, self._epoch, self._taken = state["order"]
        self.history.rows, self.history.step, self.history.seconds = state["history"]
        start = self.history.step - len(state["pending"][2])
        mine = self.processes.rank == 0  # it has the record of all processes
        self._tally.restart(start, state["pending"] if mine else None)

    def _settings_now(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with the run that it goes on with."""
        given = {
            "rows": self.data.rows,
            "batch_size": self.batch_size,
            "accumulate": self._accumulate,
            "number of processes": self.processes.world,
            "max_gradient_norm": self._max_gradient_norm,
        }
        return settings_of(self.objective, self.optimizer, self._plans, given | dict(self._given))

    def _record(self, split: str, terms: dict[str, float]) -> None:
        epoch = self._epoch + 1
        self.history.add(self.history.step, epoch, split, terms)
        self.processes.log({f"{split}/{term}": value for term, value in terms.items()}, self.history.step)

    def _refuse(self, terms: Mapping[str, float], step: int, batch: Batch) -> None:
        """Raise for a loss or a term that is not finite, naming the term, and the site where one is found."""
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        name = next((name for name in bad if name not in ("loss", "elbo")), bad[0])
        site = where_not_finite(self.objective, *batch)
        raise ValueError(
            f"the loss should be finite but at step {step} the term {name!r} "
            f"is {terms[name]}{f' ({site})' if site else ''}{self._last_good()}"
        )

    def _last_good(self) -> str:
        kept = self.history.folder is not None and checkpoints.exists(self.history.folder)
        return f"; the last good checkpoint is in {self.history.folder}" if kept else ""


def _cut(batch: Batch, rows: int, parts: int) -> Iterator[Batch]:
    """Cut a batch into so many parts that differ by one row at most, none of them empty."""
    if parts == 1 and rows:
        yield batch
        return
    for part in range(min(parts, rows)):
        cut = share(rows, (part, min(parts, rows)))
        yield tuple(column[cut] for column in batch)
