"""Signs in the noise: what stays, what jumps, and that draws need no bridge."""

import pytest
import torch

from probgen.nets import Signs


def test_the_last_coordinates_are_signs_and_the_others_stay():
    z = torch.randn(4, 50, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z[0, 0] = 0.0
    found = Signs(5, signs=3)(z)
    assert found.dtype == z.dtype
    assert found.shape == z.shape
    assert (found[..., :2] == z[..., :2]).all()
    assert (found[..., 2:] == torch.where(z[..., 2:] < 0, -1.0, 1.0)).all()


def test_sheets_have_equal_mass():
    """A chi-square test of 2³ sheets; a false alarm in 10⁻⁴ of seeds, of which this is one."""
    z = torch.randn(8000, 4, generator=torch.Generator().manual_seed(1))
    sheets = (Signs(4, signs=3)(z)[:, 1:] > 0).long() @ torch.tensor([4, 2, 1])
    counts = torch.bincount(sheets, minlength=8).double()
    assert ((counts - 1000).square() / 1000).sum() < 29.9  # the quantile .9999 of chi-square with 7


def test_gradients_pass_what_is_kept_and_stop_at_signs():
    z = torch.randn(7, 3, requires_grad=True)
    Signs(3, signs=1)(z).sum().backward()
    assert z.grad is not None
    assert z.grad[:, :2].eq(1).all()
    assert z.grad[:, 2].eq(0).all()


def test_signs_alone_are_all_of_the_noise():
    assert Signs(2, signs=2)(torch.tensor([[-0.3, 4.0]])).tolist() == [[-1.0, 1.0]]


@pytest.mark.parametrize(
    ("size", "signs", "words"),
    [(2, 3, "signs should be at most the size of the noise, 2, but is 3"), (2, 0, "signs"), (0, 1, "size")],
)
def test_wrong_sizes_are_refused_in_words(size, signs, words):
    with pytest.raises(ValueError, match=words):
        Signs(size, signs=signs)


def test_nan_is_not_hidden_by_a_sign():
    assert Signs(3, signs=2)(torch.tensor([0.5, float("nan"), -1.0])).isnan().tolist() == [False, True, False]


def test_noise_of_another_size_is_refused_in_words():
    with pytest.raises(ValueError, match="Signs should get inputs of size 5 but got shape"):
        Signs(5, signs=3)(torch.randn(2, 4))
