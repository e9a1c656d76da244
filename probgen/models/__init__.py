"""Models: one file a graph, model and guide side by side.

Each docstring begins with the generative story, the guide, the loss and the source. Networks come in as
arguments: heads from ``probgen.nets``; a prior is any distribution, or a module of ``probgen.priors``. All
draw by ``sample``; those with codes have ``encode`` and ``decode``, pairs a ``posterior`` for chains. Read
first ``VAE``, then ``Autoencoder``, ``GAN`` and ``GMMN``: the others change one thing each.
"""

from probgen.models.adversarial_autoencoder import AdversarialAutoencoder
from probgen.models.autoencoder import Autoencoder
from probgen.models.autoregressive_sequence import AutoregressiveSequence
from probgen.models.bigan import BiGAN
from probgen.models.deep_markov import DeepMarkov
from probgen.models.denoising_vae import DenoisingVAE
from probgen.models.gan import GAN
from probgen.models.gjr_garch import GJRGARCH
from probgen.models.gmmn import GMMN
from probgen.models.gmmn_autoencoder import GMMNAutoencoder
from probgen.models.graph_vae import GraphVAE
from probgen.models.grouped_vae import GroupedVAE
from probgen.models.hidden_markov import HiddenMarkov
from probgen.models.hierarchical_sequence_vae import HierarchicalSequenceVAE
from probgen.models.hierarchical_vae import HierarchicalVAE
from probgen.models.ica_vae import ICAVAE
from probgen.models.ladder_vae import LadderVAE
from probgen.models.language_model import LanguageModel
from probgen.models.mixture_vae import MixtureVAE
from probgen.models.n_gram import NGram
from probgen.models.property_vae import PropertyVAE
from probgen.models.semi_supervised_vae import SemiSupervisedVAE
from probgen.models.sequence_vae import SequenceVAE
from probgen.models.stacked_semi_supervised_vae import StackedSemiSupervisedVAE
from probgen.models.tabular_gmmn import TabularGMMN
from probgen.models.two_stage_vae import TwoStageVAE
from probgen.models.vae import VAE
from probgen.models.video_vae import VideoVAE
from probgen.models.vq_vae import VQVAE
from probgen.models.vrnn import VRNN

__all__ = [
    "GAN",
    "GJRGARCH",
    "GMMN",
    "ICAVAE",
    "VAE",
    "VQVAE",
    "VRNN",
    "AdversarialAutoencoder",
    "Autoencoder",
    "AutoregressiveSequence",
    "BiGAN",
    "DeepMarkov",
    "DenoisingVAE",
    "GMMNAutoencoder",
    "GraphVAE",
    "GroupedVAE",
    "HiddenMarkov",
    "HierarchicalSequenceVAE",
    "HierarchicalVAE",
    "LadderVAE",
    "LanguageModel",
    "MixtureVAE",
    "NGram",
    "PropertyVAE",
    "SemiSupervisedVAE",
    "SequenceVAE",
    "StackedSemiSupervisedVAE",
    "TabularGMMN",
    "TwoStageVAE",
    "VideoVAE",
]


def __dir__() -> list[str]:
    return __all__
