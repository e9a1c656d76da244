"""Which rows the plates of a pair hold: the same in model and guide, and for all draws of z."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from probgen.core import Pair, evaluating


class Rows:
    """The rows of the plates that are sub-sampled without saying which, chosen once for one batch.

    Where the guide draws them itself, as an autoguide does, and the model is told them, the model's count:
    Pyro's replay would put the guide's in their place, and the data beside the codes of other rows.
    """

    def __init__(self, pair: Pair, batch: tuple[Tensor, ...]) -> None:
        self._pair, self._batch = pair, batch
        self._chosen: dict[str, Any] = {}

    def guide_trace(self) -> Any:
        """Return a trace of the guide."""
        plates = _Plates(self._chosen)
        with plates:
            trace = poutine.trace(self._pair.guide).get_trace(*self._batch)
        told = self._told_to_the_model(plates.drawn)
        if told:
            self._chosen |= told
            with _Plates(self._chosen):
                trace = poutine.trace(self._pair.guide).get_trace(*self._batch)
        self._chosen |= {name: trace.nodes[name]["value"] for name in plates.drawn}
        return trace

    def model_trace(self, guide_trace: Any) -> Any:
        """Return a trace of the model on the guide's draws."""
        plates = _Plates(self._chosen)
        with plates:
            trace = poutine.trace(poutine.replay(self._pair.model, trace=guide_trace)).get_trace(*self._batch)
        self._chosen |= {name: trace.nodes[name]["value"] for name in plates.drawn}
        return trace

    def guide(self, *batch: Tensor) -> Any:
        """Run the guide, which a bound of Pyro's traces itself, on the rows that the model is told."""
        if not self._chosen and _draws_rows(self._pair, batch):
            with poutine.block():
                self.guide_trace()
        with _Plates(self._chosen):
            return self._pair.guide(*batch)

    def _told_to_the_model(self, names: set[str]) -> dict[str, Any]:
        """Return the rows that the model's plates are told, of those named."""
        if not names:
            return {}
        plates = _Plates({}, until=names)
        try:
            with poutine.block(), plates:
                self._pair.model(*self._batch)
        except _Found:
            pass
        return {name: rows for name, rows in plates.told.items() if name in names}


_DRAWS_ROWS: WeakKeyDictionary[Pair, bool] = WeakKeyDictionary()


def _draws_rows(pair: Pair, batch: tuple[Tensor, ...]) -> bool:
    """Say whether a guide draws rows itself, from one run that leaves noise and module as they were."""
    if pair not in _DRAWS_ROWS:
        devices = {x.device for x in batch if x.device.type == "cuda"}
        plates = _Plates({})
        noise = torch.random.fork_rng(devices=devices)
        with noise, torch.no_grad(), evaluating(pair), poutine.block(), plates:
            pair.guide(*batch)
        _DRAWS_ROWS[pair] = bool(plates.drawn)
    return _DRAWS_ROWS[pair]


class _Found(Exception):
    """Ends the run of a model once its plates are known."""


class _Plates(Messenger):
    """Gives plates their rows, and notes which were told theirs and which draw their own."""

    def __init__(self, chosen: Mapping[str, Any], *, until: set[str] | None = None) -> None:
        super().__init__()
        self._chosen, self._until = chosen, until
        self.told: dict[str, Any] = {}
        self.drawn: set[str] = set()

    def _pyro_sample(self, msg: Any) -> None:
        if not poutine.util.site_is_subsample(msg):
            return
        name, size, part = msg["name"], msg["fn"].size, msg["fn"].subsample_size
        if msg["value"] is not None:
            self.told[name] = msg["value"]
        elif part is not None and part < size:
            self.drawn.add(name)
            if name in self._chosen:
                msg["value"] = rows = self._chosen[name]
                if len(rows) != part:
                    raise ValueError(
                        f"plate {name!r} of the guide should hold the {len(rows)} rows that the "
                        f"model's is told but draws {part} of its own: tell it them by subsample=, or an "
                        f"autoguide by create_plates=lambda x, rows: pyro.plate({name!r}, {size}, "
                        f"subsample=rows)"
                    )
        if self._until is not None and self._until <= self.told.keys() | self.drawn:
            raise _Found
