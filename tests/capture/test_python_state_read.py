"""What a loss may read of Python's state belongs to a graph: where it changes, the graph is another one."""

import functools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probgen.capture.captured_loss import CapturedLoss
from probgen.capture.python_state import LARGEST
from tests.capture.stateful import UNHOOK, VARIABLE, Kind, Named, OfKind, Stateful, config, reset

FACTOR = 1.0


class Doubled(Stateful):
    """Another class that an objective may be given."""

    def forward(self, *batch: Tensor):
        return 2 * super().forward(*batch)[0], {}


def hook_all(o):
    hook = nn.modules.module.register_module_forward_hook(
        lambda m, args, out: 2 * out if m is o.part.act else None
    )
    UNHOOK.append(hook.remove)


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
    "what is made of a tensor attribute": (lambda o: o.tensor.exp(), lambda o: o.tensor.fill_(2.0)),
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
    yield
    reset()
    globals()["FACTOR"] = 1.0


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
