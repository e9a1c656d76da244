"""Laws of innovations that networks learn: a VRNN, a conditional GMMN and GAN; a deep Markov model."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from probgen import mmd, nets
from probgen.core import GenerativeModel
from probgen.models import GAN, GMMN, VRNN, DeepMarkov

CODES = 100
"""Draws of a latent variable, over which a density is averaged."""

LAGS = 20
"""Innovations before that a network without memory is told of."""

NOISE = 4


class Recurrent:
    """The law of a VRNN: what came before is the state of its recurrence."""

    def __init__(self, model: VRNN) -> None:
        self.model = model
        self.dtype = next(model.parameters()).dtype

    def states(self, innovations: Tensor) -> Tensor:
        x = innovations.to(self.dtype)[None, :, None]
        return self.model.history(torch.cat([x, x[:, :1]], 1))[0]  # the last one is not read

    def after(self, states: Tensor, innovations: Tensor) -> Tensor:
        reader: Any = self.model.history.reader
        return reader.step(states, innovations.to(self.dtype)[:, None])

    def draw(self, states: Tensor) -> Tensor:
        return self.model.decoder(self.model.prior(states).sample(), states).sample()[:, 0].double()

    def log_prob(self, states: Tensor, innovations: Tensor) -> Tensor:
        z = self.model.prior(states).sample(torch.Size((CODES,)))
        law = self.model.decoder(z, states.expand(CODES, *states.shape))
        logs = law.log_prob(innovations.to(self.dtype)[:, None])
        return logs.logsumexp(0).double() - math.log(CODES)


class Implicit:
    """The law of a GMMN or GAN that is told a summary of the last innovations, which are its state."""

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model

    def states(self, innovations: Tensor) -> Tensor:
        return before(innovations)

    def after(self, states: Tensor, innovations: Tensor) -> Tensor:
        return torch.cat([states[:, 1:], innovations[:, None]], 1)

    def draw(self, states: Tensor) -> Tensor:
        context = summary(states).float()
        return self.model.model(None, context, n=len(context))[:, 0].double()

    def log_prob(self, states: Tensor, innovations: Tensor) -> None:
        """Return None: draws without a density."""


def before(innovations: Tensor) -> Tensor:
    """Return the last innovations before each and after the last, (T + 1, lags), of deviation 1 at first."""
    signs = torch.ones(LAGS, dtype=innovations.dtype, device=innovations.device)
    signs[::2] = -1
    return torch.cat([signs, innovations]).unfold(0, LAGS, 1)


def summary(states: Tensor) -> Tensor:
    """Return what a network is told: the last three innovations, bent, log-deviations of 5 and 20 days."""
    recent = states[:, -3:].asinh()
    spread = torch.stack([states[:, -k:].square().mean(1).add(1e-2).log() / 2 for k in (5, LAGS)], 1)
    return torch.cat([recent, spread], 1)


SUMMARY = 5
"""Numbers of :func:`summary`."""


def vrnn(*, width: int = 16, latent: int = 2) -> VRNN:
    """Return a VRNN of one number a day, whose noise is Student-t."""
    return VRNN(
        nets.History(nets.GRU(1, width), dropout=0.3),
        prior=nets.NormalHead(nets.MLP(width, latent, hidden=32)),
        encoder=nets.NormalHead(nets.Joined(nets.MLP(1 + width, latent, hidden=32))),
        decoder=nets.StudentTHead(nets.Joined(nets.MLP(latent + width, 1, hidden=32))),
    )


def deep_markov(*, latent: int = 2, width: int = 32) -> DeepMarkov:
    """Return a deep Markov model of one number a day: a learned stochastic volatility."""
    return DeepMarkov(
        nets.GatedTransition(latent, hidden=16),
        nets.StudentTHead(nets.MLP(latent, 1, hidden=16)),
        reader=nets.GRU(1, width, backward=True),
        guide_step=nets.NormalHead(nets.Joined(nets.MLP(latent + width, latent, hidden=width))),
        latent=latent,
        residual=True,
    )


def gmmn() -> GMMN:
    """Return a network from uniform noise and a summary to an innovation."""
    return GMMN(nets.Joined(nets.MLP(NOISE + SUMMARY, 1, hidden=(32, 32))), noise=NOISE)


def kernels() -> tuple[mmd.Kernel, mmd.Kernel]:
    """Return the energy kernel of innovations, by which the loss is a CRPS, and a narrow one of summaries."""
    return mmd.Energy(), mmd.Gaussian(0.25)


def gan() -> GAN:
    """Return a generator and a discriminator of innovations, both told a summary."""

    def leaky() -> nn.Module:
        return nn.LeakyReLU(0.2)

    generator = nets.Joined(nets.MLP(NOISE + SUMMARY, 1, hidden=(32, 32), activation=leaky))
    discriminator = nets.Joined(nets.MLP(1 + SUMMARY, 1, hidden=(64, 64), activation=leaky))
    return GAN(generator, discriminator, noise=NOISE)


def windows(innovations: Tensor, *, length: int, stride: int) -> Tensor:
    """Return stretches of a series that overlap, float32 (n, length, 1), the last one ending with it."""
    offset = (len(innovations) - length) % stride
    return innovations[offset:].unfold(0, length, stride).float().unsqueeze(-1).contiguous()
