"""The trainer: minimises any objective, and can be stopped, resumed and trusted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from probgen.capture.captured_loss import CapturedLoss
from probgen.core import Objective, seed_of, seeded
from probgen.training.callbacks import Callback, Listeners
from probgen.training.history import History
from probgen.training.lock import belonging
from probgen.training.processes import Processes
from probgen.training.rows_of_data import training_on
from probgen.training.run import Run
from probgen.training.schedules_and_turns import Plan
from probgen.training.settings import prepared, rows_at_once

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SAVE_SECONDS = 10.0
"""Least wall time between two checkpoints of a training; its end is always saved."""

AGREE = 20
"""Steps after which several processes agree on whether to save or to stop."""


def fit(
    objective: Objective,
    data: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    validation: Any | None = None,
    schedules: Mapping[str, Plan] | None = None,
    patience: int | None = None,
    accumulate: int = 1,
    max_gradient_norm: float | None = None,
    compile: str = "auto",
    fabric: Fabric | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    seed: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> History:
    r"""Minimise an objective over data by stochastic gradient steps.

    Every epoch visits the data once, in a fresh random order. A report (the mean of each term since the last
    one, over the steps that have it, and the validation terms) is made at the end of each epoch with
    ``epochs``, and a hundred times in all with ``steps``. What is learned is what the optimizer holds at the
    start; a parameter that is made, unfrozen or replaced later is named. The objective is left in evaluation
    mode; a part of it that learns nothing and was put there (``objective.net.norm.eval()``) stays in it
    throughout. Ctrl-C ends the training after the step at hand and returns what there is.

    With ``fabric=Fabric(devices=2, strategy="ddp")`` several processes train together, each with its own
    share of every batch and its own noise: each is given the whole data and the same settings, and where
    these differ all end with an error. The weights are the first one's at the start and the same in all of
    them ever after. A loss that is a mean over data then has the gradient that one process would find; a
    loss that is not, such as MMD, is the mean of what it is on each share. One process writes the checkpoint,
    in a folder that all of them see; a run is resumed by as many processes as it had. If one of them fails,
    all end with an error.

    Args:
        objective: what to minimise: ``SVI(pair)``, a moment-matching objective, your own.
        data: a tensor (n, \*event), or a tuple of equally long ones (data, then context), on the objective's
            device: floating point as its weights, or whole numbers such as tokens and counts; a ``Dataset``
            or ``DataLoader``; :class:`probgen.data.MemoryMapped` arrays; :class:`probgen.data.Ragged`
            sequences: see :func:`probgen.data.source`.
        epochs, steps: how long, in passes over the data or in optimizer steps; give exactly one.
        batch_size: data per step, over all processes, 128 if not given; the last batch of an epoch may be
            smaller, and is left out where a part of it would have fewer rows than the ``least_rows`` of an
            objective that needs several, or one row where a module normalises by the statistics of its batch;
            what is over of the ``row_multiple`` of an objective is left out of it.
            A ``DataLoader`` has its own.
        optimizer: a torch optimizer over the objective's parameters, or a function that makes one from them;
            fused Adam with learning rate 1e-3 by default.
        validation: held-out data of the same form, evaluated at each report on the same noise, about
            ``batch_size`` rows at once (1,024 at least for a loss that needs several). Where a term of it is
            not finite, that is said, and the weights are not the best; a row outside of the support of its
            law is refused.
        schedules: by name, a function of the step: ``"lr"`` sets the learning rate, ``"lr.NAME"`` that of the
            optimizer's group of parameters called NAME, any other name the objective's buffer of that name.
            ``"lr"`` may be a torch scheduler of the optimizer given; it counts optimizer steps, and a
            ``ReduceLROnPlateau`` sees what ``patience`` judges, at reports.
        patience: end after this many reports without better weights, 1 or more, and keep the best. Weights
            are judged by ``objective.judge`` on the validation data: by the unweighted ELBO for SVI, by the
            loss else; where it judges none, patience is refused.
        accumulate: cut each batch into this many parts, whose gradients are added up: less memory, and the
            same step where the loss is a mean over data.
        max_gradient_norm: a gradient with a larger 2-norm is scaled down to it, that of each group of
            parameters with a name by itself; the terms ``gradient_norm`` and ``gradient_norm/NAME`` are the
            norms before.
        compile: ``"eager"``, ``"graph"`` (the captured ATen graph), ``"compile"`` (that graph, compiled),
            ``"cudagraph"`` (as a CUDA graph) or ``"auto"``: where the loss can be captured, "cudagraph" on a
            CUDA device; elsewhere "compile" from 50,000 steps on and "graph" below, for shapes of batches
            that were seen 32 times and promise some 500 steps more, and eagerly before, to the same bits. A
            loss that changes Python's state when it is called, or looks at the values of tensors, runs
            eagerly, and a log entry says why; a number that moves as the training goes should be a buffer.
        fabric: Lightning's Fabric: devices and processes, loggers for the reports, and
            ``precision="bf16-mixed"``. The objective, and data that are tensors, are moved to its device.
        checkpoint: the run folder for the last and the best checkpoint, which belongs to one training at a
            time. At the end the objective has the best weights: it is what ``probgen.load`` gives. Where it
            judges no weights there is no best, and the last are what is kept and loaded.
        resume: go on from the last checkpoint in that folder, if there is one, to the same bits as if the
            training had never stopped. The data, the objective and all settings should then be those of
            before; only how long it trains, ``patience``, ``compile``, ``callbacks``, and a schedule that is
            a function of the step, from the step at hand on, may be new. Tensors and ``Ragged`` data are
            compared, and some rows of ``MemoryMapped`` ones; a ``Dataset`` or ``DataLoader`` is taken on
            trust.
        callbacks: called as the training goes, see :class:`Callback`.
        seed, generator: of all randomness in the training, one at most (a generator gives the seed), torch's
            global state being put back at the end; where not given, that state is used and moved.
        progress: show a progress bar.

    Raises:
        ValueError: for NaN or infinite data, an empty data set, settings that exclude each other, a run
            folder that holds a run (without ``resume``), one of other settings (with it), another training
            at work, or damage; a parameter that comes later; or a loss or weight that is not finite, or with
            ``patience`` no validation loss that is; the last good checkpoint stands.
        TypeError: for an objective, optimizer or data of the wrong type, or data of another dtype than the
            objective's weights.
    """
    processes = Processes(fabric)
    given = prepared(
        processes,
        objective,
        data,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        optimizer=optimizer,
        validation=validation,
        patience=patience,
        accumulate=accumulate,
        max_gradient_norm=max_gradient_norm,
        checkpoint=checkpoint,
        resume=resume,
        seed=seed_of(seed, generator),
        alike={"compile": compile, "names of schedules": sorted(schedules or {})},
    )
    folder, total = given.folder, given.steps
    with (
        belonging(folder, processes, resume=resume),
        seeded(given.seed),
        training_on(given.rows.rows),
        _interruptible() as interrupted,
    ):
        run = Run(
            objective,
            given.optimizer,
            given.rows,
            given.batch_size,
            schedules or {},
            accumulate=given.accumulate,
            max_gradient_norm=given.max_gradient_norm,
            processes=processes,
            least_rows=given.least_rows,
            patience=given.patience,
            validation=given.held_out,
            settings={"seed": given.seed, "precision": processes.precision},
        )
        loss_of = CapturedLoss(
            objective,
            compile,
            steps=total,
            parts=given.accumulate,
            batch_size=rows_at_once(given.batch_size, processes, given.accumulate),
        )
        run.go_on(folder, loss_of)
        history = run.history
        history.folder = folder
        listeners = Listeners(callbacks, objective, history)
        shown = _Shown(history, total, shown=progress and processes.rank == 0)

        def epoch_ended() -> bool:
            (listeners.asked,) = processes.any(listeners.tell("on_epoch_end"))
            return listeners.asked

        start = saved = time.perf_counter() - history.seconds
        listeners.tell("on_fit_start")
        try:
            for batch in () if run.best.out_of_patience else run.batches(total, epoch_ended=epoch_ended):
                run.begin_step()  # schedules, and whose turn it is
                run.backward(loss_of, batch)  # the loss, its terms and its gradient
                run.clip(batch)
                run.optimizer.step()
                run.end_step()  # averages move
                history.seconds = time.perf_counter() - start
                shown.step()
                listeners.tell("on_step_end")
                # At a report weights are checked and judged, and the best remembered.
                reported = history.step % given.between_reports == 0 or history.step == total
                if reported:
                    run.report()
                    shown.report()
                    listeners.tell("on_report")
                # Now and then the processes agree on whether to stop, and whether to save.
                if processes.world == 1 or reported or history.step % AGREE == 0:
                    due = folder is not None and history.seconds + start - saved > SAVE_SECONDS
                    cut, listeners.asked, due = processes.any(interrupted.is_set(), listeners.asked, due)
                    if cut or listeners.asked or run.best.out_of_patience:
                        break
                    if folder is not None and due:
                        run.save(folder, loss_of)
                        saved = time.perf_counter()
            if run.best.out_of_patience or listeners.asked:
                history.ended = "stopped early"
            elif history.step >= total:
                history.ended = "finished"
            run.finish(loss_of)
            if folder is not None:
                run.save(folder, loss_of)
        finally:
            shown.close()
            objective.eval()
    kept = folder is not None and bool(run.best.weights)  # the model in hand is the one that load gives
    if kept or (patience is not None and history.ended != "interrupted"):
        run.restore_best()
    listeners.tell("on_fit_end")
    processes.close_loggers(history.ended)
    shown.end()
    return history


class _Shown:
    """What a user sees of a training: a bar while it goes, and in words what its reports show to be wrong."""

    def __init__(self, history: History, total: int, *, shown: bool) -> None:
        self._history, self._shown = history, shown
        self._told: list[str] = []
        form: dict[str, Any] = {"unit": "step", "dynamic_ncols": True}
        self._bar = tqdm(total=total, initial=history.step, disable=not shown, **form)

    def step(self) -> None:
        self._bar.update()

    def report(self) -> None:
        latest = {split: self._history.values("loss", split)[-1:] for split in ("train", "validation")}
        self._bar.set_postfix({split: f"{values[0]:.4g}" for split, values in latest.items() if values})
        if self._shown and not self._told and self._history.collapsed(reports=5):
            self._told = self._history.diagnose()
            self._bar.write("\n".join(self._told))

    def close(self) -> None:
        self._bar.close()

    def end(self) -> None:
        if not self._shown:
            return
        if self._history.folder is not None:
            ended, step = self._history.ended, self._history.step
            tqdm.write(f"{ended} at step {step}: the run is in {self._history.folder}")
        for finding in self._history.diagnose():
            if finding not in self._told:
                tqdm.write(finding)


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that a step is never cut in two; a second one interrupts."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(*_: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
