"""Stopping and resuming: interrupted, killed, cut in a save, damaged; the bits are those of one long run."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import safetensors.torch
import torch
from torch import Tensor

from probgen import Objective
from probgen.data import Binarised
from probgen.objectives import SVI
from probgen.training import Callback, checkpoint, fit, run
from tests.pairs import LinearGaussian
from tests.training.test_fit import Square, adam, same, x_of


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("stop_at", [1, 4, 7, 10])
def test_an_interrupted_run_resumes_to_the_same_bits(mode, stop_at, tmp_path):
    x = torch.sigmoid(x_of(50))

    def train(folder, stop=None, resume=False):
        torch.manual_seed(3)
        objective = SVI(LinearGaussian())
        count, step = [0], run.Run.end_step

        def counted(self, *args):
            step(self, *args)
            count[0] += 1
            if count[0] == stop:
                signal.raise_signal(signal.SIGINT)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run.Run, "end_step", counted)
            history = fit(
                objective,
                Binarised(x),
                epochs=4,
                batch_size=16,
                validation=x,
                optimizer=adam,
                checkpoint=folder,
                resume=resume,
                seed=9,
                compile=mode,
                progress=False,
            )
        return objective, history

    whole, whole_history = train(tmp_path / "whole")
    _, cut = train(tmp_path / "cut", stop=stop_at)
    assert (cut.ended, cut.step) == ("interrupted", stop_at)
    resumed, history = train(tmp_path / "cut", resume=True)
    assert same(whole, resumed)
    assert history.rows == whole_history.rows
    assert history.ended == "finished"


def test_a_finished_run_goes_on_as_if_it_had_been_longer(tmp_path):
    pairs = []
    for lengths in ([11], [5, 11]):  # four steps are an epoch
        for steps in lengths:
            torch.manual_seed(3)
            pair = LinearGaussian()
            folder = tmp_path / str(len(lengths))
            options = {"seed": 9, "checkpoint": folder, "resume": True, "progress": False}
            fit(SVI(pair), x_of(), steps=steps, batch_size=64, optimizer=adam, **options)
        pairs.append(pair)
    assert same(*pairs)


def test_a_run_that_stopped_early_takes_no_further_step(tmp_path):
    x, held_out = torch.ones(64, 3), torch.full((8, 3), 0.5)
    for _ in range(2):
        history = fit(
            Square(),
            x,
            epochs=200,
            batch_size=64,
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.15),
            validation=held_out,
            patience=3,
            checkpoint=tmp_path,
            resume=True,
            progress=False,
        )
        assert (history.step, history.ended) == (10, "stopped early")


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from probgen.objectives import SVI
from probgen.training import checkpoint, fit
from tests.training.test_fit import adam, same, x_of
from tests.pairs import LinearGaussian

folder, mode, steps, kills = Path(sys.argv[1]), sys.argv[2], 2500, 10

def train(**options):
    torch.manual_seed(3)
    pair = LinearGaussian()
    fit(SVI(pair), x_of(50), steps=steps, batch_size=16, optimizer=adam, compile=mode, seed=9, progress=False,
        **options)
    return pair

moments = random.Random(mode)
for kill in range(kills):
    child = os.fork()
    if child == 0:
        sys.modules["probgen.training.fit"].SAVE_SECONDS = 0.0  # so that most moments are within a save
        train(checkpoint=folder, resume=True)
        os._exit(0)
    while kill == 0 and not checkpoint.exists(folder):
        time.sleep(0.001)
    time.sleep(moments.uniform(0.0, 0.4))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the run should have been killed before it ended"
resumed = LinearGaussian()
step = checkpoint.load_weights(folder, SVI(resumed), name="last")
assert 0 < step < steps, step
assert same(train(checkpoint=folder, resume=True), train(checkpoint=folder.with_name("whole")))
print("killed at step", step)
"""


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_run_killed_ten_times_ends_at_the_same_bits(mode, tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run"), mode]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "killed at step" in ended.stdout


def test_a_save_that_is_cut_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    objective = Square()
    fit(objective, x_of(), steps=5, checkpoint=tmp_path, progress=False)
    checkpoint.load_weights(tmp_path, objective, name="last")
    good = objective.location.detach().clone()

    def cut(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(OSError, match="disk full"):
        fit(objective, x_of(), steps=10, checkpoint=tmp_path, resume=True, progress=False)
    fresh = Square()
    assert checkpoint.load_weights(tmp_path, fresh, name="last") == 5
    assert torch.equal(fresh.location.detach(), good)


@pytest.mark.parametrize("writer", ["safetensors.torch.save_file", "torch.save", "json.dumps"])
def test_a_full_disk_leaves_the_last_good_checkpoint_and_says_so(writer, tmp_path, monkeypatch):
    objective = Square()
    fit(objective, x_of(), steps=5, checkpoint=tmp_path, progress=False)
    before = {path.name for path in tmp_path.iterdir()}
    errors = {"torch.save": RuntimeError, "json.dumps": OSError}
    error = errors.get(writer, safetensors.SafetensorError)

    def full(*given, **options):
        for path in (path for path in given if isinstance(path, Path)):
            path.write_bytes(bytes(7))  # what there was room for
        raise error("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, full)
        with pytest.raises(
            OSError,
            match=r"the checkpoint of step 10 cannot be written .*No space left on device.*: that of step 5 "
            "is the last good one; make room, then resume",
        ):
            fit(Square(), x_of(), steps=10, checkpoint=tmp_path, resume=True, progress=False)
        with pytest.raises(OSError, match="there is none yet; make room"):
            fit(Square(), x_of(), steps=2, checkpoint=tmp_path / "new", progress=False)
    assert {path.name for path in tmp_path.iterdir()} - {"new"} == before  # what was begun is gone
    fresh = Square()
    assert checkpoint.load_weights(tmp_path, fresh, name="last") == 5
    checkpoint.load_weights(tmp_path, fresh)
    assert same(fresh, objective)
    whole = fit(Square(), x_of(), steps=10, checkpoint=tmp_path, resume=True, progress=False)
    assert whole.step == 10


def test_a_loss_that_is_nan_names_step_and_term_and_the_good_checkpoint_stands(tmp_path):
    fit(Square(), x_of(), steps=4, compile="eager", checkpoint=tmp_path, progress=False)
    broken = Square(plant=lambda loss: loss * torch.nan, at=3)
    with pytest.raises(
        ValueError, match=r"at step 7 the term 'square' is nan; the last good checkpoint is in"
    ):
        fit(broken, x_of(), steps=20, compile="eager", checkpoint=tmp_path, resume=True, progress=False)
    assert checkpoint.load_weights(tmp_path, Square(), name="last") == 4


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_site_that_went_first_is_named(mode):
    class Leak(LinearGaussian):
        """A guide whose scale is the distance of the datum to (1, 1, 1), and thus 0 there."""

        def guide(self, x=None, *context, n=1):
            scale = (x - 1).square().sum(-1, keepdim=True).sqrt() + 0 * self.guide_log_scale
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.guide_map(x), scale, validate_args=False).to_event(1))

    x = x_of(64)
    x[40] = 1.0
    number = "-?(nan|inf)"
    sentence = (
        rf"at step \d+ the term '\w+' is {number} \(guide site 'z': its scale is 0\.0 at row \d, not in Gr"
    )
    with pytest.raises(ValueError, match=sentence):
        fit(SVI(Leak()), x, steps=8, batch_size=8, seed=0, compile=mode, progress=False)


def test_weights_that_are_nan_under_a_finite_loss_are_named_and_not_saved(tmp_path):
    class Root(Square):
        def forward(self, *batch: Tensor):
            return (0 * self.location).sum().square().sqrt() + batch[0].mean(), {}  # √0 has no gradient

    with pytest.raises(ValueError, match="weights should be finite but after step 1 'location' holds NaN"):
        fit(Root(), x_of(), steps=1, checkpoint=tmp_path, progress=False)
    assert not checkpoint.exists(tmp_path)


def test_a_run_killed_in_its_first_save_starts_afresh(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise OSError("killed")

    for cut in ("torch.save", "json.dumps"):  # between the weights and the state, before the index
        with monkeypatch.context() as patch:
            patch.setattr(f"probgen.training.checkpoint.{cut}", killed)
            with pytest.raises(OSError, match="killed"):
                fit(Square(), x_of(), steps=3, batch_size=200, checkpoint=tmp_path, progress=False)
        assert not checkpoint.exists(tmp_path)
    objective = Square()
    fit(objective, -x_of(), steps=3, batch_size=200, checkpoint=tmp_path, resume=True, progress=False)
    best = Square()
    assert checkpoint.load_weights(tmp_path, best, name="best") == 3
    assert same(best, objective)


def test_other_folders_in_the_run_folder_are_left_alone(tmp_path):
    (tmp_path / "best-models").mkdir()
    for steps in (2, 4):
        fit(Square(), x_of(), steps=steps, checkpoint=tmp_path, resume=True, progress=False)
    assert {path.name for path in tmp_path.iterdir()} >= {"best-models", "last-00000004"}
    assert not (tmp_path / "last-00000002").exists()


@pytest.mark.parametrize("damage", ["truncate", "remove", "index"])
def test_a_damaged_run_folder_is_named(damage, tmp_path):
    fit(Square(), x_of(), steps=4, checkpoint=tmp_path, progress=False)
    weights = next(tmp_path.glob("last-*")) / checkpoint.WEIGHTS
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "remove":
        weights.unlink()
    else:
        (tmp_path / checkpoint.INDEX).write_text("{")
    with pytest.raises(ValueError, match=r"the run folder .* is damaged"):
        fit(Square(), x_of(), steps=8, checkpoint=tmp_path, resume=True, progress=False)


def test_weights_of_another_objective_are_refused(tmp_path):
    fit(Square(), x_of(), steps=2, checkpoint=tmp_path, progress=False)
    with pytest.raises(ValueError, match="should be those of this objective but"):
        checkpoint.load_weights(tmp_path, SVI(LinearGaussian()))


class Remembering(Objective):
    """A loss with a state of some kind; ``step`` is what moves it, and says by how much to multiply."""

    def __init__(self, step):
        super().__init__()
        self.step, self.calls, self.mean = step, 0, torch.zeros(2)
        self.location, self.part = torch.nn.Parameter(torch.zeros(3)), torch.nn.Linear(3, 3)
        self.source = torch.Generator().manual_seed(1)
        self.register_buffer("kept", torch.zeros(2), persistent=False)
        self.register_buffer("rows", torch.zeros(1, 3))

    def forward(self, *batch: Tensor):
        (x,) = batch
        loss = (self.part(x) - self.location).square().mean()
        return (1 + self.step(self, x)) * loss, {}


def more_rows(o, x):
    if o.training:
        o.rows = torch.cat([o.rows, x[:1].detach()])
    return o.rows.square().mean()


def count(o, x):
    o.calls += 1
    return o.calls / 10


HELD = {
    "buffer that is not persistent": lambda o, x: o.kept.add_(0.1).sum(),
    "buffer that grows": more_rows,
    "NumPy's random numbers": lambda o, x: float(np.random.rand()),  # noqa: NPY002
    "Python's random numbers": lambda o, x: random.random(),
    "weights frozen by a callback": lambda o, x: 0.0,
}
NOT_HELD = {
    "calls": count,
    "mean": lambda o, x: o.mean.add_(0.1).sum(),
    "source": lambda o, x: torch.rand((), generator=o.source),
}


class Freezes(Callback):
    """Freezes a part after the second step."""

    def on_step_end(self, objective, history):
        if history.step == 2:
            objective.part.requires_grad_(False)


class Stops(Callback):
    """Ends a training after some steps."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, objective, history):
        return history.step == self.step


def remembering(step, folder, *, stop=0, resume=False, frozen=False):
    torch.manual_seed(3)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    objective = Remembering(step)
    callbacks = [Stops(stop)] + [Freezes()] * frozen
    fit(
        objective,
        x_of(32),
        steps=9,
        batch_size=8,
        optimizer=adam,
        checkpoint=folder,
        resume=resume,
        seed=9,
        callbacks=callbacks,
        progress=False,
        validation=x_of(16),
    )
    return objective


@pytest.mark.parametrize("name", HELD)
def test_what_is_beside_the_weights_is_resumed_too(name, tmp_path):
    frozen = name.startswith("weights frozen")
    whole = remembering(HELD[name], tmp_path / "whole", frozen=frozen)
    remembering(HELD[name], tmp_path / "cut", stop=5, frozen=frozen)
    resumed = remembering(HELD[name], tmp_path / "cut", resume=True, frozen=frozen)
    assert same(whole, resumed)
    assert torch.equal(whole.kept, resumed.kept)
    assert [w.requires_grad for w in whole.parameters()] == [w.requires_grad for w in resumed.parameters()]


@pytest.mark.parametrize("name", NOT_HELD)
def test_python_state_that_no_checkpoint_holds_is_named(name, tmp_path, caplog):
    remembering(NOT_HELD[name], tmp_path, stop=5)
    caplog.clear()
    remembering(NOT_HELD[name], tmp_path, resume=True)
    (said,) = [r.message for r in caplog.records if "does not hold" in r.message]
    assert f"has changed '{name}' of the objective" in said
    assert "make it a buffer" in said


def test_an_objective_without_such_state_resumes_without_a_word(tmp_path, caplog):
    remembering(lambda o, x: 0.0, tmp_path, stop=5)
    remembering(lambda o, x: 0.0, tmp_path, resume=True)
    assert not [r.message for r in caplog.records if "does not hold" in r.message]
