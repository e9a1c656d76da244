"""Kernels against their formulae; the median bandwidth against the median."""

import pytest
import torch

from probgen.mmd import Energy, Gaussian, bandwidth_grid, median_bandwidth

LAWS = [Gaussian(0.7), Gaussian([0.5, 1.0, 3.0]), Energy()]


@pytest.mark.parametrize("kernel", LAWS, ids=repr)
def test_every_kernel_is_conditionally_positive_definite(kernel, device, generator):
    points = torch.randn(30, 2, device=device, dtype=torch.float64, generator=generator)
    values = kernel((points[:, None] - points).square().sum(-1))
    centring = torch.eye(30, device=device, dtype=torch.float64) - 1 / 30
    assert torch.linalg.eigvalsh(centring @ values @ centring).min() > -1e-10


@pytest.mark.parametrize("kernel", LAWS, ids=repr)
def test_every_kernel_keeps_the_dtype_and_lets_nan_through(kernel, device, dtype):
    values = kernel(torch.tensor([0.0, 1.0, torch.nan], device=device, dtype=dtype))
    assert values.dtype == dtype
    assert values.isnan().tolist() == [False, False, True]


@pytest.mark.parametrize("kernel", LAWS, ids=repr)
def test_gradients(kernel, device, generator):
    distances = torch.rand(10, device=device, dtype=torch.float64, generator=generator) + 0.1
    assert torch.autograd.gradcheck(kernel, distances.requires_grad_())


def test_a_mixture_is_the_mean_of_gaussians_with_standard_deviations():
    squared_distance = torch.tensor([0.0, 1.0, 9.0])
    expected = (torch.exp(-squared_distance / 8) + torch.exp(-squared_distance / 50)) / 2
    torch.testing.assert_close(Gaussian([2.0, 5.0])(squared_distance), expected)


def test_the_energy_kernel_has_gradient_zero_at_equal_points():
    squared_distance = torch.tensor([0.0, 4.0], requires_grad=True)
    Energy()(squared_distance).sum().backward()
    assert squared_distance.grad is not None
    assert squared_distance.grad.tolist() == [0.0, -0.25]


@pytest.mark.parametrize(("n", "m", "scale"), [(50, 70, 1.0), (301, 20, 1e-6), (40, 40, 1e6)])
def test_the_median_bandwidth_is_the_median_distance(n, m, scale, device, generator):
    x, y = (torch.randn(k, 3, device=device, dtype=torch.float64, generator=generator) for k in (n, m))
    expected = torch.pdist(torch.cat([x, y]) * scale).median().item()
    found = median_bandwidth(x * scale + 5, y * scale + 5)
    assert found == pytest.approx(expected, rel=4e-3 if scale > 1e-6 else 5e-3)
    assert median_bandwidth(y * scale + 5, x * scale + 5) == pytest.approx(found, rel=1e-9)


def test_the_median_bandwidth_leaves_out_equal_points():
    x = torch.tensor([0.0] * 20 + [3.0] * 2)
    assert median_bandwidth(x, x) == pytest.approx(3.0, rel=4e-3)


def test_the_median_bandwidth_withstands_outliers():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0, 1e6])
    assert median_bandwidth(x[:2], x[2:]) == pytest.approx(torch.pdist(x[:, None]).median().item(), rel=4e-3)


def test_the_grid_is_the_median_times_powers_of_two(generator):
    x = torch.randn(50, generator=generator)
    median = median_bandwidth(x, x + 1)
    assert bandwidth_grid(x, x + 1) == tuple(median * factor for factor in (0.125, 0.25, 0.5, 1.0, 2.0))


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf"), [1.0, 0.0], 1e-20])
def test_bad_bandwidths(width):
    with pytest.raises(ValueError, match="bandwidth should be between 1e-15 and 1e15 but got"):
        Gaussian(width)


def test_an_empty_mixture():
    with pytest.raises(ValueError, match="bandwidth should hold at least one value but is empty"):
        Gaussian([])


def test_a_median_of_equal_points():
    with pytest.raises(ValueError, match="x and y should hold at least two different points"):
        median_bandwidth(torch.ones(5, 2), torch.ones(4, 2))


def test_a_median_that_one_outlier_dwarfs():
    x = torch.linspace(0, 1, 50, dtype=torch.float64)
    with pytest.raises(ValueError, match="the median distance should exceed 1e-9"):
        median_bandwidth(x, torch.tensor([1e13], dtype=torch.float64))
