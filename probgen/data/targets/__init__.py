"""Two-dimensional targets whose law is known exactly: for samplers, and for models learned from samples."""

from probgen.data.files import suggest
from probgen.data.targets.base import Target
from probgen.data.targets.formulas import banana, checkerboard, funnel
from probgen.data.targets.mixtures import grid, ring, swiss_roll, two_moons

__all__ = ["TARGETS", "Target", "target"]

TARGETS = {
    law.name: law for law in (banana(), funnel(), ring(), grid(), checkerboard(), two_moons(), swiss_roll())
}
"""All targets by name."""


def target(name: str) -> Target:
    """Return the target called ``name``.

    >>> target("ring").sample(5).shape
    torch.Size([5, 2])
    """
    if name not in TARGETS:
        raise ValueError(f"there is no target {name!r}: {suggest(name, TARGETS)}")
    return TARGETS[name]
