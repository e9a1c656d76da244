"""Data completed from what is known: by the marginal law of the rest, with the known as it is."""

import pyro.distributions as dist
import pytest
import torch

from probgen import data, nets
from probgen.nets.completion import Completed

NAN = torch.nan


def test_the_density_is_that_of_the_rest_and_draws_keep_what_is_known(device):
    law = dist.Normal(torch.zeros(3, device=device), torch.tensor([1.0, 2.0, 3.0], device=device)).to_event(1)
    known = torch.tensor([[NAN, 0.5, NAN], [1.0, NAN, 2.0]], device=device)
    whole = Completed(law.expand((2,)), known)
    x = torch.randn(2, 3, device=device)
    each = law.base_dist.log_prob(x)
    torch.testing.assert_close(whole.log_prob(x), torch.stack([each[0, [0, 2]].sum(), each[1, 1]]))
    drawn = whole.sample((5000,))
    assert drawn.shape == (5000, 2, 3)
    assert (drawn[:, 0, 1] == 0.5).all()
    assert (drawn[:, 1, [0, 2]] == torch.tensor([1.0, 2.0], device=device)).all()
    scale = drawn[:, 0, 2].std() / 3
    assert abs(float(scale) - 1) < 4.5 / (2 * 5000) ** 0.5
    assert torch.equal(whole.mean[0], torch.tensor([0.0, 0.5, 0.0], device=device))
    particles = whole.expand((4, 2))
    torch.testing.assert_close(particles.log_prob(x), whole.log_prob(x).expand(4, 2))


def test_columns_of_mixed_kinds_are_completed_as_the_law_of_the_columns_that_are_left(device):
    kinds = ["real", ("categorical", 3), "count"]
    head = nets.MixedHead(nets.MLP(2, nets.MixedHead.width(kinds)), kinds).to(device)
    law = head(torch.zeros(1, 2, device=device))
    x = torch.tensor([[0.3, 2.0, 4.0]], device=device)
    known = torch.tensor([[NAN, 2.0, NAN]], device=device)
    rest = torch.tensor([[0.3, NAN, 4.0]], device=device)
    completed = Completed(law, known)
    torch.testing.assert_close(completed.log_prob(x), law.log_prob(rest))
    torch.testing.assert_close(completed.log_prob(rest), law.log_prob(rest))
    assert (completed.sample((20,))[..., 1] == 2).all()


def test_a_gradient_is_finite_where_all_is_known(device):
    loc = torch.zeros(1, 2, device=device, requires_grad=True)
    law = Completed(dist.Normal(loc, 1.0).to_event(1), torch.tensor([[1.0, NAN]], device=device))
    law.log_prob(torch.tensor([[1.0, 3.0]], device=device)).sum().backward()
    assert loc.grad.tolist() == [[0.0, 3.0]]


def test_data_beside_what_is_known_of_them():
    grey = torch.full((50, 4), 0.5)
    both = data.PartlyHidden(data.Binarised(grey), torch.tensor([False, True, True, False]))
    x, known = both[torch.arange(50)]
    assert known[:, 1:3].isnan().all()
    assert torch.equal(known[:, [0, 3]], x[:, [0, 3]])  # of the same draw of the pixels
    assert len(both) == 50


def test_coordinates_that_depend_on_what_is_known_are_refused():
    law = dist.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.9], [0.9, 1.0]]))
    with pytest.raises(TypeError, match=r"law should be one of independent coordinates.*MultivariateNormal"):
        Completed(law.expand((1,)), torch.tensor([[1.0, NAN]]))


def test_bad_input_is_one_sentence():
    x = torch.zeros(5, 3)
    with pytest.raises(ValueError, match=r"hidden should be bool of shape \(d,\), .* but is torch.int64"):
        data.PartlyHidden(x, torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match=r"hidden should be some coordinates and not .* is all of them"):
        data.PartlyHidden(x, torch.ones(3).bool())
    with pytest.raises(ValueError, match=r"x should have 2 coordinates, .* has shape \(1, 3\)"):
        data.PartlyHidden(x, torch.tensor([True, False]))[torch.tensor([0])]
