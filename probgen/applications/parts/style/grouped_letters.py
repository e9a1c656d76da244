"""The grouped VAE of the application ``style``: how it is made, completes fonts, and what its codes tell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from probgen import nets
from probgen.applications.frame.study import Study
from probgen.applications.parts.style.completion import leak
from probgen.models import GroupedVAE
from probgen.objectives import SVI, BetaELBO
from probgen.training import schedules

STYLE, CONTENT, HIDDEN = 16, 16, 256
"""Coordinates of both codes, and the width of layers."""


class LetterDecoder(nn.Module):
    """From a style and contents to pixels: a net of both, and a linear map of the content alone."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.outputs = pixels
        self.net = nets.MLP(STYLE + CONTENT, pixels, hidden=(HIDDEN, HIDDEN))
        self.letter = nn.Linear(CONTENT, pixels)

    def forward(self, s: Tensor, c: Tensor) -> Tensor:
        return self.net(torch.cat([s, c], -1)) + self.letter(c)


def grouped_vae(pixels: int, letters: int) -> GroupedVAE:
    """Return a grouped VAE of fonts (n, letters, pixels), the contents' prior told the letter."""
    prior = nn.Sequential(nets.OneHot(letters, missing=False), nets.MLP(letters, 2 * CONTENT, hidden=()))
    return GroupedVAE(
        content_prior=nets.NormalHead(prior),
        content=nets.NormalHead(nets.MLP(pixels, CONTENT, hidden=HIDDEN)),
        style=nets.NormalHead(nets.MLP(pixels, STYLE, hidden=HIDDEN)),
        decoder=nets.NormalHead(LetterDecoder(pixels), scale="shared"),
        style_size=STYLE,
    )


@torch.no_grad()
def start_at(vae: GroupedVAE, train: Tensor) -> None:
    """Let contents be coordinates of the mean letters along their largest singular vectors, and draw those.

    From there letters are told apart at once, and what is left to learn is the style.
    """
    mean = train.mean(0)
    u, values, v = torch.linalg.svd(mean - mean.mean(0), full_matrices=False)
    unit = values[:CONTENT] / len(mean) ** 0.5
    (prior,) = (part for part in vae.content_prior.modules() if isinstance(part, nn.Linear))
    prior.weight[:CONTENT] = (u[:, :CONTENT] * len(mean) ** 0.5).T
    prior.weight[CONTENT:] = 0
    prior.bias.zero_()
    prior.bias[CONTENT:] = -2  # contents of a letter are alike
    decoder = next(part for part in vae.decoder.modules() if isinstance(part, LetterDecoder))
    decoder.letter.weight.copy_((unit[:, None] * v[:CONTENT]).T)
    decoder.letter.bias.copy_(mean.mean(0))
    last = [part for part in decoder.net.modules() if isinstance(part, nn.Linear)][-1]
    last.weight.mul_(0.1)
    last.bias.zero_()


def learned(study: Study, train: Tensor, repeat: int) -> GroupedVAE:
    """Return a grouped VAE that has learned from fonts."""
    seed, steps = study.seed_of("grouped VAE", repeat), study.pick(full=500, quick=100, tiny=2)
    torch.manual_seed(seed)
    vae = grouped_vae(train.shape[2], train.shape[1]).to(study.device)
    start_at(vae, train)
    labels = torch.arange(train.shape[1], device=study.device).expand(train.shape[:2])
    study.fit(
        f"grouped-vae-{repeat}",
        SVI(vae, BetaELBO()),
        (train, labels.contiguous()),
        seed=seed,
        method="grouped VAE",
        steps=steps,
        batch_size=16,
        compile="eager",
        schedules={
            "elbo.beta": schedules.linear(0.1, 1.0, steps=max(1, steps // 2)),
            "lr": schedules.cosine(2e-3, 0.0, steps=steps),
        },
    )
    return vae.eval()


@torch.no_grad()
def completed(vae: GroupedVAE, x: Tensor, given: Tensor) -> Tensor:
    """Return the mean of all letters given some, (n, letters, pixels): each letter at its prior's content."""
    seen = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    seen[:, given] = True
    labels = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])
    return vae.decoded(vae.style_of(x, seen).mean, vae.content_prior(labels).mean).mean


@torch.no_grad()
def leaks(vae: GroupedVAE, x: Tensor) -> dict[str, float]:
    """Return what contents tell of the font, and styles of single letters of the letter, times chance.

    Probes learn from half of the letters, or of the fonts, and are judged on the others.
    """
    contents, styles = vae.content(x).mean, vae.style(x).mean
    font, letter = torch.meshgrid(
        torch.arange(x.shape[0], device=x.device), torch.arange(x.shape[1], device=x.device), indexing="ij"
    )
    return {
        "content_leak": leak(contents.flatten(0, 1), font.flatten(), (letter % 2 == 1).flatten()),
        "style_leak": leak(styles.flatten(0, 1), letter.flatten(), (font % 2 == 1).flatten()),
    }
