"""Components of a code: sources hidden by a rotation are found, laws are those of the code, in other axes."""

import logging
import math

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import kstest
from torch import nn

import probgen as pg
from probgen import nets
from probgen.evaluation import chance_correlation, mean_correlation
from probgen.models import ICAVAE, VAE
from probgen.objectives import MaximumLikelihood

TURN = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)).Q
WIDTHS = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)


class Turned(nn.Module):
    """a ↦ N(Ra, σ²), R a rotation or its inverse: the exact code of turned sources, but for noise."""

    outputs = 3

    def __init__(self, turn):
        super().__init__()
        self.turn = nn.Parameter(turn.clone())

    def forward(self, a):
        return dist.Normal(a @ self.turn.T, WIDTHS.to(a)).to_event(1)


def turned(law, device, rows=2000):
    """Return the model with components found, the sources, and data."""
    random = np.random.default_rng(1)
    s = torch.from_numpy(getattr(random, law)(size=(rows, 3))).to(device)
    x = s @ TURN.to(device)
    model = ICAVAE(VAE(Turned(torch.eye(3).double()), Turned(torch.eye(3).double())), rows=500)
    model = model.double().to(device)
    model.fit_components(x[: rows // 2], seed=0)
    return model, s, x


@pytest.mark.parametrize("law", ["uniform", "laplace"])
def test_sources_that_a_rotation_hides_are_found(law, device):
    model, s, x = turned(law, device)
    held = slice(1000, None)
    found = mean_correlation(s[held], model.encode(x[held]).mean)
    assert found.value > 0.98
    assert mean_correlation(s[held], model.vae.encode(x[held]).mean).value < 0.9


def test_normal_sources_are_not_found(device):
    """A rotation by chance: below what one in 700 rotations exceeds."""
    with torch.no_grad():
        model, s, x = turned("standard_normal", device)
    score = mean_correlation(s[1000:], model.encode(x[1000:]).mean).value
    chance = chance_correlation(s[1000:])
    assert abs(score - chance.value) < 3 * chance.sd


def test_laws_are_those_of_the_code_in_other_axes(device):
    """log q(s | x) = log q(z | x) − log |det W|, p(x | s) is p(x | z), and the density on s is the pair's."""
    model, _, x = turned("laplace", device)
    x = x[:7]
    z = model.vae.encode(x).sample()
    s = (z - model.centre) @ model.unmixing.T
    log_det = torch.linalg.slogdet(model.unmixing).logabsdet
    torch.testing.assert_close(model.encode(x).log_prob(s), model.vae.encode(x).log_prob(z) - log_det)
    torch.testing.assert_close(model.decode(s).mean, model.vae.decode(z).mean)
    joint = model.posterior(x).log_prob(s)
    torch.testing.assert_close(joint, model.prior().log_prob(s) + model.vae.decode(z).log_prob(x))
    loss, terms = pg.SVI(model)(x)
    torch.testing.assert_close(-loss.detach(), terms["reconstruction"] - terms["kl"])


def test_components_are_drawn_each_by_itself_from_their_laws(device):
    model, _, x = turned("laplace", device)
    s = model.encode(x[:1000]).mean
    drawn = model.prior().sample((4000,))
    # Uncorrelated to 4.5 standard errors, squares as well; of the law of each, by Kolmogorov and Smirnov.
    for y in (drawn, drawn.square().clamp(max=9)):
        off = y.T.corrcoef() - torch.eye(3).to(y)
        assert off.abs().max() < 4.5 / math.sqrt(4000)
    for j in range(3):
        law = model.prior().base_dist
        level = law.cdf(drawn)[:, j].detach().cpu().numpy()
        assert kstest(level, "uniform").pvalue > 1e-4
        assert abs(float(drawn[:, j].std() / s[:, j].std()) - 1) < 0.15
    assert torch.equal(model.sample(9, seed=1), model.sample(9, seed=1))
    assert not torch.equal(model.sample(9, seed=1), model.sample(9, seed=2))


def test_widths_learn_the_noise_of_the_guide(device):
    """Of draws around the sample with a known noise, the best width is near that noise, not Silverman's."""
    model, _, x = turned("uniform", device)
    law = model.encode(x[:1000])
    draws = law.sample((4,)).flatten(0, 1)
    objective = MaximumLikelihood(model.prior)
    before = objective(draws)[0].item()
    adam = torch.optim.Adam([model.prior.log_width], lr=0.05)
    pg.fit(objective, draws, steps=150, batch_size=500, optimizer=adam, seed=0, progress=False)
    noise = law.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt().mean(0)
    assert objective(draws)[0].item() < before
    torch.testing.assert_close(model.prior.log_width.detach().exp(), noise, rtol=0.25, atol=0)


def test_bad_input_is_named(device, caplog):
    model, _, x = turned("uniform", device)
    with pytest.raises(ValueError, match="x should have at least 500 rows, as the sample has, but has 9"):
        model.fit_components(x[:9])
    with pytest.raises(ValueError, match="the guide needs x"):
        model.guide()
    with torch.no_grad():
        model.vae.encoder.turn[1] = 0
    with pytest.raises(
        ValueError, match="each coordinate of the code should vary but coordinate 1 is the same"
    ):
        model.fit_components(x)


def test_codes_of_which_one_follows_from_others_and_laws_that_are_not_normal_are_refused(device):
    model, _, x = turned("uniform", device)
    with torch.no_grad():
        model.vae.encoder.turn[1] = 2 * model.vae.encoder.turn[0]
    with pytest.raises(ValueError, match="each coordinate of the code should vary by itself but one follows"):
        model.fit_components(x)
    vae = VAE(nets.MultivariateNormalHead(nets.MLP(4, 2)), nets.NormalHead(nets.MLP(2, 4)))
    with pytest.raises(TypeError, match="normal in each coordinate but is a MultivariateNormal"):
        ICAVAE(vae, rows=9).encode(torch.zeros(3, 4))


def test_it_takes_the_dtype_of_its_vae(device):
    vae = VAE(nets.NormalHead(nets.MLP(4, 2)), nets.NormalHead(nets.MLP(2, 4))).double().to(device)
    model, x = ICAVAE(vae, rows=9), torch.randn(20, 4, dtype=torch.float64, device=device)
    model.fit_components(x)
    assert model.sample(3).dtype == model.encode(x).mean.dtype == torch.float64


def test_it_says_where_fastica_has_not_converged(device, caplog, monkeypatch):
    monkeypatch.setattr("probgen.models.ica_vae.ITERATIONS", 1)
    with caplog.at_level(logging.WARNING, logger="probgen"):
        turned("laplace", device, rows=1000)
    assert "FastICA has not converged: components of the code have no meaning" in caplog.text
