"""Pictures of samples, metrics, codes and trainings; each function returns a matplotlib Figure."""

from probgen.plots.latent import latent_map, manifold
from probgen.plots.metrics import intervals
from probgen.plots.samples import image_grid, scatter
from probgen.plots.training import history

__all__ = ["history", "image_grid", "intervals", "latent_map", "manifold", "scatter"]


def __dir__() -> list[str]:
    return __all__
