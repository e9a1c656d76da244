"""Networks, and the heads that turn them into laws."""

from probgen.nets.affine import Affine
from probgen.nets.batch_norm_head import BatchNormHead
from probgen.nets.causal_transformer import CausalTransformer
from probgen.nets.code_head import CodeHead
from probgen.nets.codebook import Codebook
from probgen.nets.completion import Completing, KnownInput
from probgen.nets.concatenated import Concatenated
from probgen.nets.conv import ConvDecoder, ConvEncoder
from probgen.nets.cost import Cost, cost
from probgen.nets.couplings import Couplings
from probgen.nets.finite_scalar import FiniteScalar
from probgen.nets.flow_head import FlowHead
from probgen.nets.gated_transition import GatedTransition
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
from probgen.nets.mixed_columns import MixedHead, MixedInput
from probgen.nets.mlp import MLP
from probgen.nets.multivariate_normal_head import MultivariateNormalHead
from probgen.nets.projection import ProjectionDiscriminator
from probgen.nets.random_affine import RandomAffine
from probgen.nets.random_shift import RandomShift
from probgen.nets.recurrent import GRU, History, inside
from probgen.nets.residual import ResidualConvNet, ResidualMLP, SeparableConv, Shortcut
from probgen.nets.without_context import WithoutContext

__all__ = [
    "GRU",
    "MLP",
    "Affine",
    "BatchNormHead",
    "BernoulliHead",
    "CategoricalHead",
    "CausalTransformer",
    "ClassHead",
    "CodeHead",
    "Codebook",
    "Completing",
    "Concatenated",
    "ContinuousBernoulliHead",
    "ConvDecoder",
    "ConvEncoder",
    "Cost",
    "Couplings",
    "DiscretisedLogisticHead",
    "FiniteScalar",
    "FlowHead",
    "GatedTransition",
    "Head",
    "History",
    "Joined",
    "KnownInput",
    "MixedHead",
    "MixedInput",
    "MultivariateNormalHead",
    "NormalHead",
    "OneHot",
    "PointHead",
    "ProjectionDiscriminator",
    "RandomAffine",
    "RandomShift",
    "ResidualConvNet",
    "ResidualMLP",
    "SeparableConv",
    "Shortcut",
    "WithoutContext",
    "cost",
    "inside",
]


def __dir__() -> list[str]:
    return __all__
