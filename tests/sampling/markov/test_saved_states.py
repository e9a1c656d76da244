"""States of chains on disk: each move's can be read without unpickling, others are refused by their names."""

import importlib
import inspect
import pickle
import pkgutil
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from probgen.sampling import RunState
from probgen.sampling.markov import moves
from probgen.sampling.markov.moves.saved_states import saved


class Foreign(NamedTuple):
    """A state of a move that does not say that files may hold it."""

    position: Tensor
    log_prob: Tensor


def read(state, path):
    torch.save(RunState(state, torch.Generator().get_state()), path)
    return torch.load(path, weights_only=True)


def states():
    """Return the classes of the moves' states: named tuples of positions, or of such at several levels."""
    found = set()
    for module in pkgutil.iter_modules(moves.__path__, f"{moves.__name__}."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if {"position", "levels"} & {*getattr(kind, "_fields", ())}:
                found.add(kind)
    return sorted(found, key=lambda kind: kind.__name__)


def test_there_are_states_to_look_at():
    assert {"GradientState", "State", "TemperedState", "ValueState"} <= {kind.__name__ for kind in states()}


@pytest.mark.parametrize("kind", states(), ids=lambda kind: kind.__name__)
def test_every_state_of_a_move_can_be_read(kind, tmp_path):
    state = kind(*(torch.full((2, 1), float(i)) for i in range(len(kind._fields))))
    found = read(state, tmp_path / "state.pt").state
    assert type(found) is kind
    assert all(torch.equal(a, b) for a, b in zip(found, state, strict=True))


def test_an_unknown_state_is_refused_by_name(tmp_path):
    state = Foreign(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(pickle.UnpicklingError, match=r"test_saved_states\.Foreign was not an allowed global"):
        read(state, tmp_path / "state.pt")


def test_a_state_of_ones_own_is_read_once_it_says_so(tmp_path):
    @saved
    class Own(NamedTuple):
        position: Tensor

    Own.__qualname__ = "Own"
    globals()["Own"] = Own
    assert type(read(Own(torch.zeros(2, 1)), tmp_path / "state.pt").state) is Own
