"""Python's state belongs to a graph: what changes it has another one, and a loss that changes it has none."""

import argparse
import array
import contextvars
import functools
import itertools
import logging
import random
import threading
from collections import deque
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probgen import Objective, fit
from probgen.capture.captured_loss import MAX_STATES, CapturedLoss
from probgen.capture.python_state import LARGEST

FACTOR = 1.0
config = ModuleType("config")
config.weight = 1.0


@dataclass
class Settings:
    """A plain object that a module holds."""

    weight: float = 1.0
    inner: dict = field(default_factory=lambda: {"weights": [1.0, 1.0]})


class Slotted:
    """A plain object without a dictionary."""

    __slots__ = ("weight",)

    def __init__(self):
        self.weight = 1.0


class Part(nn.Module):
    """A module with an attribute of its own."""

    def __init__(self):
        super().__init__()
        self.act = nn.Tanh()
        self.weight = 1.0


def adjustable():
    """A function of what it encloses, and what sets that."""
    weight = 1.0

    def get():
        return weight

    def put(value):
        nonlocal weight
        weight = value

    return get, put


class Named:
    """Numbers that a loss reads by the name of their class."""

    weight = 1.0


class Kind(type):
    """A class of classes."""

    weight = 1.0


class OfKind(metaclass=Kind):
    """A class whose own class holds a number."""


class Rows(torch.utils.data.Dataset):
    """Data that hold a number."""

    def __init__(self):
        self.weight = 1.0


VARIABLE = contextvars.ContextVar("VARIABLE", default=1.0)


class Stateful(Objective):
    """Its loss is multiplied by what ``read`` makes of its state."""

    shared = 1.0

    def __init__(self, read=lambda o: 1.0):
        super().__init__()
        self.w = nn.Parameter(torch.ones(2))
        self.part = Part()
        self.parts = [Part()]
        self.read = read
        self.number, self.flag, self.word, self.nothing = 1.0, False, "one", None
        self.numbers, self.pair, self.names = [1.0, 2.0], (1.0, [2.0]), {"one"}
        self.table, self.recent = {"a": {"b": 1.0}}, deque([1.0])
        self.settings, self.slotted, self.space = Settings(), Slotted(), SimpleNamespace(weight=1.0)
        self.get, self.put = adjustable()
        self.power = functools.partial(pow, 2.0)
        self.array, self.tensor = np.ones(3), torch.ones(())
        self.options = argparse.Namespace(weight=1.0)
        self.scalar = np.float64(1.0)
        self.long = [1.0] * (LARGEST + 1)
        self.many, self.long_array = dict.fromkeys(range(LARGEST + 1), 1.0), np.ones(LARGEST + 1)
        self.held, self.rows, self.own = Named, Rows(), threading.local()
        self.own.weight, self.packed = 1.0, array.array("d", [1.0])
        self.descent = torch.optim.SGD([self.w], lr=1.0)
        self.calls = 0

    def forward(self, *batch: Tensor):
        return self.read(self) * (batch[0] - self.part.act(self.w)).square().sum(), {}

    def factor(self):
        return 1.0


class Doubled(Stateful):
    """Another class that an objective may be given."""

    def forward(self, *batch: Tensor):
        return 2 * super().forward(*batch)[0], {}


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


def hook_all(o):
    hook = nn.modules.module.register_module_forward_hook(
        lambda m, args, out: 2 * out if m is o.part.act else None
    )
    UNHOOK.append(hook.remove)


UNHOOK: list = []


def set_global(o):
    globals()["FACTOR"] = 2.0


def replace_partial(o):
    o.power = functools.partial(pow, 3.0)


