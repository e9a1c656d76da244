"""The variational autoencoder of video, and the convolutional recurrent network without codes."""

from __future__ import annotations

import torch
from torch import nn

from probgen import nets
from probgen.models import VideoVAE
from probgen.objectives import SVI, BetaELBO
from probgen.recipes.registry import Recipe, Stage, recipe
from probgen.recipes.task import Task
from probgen.training import schedules

FEATURES, MEMORY = 16, 48
"""Channels of what is read of a frame, and of the memory, at a quarter of the frame's size."""


@recipe(
    "video-vae",
    "a code at each frame, above a convolutional memory of the frames before",
    source="Denton and Fergus (2018)",
    tasks=("video",),
    by_default=True,
)
def video_vae(task: Task) -> Recipe:
    """A vector a frame, whose prior knows the frames before; the KL's weight rises as in 'vrnn'."""
    return _recipe(task, task.sizes.latent)


@recipe(
    "conv-lstm",
    "convolutional LSTM: each pixel of the next frame from the frames before, without codes",
    source="Shi and others (2015)",
    tasks=("video",),
    by_default=True,
)
def conv_lstm(task: Task) -> Recipe:
    """As 'video-vae' without prior and encoder: the deterministic twin."""
    return _recipe(task, 0)


def _recipe(task: Task, latent: int) -> Recipe:
    steps, colours, height, width = task.train.x.shape[1:]
    if height % 4 or width % 4:
        raise ValueError(f"height and width of frames should be multiples of 4 but are {height} and {width}")
    codes = {}
    if latent:
        of_memory, of_both = ((c, height // 4, width // 4) for c in (MEMORY, FEATURES + MEMORY))
        codes = {
            "prior": nets.NormalHead(nets.ConvEncoder(of_memory, latent, channels=16)),
            "encoder": nets.NormalHead(nets.ConvEncoder(of_both, latent, channels=16)),
        }
    last = nn.ConvTranspose2d(16, colours, 4, stride=2, padding=1)
    assert last.bias is not None
    model = VideoVAE(
        nn.Sequential(
            nn.Conv2d(colours, FEATURES, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(FEATURES, FEATURES, 4, stride=2, padding=1),
        ),
        nets.ConvLSTM(FEATURES, MEMORY),
        nn.Sequential(
            nn.Conv2d(MEMORY + latent, 32, 3, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
            nn.SiLU(),
            last,
        ),
        image_shape=(colours, height, width),
        steps=steps,
        **codes,
    ).to(task.device)
    with torch.no_grad():  # from the mean pixel on: else the memory learns it first, and saturates
        last.bias.copy_(task.train.x.mean((0, 1, 3, 4)).clamp(1e-3, 1 - 1e-3).logit())
    stage = Stage(
        SVI(model, BetaELBO()),
        lambda rows: rows.x,
        task.sizes.budget,
        lambda steps: {"elbo.beta": schedules.linear(0.3, 1.0, steps=max(1, steps // 4))},
    )
    return Recipe(model, [stage])
