"""Whether the weights that an optimizer holds are those that an objective has, all along."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from probgen.core import Objective


class Learned:
    """The weights of an objective as a training finds them, to see that none comes later.

    Args:
        objective, optimizer: those of the training; a weight that the optimizer is not given, though it could
            learn, is left as it is on purpose.
    """

    def __init__(self, objective: Objective, optimizer: Optimizer) -> None:
        self.weights: list[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
        self._objective = objective
        self._found = dict(objective.named_parameters())  # kept, so that no other takes the identity of one
        self._held = {id(weight) for weight in self.weights}
        self._left_out = {id(weight) for weight in self._found.values() if weight.requires_grad} - self._held

    def check(self) -> None:
        """Raise where the objective has a weight by now that should be learned and is not.

        Raises:
            ValueError: for a weight that was made, replaced or unfrozen after the start.
        """
        for name, weight in self._objective.named_parameters():
            before = self._found.get(name)
            replaced = before is not None and before is not weight
            if id(weight) in self._held or id(weight) in self._left_out:
                continue
            if replaced and id(before) in self._held:
                raise ValueError(
                    f"the parameter {name!r} should stay the one that the optimizer holds but was replaced "
                    "after the training began, so that it would never be learned: write into the old one "
                    "(with torch.no_grad(): parameter.copy_(...)), or replace it before fit"
                )
            if not weight.requires_grad or (replaced and id(before) in self._left_out):
                continue
            if before is not None:
                raise ValueError(
                    f"the parameter {name!r} was frozen when the training began, so that the optimizer does "
                    "not hold it and it would never be learned: give an optimizer that holds it from the "
                    "start, such as torch.optim.Adam(objective.parameters()), which leaves alone what is "
                    "frozen"
                )
            raise ValueError(
                f"the parameter {name!r} was made after the training began, so that the optimizer does not "
                "hold it and it would never be learned: make it in __init__, or call the objective once on "
                "a batch before fit"
            )


def check_made(objective: nn.Module) -> None:
    """Raise where a parameter or a buffer has no shape yet, as those of nn.LazyLinear before a first call."""
    for name, tensor in (*objective.named_parameters(), *objective.named_buffers()):
        if is_lazy(tensor):
            module = objective.get_submodule(name.rpartition(".")[0])
            raise ValueError(
                f"the objective should have all of its weights before fit but {name!r} of a "
                f"{type(module).__name__} has no shape before a first call: call the objective once on a "
                "batch, objective(*batch), and make an optimizer of your own after that"
            )


def check_held(objective: Objective, optimizer: Optimizer) -> None:
    """Raise where the optimizer was made for weights that the objective has no longer.

    Raises:
        ValueError: where it holds none of the objective's that learn; or holds one that is not the
            objective's, while the objective has one that learns and that it does not hold.
    """
    learning = {name: weight for name, weight in objective.named_parameters() if weight.requires_grad}
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    name_of = type(objective).__name__
    if held.isdisjoint(map(id, learning.values())):
        raise ValueError(f"optimizer should hold parameters of {name_of} but holds none")
    strangers = held - set(map(id, objective.parameters()))
    left_out = [name for name, weight in learning.items() if id(weight) not in held]
    if strangers and left_out:
        raise ValueError(
            f"optimizer should hold parameters of {name_of} but holds {len(strangers)} that are not, while "
            f"it does not hold {left_out[0]!r}: make it after the last parameter has been made or replaced"
        )
