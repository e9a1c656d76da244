"""RecVAE: a VAE of what users like whose encoder and decoder learn in turns, beside a remembered encoder."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import dropout, normalize

from probgen import models, nets
from probgen.core import Objective, Terms
from probgen.priors import Remembered, StandardNormal

ENCODER, DECODER = "encoder", "decoder"


class DenselyLiked(nn.Module):
    r"""Numbers of q(z | x) from what a user liked, each layer seeing all before it.

    h_k = norm(s(W_k h_{k−1} + b_k + Σ_{j<k} h_j)) with s(a) = a · sigmoid(a), h_0 being the row of length 1,
    which stands in no sum; in training a share of it is left out.
    """

    def __init__(
        self, items: int, latent: int, *, hidden: int = 200, layers: int = 3, share: float = 0.5
    ) -> None:
        super().__init__()
        self.share, self.outputs = share, latent
        widths = [items, *[hidden] * layers]
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.last = nn.Linear(hidden, latent)

    def widen(self, factor: int) -> None:
        self.last = nn.Linear(self.last.in_features, factor * self.outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = dropout(normalize(x, dim=-1), self.share, self.training)
        total: Tensor | None = None
        for linear, norm in zip(self.maps, self.norms, strict=True):
            a = linear(h) if total is None else linear(h) + total
            h = norm(nn.functional.silu(a))
            total = h if total is None else total + h
        return self.last(h)


def rec_vae(train: Tensor, *, latent: int = 64) -> models.VAE:
    """Return a VAE with a linear decoder, which starts at how many users like each item, and N(0, I)."""
    decoder = nets.MLP(latent, train.shape[1], hidden=())
    with torch.no_grad():
        decoder.last.bias.copy_(((train.sum(0) + 0.5) / len(train)).log())
        decoder.last.weight.mul_(0.5)
    encoder = nets.NormalHead(DenselyLiked(train.shape[1], latent))
    return models.VAE(encoder, nets.MultinomialHead(decoder), prior=StandardNormal(latent))


def adam(weights: Iterable[nn.Parameter]) -> torch.optim.Adam:
    """Return the optimizer, which is faster than the usual one."""
    return torch.optim.Adam(weights, lr=2e-3)


class Alternating(Objective):
    r"""−E_q[log p(x | z)] + γ Σ_i x_i KL(q(z | x) ‖ p(z | x)) per user, in turns, p(z | x) remembered.

    In a turn of the encoder what it sees is corrupted and the decoder stands still. In one of the decoder the
    codes are those of the remembered encoder, which then is the same one, of all that the user liked. It is
    remembered after the encoder's last turn in a row. The KL is that of one draw.

    **It is no bound**: the weight of the KL grows with how much a user liked, and is not 1; the prior knows
    x. So there is no term "elbo", and no weights are judged.

    Args:
        vae: learns.
        gamma: γ, at least 0.
        turns: steps of the encoder in a row, then of the decoder.

    Source: Shenbin, Alekseev, Tutubalina, Malykh and Nikolenko (2020), RecVAE.
    """

    moved: Tensor

    def __init__(self, vae: models.VAE, *, gamma: float, turns: tuple[int, int]) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"gamma should be at least 0 but is {gamma}")
        self.vae, self.gamma = vae, gamma
        self.past = Remembered(vae.encoder)
        self.turns = (ENCODER,) * turns[0] + (DECODER,) * turns[1]
        self.register_buffer("moved", torch.zeros((), dtype=torch.int64))

    def forward(self, *batch: Tensor) -> tuple[Tensor, Terms]:
        """Return the loss per user, and the parts of it, of a batch of what users like."""
        (x,) = batch
        if self.training and self.turn == DECODER:
            with torch.no_grad():
                z = self.past.before(x).sample()
            fit = _log_odds_of(self.vae.decoder(z), x)
            return -fit, {"reconstruction": fit.detach()}
        law = self.vae.encoder(x)
        z = law.rsample()
        still = {name: weight.detach() for name, weight in self.vae.decoder.named_parameters()}
        fit = _log_odds_of(functional_call(self.vae.decoder, still, (z,)), x)
        apart = law.log_prob(z) - self.past(x).log_prob(z)
        weighted = self.gamma * (x.sum(1) * apart).mean()
        return weighted - fit, {"reconstruction": fit.detach(), "divergence": apart.detach().mean()}

    def judge(self, terms: object) -> None:
        """Return None: losses of turns do not say how good weights are."""

    def after_step(self) -> None:
        """Remember the encoder once it has had its turns."""
        self.moved += 1
        if self.moved % len(self.turns) == self.turns.count(ENCODER):
            self.past.remember(self.vae.encoder)


def _log_odds_of(law: nets.multinomial_head.MultinomialOfTotal, x: Tensor) -> Tensor:
    """Return E log p(x | z) less what depends on x alone: how many orders there are."""
    return (x * law.logits.log_softmax(1)).sum(1).mean()
