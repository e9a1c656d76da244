"""An identifiable VAE where all is linear: it finds Gaussian sources by u, and without u it must fail."""

from functools import partial

import numpy as np
import pyro.distributions as dist
import torch
from torch import nn

from probgen import SVI, data, fit, nets
from probgen.evaluation import chance_correlation, mean_correlation
from probgen.models import VAE
from probgen.training import schedules

SEGMENTS, ROWS, HELD_OUT, SOURCES = 20, 4000, 1000, 3


class OfSegment(nn.Module):
    """z | u ~ N(0, λ(u)²)."""

    def __init__(self):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(SEGMENTS, SOURCES))

    def forward(self, u):
        scale = self.log_scale[u].exp()
        return dist.Normal(torch.zeros_like(scale), scale).to_event(1)


class Linear(nn.Module):
    """(a, ...) ↦ N(Aa, s²), s learned or given."""

    def __init__(self, scale=None):
        super().__init__()
        self.linear = nn.Linear(SOURCES, SOURCES, bias=False)
        nn.init.orthogonal_(self.linear.weight)
        self.log_scale = nn.Parameter(torch.full((SOURCES,), -1.0)) if scale is None else None
        self.scale, self.outputs = scale, SOURCES

    def forward(self, a, *context):
        scale = self.log_scale.exp() if self.scale is None else torch.tensor(self.scale).to(a)
        return dist.Normal(self.linear(a), scale).to_event(1)


def score(seed, device, *, shuffled):
    """Mix normal sources linearly, learn with the segments or with shuffled ones, and score other rows."""
    generator = torch.Generator().manual_seed(seed)
    mixed = data.nonlinear_ica(
        segments=SEGMENTS, rows=(ROWS + HELD_OUT) // SEGMENTS, sources=SOURCES, layers=1, generator=generator
    )
    x = mixed.x - mixed.x.mean(0)
    x = (x @ torch.linalg.inv(torch.linalg.cholesky(x[:ROWS].T.cov())).T).to(device)
    u = mixed.segments.to(device)
    told = u[:ROWS]
    if shuffled:
        told = told[torch.randperm(ROWS, generator=generator).to(device)]
    torch.manual_seed(seed)
    vae = VAE(Linear(), nets.WithoutContext(Linear(0.5)), OfSegment()).to(device)
    options = {"steps": 900, "batch_size": 500, "seed": seed, "progress": False}
    rate = {"lr": schedules.cosine(0.03, 1e-3, steps=900)}
    fit(SVI(vae), (x[:ROWS], told), optimizer=partial(torch.optim.Adam, lr=0.03), schedules=rate, **options)
    sources = mixed.sources[ROWS:]
    return mean_correlation(sources, vae.encode(x[ROWS:], u[ROWS:]).mean.cpu()).value, sources


def test_segments_tell_sources_that_are_normal(device):
    """The same law for every rotation, were it not for u."""
    for seed in range(2):
        found, _ = score(seed, device, shuffled=False)
        assert found > 0.95


def test_shuffled_segments_leave_chance(device):
    """The mean of four mixings within 3.5 standard errors of that of random rotations."""
    found = [score(seed, device, shuffled=True) for seed in range(4)]
    chance = chance_correlation(found[0][1])
    assert abs(np.mean([value for value, _ in found]) - chance.value) < 3.5 * chance.sd / 2
