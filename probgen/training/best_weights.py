"""Which weights are the best: those that the objective judges so at a report."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from probgen.core import Objective
from probgen.training import checkpoint as checkpoints
from probgen.training.history import History

logger = logging.getLogger("probgen")


class BestWeights:
    """The best weights of a training so far, and for how many reports they have been the best.

    Args:
        objective, history: those of the training.
        patience: reports without better weights after which it ends, where there is such an end.
        waiting: what cannot do without a judgement of the weights, by its name; "" where nothing does.
        tells: whether this process logs what is wrong.

    Attributes:
        fault: what was wrong with the validation data where they were first judged wrong.
    """

    def __init__(
        self, objective: Objective, history: History, *, patience: int | None, waiting: str, tells: bool
    ) -> None:
        self.fault = ""
        self.weights: dict[str, Any] = {}
        self.step = 0
        self._loss = math.inf
        self._reports_since = 0
        self._objective, self._history, self._tells = objective, history, tells
        self._patience, self._waiting = patience, waiting

    @property
    def out_of_patience(self) -> bool:
        """Whether so many reports have passed without better ones that the training ends."""
        return self._patience is not None and self._reports_since >= self._patience

    def judge(self, terms: Mapping[str, float]) -> float | None:
        """Let the objective judge its weights by a report, and remember them where they are the best.

        Raises:
            ValueError: where it is judged by a term that the report does not have, or something waits for a
                judgement and there is none.
        """
        step, kind = self._history.step, type(self._objective).__name__
        self._reports_since += 1
        try:
            judged = self._objective.judge(terms)
        except KeyError as error:
            raise ValueError(
                f"{kind} is judged by the term {error}, which the report of step {step} does not have: "
                "report it for all data, in evaluation mode too"
            ) from error
        if judged is None:
            if self._waiting:
                raise ValueError(
                    f"{self._waiting} needs weights that are judged but {kind} judges none: leave it out; "
                    f"the last weights are kept{checkpoints.last_good(self._history.folder)}"
                )
        elif not math.isfinite(judged):
            self.say(f"at step {step} it is {judged}", "what weights are judged by")
        elif judged < self._loss:
            self._loss, self.step, self._reports_since = judged, step, 0
            self.weights = checkpoints.state_of(self._objective)
        return judged

    def say(self, found: str, what: str) -> None:
        """Say once that weights cannot be judged."""
        if not self.fault and self._tells:
            logger.warning(
                "%s should be finite but %s: weights judged by such a number are not the best", what, found
            )
        self.fault = self.fault or found

    def restore(self) -> None:
        """Put the weights of the best report back; those of a training that was never judged stay.

        Raises:
            ValueError: where no report could be judged, since its validation loss was not finite.
        """
        if self.weights:
            checkpoints.put_back(self._objective, self.weights)
        elif self._reports_since:
            raise ValueError(
                "patience keeps the weights of the best validation loss but at none of "
                f"{self._reports_since} reports was it finite ({self.fault}): leave such rows out of the "
                f"validation data, or leave out patience{checkpoints.last_good(self._history.folder)}"
            )

    def state(self) -> list[Any]:
        """Return what a checkpoint holds of it, beside the weights."""
        return [self._loss, self.step, self._reports_since, self.fault]

    def load_state(self, state: list[Any], weights: dict[str, Any]) -> None:
        """Take up where a checkpoint left it; there are weights where a report was judged."""
        self._loss, self.step, self._reports_since, self.fault = state
        self.weights = weights
