"""Models: one file a graph, model and guide side by side."""

from probgen.models.adversarial_autoencoder import AdversarialAutoencoder
from probgen.models.autoencoder import Autoencoder
from probgen.models.bigan import BiGAN
from probgen.models.deep_markov import DeepMarkov
from probgen.models.denoising_vae import DenoisingVAE
from probgen.models.gan import GAN
from probgen.models.gmmn import GMMN
from probgen.models.gmmn_autoencoder import GMMNAutoencoder
from probgen.models.hidden_markov import HiddenMarkov
from probgen.models.hierarchical_vae import HierarchicalVAE
from probgen.models.ica_vae import ICAVAE
from probgen.models.ladder_vae import LadderVAE
from probgen.models.mixture_vae import MixtureVAE
from probgen.models.semi_supervised_vae import SemiSupervisedVAE
from probgen.models.stacked_semi_supervised_vae import StackedSemiSupervisedVAE
from probgen.models.tabular_gmmn import TabularGMMN
from probgen.models.two_stage_vae import TwoStageVAE
from probgen.models.vae import VAE
from probgen.models.vq_vae import VQVAE
from probgen.models.vrnn import VRNN

__all__ = [
    "GAN",
    "GMMN",
    "ICAVAE",
    "VAE",
    "VQVAE",
    "VRNN",
    "AdversarialAutoencoder",
    "Autoencoder",
    "BiGAN",
    "DeepMarkov",
    "DenoisingVAE",
    "GMMNAutoencoder",
    "HiddenMarkov",
    "HierarchicalVAE",
    "LadderVAE",
    "MixtureVAE",
    "SemiSupervisedVAE",
    "StackedSemiSupervisedVAE",
    "TabularGMMN",
    "TwoStageVAE",
]


def __dir__() -> list[str]:
    return __all__
