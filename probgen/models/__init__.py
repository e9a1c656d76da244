"""Models: one file per paper, model and guide side by side."""

from probgen.models.conditional_gmmn import ConditionalMomentMatching
from probgen.models.gmmn import GMMN, MomentMatching
from probgen.models.gmmn_autoencoder import GMMNAutoencoder, Reconstruction
from probgen.models.mmd_gan import MMDGAN
from probgen.models.tabular_gmmn import TabularGMMN
from probgen.models.vae import VAE

__all__ = [
    "GMMN",
    "MMDGAN",
    "VAE",
    "ConditionalMomentMatching",
    "GMMNAutoencoder",
    "MomentMatching",
    "Reconstruction",
    "TabularGMMN",
]
