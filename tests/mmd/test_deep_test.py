"""The test with a learned kernel: its level in spite of overfitting, what it learns, what it leaves alone."""

import copy

import pytest
import torch
from scipy import stats

from probgen.mmd import Gaussian, TestResult, deep_kernel_test, deep_test, mmd2


def test_the_level_holds_however_much_the_kernel_overfits(device, dtype, generator):
    rejected = 0
    for _ in range(40):
        x, y = (torch.randn(n, 3, device=device, dtype=dtype, generator=generator) for n in (24, 30))
        test = deep_kernel_test(x, y, steps=25, learning_rate=0.03, permutations=49, generator=generator)
        rejected += test.p_value <= 0.1
    assert rejected <= int(stats.binom.isf(1e-5, 40, 0.1))


def test_the_power_is_that_of_the_mean_over_its_standard_deviation(device, generator):
    """σ / √n is the standard deviation of MMD² over many pairs of samples of size n."""
    kernel, values, ratios = Gaussian(1.0), [], []
    for _ in range(300):
        x, y = (torch.randn(60, 1, device=device, dtype=torch.float64, generator=generator) for _ in range(2))
        ratio = deep_test._power(kernel, x, y + 1)
        values.append(mmd2(x, y + 1, kernel).value)
        ratios.append(float(ratio))
    values = torch.tensor(values, dtype=torch.float64)
    expected = float(values.mean() / values.std()) / 60**0.5
    # the standard deviation of 300 values has a relative error of 4 %, and σ itself a bias of order 1/n
    assert abs(torch.tensor(ratios).median() / expected - 1) < 4 * 0.04 + 2 / 60


def test_it_learns_where_to_look(device, generator, monkeypatch):
    x, y = torch.randn(2, 300, 20, device=device, generator=generator)
    y[:, 0] *= 2  # the other coordinates are noise
    seen = {}

    def spy(held_x, held_y, *, kernels, **_):
        seen.update(kernel=kernels, held=(held_x, held_y))
        return TestResult(0.0, 1.0, held_x)

    monkeypatch.setattr(deep_test, "mmd_test", spy)
    network = torch.nn.Linear(20, 1).to(x)
    deep_kernel_test(x, y, network=network, share=2 / 3, learning_rate=0.02, generator=generator)
    plain = deep_test._best_gaussian(*seen["held"])  # with a look that the learned kernel did not have
    with torch.no_grad():
        learned, shallow = (deep_test._power(kernel, *seen["held"]) for kernel in (seen["kernel"], plain))
    assert learned > 1.25 * shallow > 0
    held = torch.cat(seen["held"])
    assert len(held) == 200
    assert len(torch.cat([held, x, y]).unique(dim=0)) == 600  # the rest was for learning


def test_a_network_of_the_caller_is_left_as_it_is(device, dtype, generator):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).to(device, dtype)
    before = copy.deepcopy(network.state_dict())
    x = torch.randn(30, 2, 2, device=device, dtype=dtype, generator=generator)
    test = deep_kernel_test(
        x, 3 * x.roll(7, 0), network=network, steps=20, permutations=99, generator=generator
    )
    assert test.p_value <= 0.05
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.grad is None


def test_the_seed_decides(device, dtype):
    x, y = torch.randn(2, 30, 2, device=device, dtype=dtype)
    results = []
    for _ in range(2):
        torch.rand(3)  # the global state of randomness counts for nothing
        generator = torch.Generator(device).manual_seed(3)
        results.append(deep_kernel_test(x, y, steps=5, permutations=20, generator=generator).null)
    assert torch.equal(*results)


X = torch.arange(40.0).reshape(20, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: deep_kernel_test(X, X[:7]),
            "y should have at least 4 points in either part but has 4 and 3",
        ),
        (lambda: deep_kernel_test(X, X, share=1.0), "share should be between 0 and 1 but got 1.0"),
        (lambda: deep_kernel_test(X, X, steps=0), "steps should be at least 1 but got 0"),
        (lambda: deep_kernel_test(X, X, permutations=0), "permutations should be at least 1 but got 0"),
        (lambda: deep_kernel_test(X, X * torch.nan), "y should be finite"),
        (lambda: deep_kernel_test(X, X, learning_rate=torch.inf), "network should stay finite"),
        (lambda: deep_kernel_test(0 * X, 0 * X), "at least two different points"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
