"""Models: one file per paper, model and guide side by side."""

from probgen.models.gmmn import GMMN, MomentMatching
from probgen.models.vae import VAE

__all__ = ["GMMN", "VAE", "MomentMatching"]
