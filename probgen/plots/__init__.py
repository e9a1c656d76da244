"""Pictures of samples, metrics, codes and trainings; each returns a matplotlib Figure or animation."""

from probgen.plots.codes import code_usage
from probgen.plots.contests import contest, contest_animation
from probgen.plots.densities import contours, histograms
from probgen.plots.detection import roc_curves, score_histograms
from probgen.plots.interpolations import interpolations
from probgen.plots.latent import latent_map, manifold
from probgen.plots.levels import levels
from probgen.plots.metrics import intervals
from probgen.plots.robustness import robustness_curves
from probgen.plots.samples import image_grid, reconstructions, scatter
from probgen.plots.tables import correlations, table_columns
from probgen.plots.training import history
from probgen.plots.trajectories import trajectories
from probgen.plots.traversals import conditional_grid, traversals

__all__ = [
    "code_usage",
    "conditional_grid",
    "contest",
    "contest_animation",
    "contours",
    "correlations",
    "histograms",
    "history",
    "image_grid",
    "interpolations",
    "intervals",
    "latent_map",
    "levels",
    "manifold",
    "reconstructions",
    "robustness_curves",
    "roc_curves",
    "scatter",
    "score_histograms",
    "table_columns",
    "trajectories",
    "traversals",
]


def __dir__() -> list[str]:
    return __all__
