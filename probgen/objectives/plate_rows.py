"""Which rows the plates of a pair hold: the same in model and guide, and for all draws of z."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from probgen.core import Pair, evaluating
from probgen.core.summed_out import NOTHING, Discrete, enumerated


class Rows:
    """The rows of the plates that are sub-sampled without saying which, chosen once for one batch.

    Where the guide draws them itself, as an autoguide does, and the model is told them, the model's count:
    Pyro's replay would put the guide's in their place, and the data beside the codes of other rows.

    The ``discrete`` sites are enumerated, in dimensions left of the plates and of draws in ``sample_shape``.
    """

    def __init__(
        self,
        pair: Pair,
        batch: tuple[Tensor, ...],
        discrete: Discrete = NOTHING,
        sample_shape: tuple[int, ...] = (),
    ) -> None:
        self._pair, self._batch = pair, batch
        self._guide, self._model = pair.guide, pair.model
        if discrete.guided or discrete.summed:
            where = discrete.nesting, sample_shape
            self._guide = enumerated(pair.guide, discrete.guided, *where)
            self._model = enumerated(pair.model, discrete.summed, *where, afresh=False)
        self._chosen: dict[str, Any] = {}

    def guide_trace(self) -> Any:
        """Return a trace of the guide."""
        plates = _Plates(self._chosen)
        trace = self._traced(self._guide, plates)
        told = self._told_to_the_model(plates.drawn - self._chosen.keys())
        if told:
            self._chosen |= told
            trace = self._traced(self._guide, _Plates(self._chosen))
        self._chosen |= {name: trace.nodes[name]["value"] for name in plates.drawn}
        return trace

    def model_trace(self, guide_trace: Any) -> Any:
        """Return a trace of the model on the guide's draws."""
        plates = _Plates(self._chosen, guide=guide_trace)
        trace = self._traced(self._model, plates, replayed=guide_trace)
        self._chosen |= {name: trace.nodes[name]["value"] for name in plates.drawn}
        return trace

    def guide(self, *batch: Tensor) -> Any:
        """Run the guide, which a bound of Pyro's traces itself, on the rows that the model is told."""
        if not self._chosen and _draws_rows(self._pair, batch):
            with poutine.block():
                self.guide_trace()
        with _Plates(self._chosen):
            return self._pair.guide(*batch)

    def _traced(self, story: Callable[..., Any], plates: _Plates, replayed: Any = None) -> Any:
        """Return a trace of a story, or raise for what its plates found wrong, whatever that led to."""

        def with_plates(*batch: Tensor) -> Any:
            with plates:  # within the replay, so that they see what the story itself says
                return story(*batch)

        run = with_plates if replayed is None else poutine.replay(with_plates, trace=replayed)
        try:
            trace = poutine.trace(run).get_trace(*self._batch)
        except Exception:
            if plates.fault is None:
                raise
        if plates.fault is not None:
            raise ValueError(plates.fault)
        return trace

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

    def __init__(
        self, chosen: Mapping[str, Any], *, guide: Any | None = None, until: set[str] | None = None
    ) -> None:
        super().__init__()
        self._chosen, self._guide, self._until = chosen, guide, until
        self.told: dict[str, Any] = {}
        self.drawn: set[str] = set()
        self.fault: str | None = None

    def _pyro_sample(self, msg: Any) -> None:
        if self._guide is not None and msg["name"] in self._guide.nodes:
            self._compare(msg, self._guide.nodes[msg["name"]])
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
                    self.fault = (
                        f"plate {name!r} of the guide should hold the {len(rows)} rows that the model's is "
                        f"told but draws {part} of its own: tell it them by subsample=, or an autoguide by "
                        f"create_plates=lambda x, rows: pyro.plate({name!r}, {size}, subsample=rows)"
                    )
        if self._until is not None and self._until <= self.told.keys() | self.drawn:
            raise _Found

    def _compare(self, msg: Any, guided: Any) -> None:
        """Find what of the model cannot be as it is in the guide."""
        name = msg["name"]
        if not poutine.util.site_is_subsample(msg):
            if guided["is_observed"] and not msg["is_observed"]:
                self.fault = f"guide site {name!r} should be drawn but is observed (obs=)"
            return
        told, part, size = msg["value"], msg["fn"].subsample_size, msg["fn"].size
        mine = len(told) if told is not None else size if part is None else min(part, size)
        yours, whole = len(guided["value"]), guided["fn"].size
        if (mine, size) != (yours, whole):
            self.fault = (
                f"plate {name!r} should have the same rows in model and guide but has {mine} of {size} and "
                f"{yours} of {whole}"
            )
        elif _known_to_differ(told, guided["value"]):
            self.fault = f"plate {name!r} should have the same rows in model and guide but is told others"


def _known_to_differ(told: Any, guided: Any) -> bool:
    """Compare rows where that costs nothing and a graph does not have to hold it."""
    if not isinstance(told, Tensor) or told.device.type != "cpu" or get_proxy_mode() is not None:
        return False
    return not torch.equal(told, torch.as_tensor(guided))
