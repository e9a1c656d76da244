"""Levels show a site drawn anew from its law given those above it, the others being those of the guide."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from probgen import models, nets, plots
from probgen.core import Pair


class TwoLevels(Pair):
    """z2 ~ N(0, 1), z1 ~ N(3 z2 + 5, 0.01), x ~ N((z2, z1), 0.1); the guide knows both from x."""

    def model(self, x=None, n=1):
        with pyro.plate("data", n if x is None else len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(3 * z2 + 5, 0.01).to_event(1))
            return pyro.sample("x", dist.Normal(torch.cat([z2, z1], -1), 0.1).to_event(1), obs=x)

    def guide(self, x=None, n=1):
        with pyro.plate("data", len(x)):
            pyro.sample("z1", dist.Normal(x[:, 1:], 1e-6).to_event(1))
            pyro.sample("z2", dist.Normal(x[:, :1], 1e-6).to_event(1))


X = torch.tensor([[-1.0, 40.0], [0.5, 20.0], [2.0, -30.0]])
DRAWS = 400


def boards_of(figure, columns):
    """Return for each panel its title and its images of two pixels, as (rows, columns, 2)."""
    found = {}
    for axis in figure.axes:
        board = np.asarray(axis.images[0].get_array())[::2]
        found[axis.get_title(loc="left")] = np.stack([board[:, 3 * i : 3 * i + 2] for i in range(columns)], 1)
    return found


def test_a_level_is_drawn_from_the_model_and_the_others_are_kept():
    boards = boards_of(plots.levels(TwoLevels(), X, image_shape=(1, 2), draws=DRAWS, seed=1), DRAWS + 2)
    assert list(boards) == ["z2 drawn anew", "z1 drawn anew"]
    for board in boards.values():
        np.testing.assert_allclose(board[:, 0], X, atol=0)
        np.testing.assert_allclose(board[:, 1], X, atol=1e-4)
    above, below = (board[:, 2:] for board in boards.values())
    # z2 anew: z1 stays, and z2 is N(0, 1), 1,200 draws; of 1e-4 false alarms each, 3.9 standard errors.
    np.testing.assert_allclose(above[..., 1], X[:, 1:].expand(3, DRAWS), atol=1e-4)
    drawn, n = above[..., 0], 3 * DRAWS
    assert abs(drawn.mean()) < 3.9 / n**0.5
    assert abs(drawn.std() - 1) < 3.9 / (2 * n) ** 0.5
    # z1 anew: z2 stays, and z1 is at 3 z2 + 5, wherever x was.
    np.testing.assert_allclose(below[..., 0], X[:, :1].expand(3, DRAWS), atol=1e-4)
    expected = (3 * X[:, :1] + 5).expand(3, DRAWS)
    np.testing.assert_allclose(below[..., 1], expected, atol=0.06)  # six standard deviations
    assert below[..., 1].std(1).min() > 0.005


def test_draws_follow_their_seed_and_leave_the_model_as_it_was():
    model = models.LadderVAE(
        nets.NormalHead(nets.MLP(8, 2)), [nets.MLP(2, 8), nets.MLP(8, 8)], latent=(3, 2), width=8
    ).train()
    state = torch.get_rng_state()
    first, second, other = (
        list(boards_of(plots.levels(model, X, image_shape=(1, 2), draws=2, seed=s), 4).values())
        for s in (1, 1, 2)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


class Shared(TwoLevels):
    """z2 is one number for all data."""

    def model(self, x=None, n=1):
        z2 = pyro.sample("z2", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        with pyro.plate("data", n if x is None else len(x)):
            return pyro.sample("x", dist.Normal(z2.expand(2), 0.1).to_event(1), obs=x)

    def guide(self, x=None, n=1):
        pyro.sample("z2", dist.Normal(torch.zeros(1), 1.0).to_event(1))


class TwoObserved(TwoLevels):
    def model(self, x=None, n=1):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z2.squeeze(-1), 1.0), obs=x[:, 0])
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=x[:, 1])


def test_what_has_no_levels_is_said():
    with pytest.raises(TypeError, match="should have model and guide, as a VAE, but is a Linear"):
        plots.levels(torch.nn.Linear(2, 2), X, image_shape=(1, 2))
    with pytest.raises(ValueError, match="'z2' has shape \\(1,\\): one that all data share"):
        plots.levels(Shared(), X, image_shape=(1, 2))
    with pytest.raises(ValueError, match="1 observed site but has 2: x, y"):
        plots.levels(TwoObserved(), X, image_shape=(1, 2))
    with pytest.raises(ValueError, match="images of z2 should have shape"):
        plots.levels(TwoLevels(), X, image_shape=(1, 3))
