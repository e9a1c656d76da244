"""What columns are divided by in a comparison: the same for all methods, so that their numbers compare."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from probgen.mmd.scaling import Scale, columns_vary, pooled_scale, units_of

_ABOUT = {
    "pooled": "each column in its standard deviations in the real data, training and held-out together; in "
    "tests, in those of draws and held-out data together",
    "given": "each column over the scale that was given for it",
    None: "numbers as they are, on one common scale",
}


class Units(NamedTuple):
    """Deviations of the columns of the real data, or None; where they vary; the scale of tests; all in words.

    They are of the real data alone: far draws of a method would widen its own units and hide its errors.
    """

    deviations: Tensor | None
    varies: Tensor
    scale: Scale
    about: str

    def of(self, draws: Tensor, reference: Tensor) -> Tensor | None:
        """Return the units for some draws, which decide only for columns that are constant in real data."""
        if self.deviations is None or self.varies.all() or not isinstance(self.scale, str):
            return self.deviations
        return torch.where(self.varies, self.deviations, pooled_scale(reference, draws))


def units_of_data(scale: Scale, reference: Tensor, train: Tensor | None) -> Units:
    """Return the units of a comparison with these real data."""
    learned = reference if train is None else train
    deviations, choice = units_of(scale, reference=reference, train=learned)
    of_tests: Scale = "pooled" if choice == "pooled" else deviations
    return Units(deviations, columns_vary(reference, learned), of_tests, _ABOUT[choice])
