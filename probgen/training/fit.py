"""The trainer: minimises any objective, and can be stopped, resumed and trusted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from probgen.capture.captured_loss import CapturedLoss
from probgen.core import Objective, check_count, check_seed, seeded, takes_missing
from probgen.data import source
from probgen.training import checkpoint as checkpoints
from probgen.training.applied_schedules import Plan
from probgen.training.callbacks import Callback, Listeners
from probgen.training.history import History
from probgen.training.learned import check_made
from probgen.training.lock import belonging
from probgen.training.parameter_groups import pythons
from probgen.training.processes import Processes
from probgen.training.run import Run
from probgen.training.settings import (
    batch_size_of,
    check_alike,
    check_rows,
    in_common,
    length,
    moved,
    optimizer_of,
    rows_at_once,
    rows_needed,
    run_folder,
)

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
            objective that needs several, or one row where a module normalises by the statistics of its batch.
            A ``DataLoader`` has its own.
        optimizer: a torch optimizer over the objective's parameters, or a function that makes one from them;
            fused Adam with learning rate 1e-3 by default.
        validation: held-out data of the same form, evaluated at each report on the same noise, about
            ``batch_size`` rows at once (1,024 at least for a loss that needs several). Where a term of it is
            not finite, that is said, and the weights are not the best.
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
        compile: ``"eager"``, ``"graph"`` (the captured ATen graph), ``"compile"`` (that graph under
            torch.compile), ``"cudagraph"`` (as a CUDA graph) or ``"auto"``: where the loss can be captured,
            "cudagraph" on a CUDA device, elsewhere "compile" from 50,000 steps on and "graph" below. A loss
            that changes Python's state when it is called, or looks at the values of tensors, runs eagerly,
            and a log entry says why; a number that moves as the training goes should be a buffer.
        fabric: Lightning's Fabric: devices and processes, loggers for the reports, and
            ``precision="bf16-mixed"``. The objective, and data that are tensors, are moved to its device.
        checkpoint: the run folder for the last and the best checkpoint, which belongs to one training at a
            time. Where the objective judges no weights there is no best, and the last are what is loaded.
        resume: go on from the last checkpoint in that folder, if there is one, to the same bits as if the
            training had never stopped. The data, the objective and all settings should then be those of
            before; only how long it trains, ``patience``, ``compile``, ``callbacks``, and a schedule that is
            a function of the step, from the step at hand on, may be new.
        callbacks: called as the training goes, see :class:`Callback`.
        seed: of all randomness in the training, torch's global state being put back at the end; where not
            given, that state is used and moved.
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
    with processes.together():
        if not isinstance(objective, Objective):
            raise TypeError(
                "objective should be a probgen.Objective, such as SVI(pair), but is a "
                f"{type(objective).__name__}"
            )
        accumulate, seed = check_count("accumulate", accumulate), check_seed(seed)
        if max_gradient_norm is not None and not max_gradient_norm > 0:
            raise ValueError(f"max_gradient_norm should be above 0 but got {max_gradient_norm}")
        max_gradient_norm = pythons(max_gradient_norm)
        if patience is not None:
            patience = check_count("patience", patience)
            if validation is None:
                raise ValueError("patience needs validation data, on which a better loss is judged")
        check_made(objective)
        checkpoints.check_state(objective, saved=checkpoint is not None)
        parts = processes.world * accumulate
        needed, judged = rows_needed(objective), rows_needed(objective, training=False)
        missing = takes_missing(objective)
        rows = source(data, least_rows=needed.of(parts), missing=missing)
        held_out = validation
        if validation is not None:
            least = judged.of(processes.world)
            held_out = source(validation, name="validation", least_rows=least, missing=missing)
        size = batch_size_of(rows, batch_size)
        check_rows(data, rows, size, needed, parts, processes.world)
        total, interval = length(epochs, steps, rows, size)
        folder = run_folder(checkpoint, resume=resume)
        if processes.device is not None:
            objective.to(processes.device)
            rows = moved(rows, processes.device, needed.of(parts), missing=missing)
            held_out = held_out and moved(held_out, processes.device, least, missing=missing)
        check_alike(objective, rows, "data")
        check_alike(objective, held_out, "validation")
        made = optimizer_of(objective, optimizer)
    processes.agree(
        in_common(objective, rows, held_out)
        | {"batch_size": size, "batches in an epoch": rows.steps(size), "steps": total}
        | {"steps between reports": interval, "accumulate": accumulate, "seed": seed, "patience": patience}
        | {"max_gradient_norm": max_gradient_norm, "compile": compile, "optimizer": type(made).__name__}
        | {"names of schedules": sorted(schedules or {}), "checkpoint": checkpoint and str(folder)}
        | {"resume": resume}
    )

    with (
        belonging(folder, processes, resume=resume),
        seeded(seed),
        _interruptible() as interrupted,
    ):
        run = Run(
            objective,
            made,
            rows,
            size,
            schedules or {},
            accumulate=accumulate,
            max_gradient_norm=max_gradient_norm,
            compile=compile,
            processes=processes,
            least_rows=needed.rows,
            patience=patience,
            settings={
                "seed": seed,
                "precision": processes.precision,
                "rows of validation": None if held_out is None else held_out.rows,
            },
        )
        going_on = folder is not None and checkpoints.exists(folder)
        processes.agree({"run to go on with": going_on})
        if folder is not None and going_on:
            with processes.together():
                run.load(folder)
        loss_of = CapturedLoss(
            objective, run.compile, steps=total, batch_size=rows_at_once(size, processes, accumulate)
        )
        run.compile = loss_of.mode
        history = run.history
        history.folder = folder
        listeners = Listeners(callbacks, objective, history)
        shown = progress and processes.rank == 0
        told: list[str] = []  # what was found to be wrong on the way

        def out_of_patience() -> bool:
            return patience is not None and run.reports_since_best >= patience

        def epoch_ended() -> bool:
            (listeners.asked,) = processes.any(listeners.tell("on_epoch_end"))
            return listeners.asked

        start = saved = time.perf_counter() - history.seconds
        bar = tqdm(total=total, initial=history.step, disable=not shown, unit="step", dynamic_ncols=True)
        listeners.tell("on_fit_start")
        try:
            for batch in () if out_of_patience() else run.batches(total, epoch_ended=epoch_ended):
                run.take_step(loss_of, batch)
                bar.update()
                history.seconds = time.perf_counter() - start
                listeners.tell("on_step_end")
                reported = history.step % interval == 0 or history.step == total
                if reported:
                    run.report(held_out)
                    bar.set_postfix(run.latest())
                    if shown and not told and history.collapsed(reports=5):
                        told = history.diagnose()
                        bar.write("\n".join(told))
                    listeners.tell("on_report")
                if processes.world == 1 or reported or history.step % AGREE == 0:
                    due = folder is not None and history.seconds + start - saved > SAVE_SECONDS
                    cut, listeners.asked, due = processes.any(interrupted.is_set(), listeners.asked, due)
                    if cut or listeners.asked or out_of_patience():
                        break
                    if due:
                        assert folder is not None
                        run.save(folder)
                        saved = time.perf_counter()
            if out_of_patience() or listeners.asked:
                history.ended = "stopped early"
            elif history.step >= total:
                history.ended = "finished"
            run.finish(loss_of)
            if folder is not None:
                run.save(folder)
        finally:
            bar.close()
            objective.eval()
    if patience is not None and history.ended != "interrupted":
        run.restore_best()
    listeners.tell("on_fit_end")
    processes.close_loggers(history.ended)
    if shown and folder is not None:
        tqdm.write(f"{history.ended} at step {history.step}: the run is in {folder}")
    if shown:
        for finding in history.diagnose():
            if finding not in told:
                tqdm.write(finding)
    return history


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
