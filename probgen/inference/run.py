"""A training under way: everything that a checkpoint must hold to go on to the same bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from probgen.core import Objective, seeded
from probgen.data import Source
from probgen.inference import checkpoint as checkpoints
from probgen.inference.blame import where_not_finite
from probgen.inference.capture import CapturedLoss
from probgen.inference.casts import forget_casts
from probgen.inference.history import History
from probgen.inference.planned import Plan, Planned
from probgen.inference.processes import Processes

Noise = dict[str, Tensor]
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
        self._accumulate = accumulate
        self._max_gradient_norm = max_gradient_norm
        self._learned = [p for group in optimizer.param_groups for p in group["params"]]
        self._device = next(objective.parameters()).device
        order_seed = self.processes.gather(int(torch.randint(2**62, ())))[0]
        self._order = torch.Generator(self._device)
        self._order.manual_seed(order_seed)
        self._order_state = self._order.get_state()  # at the start of this epoch
        self._epoch = 0
        self._taken = 0  # batches taken in this epoch
        self._noise: Noise | None = None  # to put back before the next batch
        self._terms: list[str] = []
        self._pending: list[Tensor] = []  # the terms of each step since the last report
        self._sizes: list[int] = []  # and its number of data, of this process
        self._best_loss = math.inf
        self._best_step = 0
        self._best_weights: dict[str, Tensor] = {}
        self._last: Batch = ()
        if self.processes.world > 1:
            noise_seed = self.processes.gather(int(torch.randint(2**62, ())))[0]
            torch.manual_seed(noise_seed + self.processes.rank)
            self.processes.share([*objective.parameters(), *objective.buffers()])

    def batches(self, total: int, *, epoch_ended: Callable[[], bool] = lambda: False) -> Iterator[Batch]:
        """Yield batches until ``total`` steps are taken or ``epoch_ended``, asked after each, says so."""
        train_mode(self.objective)
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
                _set_noise(self._noise, self._device)
                self._noise = None
            for batch in epoch:
                if self.history.step >= total:
                    return
                if not self._terms:  # the first one
                    check_dtype(self.objective, batch[0], "data")
                yield batch
            self._order_state = self._order.get_state()
            self._epoch += 1
            self._taken = 0
            if epoch_ended():
                return

    def take_step(self, loss_of: CapturedLoss, batch: Batch) -> None:
        """Set what is scheduled, then take one gradient step."""
        self._planned.before_step(self.history.step)
        for weight in self._learned:
            weight.grad = None
        rows = len(batch[0])
        values = [
            self._backward(loss_of, part, len(part[0]) / rows) for part in _cut(batch, rows, self._accumulate)
        ]
        row = sum(values[1:], start=values[0]) if values else torch.zeros(len(self._terms))
        self.processes.average_gradients(self._learned, rows)
        if self._max_gradient_norm is not None:
            norm = nn.utils.clip_grad_norm_(self._learned, self._max_gradient_norm)
            row = torch.cat([row, norm.reshape(1).to(row)])
        self.optimizer.step()
        forget_casts(self._device)
        self._planned.after_step()
        if self.processes.world > 1:
            self.processes.share(list(self.objective.buffers()))
        self.history.step += 1
        self._taken += 1
        self._pending.append(row)
        self._sizes.append(rows)

    def _backward(self, loss_of: CapturedLoss, part: Batch, share: float) -> Tensor:
        """Add the gradient of a share of the batch, and return its share of the loss and the terms."""
        noise = _noise(self._device) if self._device.type == "cpu" else None
        with self.processes.autocast():
            loss, terms = loss_of.backward(*part, scale=share)
        row = torch.stack([loss, *terms.values()])
        self._terms = ["loss", *terms]
        if noise is not None and not all(map(math.isfinite, row.tolist())):  # elsewhere reports look
            _set_noise(noise, self._device)
            self._refuse(row, self.history.step + 1, part)
        self._last = part
        return row if share == 1 else share * row

    def report(self, held_out: Source | None) -> None:
        """Record the means since the last report and the validation terms; remember the best weights."""
        table, sizes = self.check_finite()
        self._pending, self._sizes = [], []
        terms = self._means(sizes @ table, sizes.sum())
        self._record("train", terms)
        if held_out is not None:
            terms = self._evaluate(held_out)
            self._record("validation", terms)
        self.reports_since_best += 1
        judged = self.objective.judge(terms)
        self._planned.after_report(judged)
        if judged < self._best_loss:
            self._best_loss, self._best_step, self.reports_since_best = judged, self.history.step, 0
            self._best_weights = {k: v.detach().clone() for k, v in self.objective.state_dict().items()}

    def latest(self) -> dict[str, str]:
        """Return the latest loss of each split, for a progress bar."""
        latest = {split: self.history.values("loss", split)[-1:] for split in ("train", "validation")}
        return {split: f"{values[0]:.4g}" for split, values in latest.items() if values}

    def check_finite(self) -> tuple[Tensor, Tensor]:
        """Return the terms of each step since the last report, over all processes, and their numbers of data.

        Raises if one of them, or a weight, is NaN or infinite, naming it and the step.
        """
        if not self._pending:
            return torch.zeros(0, len(self._names)), torch.zeros(0)
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        table = torch.stack(self._pending).cpu().double()
        if self.processes.world > 1:
            whole = self.processes.sum(sizes.to(self._device)).cpu()
            table = self.processes.sum((table * sizes[:, None]).to(self._device)).cpu() / whole[:, None]
            sizes = whole
        bad = ~table.isfinite().all(1)
        if bad.any():
            first = int(bad.nonzero()[0])
            self._refuse(table[first], self.history.step - len(table) + first + 1, self._last)
        weights = dict(self.objective.named_parameters())
        finite = torch.stack([weight.detach().isfinite().all() for weight in weights.values()]).tolist()
        if not all(finite):
            name = list(weights)[finite.index(False)]
            raise ValueError(
                f"weights should be finite but after step {self.history.step} {name!r} holds NaN or infinity"
                f"{self._last_good()}"
            )
        return table, sizes

    def finish(self, loss_of: CapturedLoss) -> None:
        """Hold the captured loss against the eager one for the last time."""
        with self.processes.autocast():
            loss_of.check()

    def restore_best(self) -> None:
        """Put the weights of the best report back."""
        self.objective.load_state_dict(self._best_weights)
        forget_casts(self._device)

    def save(self, folder: Path) -> None:
        """Write the last checkpoint, and the best if there is a new one: the first process does."""
        table, sizes = self.check_finite()
        noise = self.processes.gather(_noise(self._device))
        state = {
            "run": self._identity(),
            "compile": self.compile,
            "optimizer": self.optimizer.state_dict(),
            "schedules": self._planned.state_dict(),
            "noise": noise,
            "order": [self._order_state, self._epoch, self._taken],
            "pending": [self._terms, table, sizes],
            "best": [self._best_loss, self._best_step, self.reports_since_best],
            "history": [self.history.rows, self.history.step, self.history.seconds],
        }
        sets = {"last": (self.history.step, self.objective.state_dict())}
        if self._best_weights:
            sets["best"] = (self._best_step, self._best_weights)
        if self.processes.rank == 0:
            checkpoints.save(folder, sets, state)
        self.processes.gather(None)  # none goes on before it stands

    def load(self, folder: Path) -> None:
        """Take up the training where the last checkpoint left it."""
        state = checkpoints.load_state(folder)
        for name, value in self._identity().items():
            if state["run"][name] != value:
                raise ValueError(
                    f"a resumed run should have the {name} of the run in {folder}, {state['run'][name]}, "
                    f"but got {value}"
                )
        if self.compile == "auto" and state["compile"] != "cudagraph":  # the bits are those of the mode
            self.compile = state["compile"]
        self._best_loss, self._best_step, self.reports_since_best = state["best"]
        if self._best_step:
            checkpoints.load_weights(folder, self.objective, name="best")
            self._best_weights = {k: v.detach().clone() for k, v in self.objective.state_dict().items()}
        checkpoints.load_weights(folder, self.objective, name="last")
        self.optimizer.load_state_dict(state["optimizer"])
        self._planned.load_state_dict(state["schedules"])
        self._noise = state["noise"][self.processes.rank]
        self._order_state, self._epoch, self._taken = state["order"]
        self._terms, table, sizes = state["pending"]
        mine = self.processes.rank == 0  # the record of all processes
        self._pending = list((table if mine else 0 * table).to(self._device))
        self._sizes = [int(size) if mine else 0 for size in sizes]
        self.history.rows, self.history.step, self.history.seconds = state["history"]

    def _identity(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with the run that it goes on with."""
        return {
            "rows": self.data.rows,
            "batch_size": self.batch_size,
            "accumulate": self._accumulate,
            "optimizer": type(self.optimizer).__name__,
            "number of processes": self.processes.world,
        }

    @property
    def _names(self) -> list[str]:
        return self._terms if self._max_gradient_norm is None else [*self._terms, "gradient_norm"]

    def _record(self, split: str, terms: dict[str, float]) -> None:
        epoch = self._epoch + 1
        self.history.add(self.history.step, epoch, split, terms)
        self.processes.log({f"{split}/{term}": value for term, value in terms.items()}, self.history.step)

    def _means(self, sums: Tensor, size: Tensor) -> dict[str, float]:
        return dict(zip(self._names, (sums / size).tolist(), strict=False))

    @torch.no_grad()
    def _evaluate(self, held_out: Source) -> dict[str, float]:
        """Return the mean terms over held-out data, in evaluation mode and on the same noise each time."""
        self.objective.eval()
        forget_casts(self._device)
        size = None if held_out.own_batches else max(self.batch_size or 0, 1024)
        rows, sizes = [torch.zeros(len(self._terms), device=self._device)], [0]
        with seeded(self.processes.rank), self.processes.autocast():
            order = torch.Generator(self._device).manual_seed(0)
            for batch in held_out.batches(
                size, generator=order, shuffle=False, shard=self.processes.shard, device=self._device
            ):
                if len(batch[0]):
                    loss, terms = self.objective(*batch)
                    rows.append(torch.stack([loss, *terms.values()]))
                    sizes.append(len(batch[0]))
        train_mode(self.objective)
        forget_casts(self._device)
        table = torch.stack(rows).cpu().double()
        weights = table.new_tensor(sizes)
        sums = torch.cat([weights @ table, weights.sum().reshape(1)])
        sums = self.processes.sum(sums.to(self._device)).cpu()
        return self._means(sums[:-1], sums[-1])

    def _refuse(self, row: Tensor, step: int, batch: Batch) -> None:
        """Raise for a loss or a term that is not finite, naming the term, and the site where one is found."""
        bad = (~row.isfinite()).nonzero().flatten().tolist()
        column = next((c for c in bad if self._names[c] not in ("loss", "elbo")), bad[0])
        site = where_not_finite(self.objective, *batch)
        raise ValueError(
            f"the loss should be finite but at step {step} the term {self._names[column]!r} "
            f"is {float(row[column])}{f' ({site})' if site else ''}{self._last_good()}"
        )

    def _last_good(self) -> str:
        kept = self.history.folder is not None and checkpoints.exists(self.history.folder)
        return f"; the last good checkpoint is in {self.history.folder}" if kept else ""


def train_mode(objective: Objective) -> None:
    """Put an objective in training mode, but for parts in evaluation mode that learn nothing."""
    frozen = [module for module in objective.modules() if not module.training and _learns_nothing(module)]
    objective.train()
    for module in frozen:
        module.eval()


def check_dtype(objective: Objective, x: Tensor, name: str) -> None:
    """Raise unless the data have the floating-point type of the weights."""
    dtypes = {weight.dtype for weight in objective.parameters()}
    if dtypes and x.dtype not in dtypes:
        wanted = " or ".join(sorted(map(str, dtypes)))
        raise TypeError(f"{name} should be {wanted}, as the objective's weights, but is {x.dtype}")


def _learns_nothing(module: nn.Module) -> bool:
    weights = list(module.parameters())
    return bool(weights) and not any(weight.requires_grad for weight in weights)


def _cut(batch: Batch, rows: int, parts: int) -> Iterator[Batch]:
    """Cut a batch into so many parts of about the same size, none of them empty."""
    if parts == 1 and rows:
        yield batch
        return
    size = max(1, -(-rows // parts))
    for start in range(0, rows, size):
        yield tuple(column[start : start + size] for column in batch)


def _noise(device: torch.device) -> Noise:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_noise(state: Noise, device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