READS = {
    "number": (lambda o: o.number, lambda o: setattr(o, "number", 2.0)),
    "sign of zero": (lambda o: np.copysign(1.0, o.number), lambda o: setattr(o, "number", -1.0)),
    "type of a number": (lambda o: 1 + isinstance(o.number, int), lambda o: setattr(o, "number", 1)),
    "flag": (lambda o: 1 + o.flag, lambda o: setattr(o, "flag", True)),
    "word": (lambda o: len(o.word), lambda o: setattr(o, "word", "word")),
    "nothing": (lambda o: o.nothing or 1.0, lambda o: setattr(o, "nothing", 3.0)),
    "of a part": (lambda o: o.part.weight, lambda o: setattr(o.part, "weight", 2.0)),
    "of a module in a list": (lambda o: o.parts[0].weight, lambda o: setattr(o.parts[0], "weight", 2.0)),
    "entry of a list": (lambda o: sum(o.numbers), lambda o: o.numbers.__setitem__(1, 5.0)),
    "order of a list": (lambda o: o.numbers[0], lambda o: o.numbers.reverse()),
    "more in a list": (lambda o: sum(o.numbers), lambda o: o.numbers.append(5.0)),
    "list in a tuple": (lambda o: o.pair[1][0], lambda o: o.pair[1].__setitem__(0, 5.0)),
    "set": (lambda o: len(o.names), lambda o: o.names.add("two")),
    "dict in a dict": (lambda o: o.table["a"]["b"], lambda o: o.table["a"].update(b=3.0)),
    "key of a dict": (lambda o: len(next(iter(o.table))), lambda o: o.table.update(long=o.table.pop("a"))),
    "deque": (lambda o: o.recent[-1], lambda o: o.recent.append(3.0)),
    "plain object": (lambda o: o.settings.weight, lambda o: setattr(o.settings, "weight", 3.0)),
    "list in a plain object": (
        lambda o: o.settings.inner["weights"][1],
        lambda o: o.settings.inner["weights"].__setitem__(1, 3.0),
    ),
    "object with slots": (lambda o: o.slotted.weight, lambda o: setattr(o.slotted, "weight", 3.0)),
    "namespace": (lambda o: o.space.weight, lambda o: setattr(o.space, "weight", 3.0)),
    "enclosed": (lambda o: o.get(), lambda o: o.put(3.0)),
    "keywords of a partial": (lambda o: o.power(1.0), replace_partial),
    "array": (lambda o: float(o.array.sum()), lambda o: o.array.__setitem__(1, 5.0)),
    "tensor attribute": (lambda o: o.tensor, lambda o: setattr(o, "tensor", torch.tensor(2.0))),
    "tensor attribute in place": (lambda o: o.tensor, lambda o: o.tensor.fill_(2.0)),
    "length of a long list": (lambda o: len(o.long) / LARGEST, lambda o: o.long.append(1.0)),
    "entry of a long list": (lambda o: o.long[-1], lambda o: o.long.__setitem__(-1, 3.0)),
    "entry of a long dict": (lambda o: o.many[9], lambda o: o.many.update({9: 3.0})),
    "entry of a long array": (lambda o: float(o.long_array[9]), lambda o: o.long_array.__setitem__(9, 3.0)),
    "entry of an array of Python's": (lambda o: o.packed[0], lambda o: o.packed.__setitem__(0, 3.0)),
    "attribute of a class by its name": (lambda o: Named.weight, lambda o: setattr(Named, "weight", 3.0)),
    "class as an attribute": (lambda o: o.held.weight, lambda o: setattr(o.held, "weight", 3.0)),
    "class of a class": (lambda o: OfKind.weight, lambda o: setattr(Kind, "weight", 3.0)),
    "thread's own": (lambda o: o.own.weight, lambda o: setattr(o.own, "weight", 3.0)),
    "context variable": (lambda o: VARIABLE.get(), lambda o: VARIABLE.set(3.0)),
    "number of a data set": (lambda o: o.rows.weight, lambda o: setattr(o.rows, "weight", 3.0)),
    "learning rate": (
        lambda o: o.descent.param_groups[0]["lr"],
        lambda o: o.descent.param_groups[0].update(lr=3.0),
    ),
    "size of a tensor": (lambda o: 1.0 + o.tensor.dim(), lambda o: o.tensor.resize_(1)),
    "default dtype": (
        lambda o: torch.tensor(0.1, device=o.w.device).double(),
        lambda o: torch.set_default_dtype(torch.float64),
    ),
    "hook of all modules": (lambda o: 1.0, hook_all),
    "class attribute": (lambda o: o.shared, lambda o: setattr(Stateful, "shared", 3.0)),
    "global": (lambda o: FACTOR, set_global),
    "namespace of options": (lambda o: o.options.weight, lambda o: setattr(o.options, "weight", 3.0)),
    "class": (lambda o: 1.0, lambda o: setattr(o, "__class__", Doubled)),
    "method of a class": (lambda o: o.factor(), lambda o: setattr(Stateful, "factor", lambda o: 3.0)),
    "of a user's module": (lambda o: config.weight, lambda o: setattr(config, "weight", 3.0)),
    "number of numpy": (lambda o: float(o.scalar), lambda o: setattr(o, "scalar", np.float64(2.0))),
    "new attribute": (lambda o: getattr(o, "new", 1.0), lambda o: setattr(o, "new", 3.0)),
    "gone attribute": (lambda o: getattr(o, "flag", 3.0) + 1, lambda o: delattr(o, "flag")),
    "another module": (lambda o: 1.0, lambda o: setattr(o.part, "act", nn.Sigmoid())),
    "another function": (lambda o: 1.0, lambda o: setattr(o, "read", lambda o: 3.0)),
    "hook": (lambda o: 1.0, lambda o: o.part.act.register_forward_hook(lambda m, args, out: 2 * out)),
}  # fmt: skip
"""What a loss reads, and what changes it between two calls that no check looks at."""


@pytest.fixture(autouse=True)
def outside():
    """Put what the tests change outside of an objective back."""
    factor, dtype = Stateful.factor, torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)
    VARIABLE.set(1.0)
    Named.weight = Kind.weight = 1.0
    while UNHOOK:
        UNHOOK.pop()()
    Stateful.factor = factor
    globals()["FACTOR"] = Stateful.shared = config.weight = 1.0


@pytest.mark.parametrize("name", READS)
def test_what_changes_between_two_calls_is_seen_at_once(name, device, caplog):
    read, change = READS[name]
    objective = Stateful(read).to(device)
    objective.tensor = objective.tensor.to(device)
    loss_of = CapturedLoss(objective, "graph")
    x = torch.full((4, 2), 0.5, device=device)
    before = [float(loss_of(x)[0].detach()) for _ in range(5)]
    change(objective)
    expected = objective(x)[0].item()
    assert expected != before[-1]
    assert float(loss_of(x)[0].detach()) == expected
    assert loss_of.mode == "graph"
    assert not caplog.records


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
    for mode in ("eager", "auto"):
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
    for mode in ("eager", "auto"):
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
    for mode in ("eager", "auto"):
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
