"""What a training may be given: accumulation, clipping, schedulers, callbacks, loggers, precision, data."""

import csv
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import CSVLogger
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset

from probgen import Objective, data
from probgen.capture import captured_loss as capture
from probgen.objectives import SVI
from probgen.training import Callback, fit, schedules
from tests.pairs import LinearGaussian
from tests.training.test_fit import Square, adam, same, x_of


class Reconstruction(Objective):
    """A linear autoencoder: a mean over data, without noise."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3, 3)

    def forward(self, *batch: Tensor):
        loss = (self.net(batch[0]) - batch[0]).square().sum(-1).mean()
        return loss, {"error": loss.detach()}


def trained(objective=None, x=None, **options):
    torch.manual_seed(4)
    objective = objective or Reconstruction()
    x = x_of() if x is None else x
    sgd = partial(torch.optim.SGD, lr=0.05)
    history = fit(objective, x, **({"epochs": 2, "optimizer": sgd, "seed": 1, "progress": False} | options))
    return objective, history


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("parts", [2, 3, 64])
def test_accumulated_steps_are_the_steps_of_whole_batches(mode, parts):
    whole, whole_history = trained(batch_size=64)  # 200 rows: the last batch has 8
    parted, history = trained(batch_size=64, accumulate=parts, compile=mode)
    assert history.step == whole_history.step
    for expected, found in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert history.values("error") == pytest.approx(whole_history.values("error"), rel=1e-5)


def test_a_gradient_is_cut_down_to_its_largest_norm():
    step = partial(torch.optim.SGD, lr=1.0)
    x = torch.full((8, 3), 100.0)
    objective, history = trained(Square(), x, epochs=1, optimizer=step, max_gradient_norm=0.5)
    assert float(objective.location.detach().norm()) == pytest.approx(0.5)
    assert history.values("gradient_norm") == pytest.approx([200 / 3 * 3**0.5])
    small, _ = trained(Square(), x, epochs=1, optimizer=step, max_gradient_norm=1e9)
    torch.testing.assert_close(small.location.detach(), torch.full((3,), 200 / 3))


SCHEDULERS = {
    "step": partial(lr_scheduler.StepLR, step_size=2, gamma=0.5),
    "milestones": partial(lr_scheduler.MultiStepLR, milestones=[2, 4], gamma=0.5),
    "cosine": partial(lr_scheduler.CosineAnnealingLR, T_max=8),
    "one cycle": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=8),
    "lambda": partial(lr_scheduler.LambdaLR, lr_lambda=lambda step: 0.9**step),
    "sequence": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.ConstantLR(optimizer, 0.1, 2), lr_scheduler.ExponentialLR(optimizer, 0.9)],
        milestones=[2],
    ),
    "plateau": partial(lr_scheduler.ReduceLROnPlateau, patience=0, threshold=0.3),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_torch_schedulers_count_steps_and_are_resumed(name, tmp_path):
    def run(**options):
        torch.manual_seed(4)
        objective = Reconstruction()
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.05, momentum=0.9)
        plan = {"lr": SCHEDULERS[name](optimizer)}
        fit(
            objective,
            x_of(),
            batch_size=50,
            optimizer=optimizer,
            schedules=plan,
            seed=1,
            progress=False,
            **options,
        )
        return objective, optimizer.param_groups[0]["lr"]

    whole, rate = run(epochs=2, checkpoint=tmp_path / "whole")
    run(epochs=1, checkpoint=tmp_path / "cut")
    resumed, resumed_rate = run(epochs=2, checkpoint=tmp_path / "cut", resume=True)
    assert resumed_rate == rate
    assert same(whole, resumed)
    by_hand = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.05, momentum=0.9)
    if name != "plateau":  # a loop written by hand
        scheduler = SCHEDULERS[name](by_hand)
        for _ in range(8):
            by_hand.step()
            scheduler.step()
        assert rate == by_hand.param_groups[0]["lr"]


def test_a_scheduler_that_watches_sees_the_validation_loss():
    objective = Square()
    optimizer = torch.optim.SGD(objective.parameters(), lr=1e-3)  # it never improves by a third
    plan = {"lr": lr_scheduler.ReduceLROnPlateau(optimizer, patience=1, factor=0.1, threshold=0.3)}
    fit(
        objective,
        x_of(),
        epochs=5,
        optimizer=optimizer,
        schedules=plan,
        validation=x_of(20, 2),
        progress=False,
    )
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)


def test_a_scheduler_of_another_optimizer_is_refused():
    objective = Square()
    other = torch.optim.SGD(objective.parameters(), lr=0.1)
    for plan, sentence in [
        ({"lr": lr_scheduler.StepLR(other, 1)}, "should be of the optimizer that fit is given"),
        (
            {"beta": lr_scheduler.StepLR(other, 1)},
            "a torch scheduler should be called 'lr' but is called 'beta'",
        ),
    ]:
        with pytest.raises(ValueError, match=sentence):
            fit(objective, x_of(), steps=1, schedules=plan, progress=False)


class Recorder(Callback):
    def __init__(self, end_at=None):
        self.events, self.end_at = [], end_at

    def _note(self, event, objective, history):
        self.events.append((event, history.step, objective.training))
        torch.rand(3)
        objective.eval()
        return (event, history.step) == self.end_at

    def on_fit_start(self, objective, history):
        self._note("start", objective, history)

    def on_step_end(self, objective, history):
        return self._note("step", objective, history)

    def on_report(self, objective, history):
        return self._note("report", objective, history)

    def on_epoch_end(self, objective, history):
        return self._note("epoch", objective, history)

    def on_fit_end(self, objective, history):
        self._note("end", objective, history)


def test_callbacks_hear_of_everything_and_change_nothing():
    recorder = Recorder()
    objectives = []
    for callbacks in ([recorder], []):
        torch.manual_seed(4)
        objectives.append(trained(SVI(LinearGaussian()), batch_size=100, callbacks=callbacks)[0])
    assert same(*objectives)
    steps = [("step", 1), ("step", 2), ("report", 2), ("epoch", 2)]
    steps += [("step", 3), ("step", 4), ("report", 4), ("epoch", 4)]
    assert [event[:2] for event in recorder.events] == [("start", 0), *steps, ("end", 4)]
    assert [event[2] for event in recorder.events[1:]] == [True] * 8 + [False]


@pytest.mark.parametrize("end_at", [("step", 3), ("report", 4), ("epoch", 4)])
def test_a_callback_ends_the_training(end_at):
    _, history = trained(batch_size=50, epochs=9, callbacks=[Recorder(end_at)])
    assert (history.ended, history.step) == ("stopped early", end_at[1])


def test_what_is_no_callback_is_named():
    with pytest.raises(TypeError, match=r"callbacks should be training.Callback objects but hold a function"):
        trained(callbacks=[lambda history: None])


def test_reports_go_to_the_loggers_of_fabric(tmp_path):
    logger = CSVLogger(tmp_path, name="run")
    fabric = Fabric(accelerator="cpu", devices=1, loggers=[logger])
    _, history = trained(fabric=fabric, validation=x_of(50, 2), epochs=3)
    with (Path(logger.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for split in ("train", "validation"):
        logged = [float(row[f"{split}/error"]) for row in rows if row[f"{split}/error"]]
        assert logged == pytest.approx(history.values("error", split))


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_bf16_is_near_float32_and_no_bits_of_it(mode):
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    exact, exact_history = trained(epochs=40, compile=mode)
    mixed, history = trained(epochs=40, compile=mode, fabric=fabric)
    assert mixed.net.weight.dtype == torch.float32
    assert not same(exact, mixed)
    assert history.values()[-1] == pytest.approx(
        exact_history.values()[-1], abs=0.02 * exact_history.values()[0]
    )


def test_another_precision_or_strategy_is_refused():
    with pytest.raises(ValueError, match="precision 32-true or bf16-mixed but has 64-true"):
        trained(fabric=Fabric(accelerator="cpu", devices=1, precision="64-true"))


def test_what_is_frozen_and_in_evaluation_mode_stays_so():
    class Frozen(Reconstruction):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).requires_grad_(False).eval()
            self.dropout = nn.Dropout(0.5)
            self.modes = set()

        def forward(self, *batch):
            self.modes.add((self.training, self.features[1].training, self.dropout.training))
            return super().forward(self.features(batch[0]))

    objective = Frozen()
    for _ in range(2):  # the first fit leaves all of it in evaluation mode
        trained(objective, validation=x_of(10, 2), compile="eager")
        assert objective.modes == {(True, False, True), (False, False, False)}
    assert int(objective.features[0].num_batches_tracked) == 0


class Items(Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return self.x[row]


def test_a_dataset_trains_as_its_tensor_does():
    by_tensor, _ = trained(batch_size=64)
    by_dataset, _ = trained(x=Items(x_of()), batch_size=64)
    assert same(by_tensor, by_dataset)
    with pytest.raises(TypeError, match=r"data should be torch.float32, as the weights of .*, but is"):
        trained(x=Items(x_of().double()))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_is_resumed_to_the_same_bits(workers, tmp_path):
    def loader():
        return DataLoader(Items(x_of()), batch_size=32, shuffle=True, num_workers=workers)

    whole, _ = trained(x=loader(), steps=17, epochs=None)
    trained(x=loader(), steps=10, epochs=None, checkpoint=tmp_path)
    resumed, history = trained(x=loader(), steps=17, epochs=None, checkpoint=tmp_path, resume=True)
    assert history.step == 17
    assert same(whole, resumed)
    with pytest.raises(ValueError, match="a DataLoader has its own batch_size: leave out batch_size=8"):
        trained(x=loader(), batch_size=8)


def test_ragged_sequences_with_their_lengths_reach_the_objective():
    class Mean(Square):
        """The mean over all elements, the padding left out."""

        def forward(self, *batch):
            x, lengths = batch
            inside = torch.arange(x.shape[1]) < lengths[:, None]
            per_datum = ((x - self.location[0]).square() * inside).sum(1) / lengths
            return per_datum.mean(), {}

    gen = torch.Generator().manual_seed(0)
    sequences = [torch.randn(int(n), generator=gen) + 2 for n in torch.randint(1, 9, (300,), generator=gen)]
    objective, _ = trained(
        Mean(), data.Ragged(sequences, multiple=4), epochs=40, batch_size=30, optimizer=adam
    )
    expected = torch.stack([sequence.mean() for sequence in sequences]).mean()
    assert float(objective.location[0].detach()) == pytest.approx(float(expected), abs=0.05)


def test_memory_mapped_arrays_train_as_tensors_do(tmp_path):
    import numpy as np

    np.save(tmp_path / "x.npy", x_of().numpy())
    mapped, _ = trained(x=data.MemoryMapped(tmp_path / "x.npy"), batch_size=64)
    resident, _ = trained(batch_size=64)
    assert same(mapped, resident)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"accumulate": 0}, ValueError, "accumulate should be at least 1 but got 0"),
        ({"max_gradient_norm": 0.0}, ValueError, "max_gradient_norm should be above 0 but got 0.0"),
        ({"epochs": None, "steps": 2.5}, TypeError, "steps should be an integer but got 2.5"),
        ({"batch_size": 8.0}, TypeError, "batch_size should be an integer but got 8.0"),
    ],
)
def test_bad_options_are_named(options, error, sentence):
    with pytest.raises(error, match=sentence):
        trained(**options)


def test_resuming_with_another_optimizer_is_refused(tmp_path):
    trained(checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"should have the optimizer of the run in .*, SGD, but got Adam"):
        trained(checkpoint=tmp_path, resume=True, optimizer=adam)


def test_schedules_by_name_and_by_torch_go_together():
    objective = Square()
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    objective.register_buffer("weight", torch.zeros(()))
    plan = {"lr": lr_scheduler.StepLR(optimizer, 1, 0.5), "weight": schedules.linear(0.0, 1.0, steps=2)}
    fit(objective, x_of(), steps=2, optimizer=optimizer, schedules=plan, progress=False)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.025)
    assert float(objective.weight) == 0.5


def test_a_longer_resumed_run_keeps_the_mode_of_its_first_part(tmp_path, monkeypatch):
    def modes(epochs, folder):
        seen = []
        start = capture.CapturedLoss.__init__

        def noted(self, *args, **options):
            start(self, *args, **options)
            seen.append(self)

        with monkeypatch.context() as patch:
            patch.setattr("probgen.capture.modes.COMPILE_STEPS", 3)
            patch.setattr("shutil.which", lambda name: name)
            patch.setattr(capture.CapturedLoss, "__init__", noted)
            trained(epochs=epochs, checkpoint=folder, resume=True)
        return [loss_of.mode for loss_of in seen]

    assert modes(1, tmp_path / "short") == ["graph"]  # two steps
    assert modes(2, tmp_path / "short") == ["graph"]
    assert modes(2, tmp_path / "long") == ["compile"]  # four steps in one go
