"""A run goes on with the settings that it had; another one is refused by name, with both values."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from probgen import Objective
from probgen.objectives import IWAE, SVI, BetaELBO, FreeBits, Sum
from probgen.training import Callback, fit, schedules
from tests.pairs import LinearGaussian
from tests.training.test_fit import Square, same, x_of
from tests.training.test_training import SCHEDULERS


class Stop(Callback):
    def on_step_end(self, objective, history):
        return history.step >= 3


def svi(bound=None):
    torch.manual_seed(0)
    return SVI(LinearGaussian(), bound)


def adam(**options):
    return lambda parameters: torch.optim.Adam(parameters, **({"lr": 0.01} | options))


def train(folder, objective=None, **options):
    options = {"epochs": 2, "batch_size": 50, "seed": 0, "optimizer": adam(), "progress": False} | options
    options |= {"compile": "eager"}
    return fit(objective or svi(), x_of(), checkpoint=folder, resume=True, **options)


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ({}, {"max_gradient_norm": 1.0}, r"the max_gradient_norm of the run in .*, None, but got 1\.0"),
        ({"max_gradient_norm": 1.0}, {}, r"the max_gradient_norm of the run in .*, 1\.0, but got None"),
        ({}, {"optimizer": adam(lr=0.5)}, r"the optimizer's lr of the run in .*, 0\.01, but got 0\.5"),
        (
            {},
            {"optimizer": adam(betas=(0.5, 0.9))},
            r"optimizer's betas .*, \[0\.9, 0\.999\], but got \[0\.5",
        ),
        ({}, {"optimizer": adam(weight_decay=1e-3)}, r"weight_decay of the run in .*, 0, but got 0\.001"),
        ({}, {"seed": 1}, r"the seed of the run in .*, 0, but got 1"),
        ({}, {"validation": x_of(9)}, r"the rows of validation of the run in .*, None, but got 9"),
        (
            {},
            {"schedules": {"lr": lambda step: 0.1}},
            r"the schedules of the run in .*, \[\], but got \['lr'",
        ),
        (
            {"schedules": {"lr": lambda step: 0.1}},
            {},
            r"the schedules of the run in .*, \['lr'\], but got \[\]",
        ),
        (
            {},
            {"objective": lambda: svi(IWAE(particles=3))},
            r"class of 'elbo' .*, ELBO, but got IWAE: to tra",
        ),
        (
            {"objective": lambda: svi(IWAE(particles=3))},
            {"objective": lambda: svi(IWAE(particles=5))},
            r"the elbo\.particles of the run in .*, 3, but got 5",
        ),
        (
            {"objective": lambda: svi(BetaELBO(4.0))},
            {"objective": lambda: svi(BetaELBO(2.0))},
            r"the buffer 'elbo\.beta' of the run in .*, 4\.0, but got 2\.0",
        ),
        (
            {"objective": lambda: svi(FreeBits(0.5))},
            {"objective": lambda: svi(FreeBits(0.1))},
            r"the buffer 'elbo\.nats' of the run in .*, 0\.5, but got 0\.1",
        ),
        (
            {"objective": lambda: Sum({"svi": svi()}, weights={"svi": 1.0})},
            {"objective": lambda: Sum({"svi": svi()}, weights={"svi": 3.0})},
            r"the buffer 'weight_svi' of the run in .*, 1\.0, but got 3\.0",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_another_setting_is_named_with_both_values(before, after, sentence, tmp_path):
    def made(options):
        return {name: value() if name == "objective" else value for name, value in options.items()}

    train(tmp_path, callbacks=[Stop()], **made(before))
    with pytest.raises(ValueError, match=rf"a resumed run should have .*{sentence}"):
        train(tmp_path, **made(after))
    history = train(tmp_path, **made(before))  # the run stands
    assert (history.step, history.ended) == (8, "finished")


def scheduled(folder, plan, lr=0.05, **options):
    torch.manual_seed(0)
    objective = Square()
    optimizer = torch.optim.SGD(objective.parameters(), lr=lr)
    return objective, train(
        folder, objective, optimizer=optimizer, schedules={"lr": plan(optimizer)}, **options
    )


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            partial(lr_scheduler.CosineAnnealingLR, T_max=8),
            partial(lr_scheduler.CosineAnnealingLR, T_max=80),
            r"the CosineAnnealingLR's T_max of the run in .*, 8, but got 80",
        ),
        (
            partial(lr_scheduler.StepLR, step_size=2),
            partial(lr_scheduler.StepLR, step_size=2, gamma=0.5),
            r"the StepLR's gamma of the run in .*, 0\.1, but got 0\.5",
        ),
        (
            partial(lr_scheduler.StepLR, step_size=2),
            partial(lr_scheduler.ExponentialLR, gamma=0.5),
            r"schedules of the run in .*, \['lr \(StepLR\)'\], but got \['lr \(ExponentialLR\)'\]",
        ),
    ],
    ids=["T_max", "gamma", "class"],
)
def test_another_torch_scheduler_is_named(before, after, sentence, tmp_path):
    scheduled(tmp_path, before, callbacks=[Stop()])
    with pytest.raises(ValueError, match=sentence):
        scheduled(tmp_path, after)
    with pytest.raises(ValueError, match=r"the optimizer's lr of the run in .*, 0\.05, but got 0\.5"):
        scheduled(tmp_path, before, lr=0.5)
    assert scheduled(tmp_path, before)[1].step == 8


def test_a_run_that_failed_goes_on_with_the_very_objects_that_it_had(tmp_path):
    class Fail(Callback):
        def on_step_end(self, objective, history):
            if history.step == 7:
                raise RuntimeError("planted")

    options = {"steps": 8, "epochs": None, "progress": False, "seed": 0}
    for name, plan in SCHEDULERS.items():
        if name == "plateau":  # which leaves no trace of the rate that it was given
            continue
        objective = Square()
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.05, momentum=0.9)
        options |= {"optimizer": optimizer, "schedules": {"lr": plan(optimizer)}}
        train(tmp_path / name, objective, callbacks=[Stop()], **options)
        with pytest.raises(RuntimeError, match="planted"):
            train(tmp_path / name, objective, callbacks=[Fail()], **options)
        assert train(tmp_path / name, objective, **options).ended == "finished"


def test_another_function_of_the_step_has_its_say_from_there_on(tmp_path):
    rates = []

    class Rate(Callback):
        def on_step_end(self, objective, history):
            rates.append(optimizer.param_groups[0]["lr"])
            return history.step == 3

    for plan in (schedules.linear(0.0, 1.0, steps=100), lambda step: 0.5 + step):
        objective = Square()
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
        train(
            tmp_path, objective, steps=5, epochs=None, optimizer=optimizer, schedules={"lr": plan},
            callbacks=[Rate()],
        )  # fmt: skip
    assert rates == pytest.approx([0.0, 0.01, 0.02, 3.5, 4.5])


def test_what_moves_by_itself_is_no_setting(tmp_path):
    class Moving(Objective):
        """With an average among its buffers, and a rate that a callback halves."""

        def __init__(self, start):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(3))
            self.register_buffer("average", torch.tensor(start))
            self.calls = 0

        def forward(self, *batch):
            self.calls += 1
            if self.training:
                self.average.mul_(0.9).add_(self.w.detach().mean())
            return (batch[0] - self.w).square().mean(), {}

    class Halve(Callback):
        def on_epoch_end(self, objective, history):
            optimizer.param_groups[0]["lr"] /= 2
            return history.step == 4

    objective = Moving(1.0)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    train(tmp_path, objective, epochs=4, optimizer=optimizer, callbacks=[Halve()])
    same_objects = train(tmp_path, objective, epochs=3, optimizer=optimizer)
    assert same_objects.step == 12
    other = Moving(2.0)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    train(tmp_path, other, epochs=4, optimizer=optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.05
    assert float(other.average) < 1


def test_how_long_and_how_patient_may_be_new(tmp_path):
    whole, parts = Square(), Square()
    train(tmp_path / "whole", whole, epochs=3, validation=x_of(8))
    train(tmp_path / "parts", Square(), epochs=2, validation=x_of(8), patience=1)
    train(tmp_path / "parts", parts, epochs=3, validation=x_of(8), patience=9, seed=None)
    assert same(whole, parts)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": adam(lr=np.float64(0.01))},
        {"optimizer": adam(lr=np.float32(0.01), weight_decay=np.float32(0.1))},
        {"schedules": {"lr": lambda step: np.float64(0.1) * np.cos(step)}},
        {"max_gradient_norm": np.float32(1.0)},
    ],
)
def test_numbers_may_be_numpys(options, tmp_path):
    whole, parts = Square(), Square()
    train(tmp_path / "whole", whole, epochs=3, **options)
    train(tmp_path / "parts", Square(), epochs=1, **options)
    train(tmp_path / "parts", parts, epochs=3, **options)
    assert same(whole, parts)


def test_other_data_of_as_many_rows_are_refused(tmp_path):
    x, held_out = x_of(50), x_of(9)
    options = {"batch_size": 10, "seed": 0, "progress": False, "checkpoint": tmp_path, "resume": True}
    fit(Square(), x, steps=3, validation=held_out, **options)
    others = (
        r"the {} of the run in .* but got others \(other numbers in row 0\): to train on with these, load"
    )
    with pytest.raises(ValueError, match=others.format("data")):
        fit(Square(), x + 1, steps=6, validation=held_out, **options)
    with pytest.raises(ValueError, match=others.format("validation")):
        fit(Square(), x, steps=6, validation=2 * held_out, **options)
    assert fit(Square(), x, steps=6, validation=held_out, **options).step == 6
