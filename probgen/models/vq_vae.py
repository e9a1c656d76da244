r"""The VQ-VAE: an autoencoder whose code is a sequence of T atoms of a codebook.

Generative story: z_1, ..., z_T ~ p(z), whole numbers below K, x | z ~ p(x | e_{z_1}, ..., e_{z_T}), the law
that the decoder returns for the atoms there, side by side.
Guide: a point, z_t = argmin_k ‖h_t(x) − e_k‖², the atoms nearest to the T vectors that the encoder gives.
Losses, one after the other: ``objectives.VQ(model)``, reconstruction and commitment, learns encoder, atoms
and decoder. With these frozen, ``SVI(model)`` learns the prior: as codes are discrete, the guide's point has
mass 1, and the loss −log p(x | z(x)) − log p(z(x)) is minus a bound on log p(x) = log Σ_z p(x | z) p(z).
Under the uniform prior the last term is T log K.

Source: van den Oord, Vinyals and Kavukcuoglu (2017), Neural discrete representation learning.
"""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from probgen.core import Pair, check_count, evaluating
from probgen.priors import Given


class VQVAE(Pair):
    r"""A model/guide pair with one latent site, ``z``, T codes, int64, and one observed site, ``x``.

    Args:
        encoder: x of shape (\*batch, \*event) to T·d numbers (\*batch, T·d).
        codebook: of K atoms of d numbers, ``nets.Codebook``, or ``nets.FiniteScalar``.
        decoder: T·d numbers to p(x | z), with the event shape of x.
        prior: p(z), a law of T codes below K or a module that returns one, such as
            ``priors.Autoregressive``; uniform where none is given.
        steps: T, where the encoder has no size ``outputs`` to tell it.

    Raises:
        ValueError: for an encoder whose outputs the codebook's d does not divide, or a prior of other codes.
        TypeError: where T is not told, or for a codebook that is none.

    >>> from probgen import nets
    >>> codebook = nets.Codebook(32, 8)
    >>> model = VQVAE(nets.MLP(64, 4 * 8), codebook, nets.BernoulliHead(nets.MLP(4 * 8, 64)))
    >>> model.encode(torch.zeros(5, 64)).mean.shape, model.sample(3, seed=0).shape
    (torch.Size([5, 4]), torch.Size([3, 64]))
    """

    codebook: Any

    def __init__(
        self,
        encoder: nn.Module,
        codebook: nn.Module,
        decoder: nn.Module,
        prior: nn.Module | Distribution | None = None,
        *,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        quantiser: Any = codebook
        if not all(hasattr(codebook, name) for name in ("size", "dim", "nearest", "embed")):
            raise TypeError(
                "codebook should be a nets.Codebook, a nets.FiniteScalar or like one but is a "
                f"{type(codebook).__name__}"
            )
        self.size, self.dim = check_count("size", quantiser.size), check_count("dim", quantiser.dim)
        outputs: Any = getattr(encoder, "outputs", None if steps is None else steps * self.dim)
        if outputs is None:
            raise TypeError(f"steps should be given, as {type(encoder).__name__} has no size ``outputs``")
        if outputs % self.dim or steps not in (None, outputs // self.dim):
            told = "" if steps is None else f"{steps} times "
            raise ValueError(
                f"the encoder should give {told}the {self.dim} numbers of an atom but gives {outputs}"
            )
        self.steps = outputs // self.dim
        if prior is None:
            prior = dist.Categorical(probs=torch.full((self.steps, self.size), 1 / self.size)).to_event(1)
        self.encoder, self.codebook, self.decoder = encoder, quantiser, decoder
        self.prior = Given(prior, dim=self.steps) if isinstance(prior, Distribution) else prior

    def model(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Draw codes from the prior, then x from the decoder at their atoms."""
        with pyro.plate("data", n if x is None else len(x)):
            z = pyro.sample("z", self._of_codes(self.prior(*context)))
            return pyro.sample("x", self.decoder(self.codebook.embed(z.long()).flatten(-2), *context), obs=x)

    def guide(self, x: Tensor | None = None, *context: Tensor, n: int = 1) -> Tensor:
        """Take the codes of x."""
        if x is None:
            raise ValueError("the guide needs x, the data whose codes it takes")
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self._point(x, *context))

    @torch.no_grad()
    def encode(self, x: Tensor, *context: Tensor) -> Distribution:
        """Return the codes of each row of x as a point, in evaluation mode."""
        with evaluating(self):
            return self._point(x, *context)

    @torch.no_grad()
    def decode(self, z: Tensor, *context: Tensor) -> Distribution:
        r"""Return p(x | z) for codes z, int64 (\*batch, T), in evaluation mode."""
        if z.is_floating_point() or z.shape[-1:] != (self.steps,):
            raise ValueError(
                f"z should be {self.steps} whole numbers a datum but is {z.dtype} of shape {tuple(z.shape)}"
            )
        if bool(((z < 0) | (z >= self.size)).any()):
            raise ValueError(f"z should be codes below {self.size} but has {int(z.min())} to {int(z.max())}")
        with evaluating(self):
            return self.decoder(self.codebook.embed(z).flatten(-2), *context)

    def _point(self, x: Tensor, *context: Tensor) -> dist.Delta:
        vectors = self.encoder(x, *context).unflatten(-1, (self.steps, self.dim))
        return dist.Delta(self.codebook.nearest(vectors), event_dim=1)

    def _of_codes(self, law: Any) -> Any:
        """Return the prior's law; raise ValueError unless it is one of T codes below K."""
        each: Any = law.support
        while hasattr(each, "base_constraint"):
            each = each.base_constraint
        upper = getattr(each, "upper_bound", None)  # of some laws a number for each code
        known = None if upper is None else int(torch.as_tensor(upper).max()) + 1
        size = "no" if not each.is_discrete else "no known number of" if known is None else known
        if law.event_shape != (self.steps,) or size != self.size:
            raise ValueError(
                f"prior should be a law of {self.steps} codes below {self.size} but has event shape "
                f"{tuple(law.event_shape)} and {size} codes"
            )
        return law
