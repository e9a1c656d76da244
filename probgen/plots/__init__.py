"""Pictures of samples, metrics, codes and trainings, and pages to play with.

Each function of a picture returns a matplotlib Figure, or an animation, and shows nothing by itself:
``image_grid``, ``scatter``, ``histograms`` of draws; ``latent_map``, ``manifold``, ``traversals`` of codes;
``history`` of a training; ``intervals`` of a comparison. ``explorer`` and ``sampler_page`` return a page of
HTML, shown in a notebook or saved by ``save``. Read first ``image_grid`` and ``explorer``.
"""

from probgen.plots.codes import code_usage
from probgen.plots.contests import contest, contest_animation
from probgen.plots.decoder_program import NotPlain
from probgen.plots.densities import contours, histograms
from probgen.plots.detection import roc_curves, score_histograms
from probgen.plots.explorer import explorer
from probgen.plots.forecasts import fan_chart, pit_histogram
from probgen.plots.frames import frames
from probgen.plots.interpolations import interpolations
from probgen.plots.label_curves import label_curves
from probgen.plots.latent import latent_map, manifold
from probgen.plots.levels import levels
from probgen.plots.metrics import intervals
from probgen.plots.page import Page
from probgen.plots.piano_rolls import piano_rolls
from probgen.plots.returns import lasting_volatility, value_at_risk, volatility_smiles
from probgen.plots.robustness import robustness_curves
from probgen.plots.sampler_page import sampler_page
from probgen.plots.samples import image_grid, reconstructions, scatter
from probgen.plots.spectrograms import spectrograms
from probgen.plots.tables import correlations, table_columns
from probgen.plots.training import history
from probgen.plots.trajectories import trajectories
from probgen.plots.traversals import conditional_grid, traversals

__all__ = [
    "NotPlain",
    "Page",
    "code_usage",
    "conditional_grid",
    "contest",
    "contest_animation",
    "contours",
    "correlations",
    "explorer",
    "fan_chart",
    "frames",
    "histograms",
    "history",
    "image_grid",
    "interpolations",
    "intervals",
    "label_curves",
    "lasting_volatility",
    "latent_map",
    "levels",
    "manifold",
    "piano_rolls",
    "pit_histogram",
    "reconstructions",
    "robustness_curves",
    "roc_curves",
    "sampler_page",
    "scatter",
    "score_histograms",
    "spectrograms",
    "table_columns",
    "trajectories",
    "traversals",
    "value_at_risk",
    "volatility_smiles",
]


def __dir__() -> list[str]:
    return __all__
