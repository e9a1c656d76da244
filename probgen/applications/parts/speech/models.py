"""Models of log-mel spectrograms: nets that fold time, a VAE, a VQ-VAE, and the Gaussians beside them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from probgen.models import VAE, VQVAE
from probgen.nets import CausalTransformer, Codebook, NormalHead
from probgen.priors import Autoregressive, StandardNormal

COMPONENTS, WIDTH = 10, 96
"""Principal components of a word by a speaker, which a VAE's code counts, and channels of the nets."""

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


class Components(NamedTuple):
    r"""Probabilistic principal components of each kind: x ~ N(μ + Wᵀ z, σ²) with z ~ N(0, I).

    means (\*kinds, d), loadings W (\*kinds, components, d), and noise σ² (\*kinds).
    """

    means: Tensor
    loadings: Tensor
    noise: Tensor


class AroundComponents(nn.Module):
    r"""What principal components of the word by the speaker say, and what a net adds to it, at first nothing.

    A decoder of codes, μ_c + W_cᵀ z + f(z, c); an encoder of data, (W_c W_cᵀ + σ_c²)⁻¹ W_c (x − μ_c), which
    is the mean of the code given x, and a scale's logarithm 0, with g(x − μ_c, c) added to both.
    """

    means: Tensor
    loadings: Tensor
    reading: Tensor

    def __init__(self, net: FoldedTime | UnfoldedTime, known: Components) -> None:
        super().__init__()
        self.net = net
        last = net.last if isinstance(net, FoldedTime) else net.body[-1]
        layer = last[-1] if isinstance(last, nn.Sequential) else last
        for weights in layer.parameters():
            nn.init.zeros_(weights)
        w = known.loadings
        spread = w @ w.mT + known.noise[..., None, None] * torch.eye(w.shape[-2]).to(w)
        self.register_buffer("means", known.means)
        self.register_buffer("loadings", w)
        self.register_buffer("reading", torch.linalg.solve(spread, w))

    def told(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the indices of the word and of the speaker, each one-hot in the context."""
        words = len(self.means)
        return context[..., :words].argmax(-1), context[..., words:].argmax(-1)


class Decoded(AroundComponents):
    r"""Codes (\*batch, components) and a context to spectrograms."""

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        kind = self.told(context)
        linear = (z[..., None, :] @ self.loadings[kind])[..., 0, :]
        return self.means[kind] + linear + self.net(z, context)


class Encoded(AroundComponents):
    r"""Spectrograms and a context to the mean of a code and its scale's logarithm, side by side."""

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        kind = self.told(context)
        centred = x - self.means[kind]
        mean = (self.reading[kind] @ centred[..., None])[..., 0]
        return self.net(centred, context) + torch.cat([mean, torch.zeros_like(mean)], -1)


def cvae(bands: int, frames: int, known: Components) -> VAE:
    r"""Return z ~ N(0, I), x ~ N(μ_c + W_cᵀ z + f(z, c), σ²), given c, the word and the speaker.

    μ_c and W_c, the mean and the principal components of the word by the speaker, are known: what is learned
    is how the law of takes differs from a normal one.

    Args:
        known: of each word by each speaker, (words, speakers, ...).
    """
    words, speakers, components, _ = known.loadings.shape
    encoder = Encoded(FoldedTime(bands, frames, words + speakers, outputs=2 * components), known)
    decoder = Decoded(UnfoldedTime(components, bands, frames, words + speakers), known)
    return VAE(NormalHead(encoder), NormalHead(decoder, scale="shared"), StandardNormal(components))


def vq_vae(bands: int, frames: int, context: int) -> VQVAE:
    """Return codes z_t given those before and c, x ~ N(f(e_z, c), σ²): a code for each fourth frame."""
    encoder = FoldedTime(bands, frames, context, each=DIM)
    decoder = UnfoldedTime(0, bands, frames, context, each=DIM)
    net = CausalTransformer(ATOMS, frames // FOLD, context=context, width=64, dropout=0.2)
    return VQVAE(encoder, Codebook(ATOMS, DIM), NormalHead(decoder, scale="shared"), Autoregressive(net))


@torch.no_grad()
def draws(model: VAE | VQVAE, context: Tensor) -> Tensor:
    """Return for each context the mean of x given a code that is drawn from the prior."""
    return model.decode(model.prior(context).expand(context.shape[:1]).sample(), context).mean


def principal_components(x: Tensor, kinds: Tensor, *, count: int, components: int = COMPONENTS) -> Components:
    r"""Return the probabilistic principal components of each kind's rows, at their most likely parameters.

    W = (Λ − σ²)^½ Vᵀ, where σ² is the mean variance in the directions that are left out. Kinds are numbers
    below ``count``; of those without rows means and loadings are 0 and the noise is 1.

    Source: Tipping and Bishop (1999), Probabilistic principal component analysis.
    """
    means, noise = x.new_zeros(count, x.shape[1]), x.new_ones(count)
    loadings = x.new_zeros(count, components, x.shape[1])
    for kind in kinds.unique():
        own = x[kinds == kind]
        means[kind] = own.mean(0)
        _, spread, directions = torch.linalg.svd(own - means[kind], full_matrices=False)
        kept = min(components, len(own) - 1)
        variances = spread.square() / len(own)
        if not variances[0] > 0:
            raise ValueError(
                f"recordings of a word by a speaker should differ but all {len(own)} are the same"
            )
        noise[kind] = variances[kept:].sum() / (x.shape[1] - kept)
        scales = (variances[:kept] - noise[kind]).clamp(min=0).sqrt()
        loadings[kind, :kept] = scales[:, None] * directions[:kept]
    return Components(means, loadings, noise)


def gaussian_draws(known: Components, wanted: Tensor) -> Tensor:
    """Return for each wanted kind a draw of its components: μ + Wᵀ z, the mean of x given z ~ N(0, I)."""
    codes = torch.randn(len(wanted), 1, known.loadings.shape[1]).to(known.means)
    return known.means[wanted] + (codes @ known.loadings[wanted])[:, 0]
