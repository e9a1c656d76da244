r"""The VAE with classes that no one has named: a class and a continuous code.

Generative story: k ~ Cat(w), z | k ~ N(m_k, s_k²), coordinate by coordinate, x | z ~ p(x | z).
Guide: k | x ~ q(k | x), the classifier; z | x, k ~ q(z | x, k).
Loss: minus the ELBO, ``probgen.SVI(pair)``, the sum over k exact:

    Σ_k q(k | x) (E_{q(z | x, k)}[log p(x | z)] − KL(q(z | x, k) ‖ p(z | k))) − KL(q(k | x) ‖ w),

``kl/k`` and ``kl/z`` both analytic. The guide has the order of the posterior, p(k | x) p(z | x, k), each
factor of which has one mode where data are mixed linearly: there the bound can be log p(x) itself. The order
q(z | x) q(k | z), with one decoding in the place of K, needs a normal q(z | x) for a posterior that is a
mixture; its best q(k | z) is p(k | z), and so it is the VAE with ``prior=priors.NormalMixture(...)``.

k may collapse: to one class for all data, or to the same shares for all. ``kl/k`` alone does not tell the
first from sharp, even classes; ``objectives.ClassBalance`` reports how many are used and what they tell of x.

Source: Dilokthanakul and others (2016), Deep unsupervised clustering with Gaussian mixture variational
autoencoders; Jiang, Zheng, Tan, Tang and Zhou (2017), Variational deep embedding, for the story.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import Pair, evaluating
from probgen.priors import NormalMixture


class MixtureVAE(Pair):
    r"""A pair with the latent sites ``k``, a class, and ``z``, a code.

    ``ELBO`` sums over k, likelihoods and posteriors sum it out; ``IWAE``, which would draw it, refuses to.

    Args:
        classifier: x to q(k | x), a ``Categorical``, as ``nets.ClassHead`` of a net.
        encoder: x and k to q(z | x, k), as ``nets.NormalHead(nets.Joined(net, part, nets.OneHot(10)))``,
            whose part for x runs once for all classes.
        decoder: z to p(x | z).
        prior: the laws of z by class and their weights.

    Raises:
        ValueError: for a classifier of another number of classes than the prior has.

    >>> from probgen import nets
    >>> vae = MixtureVAE(
    ...     nets.ClassHead(nets.MLP(64, 10)),
    ...     nets.NormalHead(nets.Joined(nets.MLP(32 + 10, 2), nets.MLP(64, 32), nets.OneHot(10))),
    ...     nets.BernoulliHead(nets.MLP(2, 64)),
    ...     NormalMixture(2, 10),
    ... )
    >>> vae.sample(3, seed=0).shape
    torch.Size([3, 64])
    >>> vae.classify(torch.zeros(5, 64)).probs.shape
    torch.Size([5, 10])
    """

    def __init__(
        self, classifier: nn.Module, encoder: nn.Module, decoder: nn.Module, prior: NormalMixture
    ) -> None:
        super().__init__()
        classes: Any = getattr(classifier, "outputs", len(prior.logits))
        if classes != len(prior.logits):
            raise ValueError(
                f"classifier should have a class for each of the {len(prior.logits)} laws of prior but has "
                f"{classes}"
            )
        self.classifier, self.encoder, self.decoder, self.prior = classifier, encoder, decoder, prior

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw k, z from the law of its class, then x from the decoder."""
        with pyro.plate("data", n if x is None else len(x)):
            k = pyro.sample("k", dist.Categorical(logits=self.prior.logits))
            z = pyro.sample("z", self.component(k))
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw k from the classifier, then z from the encoder."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it draws")
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", self.classifier(x))
            return pyro.sample("z", self.encoder(x, k))

    def component(self, k: Tensor) -> dist.TorchDistribution:
        r"""Return p(z | k) for classes k, (\*batch)."""
        return dist.Normal(self.prior.loc[k], self.prior.log_scale[k].exp()).to_event(1)

    @torch.no_grad()
    def classify(self, x: Tensor) -> Distribution:
        """Return q(k | x) for each row of x, in evaluation mode."""
        with evaluating(self):
            return self.classifier(x)

    @torch.no_grad()
    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return q(z | x) = Σ_k q(k | x) q(z | x, k) for each row of x, in evaluation mode."""
        with evaluating(self):
            classes = torch.arange(len(self.prior.logits), device=x.device)
            return dist.MixtureSameFamily(self.classifier(x), self.encoder(x.unsqueeze(1), classes))

    @torch.no_grad()
    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        """Return p(x | z) for each code z, in evaluation mode."""
        with evaluating(self):
            return self.decoder(z)
