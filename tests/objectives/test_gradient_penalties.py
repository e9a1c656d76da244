"""Slopes of functions whose gradients are known."""

import torch

from probgen.objectives.gradient_penalties import between, norms, squared_slopes


def test_slopes_of_a_quadratic_form_and_their_gradient(device):
    """d(x) = ½ xᵀ A x: ‖∇d‖² = ‖A x‖² for symmetric A, and its derivative by A is 2 A x xᵀ."""
    a = torch.randn(6, 6, dtype=torch.float64, device=device)
    a = (a + a.T).requires_grad_()
    x = torch.randn(5, 6, dtype=torch.float64, device=device).requires_grad_()
    found = squared_slopes(0.5 * torch.einsum("ni,ij,nj->n", x, a, x), [x])
    held = x.detach()
    torch.testing.assert_close(found, (held @ a).square().sum(1))
    (slope,) = torch.autograd.grad(found.sum(), a)
    expected = 2 * (a @ held.T @ held).detach()
    torch.testing.assert_close(slope, (expected + expected.T) / 2)


def test_the_norm_is_over_all_coordinates_of_a_datum():
    """Not over the channels of a pixel, and over all that is judged together."""
    picture, code = torch.randn(4, 3, 2, 2, requires_grad=True), torch.randn(4, 5, requires_grad=True)
    d = picture.square().sum((1, 2, 3)) / 2 + 3 * code.sum(1)
    found = squared_slopes(d, [picture, code])
    torch.testing.assert_close(found, picture.detach().square().sum((1, 2, 3)) + 9 * 5)


def test_points_between_have_one_share_for_all_parts_of_a_datum():
    torch.manual_seed(0)
    x, z = torch.ones(2000, 3, 2, 2), torch.ones(2000, 5)
    points, codes = between([x, z], [torch.zeros_like(x), torch.zeros_like(z)])
    shares = points[:, 0, 0, 0]
    assert (points == shares[:, None, None, None]).all()
    assert (codes == shares[:, None]).all()
    assert len(shares.unique()) > 1900
    assert (shares > 0.9).float().mean() > 0.05  # uniform from one end to the other
    assert (shares < 0.1).float().mean() > 0.05


def test_a_norm_of_nothing_has_a_gradient():
    squared = torch.tensor([0.0, 4.0], requires_grad=True)
    found = norms(squared)
    (slope,) = torch.autograd.grad((found - 1).square().sum(), squared)
    torch.testing.assert_close(found.detach(), torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(slope, torch.tensor([0.0, 2 * (2 - 1) / (2 * 2)]))
