"""One generator trained by a distance and by a contest: the same law at the end, and principal components."""

import pytest
import torch
from torch import nn

from probgen import fit, mmd, models, nets
from probgen.objectives import Contest, MomentMatching
from probgen.training import schedules

MEAN, DEVIATION = 2.0, 0.7


def line():
    """x = a + b z, from far off: a = −1, b = 1.5."""
    generator = nn.Linear(1, 1)
    with torch.no_grad():
        generator.weight.fill_(1.5)
        generator.bias.fill_(-1.0)
    return generator


def law_of(gan):
    """The mean and the standard deviation of what a line draws: it is a normal law."""
    return float(gan.generator.bias.detach()), float(gan.generator.weight.detach().abs())


def test_directly_and_indirectly_a_line_learns_the_same_normal_law():
    rng = torch.Generator().manual_seed(0)
    x = MEAN + DEVIATION * torch.randn(4000, 1, generator=rng)
    options = {"steps": 300, "batch_size": 200, "compile": "eager", "seed": 0, "progress": False}
    found = {}

    torch.manual_seed(0)
    direct = models.GAN(line(), nets.MLP(1, 1, hidden=(8,)), noise=1)
    rate = {"lr": schedules.cosine(5e-2, 1e-3, steps=300)}
    kernel = mmd.Gaussian(0.5) + mmd.Gaussian(2.0)
    fit(MomentMatching(direct, kernel), x, schedules=rate, **options)
    found["directly"] = law_of(direct)

    torch.manual_seed(0)
    indirect = models.GAN(line(), nets.MLP(1, 1, hidden=(32,)), noise=1)
    contest = Contest(indirect, r1=0.2, r2=0.2)
    rate = {"lr": schedules.cosine(2e-2, 1e-3, steps=500)}
    options["steps"] = 500
    fit(contest, x, optimizer=contest.adam(2e-2), schedules=rate, **options)
    found["indirectly"] = law_of(indirect)

    for how, (mean, deviation) in found.items():
        assert mean == pytest.approx(MEAN, abs=0.05), how
        assert deviation == pytest.approx(DEVIATION, abs=0.05), how


class Quadratic(nn.Module):
    """d(x) = xᵀ A x + c."""

    def __init__(self, size):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(size, size))
        self.c = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return ((x @ self.a) * x).sum(1) + self.c


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("loss", "finds"), [("wasserstein", True), ("minimax", False)])
def test_a_linear_generator_against_a_quadratic_discriminator_finds_principal_components(loss, finds, seed):
    r"""x = G z with one coordinate z: from Wasserstein's loss with R1, G Gᵀ is the first principal component.

    With M = Cov x − G Gᵀ and R1 the discriminator's best A has M_ij / (s_i + s_j) in the basis of the
    components, so that G minimises Σ M_ij² / (s_i + s_j). The original game, whose densities do not overlap,
    is won by the discriminator before it comes to that. Source: Feizi, Farnia, Ginart and Tse (2017),
    Understanding GANs: the LQG setting.
    """
    rng = torch.Generator().manual_seed(0)
    turned = torch.linalg.qr(torch.randn(3, 3, generator=rng))[0]
    x = (torch.randn(4000, 3, generator=rng) * torch.tensor([2.0, 1.0, 0.5])) @ turned.T
    variances, axes = torch.linalg.eigh(x.T @ x / len(x))
    torch.manual_seed(seed)
    gan = models.GAN(nn.Linear(1, 3, bias=False), Quadratic(3), noise=1)
    game = Contest(gan, loss=loss, r1=1.0 if finds else 0.0)
    rate = {"lr": schedules.cosine(3e-2, 1e-3, steps=400)}
    options = {"batch_size": 400, "optimizer": game.adam(3e-2), "seed": seed, "compile": "eager"}
    fit(game, x, steps=400, schedules=rate, progress=False, **options)
    found = gan.generator.weight.detach()[:, 0]
    along = float((found @ axes[:, -1]).square() / found.square().sum())
    if finds:
        assert along > 0.995
        assert float(found.square().sum()) == pytest.approx(float(variances[-1]), rel=0.05)
    else:
        assert along < 0.95
