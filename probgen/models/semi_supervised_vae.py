r"""The variational autoencoder of data of which few have a label, which it can tell.

Generative story: y ~ p(y), a class, z ~ p(z), x | y, z ~ p(x | y, z). The class is observed where it is known
and latent where it is missing.
Guide: y | x ~ q(y | x), the classifier, where the class is missing; z | x, y ~ q(z | x, y).
Loss: minus the ELBO, log p(x, y) ≥ L(x, y) where the class is known and, summed over all classes exactly,
log p(x) ≥ Σ_y q(y | x) L(x, y) + H(q(y | x)) where it is missing. Labels teach the classifier nothing by
it, so that ``Classification(vae)`` stands beside it with a weight, α, in an ``objectives.Sum``. A classifier
that draws numbers while it learns, by dropout or ``nets.RandomAffine``, is a guide for each draw: the mean of
their bounds is one.

Source: Kingma, Rezende, Mohamed and Welling (2014), Semi-supervised learning with deep generative models, M2.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import Pair, evaluating
from probgen.data import filled, observed
from probgen.data.missing import check_labels
from probgen.nets import OneHot
from probgen.nets.checks import classes_of
from probgen.priors import Given, StandardNormal


class SemiSupervisedVAE(Pair):
    r"""A pair with a class ``y``, some of which are missing, a code ``z`` of all else, and data ``x``.

    A batch is (x, y) with y int64, 0, ..., classes − 1, and −1 where it is missing, as
    :func:`probgen.data.observed` has it; a batch (x,) has no label at all. ``sample(n, y)`` draws x of the
    classes y, and ``sample(n)`` of classes drawn from p(y).

    Args:
        classifier: x to q(y | x), a ``Categorical``, as ``nets.ClassHead`` of a net.
        encoder: x and y to q(z | x, y), as ``nets.NormalHead(nets.Joined(net, None, nets.OneHot(10)))``. Here
            and in the decoder y may have batch dimensions of its own, for all classes at once, for which a
            part in the place of None, a net of x alone, need not run again.
        decoder: z and y to p(x | y, z), likewise.
        prior: p(z), a distribution or a module that returns one; by default standard normal on the encoder's
            ``outputs`` coordinates.
        shares: p(y), the probabilities of the classes; equal ones by default.

    Raises:
        ValueError: for shares that are no probabilities, and for labels of classes that there are not.

    >>> from probgen import nets
    >>> def told(net):
    ...     return nets.Joined(net, None, nets.OneHot(10))
    >>> vae = SemiSupervisedVAE(
    ...     nets.ClassHead(nets.MLP(64, 10)),
    ...     nets.NormalHead(told(nets.MLP(64 + 10, 2))),
    ...     nets.BernoulliHead(told(nets.MLP(2 + 10, 64))),
    ... )
    >>> vae.sample(3, torch.tensor([7, 7, 1]), seed=0).shape
    torch.Size([3, 64])
    >>> vae.classify(torch.zeros(5, 64)).probs.shape
    torch.Size([5, 10])
    """

    shares: Tensor

    def __init__(
        self,
        classifier: nn.Module,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: nn.Module | Distribution | None = None,
        *,
        shares: Tensor | None = None,
    ) -> None:
        super().__init__()
        size: Any = getattr(encoder, "outputs", None)
        if not isinstance(prior, nn.Module):
            if size is None and prior is None:
                raise TypeError(f"prior should be given, as {type(encoder).__name__} has no size ``outputs``")
            prior = StandardNormal(size) if prior is None else Given(prior, dim=size)
        classes = classes_of(classifier)
        shares = torch.ones(classes) / classes if shares is None else shares
        if shares.shape != (classes,) or not bool((shares > 0).all()) or abs(float(shares.sum()) - 1) > 1e-5:
            raise ValueError(
                f"shares should be {classes} probabilities above 0 that sum to 1 but are {shares.tolist()}"
            )
        self.classifier, self.encoder, self.decoder, self.prior = classifier, encoder, decoder, prior
        self.register_buffer("shares", shares)
        self.one_hot = OneHot(classes)

    def model(self, x: Tensor | None = None, *labels: Tensor, n: int = 1) -> Tensor:
        """Draw y where it is missing, z from the prior, then x from the decoder."""
        y = self._labels(n if x is None else len(x), *labels)
        with pyro.plate("data", len(y)):
            known: Any = observed(y)
            y = pyro.sample("y", dist.Categorical(self.shares), obs=filled(y), obs_mask=known)
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.decoder(z, y), obs=x)

    def guide(self, x: Tensor | None = None, *labels: Tensor, n: int = 1) -> Tensor:
        """Draw y from the classifier where it is missing, then z from the encoder."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        y = self._labels(len(x), *labels)
        with pyro.plate("data", len(x)):
            # Of a known class all values count equally: its bound is a mean over as many draws of z.
            logits = torch.where(observed(y)[:, None], 0.0, self.classifier(x).logits)
            unknown = pyro.sample("y_unobserved", dist.Categorical(logits=logits))
            return pyro.sample("z", self.encoder(x, torch.where(observed(y), y, unknown)))

    @torch.no_grad()
    def classify(self, x: Tensor) -> dist.Categorical:
        """Return q(y | x) for each row of x, in evaluation mode."""
        with evaluating(self):
            return self.classifier(x)

    @torch.no_grad()
    def encode(self, x: Tensor, *labels: Tensor) -> Distribution:
        """Return q(z | x, y), in evaluation mode; where y is missing the mixture Σ_y q(y | x) q(z | x, y)."""
        with evaluating(self):
            log_q, every = self.classifier(x).logits, torch.arange(len(self.shares), device=x.device)
            return self._mixture(log_q, self.encoder(x.unsqueeze(1), every), *labels)

    @torch.no_grad()
    def decode(self, z: Tensor, *labels: Tensor) -> Distribution:
        """Return p(x | y, z), in evaluation mode; where y is missing the mixture Σ_y p(y) p(x | y, z)."""
        with evaluating(self):
            log_p, every = self.shares.log(), torch.arange(len(self.shares), device=z.device)
            return self._mixture(
                log_p.expand(*z.shape[:-1], -1), self.decoder(z.unsqueeze(-2), every), *labels
            )

    def _labels(self, rows: int, y: Tensor | None = None) -> Tensor:
        """Return the labels of a batch, all missing where it has none."""
        if y is None:
            return torch.full((rows,), -1, device=self.shares.device)
        check_labels(y, rows)
        return y

    def _mixture(self, log_weights: Tensor, laws: Any, y: Tensor | None = None) -> Distribution:
        """Return the mixture of the laws of all classes; of a known class its own is the only one."""
        if y is not None:
            check_labels(y, log_weights.shape[-2])
            log_weights = torch.where(observed(y)[:, None], self.one_hot(y).log(), log_weights)
        return dist.MixtureSameFamily(dist.Categorical(logits=log_weights), laws)
