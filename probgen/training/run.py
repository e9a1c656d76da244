"""A training under way: everything that a checkpoint must hold to go on to the same bits."""

from __future__ import annotations

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
from probgen.core.faults import OUTSIDE
from probgen.core.plain_words import far_from_unit_scale
from probgen.data import Source
from probgen.data.batches import share
from probgen.data.fingerprint import fingerprint
from probgen.training import checkpoint as checkpoints
from probgen.training.beside_weights import Beside
from probgen.training.best_weights import BestWeights
from probgen.training.frozen import Modes
from probgen.training.history import History
from probgen.training.learned import Learned
from probgen.training.parameter_groups import clipped
from probgen.training.processes import Processes
from probgen.training.resumed_settings import BUFFER, check_same, check_same_data, settings_of
from probgen.training.schedules_and_turns import Plan, Planned, Turns
from probgen.training.settings import check_dtype, whole_numbers
from probgen.training.terms_by_name import Table, Tally, named
from probgen.training.validation import fault, validate
from probgen.training.where_not_finite import where_not_finite

FORM = 4
"""The form of what is saved of a training beside its weights."""

Batch = tuple[Tensor, ...]
Noise = dict[str, Tensor]
"""Where torch's random numbers stand, by the kind of device."""


class Run:
    """The state of a training: weights, optimizer, noise, place in the data, and the record so far.

    Args:
        objective, optimizer: what is minimised, by what.
        data, validation: where its batches come from, and held-out data, where there are any.
        batch_size: rows of a step, over all processes; None where the data have batches of their own.
        schedules: by name, as :func:`probgen.fit` takes them.
        accumulate: into how many parts a process cuts its share of a batch.
        max_gradient_norm: what the gradient's norm is cut down to.
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
        processes: Processes | None = None,
        least_rows: int = 1,
        patience: int | None = None,
        validation: Source | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.objective = objective
        self.optimizer = optimizer
        self.data = data
        self.validation = validation
        self.batch_size = batch_size
        self.processes = Processes() if processes is None else processes
        self.history = History()

        self._planned = Planned(schedules, objective, optimizer)
        self._turns = Turns(objective)
        self._accumulate = accumulate
        self._max_gradient_norm = max_gradient_norm
        self._least_rows = least_rows
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
        self.best = BestWeights(
            objective,
            self.history,
            patience=patience,
            waiting="patience" if patience is not None else self._planned.waits,
            tells=self.processes.rank == 0,
        )
        self._last: Batch = ()
        self._fingerprints: dict[str, Any] = {}  # of the data, where they are saved
        if self.processes.world > 1:
            noise_seed = self.processes.gather(int(torch.randint(2**62, ())))[0]
            torch.manual_seed(noise_seed + self.processes.rank)
            self.processes.share([*objective.parameters(), *objective.buffers()])

    def batches(self, total: int, *, epoch_ended: Callable[[], bool] = lambda: False) -> Iterator[Batch]:
        """Yield batches until ``total`` steps are taken or ``epoch_ended``, asked after each, says so."""
        self._modes.train()
        looked = False
        while self.history.step < total:
            # The order of an epoch is drawn from a state of its own: an epoch that was cut is drawn again,
            # and what had been taken is skipped.
            self._order.set_state(self._order_state)
            epoch = self.data.batches(
                self.batch_size,
                generator=self._order,
                shard=self.processes.shard,
                skip=self._taken,
                device=self._device,
            )
            # After a resume, the noise goes on where it was; the data may have drawn some in beginning again.
            if self._noise is not None:
                _set_noise(self._noise, self._device)
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

    def begin_step(self) -> None:
        """Set what is scheduled and whose turn it is, and forget the gradient of the step before."""
        self._planned.before_step(self.history.step)
        self._turns.before_step(self.history.step)
        for weight in self._learned.weights:
            weight.grad = None

    def backward(self, loss_of: CapturedLoss, batch: Batch) -> None:
        """Compute the loss of each part of a batch and add up the gradients, and average over processes."""
        rows, first = len(batch[0]), not self._last
        with whole_numbers(batch[0], "data") if first else nullcontext():
            for part in _cut(batch, rows, self._accumulate):
                self._backward(loss_of, part, len(part[0]) / rows)
        if first:
            self._learned.check()  # what a first forward pass makes
        self.processes.average_gradients(self._learned.weights, rows)

    def clip(self, batch: Batch) -> None:
        """Scale the gradient down to its largest norm, if one is given, and note the norms before."""
        if self._max_gradient_norm is not None:
            norms = clipped(self.optimizer, self._max_gradient_norm)
            values = torch.stack([*norms.values()])
            self._tally.add(self.history.step + 1, tuple(norms), values, len(batch[0]))

    def end_step(self) -> None:
        """Count the step, and move what moves once a step."""
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
        noise = _noise_of(self._device) if self._device.type == "cpu" else None
        with self.processes.autocast():
            names, row = named(*loss_of.backward(*part, scale=share))
        numbers = row.tolist() if noise is not None else []  # on a GPU it would wait: there, reports look
        if noise is not None and not all(map(math.isfinite, numbers)):
            _set_noise(noise, self._device)
            self._refuse(dict(zip(names, numbers, strict=True)), self.history.step + 1, part)
        self._last = part
        self._tally.add(self.history.step + 1, names, row, rows)

    def report(self) -> None:
        """Record the means since the last report and the validation terms; remember the best weights."""
        terms = self._check().means()
        self._tally.restart(self.history.step)
        self._record("train", terms)
        if self.validation is not None:
            terms = self._validate(self.validation)
            self._record("validation", terms)
        judged = self.best.judge(terms)
        if judged is not None:
            self._planned.after_report(judged)

    def _validate(self, held_out: Source) -> dict[str, float]:
        """Return the mean terms over held-out data, and say once where one of them is not finite.

        That may pass as the training goes, where numbers overflow; a row that the law of the data makes
        impossible is refused, as it is in training.
        """
        where: dict[str, Any] = {"batch_size": self.batch_size or self.data.batch_size or 128}
        where["device"] = self._device
        self.objective.eval()
        forget_casts(self._device)
        terms = validate(self.objective, held_out, processes=self.processes, **where)
        if not self.best.fault:
            found = fault(self.objective, held_out, terms, **where)
            if found is not None and OUTSIDE in found:
                raise ValueError(
                    f"the validation terms should be finite but at step {self.history.step} {found}: leave "
                    "out such rows, or choose laws that make them possible"
                    f"{checkpoints.last_good(self.history.folder)}"
                )
            if found is not None:
                self.best.say(f"at step {self.history.step} {found}", "the validation terms")
        self._modes.train()
        forget_casts(self._device)
        return terms

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
                f"{checkpoints.last_good(self.history.folder)}"
            )
        return table

    def finish(self, loss_of: CapturedLoss) -> None:
        """Hold the captured loss against the eager one for the last time."""
        with self.processes.autocast():
            loss_of.check()

    def restore_best(self) -> None:
        """Put the weights of the best report back."""
        self.best.restore()
        forget_casts(self._device)

    def save(self, folder: Path, loss_of: CapturedLoss) -> None:
        """Write the last checkpoint, and the best if there is a new one: the first process does."""
        table = self._check()
        noise = self.processes.gather(_noise_of(self._device))
        beside = self.processes.gather(self._beside.state_dict())
        capture = self.processes.gather(loss_of.state_dict())
        state = {
            "form": FORM,
            "run": self._settings,
            "now": self._settings_now(),
            "data": self._fingerprints,
            "capture": capture,
            "optimizer": self.optimizer.state_dict(),
            "schedules": self._planned.state_dict(),
            "noise": noise,
            "beside": beside,
            "order": [self._order_state, self._epoch, self._taken],
            "pending": [*table],
            "best": self.best.state(),
            "history": [self.history.rows, self.history.step, self.history.seconds],
        }
        sets: dict[str, Any] = {"last": (self.history.step, self.objective.state_dict())}
        if self.best.weights:
            sets["best"] = (self.best.step, self.best.weights)
        with self.processes.together():  # none goes on before it stands
            if self.processes.rank == 0:
                checkpoints.save(folder, sets, state)

    def go_on(self, folder: Path | None, loss_of: CapturedLoss) -> None:
        """Take up the training that a folder holds, if it holds one, where its last checkpoint left it."""
        held = folder is not None and checkpoints.exists(folder)
        self.processes.agree({"run to go on with": held})
        sources = {"data": self.data, "validation": self.validation}
        if folder is not None:
            self._fingerprints = {what: given and fingerprint(given) for what, given in sources.items()}
        if folder is not None and held:
            with self.processes.together():
                self._load(folder, loss_of)

    def _load(self, folder: Path, loss_of: CapturedLoss) -> None:
        state = checkpoints.load_state(folder)
        if state.get("form") != FORM:
            raise ValueError(
                f"the run in {folder} was saved by another version of probgen: its weights can be loaded "
                "(training.checkpoint.load_weights), but the run cannot go on"
            )
        check_same(folder, before=state["run"], later=state["now"], now=self._settings)
        check_same_data(folder, before=state.get("data", {}), now=self._fingerprints)
        self._settings = state["run"]
        loss_of.load_state_dict(state["capture"][self.processes.rank])
        best: dict[str, Any] = {}
        if state["best"][1]:
            checkpoints.load_weights(folder, self.objective, name="best", own=True)
            best = checkpoints.state_of(self.objective)
        self.best.load_state(state["best"], best)
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
            "rows of validation": self.validation and self.validation.rows,
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
            f"is {terms[name]}{f' ({site})' if site else ''}{far_from_unit_scale(batch[0])}"
            f"{checkpoints.last_good(self.history.folder)}"
        )


def _cut(batch: Batch, rows: int, parts: int) -> Iterator[Batch]:
    """Cut a batch into so many parts that differ by one row at most, none of them empty."""
    if parts == 1 and rows:
        yield batch
        return
    for part in range(min(parts, rows)):
        cut = share(rows, (part, min(parts, rows)))
        yield tuple(column[cut] for column in batch)


def _noise_of(device: torch.device) -> Noise:
    """Return the state of torch's generators that a training on the device draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_noise(state: Noise, device: torch.device) -> None:
    """Put such a state back."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
