"""An objective that holds Python state of every kind, and what a test changes outside of it."""

import argparse
import array
import contextvars
import functools
import threading
from collections import deque
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from probgen import Objective
from probgen.capture.python_state import LARGEST

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


UNHOOK: list = []
"""What takes hooks of all modules away again."""
FACTOR, DTYPE = Stateful.factor, torch.get_default_dtype()


def reset():
    """Put what the tests change outside of an objective back."""
    torch.set_default_dtype(DTYPE)
    VARIABLE.set(1.0)
    Named.weight = Kind.weight = 1.0
    while UNHOOK:
        UNHOOK.pop()()
    Stateful.factor = FACTOR
    Stateful.shared = config.weight = 1.0
