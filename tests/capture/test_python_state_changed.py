"""A loss that changes Python's state as it is called is not captured; what others change does not matter."""

import itertools
import logging
import random
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probgen import Objective, fit
from probgen.capture.captured_loss import MAX_STATES, CapturedLoss
from tests.capture.stateful import Stateful, reset

FACTOR = 1.0


@pytest.fixture(autouse=True)
def outside():
    """Put what the tests change outside of an objective back."""
    yield
    reset()
    globals()["FACTOR"] = 1.0


def enclosing():
    """A class whose forward counts in a variable of the function that made it, and one that looks."""
    calls = 0

    class Counts(Objective):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(2))

        def forward(self, *batch: Tensor):
            nonlocal calls
            calls += 1
            return (1 + (calls > 4)) * (batch[0] - self.w).square().sum(), {}

    return Counts(), lambda: calls


def count_global(o):
    globals()["FACTOR"] += 1.0
    return FACTOR


def count_shared(o):
    Stateful.shared += 1.0
    return Stateful.shared


def count_enclosed(o):
    o.put(o.get() + 1.0)
    return o.get()


def counts(attribute, owner=lambda o: o):
    def read(o):
        setattr(owner(o), attribute, getattr(owner(o), attribute) + 1)
        return 1.0 + (getattr(owner(o), attribute) > 5)

    return read


def grows(change, size):
    def read(o):
        change(o)
        return float(size(o))

    return read


def last_batch(o):
    before, o.tensor = o.tensor, o.w.detach().sum()
    return 1 + before.abs()


CHANGES = {
    "'calls'": counts("calls"),
    "'part.weight'": counts("weight", lambda o: o.part),
    "'parts[0].weight'": counts("weight", lambda o: o.parts[0]),
    "'settings.weight'": counts("weight", lambda o: o.settings),
    "'slotted.weight'": counts("weight", lambda o: o.slotted),
    "'numbers'": grows(lambda o: o.numbers.append(1.0), lambda o: len(o.numbers)),
    "'names'": grows(lambda o: o.names.add(str(len(o.names))), lambda o: len(o.names)),
    "'recent'": grows(lambda o: o.recent.append(1.0), lambda o: len(o.recent)),
    "'table'": grows(lambda o: o.table.update({len(o.table): 0}), lambda o: len(o.table)),
    "'long'": grows(lambda o: o.long.append(1.0), lambda o: len(o.long)),
    "'array'": grows(lambda o: o.array.__iadd__(1.0), lambda o: o.array.sum()),
    "'Stateful.shared'": count_shared,
    "FACTOR'": count_global,
    ".weight'": count_enclosed,
    "'tensor'": last_batch,
    "random numbers that are not torch's": lambda o: 1.0 + random.random(),
}
"""What a loss changes when it is called, by the name under which that is told."""


@pytest.mark.parametrize("name", CHANGES)
def test_a_loss_that_changes_pythons_state_is_not_captured_and_says_so(name, caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        random.seed(3)
        globals()["FACTOR"] = Stateful.shared = 1.0
        objective = Stateful(CHANGES[name])
        history = fit(
            objective, torch.ones(10, 2), steps=7, batch_size=4, seed=0, compile=mode, progress=False
        )
        state = [objective.calls, objective.part.weight, objective.numbers, objective.names, objective.recent]
        state += [len(objective.long), objective.array.sum(), objective.get(), objective.tensor]
        state += [FACTOR, Stateful.shared, random.random()]
        outcomes.append([objective.w.tolist(), history.values("loss"), state])
    assert outcomes[1] == outcomes[0]
    (record,) = caplog.records
    assert f"{name} as a call of the loss does" in record.message


def test_a_loss_that_counts_in_what_its_class_encloses_is_not_captured(caplog):
    outcomes = []
    for mode in ("eager", "graph"):
        objective, calls = enclosing()
        fit(objective, torch.ones(10, 2), steps=9, batch_size=4, seed=0, compile=mode, progress=False)
        outcomes.append([objective.w.tolist(), calls()])
    assert outcomes[1] == outcomes[0]
    assert outcomes[0][1] == 9
    (record,) = caplog.records
    assert "calls' as a call of the loss does" in record.message


def test_what_a_loss_does_not_change_but_others_do_may_stand_in_it(caplog):
    """Its optimizer, whose rate is scheduled; the same number set again and again."""
    objective = Stateful()
    objective.optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    loss_of = CapturedLoss(objective, "graph")
    for step in range(9):
        objective.number = np.float64(0.5) if step % 2 else float("0.5")
        objective.optimizer.param_groups[0]["lr"] = 0.1 / (1 + step)
        loss_of.backward(torch.ones(4, 2))
        objective.optimizer.step()
    assert len(loss_of._graphs) == 2
    assert not caplog.records


class Shy:
    """An object that cannot be looked into."""

    @property
    def __dict__(self):
        raise RuntimeError("do not look")


def test_what_cannot_be_looked_into_keeps_no_loss_from_capture(caplog):
    objective = Stateful()
    objective.shy, objective.mock, objective.keys = Shy(), Mock(), {torch.ones(2): 1, (1, 2): [3]}
    objective.early = lambda: later  # which it encloses, and which is not there yet
    loss_of = CapturedLoss(objective, "graph")
    losses = {float(loss_of(torch.ones(4, 2))[0].detach()) for _ in range(5)}
    assert losses == {objective(torch.ones(4, 2))[0].item()}
    assert len(loss_of._graphs) == 1
    assert not caplog.records
    later = 1.0
    assert objective.early() == later


def test_a_loss_that_holds_an_iterator_is_not_captured(caplog):
    for mode in ("eager", "graph"):
        objective = Stateful(lambda o: 1.0 + next(o.counter))
        objective.counter = itertools.count()
        fit(objective, torch.ones(10, 2), steps=7, compile=mode, progress=False)
        assert next(objective.counter) == 7
    (record,) = caplog.records
    assert "'counter'" in record.message


def test_what_the_first_call_alone_makes_does_not_keep_a_loss_from_capture(caplog):
    """A cache, and weights that are set from the first batch."""

    def first(o):
        if not hasattr(o, "cache"):
            o.cache = {"scale": 2.0}
            with torch.no_grad():
                o.w.mul_(3.0)
        return o.cache["scale"]

    outcomes = []
    for mode in ("eager", "graph"):
        objective = Stateful(first)
        loss_of = CapturedLoss(objective, mode)
        losses = [float(loss_of(torch.ones(4, 2))[0].detach()) for _ in range(3)]
        outcomes.append([losses, objective.w.tolist()])
    assert outcomes[1] == outcomes[0]
    assert len(loss_of._graphs) == 1
    assert not caplog.records


def test_a_number_that_moves_at_each_step_makes_few_graphs_and_one_warning(caplog):
    objective = Stateful(lambda o: o.number)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.ones(4, 2)
    with caplog.at_level(logging.WARNING):
        for step in range(12):
            objective.number = 1.0 + step
            assert float(loss_of(x)[0].detach()) == objective(x)[0].item()
    assert len(loss_of._graphs) == MAX_STATES + 1
    (record,) = caplog.records
    assert "the loss runs eagerly for further values of 'number'" in record.message
