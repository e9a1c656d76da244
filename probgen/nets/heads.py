"""Heads: modules that turn a network into a law, one per value of the context."""

from __future__ import annotations

import math
from typing import Literal, Protocol, runtime_checkable

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from probgen.core import check_count
from probgen.nets.discretised_logistic import DiscretisedLogistic
from probgen.nets.laws import ContinuousBernoulli, GreyLevels, StrictBernoulli, log_scale, of_a_law


@runtime_checkable
class Widens(Protocol):
    """A net that knows the size of one output, and can give ``factor`` blocks of that size instead."""

    outputs: int

    def widen(self, factor: int) -> None: ...


class Head(nn.Module):
    r"""The base of heads: a net and the k numbers that it must give per coordinate.

    A net that has ``widen`` (MLP, ConvEncoder, ConvDecoder) is built with the law's own size d and becomes
    the head's: its last layer is replaced by one with k blocks of d outputs. Any other module should return
    (\*batch, k d) numbers itself, block after block. A head of your own makes a law of these blocks:

    >>> from probgen.nets import MLP
    >>> class LaplaceHead(Head):
    ...     def __init__(self, net: nn.Module) -> None:
    ...         super().__init__(net, 2)
    ...
    ...     def forward(self, *context: Tensor) -> dist.Distribution:
    ...         location, s = self.blocks(*context).unbind(-2)
    ...         return dist.Laplace(location, log_scale(s).exp()).to_event(1)
    >>> LaplaceHead(MLP(64, 2))(torch.zeros(5, 64)).event_shape
    torch.Size([2])
    """

    def __init__(self, net: nn.Module, numbers: int) -> None:
        super().__init__()
        if numbers > 1 and isinstance(net, Widens):
            net.widen(numbers)
        self.net = net
        self.numbers = numbers

    @property
    def outputs(self) -> int:
        """The law's size d, where the net tells it."""
        if isinstance(self.net, Widens):
            return self.net.outputs
        raise ValueError(
            f"{type(self).__name__} cannot tell the size of its law from a {type(self.net).__name__}: use "
            "a net of probgen.nets, or say what depends on it (the prior of a VAE)"
        )

    def blocks(self, *context: Tensor) -> Tensor:
        r"""Return the net's numbers, shape (\*batch, k, d)."""
        out = of_a_law(self.net(*context))
        if out.shape[-1] % self.numbers:
            raise ValueError(
                f"{type(self).__name__} needs {self.numbers} numbers per coordinate, but its net returned "
                f"{out.shape[-1]} numbers, no multiple of {self.numbers}"
            )
        return out.unflatten(-1, (self.numbers, -1))


class NormalHead(Head):
    r"""Independent normals: N(mean, scale²) in each coordinate, mean and scale given by the net.

    The net's second block s gives the scale as exp(5 asinh(s/5)): about exp(s), without a floor, and it
    neither overflows nor vanishes. A decoder often does better with one scale for all coordinates and all
    contexts, learned as a parameter.

    Args:
        net: with ``widen`` or with 2d outputs (d where the scale is shared).
        scale: "each" coordinate and context its own, or "shared".

    >>> from probgen.nets import MLP
    >>> law = NormalHead(MLP(64, 2))(torch.zeros(5, 64))
    >>> law.batch_shape, law.event_shape
    (torch.Size([5]), torch.Size([2]))
    """

    def __init__(self, net: nn.Module, *, scale: Literal["each", "shared"] = "each") -> None:
        if scale not in ("each", "shared"):
            raise ValueError(f"scale should be 'each' or 'shared' but got {scale!r}")
        super().__init__(net, 2 if scale == "each" else 1)
        self.scale = nn.Parameter(torch.zeros(())) if scale == "shared" else None

    def forward(self, *context: Tensor) -> dist.Distribution:
        mean, *rest = self.blocks(*context).unbind(-2)
        (s,) = rest if self.scale is None else (self.scale,)
        return dist.Normal(mean, log_scale(s).exp()).to_event(1)


