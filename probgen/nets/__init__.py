"""Networks, and the heads that turn them into laws.

A net maps numbers to numbers: ``MLP``, ``ConvEncoder``, ``ConvDecoder``, ``Joined`` for several inputs. A
head makes a law of what a net gives: ``NormalHead(MLP(64, 2))`` is q(z | x), ``BernoulliHead(MLP(2, 64))``
is p(x | z); ``MixedHead`` is one of rows of a table. Read first ``Head``, whose docstring has a law of your
own, and ``MLP``.
"""

from probgen.nets.affine import Affine
from probgen.nets.autoregressive_bernoulli import AutoregressiveBernoulliHead
from probgen.nets.balanced_brackets import BalancedBrackets
from probgen.nets.batch_norm_head import BatchNormHead
from probgen.nets.bernoulli_mixture import BernoulliMixtureHead
from probgen.nets.bond_conv import BondConv, MoleculeReader
from probgen.nets.causal_transformer import CausalTransformer
from probgen.nets.chord_head import ChordHead
from probgen.nets.code_head import CodeHead
from probgen.nets.codebook import Codebook
from probgen.nets.completion import Completing, KnownInput
from probgen.nets.concatenated import Concatenated
from probgen.nets.conv import ConvDecoder, ConvEncoder
from probgen.nets.conv_lstm import ConvLSTM
from probgen.nets.cost import Cost, cost
from probgen.nets.couplings import Couplings
from probgen.nets.finite_scalar import FiniteScalar
from probgen.nets.flow_head import FlowHead
from probgen.nets.gated_transition import GatedTransition
from probgen.nets.graph_conv import GraphConv, GraphNet
from probgen.nets.heads import (
    BernoulliHead,
    CategoricalHead,
    ClassHead,
    ContinuousBernoulliHead,
    DiscretisedLogisticHead,
    Head,
    NormalHead,
    PointHead,
)
from probgen.nets.joined import Joined, OneHot
from probgen.nets.links import InnerProduct, Links
from probgen.nets.mixed_columns import MixedHead, MixedInput
from probgen.nets.mlp import MLP
from probgen.nets.multinomial_head import MultinomialHead
from probgen.nets.multivariate_normal_head import MultivariateNormalHead
from probgen.nets.projection import ProjectionDiscriminator
from probgen.nets.random_affine import RandomAffine
from probgen.nets.random_shift import RandomShift
from probgen.nets.recurrent import GRU, History, Recent, inside, known_after, told_steps
from probgen.nets.residual import ResidualConvNet, ResidualMLP, SeparableConv, Shortcut
from probgen.nets.signs import Signs
from probgen.nets.student_t_head import StudentTHead
from probgen.nets.token_gru import SequenceReader, TokenGRU, TokenReader
from probgen.nets.without_context import WithoutContext

__all__ = [
    "GRU",
    "MLP",
    "Affine",
    "AutoregressiveBernoulliHead",
    "BalancedBrackets",
    "BatchNormHead",
    "BernoulliHead",
    "BernoulliMixtureHead",
    "BondConv",
    "CategoricalHead",
    "CausalTransformer",
    "ChordHead",
    "ClassHead",
    "CodeHead",
    "Codebook",
    "Completing",
    "Concatenated",
    "ContinuousBernoulliHead",
    "ConvDecoder",
    "ConvEncoder",
    "ConvLSTM",
    "Cost",
    "Couplings",
    "DiscretisedLogisticHead",
    "FiniteScalar",
    "FlowHead",
    "GatedTransition",
    "GraphConv",
    "GraphNet",
    "Head",
    "History",
    "InnerProduct",
    "Joined",
    "KnownInput",
    "Links",
    "MixedHead",
    "MixedInput",
    "MoleculeReader",
    "MultinomialHead",
    "MultivariateNormalHead",
    "NormalHead",
    "OneHot",
    "PointHead",
    "ProjectionDiscriminator",
    "RandomAffine",
    "RandomShift",
    "Recent",
    "ResidualConvNet",
    "ResidualMLP",
    "SeparableConv",
    "SequenceReader",
    "Shortcut",
    "Signs",
    "StudentTHead",
    "TokenGRU",
    "TokenReader",
    "WithoutContext",
    "cost",
    "inside",
    "known_after",
    "told_steps",
]


def __dir__() -> list[str]:
    return __all__
