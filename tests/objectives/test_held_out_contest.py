"""What a contest says of held-out data, against closed forms; and that it moves nothing."""

import math

import pytest
import torch
from torch import nn

from probgen import fit, models
from probgen.objectives import Contest
from probgen.objectives.held_out_contest import gradient_at_draws, spread


class Slope(nn.Module):
    """d(x) = 2 x − 1 on data of one or two coordinates, of packs of them their sum."""

    def __init__(self, size=1):
        super().__init__()
        self.weight = nn.Parameter(2 * torch.ones(size, 1))

    def forward(self, x):
        return x @ self.weight - 1


class Shifted(nn.Module):
    def forward(self, z):
        return 3 + z / 2


def test_the_spread_of_normal_draws_is_the_ratio_of_their_deviations():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(500, 3, generator=rng), 5 + 0.3 * torch.randn(500, 3, generator=rng)
    assert float(spread(x, y)) == pytest.approx(0.3, rel=0.1)
    exact = 2 * math.gamma(2) / math.gamma(1.5)  # E‖x − x'‖ = √2 · E‖N(0, I₃)‖
    assert float(spread(2 * torch.eye(3)[:2], x)) == pytest.approx(exact / math.sqrt(8), rel=0.1)
    long = torch.cat([x[:256], x[:256], 100 * x])  # of the first 512 alone
    assert float(spread(long, y)) < 1


def test_of_labelled_draws_the_spread_is_that_within_a_label():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 4
    x = 10 * torch.eye(4)[y] + torch.randn(400, 4, generator=rng)
    draws = 10 * torch.eye(4)[y] + 0.2 * torch.randn(400, 4, generator=rng)
    assert float(spread(x, draws)) > 0.8  # four classes far apart hide it
    assert float(spread(x, draws, y)) == pytest.approx(0.2, rel=0.1)
    assert float(spread(x, draws, y, torch.arange(400.0))) == float(spread(x, draws))  # no two of a context
    assert spread(x[::4] * 0, draws[::4]) is None


@pytest.mark.parametrize(("loss", "expected"), [("wasserstein", 2.0), ("hinge", 2.0)])
@pytest.mark.parametrize("pack", [1, 2])
def test_the_gradient_at_draws_of_a_line_is_its_slope(loss, expected, pack):
    gan = models.GAN(Shifted(), Slope(pack), noise=1)
    contest = Contest(gan, loss=loss, pack=pack).eval()
    with torch.no_grad():
        _, terms = contest(torch.zeros(11, 1) + torch.arange(11.0)[:, None] / 10)
    assert float(terms["gradient"]) == pytest.approx(expected)
    assert list(terms) == ["energy", "spread", "gradient", "accuracy"]


def test_a_gradient_that_saturates_is_seen_as_such():
    gan = models.GAN(Shifted(), Slope(), noise=1)
    x, lengths = torch.randn(400, 1), {}
    for loss in ("minimax", "cross-entropy"):
        torch.manual_seed(0)
        contest = Contest(gan, loss=loss).eval()
        lengths[loss] = float(contest(x)[1]["gradient"])
        torch.manual_seed(0)
        y = gan.model(n=400)
        share = gan.discriminator(y).sigmoid()
        expected = 2 * (share if loss == "minimax" else 1 - share).mean()
        assert lengths[loss] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert lengths["cross-entropy"] < lengths["minimax"]  # these draws look real


def test_held_out_data_move_nothing_and_are_judged_alike_each_time():
    torch.manual_seed(0)
    gan = models.GAN(
        nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)), noise=1
    )
    contest, x = Contest(gan).eval(), torch.randn(50, 1)
    before = {name: value.clone() for name, value in contest.state_dict().items()}
    torch.manual_seed(1)
    first = contest(x)[1]
    torch.manual_seed(1)
    again = contest(x)[1]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(before[name], value) for name, value in contest.state_dict().items())
    assert all(weight.grad is None for weight in contest.parameters())


def test_data_that_are_all_one_point_have_no_spread():
    contest = Contest(models.GAN(nn.Linear(1, 1), nn.Linear(1, 1), noise=1))
    history = fit(contest, torch.zeros(20, 1), steps=3, validation=torch.zeros(10, 1), seed=0, progress=False)
    assert not history.values("spread", "validation")
    assert len(history.values("energy", "validation")) == 3


def test_gradient_at_draws_is_a_mean_of_lengths():
    y = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    assert float(gradient_at_draws(y.square().sum(1).mean(), y)) == pytest.approx(5.0)
