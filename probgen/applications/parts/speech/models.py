"""Models of log-mel spectrograms: nets that fold time, a VAE, a VQ-VAE, and the Gaussians beside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from probgen.models import VAE, VQVAE
from probgen.nets import MLP, CausalTransformer, Codebook, NormalHead
from probgen.priors import Autoregressive, Conditional

LATENT, WIDTH = 32, 96
"""Numbers of a VAE's code, and channels of the nets."""

ATOMS, DIM = 128, 16
"""Of the codebook: one code of it stands for four frames, 64 ms."""

FOLD = 4
"""Frames that two strided convolutions make one."""


class FoldedTime(nn.Module):
    r"""Spectrograms (\*batch, bands·frames) and a context (\*batch, c) to numbers (\*batch, outputs).

    Convolutions over time, in which bands and context are channels; then for each fourth frame ``each``
    numbers, or, where not given, ``outputs`` of all.
    """

    def __init__(
        self, bands: int, frames: int, context: int, *, outputs: int = 0, each: int = 0, width: int = WIDTH
    ) -> None:
        super().__init__()
        self.bands, self.frames, self.outputs = bands, frames, outputs or frames // FOLD * each
        self.body = nn.Sequential(
            nn.Conv1d(bands + context, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv1d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
        )
        self.last = (
            nn.Linear(width, each)
            if each
            else nn.Sequential(nn.Flatten(), nn.Linear(width * frames // FOLD, outputs))
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
        x = x.expand(*batch, x.shape[-1]).reshape(-1, self.bands, self.frames)
        told = context.expand(*batch, context.shape[-1]).reshape(len(x), -1, 1)
        h = self.body(torch.cat([x, told.expand(-1, -1, self.frames)], 1))
        found = self.last(h.transpose(1, 2) if isinstance(self.last, nn.Linear) else h)
        return found.reshape(*batch, -1)


class UnfoldedTime(nn.Module):
    r"""Numbers (\*batch, inputs) and a context (\*batch, c) to spectrograms (\*batch, bands·frames).

    The numbers are ``each`` for each fourth frame, or, where that is not given, of the whole.
    """

    def __init__(
        self, inputs: int, bands: int, frames: int, context: int, *, each: int = 0, width: int = WIDTH
    ) -> None:
        super().__init__()
        self.steps, self.outputs = frames // FOLD, bands * frames
        self.first = (
            nn.Linear(each + context, width) if each else nn.Linear(inputs + context, width * self.steps)
        )
        self.each, self.width = each, width
        self.body = nn.Sequential(
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.ConvTranspose1d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose1d(width, bands, 4, stride=2, padding=1),
        )

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        batch = torch.broadcast_shapes(z.shape[:-1], context.shape[:-1])
        z = z.expand(*batch, z.shape[-1]).reshape(-1, z.shape[-1])
        told = context.expand(*batch, context.shape[-1]).reshape(len(z), -1)
        if self.each:
            codes = z.unflatten(-1, (self.steps, self.each))
            told = told[:, None].expand(-1, self.steps, -1)
            h = self.first(torch.cat([codes, told], -1)).transpose(1, 2)
        else:
            h = self.first(torch.cat([z, told], -1)).unflatten(-1, (self.width, self.steps))
        return self.body(h).reshape(*batch, -1)


class Added(nn.Module):
    """A net's output with the mean of the word by the speaker that the context tells added to it."""

    means: Tensor

    def __init__(self, net: nn.Module, means: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("means", means)

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        return self.net(z, context) + mean_told(self.means, context)


class Taken(Added):
    """A net of x less that mean."""

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.net(x - mean_told(self.means, context), context)


def mean_told(means: Tensor, context: Tensor) -> Tensor:
    r"""Return of means (words, speakers, d) those of contexts (\*batch, words + speakers), each one-hot."""
    word, speaker = context[..., : len(means)], context[..., len(means) :]
    return means[word.argmax(-1), speaker.argmax(-1)]


def cvae(bands: int, frames: int, means: Tensor) -> VAE:
    r"""Return z ~ N(m(c), s(c)²), x ~ N(μ_c + f(z, c), σ²), given c, the word and the speaker.

    μ_c, the mean of the word by the speaker, is known: what is learned is how takes differ.

    Args:
        means: μ, (words, speakers, bands·frames).
    """
    context = means.shape[0] + means.shape[1]
    encoder = Taken(FoldedTime(bands, frames, context, outputs=2 * LATENT), means)
    decoder = Added(UnfoldedTime(LATENT, bands, frames, context), means)
    prior = Conditional(MLP(context, LATENT, hidden=64))
    return VAE(NormalHead(encoder), NormalHead(decoder, scale="shared"), prior)


def vq_vae(bands: int, frames: int, context: int) -> VQVAE:
    """Return codes z_t given those before and c, x ~ N(f(e_z, c), σ²): a code for each fourth frame."""
    encoder = FoldedTime(bands, frames, context, each=DIM)
    decoder = UnfoldedTime(0, bands, frames, context, each=DIM)
    net = CausalTransformer(ATOMS, frames // FOLD, context=context, width=64, dropout=0.2)
    return VQVAE(encoder, Codebook(ATOMS, DIM), NormalHead(decoder, scale="shared"), Autoregressive(net))


@torch.no_grad()
def draws(model: VAE | VQVAE, context: Tensor) -> Tensor:
    """Return for each context the mean of x given a code that is drawn from the prior."""
    return model.decode(model.prior(context).sample(), context).mean


def class_means(x: Tensor, kinds: Tensor, wanted: Tensor) -> Tensor:
    """Return for each wanted kind the mean of the rows of its kind."""
    means = {int(kind): x[kinds == kind].mean(0) for kind in wanted.unique()}
    return torch.stack([means[int(kind)] for kind in wanted])


def gaussian_draws(x: Tensor, kinds: Tensor, wanted: Tensor, *, components: int = 10) -> Tensor:
    r"""Return for each wanted kind a draw of the probabilistic principal components of the rows of its kind.

    μ + V (Λ − σ²)^½ u with u ~ N(0, I), the mean given the code of x ~ N(μ, V (Λ − σ²) Vᵀ + σ² I) at its most
    likely parameters: σ² is the mean variance in the directions that are left out.

    Source: Tipping and Bishop (1999), Probabilistic principal component analysis.
    """
    drawn = x.new_empty(len(wanted), x.shape[1])
    for kind in wanted.unique():
        own = x[kinds == kind]
        mean = own.mean(0)
        _, spread, directions = torch.linalg.svd(own - mean, full_matrices=False)
        kept = min(components, len(own) - 1)
        variances = spread.square() / len(own)
        noise = variances[kept:].sum() / (x.shape[1] - kept)
        scales = (variances[:kept] - noise).clamp(min=0).sqrt()
        rows = wanted == kind
        codes = torch.randn(int(rows.sum()), kept, device=x.device, dtype=x.dtype)
        drawn[rows] = mean + (codes * scales) @ directions[:kept]
    return drawn
