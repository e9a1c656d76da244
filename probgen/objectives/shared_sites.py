"""Latent sites that all data share: with mini-batches the plate has to know how many data there are."""

from __future__ import annotations

from typing import Any

from pyro import poutine
from pyro.poutine.messenger import Messenger

from probgen.core import is_data, is_derived, is_factor


class SharedSites(Messenger):
    r"""Refuses a batch that counts as all the data, beside a latent site outside of the plate of the data.

    Per datum, a bound with shared latent variables w is E[log p(x_i | w)] − KL(w) / n. A plate of the
    batch's own size makes n that size, and the posterior of w that of so few data.
    """

    def __init__(self, rows: int, data: int | None) -> None:
        super().__init__()
        self._rows, self._data = rows, data
        self._whole, self._shared = rows, ""

    def _pyro_post_sample(self, msg: Any) -> None:
        frames = [frame for frame in msg["cond_indep_stack"] if frame.dim == -1 and frame.size == self._rows]
        self._whole = max([self._whole, *(frame.full_size or frame.size for frame in frames)])
        latent = not (
            is_data(msg) or is_derived(msg) or is_factor(msg) or poutine.util.site_is_subsample(msg)
        )
        if latent and not frames and not msg["infer"].get("is_auxiliary"):
            self._shared = self._shared or msg["name"]

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        super().__exit__(kind, value, traceback)
        if (
            kind is None
            and self._shared
            and self._data is not None
            and self._whole == self._rows < self._data
        ):
            n, rows = self._data, self._rows
            raise ValueError(
                f"latent site {self._shared!r} is shared by all {n} data, so that the plate of the data "
                f"should say how many there are but holds the {rows} of a batch: write pyro.plate('data', "
                f"{n}, subsample=torch.arange(len(x))) in model and guide, or take batch_size={n}"
            )