class BernoulliHead(Head):
    """Independent Bernoulli pixels, for values 0 and 1; the net gives the logits.

    Grey values are refused with a sentence that names the ways out: binarise them dynamically
    (``data.Binarised``) or choose another head.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, 1)

    def forward(self, *context: Tensor) -> dist.Distribution:
        return StrictBernoulli(logits=self.blocks(*context).squeeze(-2)).to_event(1)


class ContinuousBernoulliHead(Head):
    """Independent continuous Bernoulli pixels, for grey values in [0, 1]; the net gives the logits.

    See :class:`probgen.nets.laws.ContinuousBernoulli`.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, 1)

    def forward(self, *context: Tensor) -> dist.Distribution:
        return ContinuousBernoulli(self.blocks(*context).squeeze(-2)).to_event(1)


class CategoricalHead(Head):
    r"""Independent categorical pixels over the grey levels 0, 1/(L-1), ..., 1, as values.

    Args:
        net: with ``widen`` or with L·d outputs, level after level.
        levels: the number L of grey levels, at least 2.
    """

    def __init__(self, net: nn.Module, levels: int) -> None:
        levels = check_count("levels", levels, least=2)
        super().__init__(net, levels)

    def forward(self, *context: Tensor) -> dist.Distribution:
        return GreyLevels(self.blocks(*context).transpose(-1, -2)).to_event(1)


class ClassHead(Head):
    r"""A class, 0, ..., k − 1, whose log-odds the net gives: a classifier, q(y | x).

    Its events are single numbers, so that a bound enumerates them.

    Args:
        net: with k outputs, the number of classes.

    >>> from probgen.nets import MLP
    >>> law = ClassHead(MLP(64, 10))(torch.zeros(5, 64))
    >>> law.batch_shape, law.event_shape, law.probs.shape
    (torch.Size([5]), torch.Size([]), torch.Size([5, 10]))
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net, 1)

    def forward(self, *context: Tensor) -> dist.Distribution:
        return dist.Categorical(logits=self.blocks(*context).squeeze(-2))


class DiscretisedLogisticHead(Head):
    r"""Independent logistic pixels rounded to the grey levels 0, 1/(L-1), ..., 1, for bytes say.

    Two numbers a pixel, location and log-scale, where :class:`CategoricalHead` needs L: neighbouring levels
    are alike by construction, and not learned to be. They are for pixels in [−1, 1], as in the source: so
    a net starts at the middle of the levels. Both laws are masses of levels, so their bits per dimension,
    −log p(x)/(d log 2), compare with each other, and with no density's.

    Args:
        net: with ``widen`` or with 2d outputs.
        levels: the number L of grey levels, at least 2.

    See :class:`probgen.nets.discretised_logistic.DiscretisedLogistic`.

    >>> from probgen.nets import MLP
    >>> law = DiscretisedLogisticHead(MLP(64, 784), 256)(torch.zeros(5, 64))
    >>> law.batch_shape, law.event_shape
    (torch.Size([5]), torch.Size([784]))
    """

    def __init__(self, net: nn.Module, levels: int) -> None:
        levels = check_count("levels", levels, least=2)
        super().__init__(net, 2)
        self.levels = levels

    def forward(self, *context: Tensor) -> dist.Distribution:
        loc, s = self.blocks(*context).unbind(-2)
        return DiscretisedLogistic((loc + 1) / 2, log_scale(s) - math.log(2), self.levels).to_event(1)


class PointHead(Head):
    r"""A point: the code of an autoencoder, a ``Delta`` at what the net gives.

    Args:
        net: with d outputs, the size of the code.
        sigmoid: squeeze each coordinate into (0, 1), as a sparse autoencoder with a target activation needs.

    >>> from probgen.nets import MLP
    >>> PointHead(MLP(64, 2))(torch.zeros(5, 64)).mean.shape
    torch.Size([5, 2])
    """

    def __init__(self, net: nn.Module, *, sigmoid: bool = False) -> None:
        super().__init__(net, 1)
        self.sigmoid = sigmoid

    def forward(self, *context: Tensor) -> dist.Distribution:
        code = self.blocks(*context).squeeze(-2)
        return dist.Delta(code.sigmoid() if self.sigmoid else code, event_dim=1)
