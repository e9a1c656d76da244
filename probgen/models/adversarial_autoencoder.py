r"""The adversarial autoencoder with a class: few labels, or clusters without any.

Generative story: y ~ p(y), a class as a one-hot vector, z ~ p(z), its style, x | z, y ~ p(x | z, y).
Code: y by a classifier, as probabilities, all of which the decoder sees, or as a relaxed draw, which is
close to one class, and z by an encoder.
Loss: −log p(x | z, y) at the codes, ``PairReconstruction(model)``, and a game for each code,
``CodeGAN(model, discriminator, site="y")`` and ``site="z"``, in an ``objectives.Sum``: these codes y
together are drawn to one-hot vectors of the shares p(y), so that they become sharp, and z to p(z). Labels,
where there are some, teach by ``Classification(model)``; without them y is a cluster. None of it is a bound.

Source: Makhzani, Shlens, Jaitly, Goodfellow and Frey (2016), Adversarial autoencoders, sections 4 to 6;
Maddison, Mnih and Teh (2017), The Concrete distribution, for the draws.
"""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import evaluating
from probgen.data import observed
from probgen.models.semi_supervised_vae import SemiSupervisedVAE


class AdversarialAutoencoder(SemiSupervisedVAE):
    r"""A pair with the sites ``y``, a class as a one-hot vector, its style ``z``, and data ``x``.

    The story is that of :class:`SemiSupervisedVAE`; the guide is another, with probabilities in the place of
    a class, so that a game can move them, and no law by which a bound could weigh it. A batch is (x,) or
    (x, y) with labels y as there, −1 where missing: a known class is the code. ``sample(n, y)`` draws x of
    the classes y, and ``sample(n)`` of classes drawn from p(y).

    Args:
        classifier: x to q(y | x), a ``Categorical``, as ``nets.ClassHead`` of a net.
        encoder: x to the style, a point or a law: ``nets.PointHead(net)``.
        decoder: z and y, numbers of shape (\*batch, classes), to p(x | z, y), such as
            ``nets.BernoulliHead(nets.Joined(net))``, each with batch dimensions of its own.
        prior: p(z), a distribution or a module that returns one; by default standard normal on the encoder's
            ``outputs`` coordinates.
        shares: p(y), the probabilities of the classes; equal ones by default.
        temperature: τ, above 0, of a draw softmax((log q(y | x) + g)/τ) with g of a Gumbel law, for
            the probabilities: the decoder is then not told what is between classes.

    Raises:
        ValueError: for a temperature that is not above 0, and what :class:`SemiSupervisedVAE` refuses.

    >>> from probgen import nets
    >>> model = AdversarialAutoencoder(
    ...     nets.ClassHead(nets.MLP(64, 10)),
    ...     nets.PointHead(nets.MLP(64, 2)),
    ...     nets.BernoulliHead(nets.Joined(nets.MLP(2 + 10, 64))),
    ... )
    >>> model.sample(3, torch.tensor([7, 7, 1]), seed=0).shape
    torch.Size([3, 64])
    """

    def __init__(
        self,
        classifier: nn.Module,
        encoder: nn.Module,
        decoder: nn.Module,
        prior: nn.Module | Distribution | None = None,
        *,
        shares: Tensor | None = None,
        temperature: float | None = None,
    ) -> None:
        super().__init__(classifier, encoder, decoder, prior, shares=shares)
        if temperature is not None and not 0 < temperature < math.inf:
            raise ValueError(f"temperature should be above 0 and finite but got {temperature}")
        self.temperature = temperature

    def model(self, x: Tensor | None = None, *labels: Tensor, n: int = 1) -> Tensor:
        """Draw y where it is missing, z from the prior, then x from the decoder."""
        y = self._labels(n if x is None else len(x), *labels)
        probs = torch.where(observed(y)[:, None], self.one_hot(y), self.shares)
        with pyro.plate("data", len(y)):
            code = pyro.sample("y", dist.OneHotCategorical(probs))
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.decoder(z, code), obs=x)

    def guide(self, x: Tensor | None = None, *labels: Tensor, n: int = 1) -> Tensor:
        """Give y by the classifier where it is missing, then z by the encoder."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        y = self._labels(len(x), *labels)
        with pyro.plate("data", len(x)):
            code, law = self.one_hot(y), self.classifier(x)
            if self.temperature is None:
                own = law.probs
            else:
                heat = torch.tensor(self.temperature).to(law.logits)
                own = dist.RelaxedOneHotCategorical(heat, logits=law.logits).rsample()
            code = torch.where(observed(y)[:, None], code, own)
            pyro.sample("y", dist.Delta(code, event_dim=1))
            return pyro.sample("z", self.encoder(x))

    @torch.no_grad()
    def encode(self, x: Tensor, *labels: Tensor) -> Distribution:
        """Return the style of each row of x, in evaluation mode; ``classify`` has the class."""
        with evaluating(self):
            return self.encoder(x)

    @torch.no_grad()
    def decode(self, z: Tensor, *labels: Tensor) -> Distribution:
        """Return p(x | z, y), in evaluation mode; where y is missing the mixture Σ_y p(y) p(x | z, y)."""
        with evaluating(self):
            log_p, every = self.shares.log(), torch.eye(len(self.shares)).to(self.shares)
            return self._mixture(
                log_p.expand(*z.shape[:-1], -1), self.decoder(z.unsqueeze(-2), every), *labels
            )
