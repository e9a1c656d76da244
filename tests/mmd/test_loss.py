"""The loss where numbers are hard, its memory, weights, and two processes that share its tiles."""

import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from probgen.mmd import Deep, Energy, Gaussian, Laplace, Matern, Polynomial, mmd2, mmd2_loss
from probgen.mmd.processes import shared

RADIAL = [Gaussian([0.5, 2.0]), Energy(), Laplace(1.0), Matern(1.0, smoothness=1.5)]


def normal(n, d, device, dtype, generator, shift=0.0):
    return torch.randn(n, d, device=device, dtype=dtype, generator=generator) + shift


def with_gradient(x, y, kernel, **options):
    x = x.detach().requires_grad_()
    loss = mmd2_loss(x, y, kernel, **options)
    (slope,) = torch.autograd.grad(loss, x)
    return loss.detach(), slope


def named(kernel):
    """Return a name that is the same in every process."""
    return getattr(kernel, "__name__", repr(kernel))


@pytest.mark.parametrize("kernel", RADIAL, ids=repr)
def test_a_common_offset_in_single_precision_costs_nothing(kernel, device, generator):
    """The inputs are rounded to 1e3 + multiples of 2^-14, so that they are the same points in both types."""
    x, y = (normal(n, 10, device, torch.float64, generator, s) for n, s in ((300, 0.0), (280, 0.2)))
    x, y = ((z * 2**12).round() / 2**12 + 1e3 for z in (x, y))
    loss, slope = with_gradient(x.float(), y.float(), kernel)
    expected, expected_slope = with_gradient(x, y, kernel)
    assert float(loss) == pytest.approx(float(expected), abs=2e-6)
    assert float((slope - expected_slope).norm() / expected_slope.norm()) < 2e-5


@pytest.mark.parametrize("kernel", RADIAL, ids=repr)
def test_equal_points_across_the_samples_have_no_part_in_the_slope(kernel, device, generator):
    """In single precision their distance would be noise, whose 1/d is anything."""
    x = normal(200, 5, device, torch.float32, generator)
    y = torch.cat([x[:100], normal(50, 5, device, torch.float32, generator)])
    _, slope = with_gradient(x, y, kernel)
    _, expected = with_gradient(x.double(), y.double(), kernel)
    assert float((slope - expected).abs().max()) < 2e-5 * float(expected.abs().max())


@pytest.mark.parametrize("kernel", [*RADIAL, lambda squared: torch.exp(-squared)], ids=named)
def test_samples_of_one_point_only(kernel, device, dtype):
    x, y = torch.full((5, 3), 7.0, device=device, dtype=dtype), torch.full((4, 3), 7.0, device=device)
    loss, slope = with_gradient(x, y.to(dtype), kernel)
    assert loss == 0
    assert (slope == 0).all()


@pytest.mark.parametrize("width", [1e-12, 1e-4, 1e4, 1e12])
def test_tiny_and_huge_bandwidths(width, device, dtype, generator):
    x, y = normal(50, 3, device, dtype, generator), normal(40, 3, device, dtype, generator, 1.0)
    loss, slope = with_gradient(x, y, Gaussian(width))
    expected = mmd2(x, y, Gaussian(width)).value
    assert float(loss) == pytest.approx(expected, abs=1e-6)
    assert torch.isfinite(slope).all()
    if width < 1:
        assert expected == 0
        assert (slope == 0).all()


class Largest(TorchDispatchMode):
    """Records the largest tensor that any operation makes."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.numel = max(self.numel, leaf.numel())
        return result


class Kept:
    """A tensor that autograd keeps for the backward pass."""

    alive: ClassVar = weakref.WeakSet()

    def __init__(self, tensor):
        self.tensor = tensor
        self.alive.add(self)


@pytest.mark.parametrize(
    "kernel", [Gaussian([1.0, 2.0]), lambda squared: torch.exp(-squared), Polynomial(3)], ids=named
)
def test_memory_is_that_of_a_tile(kernel, device, dtype, generator, monkeypatch):
    monkeypatch.setattr("probgen.mmd.sums._side", lambda device: 64)
    x, y = (normal(n, 2, device, dtype, generator).requires_grad_() for n in (900, 800))
    with Largest() as largest:
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            loss = mmd2_loss(x, y, kernel)
        kept = sum(one.tensor.numel() for one in Kept.alive)
        torch.autograd.grad(loss, (x, y))
    assert largest.numel <= 64 * 64
    assert kept < 30 * 1700  # a few numbers for each point, none for each pair


def dense(x, y, kernel, a, b, estimator):
    a, b = a / a.sum(), b / b.sum()
    total = -2 * a @ kernel((x[:, None] - y).square().sum(-1)) @ b
    for z, w in ((x, a), (y, b)):
        values = kernel((z[:, None] - z).square().sum(-1))
        different = w @ (values - values.diagonal().diag()) @ w
        same = w.square() @ values.diagonal()
        total = total + (different + same if estimator == "biased" else different / (1 - w @ w))
    return total


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("kernel", [Gaussian([0.5, 2.0]), Energy(), lambda s: 1 / (1 + s)], ids=named)
def test_weights_and_their_gradient(kernel, estimator, device, generator):
    x, y = (normal(n, 2, device, torch.float64, generator) for n in (300, 20))
    a, b = (torch.rand(n, device=device, dtype=torch.float64, generator=generator) for n in (300, 20))
    options = {"estimator": estimator, "weights_x": a, "weights_y": b}
    expected = dense(x, y, kernel, a, b, estimator)
    assert mmd2(x, y, kernel, **options).value == pytest.approx(float(expected), rel=1e-9)
    torch.testing.assert_close(mmd2_loss(x, y, kernel, **options), expected)
    x.requires_grad_()
    if not isinstance(kernel, Energy):  # where dense autograd knows the slope at 0
        (found,) = torch.autograd.grad(mmd2_loss(x, y, kernel, **options), x)
        (slope,) = torch.autograd.grad(dense(x, y, kernel, a, b, estimator), x)
        torch.testing.assert_close(found, slope)
    a.requires_grad_()
    (found,) = torch.autograd.grad(mmd2_loss(x, y, kernel, **options), a)
    (slope,) = torch.autograd.grad(dense(x.detach(), y, kernel, a, b, estimator), a)
    torch.testing.assert_close(found, slope)


def test_half_precision_is_not_used_for_distances(device, generator):
    x, y = (normal(300, 5, device, torch.float32, generator, s) for s in (0.0, 0.5))
    expected, slope = with_gradient(x, y, Gaussian(1.0))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        found = with_gradient(x, y, Gaussian(1.0))
    assert float(found[0]) == float(expected)
    torch.testing.assert_close(found[1], slope)


def test_what_a_network_makes_under_autocast_is_compared_in_the_dtype_of_the_data(device, generator):
    x, y = (normal(300, 5, device, torch.float32, generator, s) for s in (0.0, 0.5))
    draws = y.bfloat16()
    expected, slope = with_gradient(draws.float(), x, Gaussian(1.0))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        found = with_gradient(draws, x, Gaussian(1.0))
    assert found[0].dtype == torch.float32
    assert float(found[0]) == float(expected)
    torch.testing.assert_close(found[1], slope.bfloat16())
    with pytest.raises(TypeError, match=r"same dtype but have torch\.bfloat16 and torch\.float32"):
        mmd2_loss(draws, x, Gaussian(1.0))


@pytest.mark.parametrize("kernel", [*RADIAL, lambda squared: torch.exp(-squared)], ids=named)
def test_the_gradient_is_captured(kernel, device, dtype, generator):
    def slope(x, y):
        return torch.autograd.grad(mmd2_loss(x, y, kernel), y)[0]

    x, y, other_x, other_y = normal(4 * 300, 3, device, dtype, generator).split(300)
    captured = make_fx(slope)(x, y.clone().requires_grad_())
    torch.testing.assert_close(captured(other_x, other_y), slope(other_x, other_y.clone().requires_grad_()))


SCRIPT = """
import json, os, sys
import torch
from tests.mmd.test_loss import everything
from probgen.mmd import shared
torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
with shared():
    out = everything()
with open(f"{sys.argv[1]}/{rank}.json", "w") as file:
    json.dump(out, file)
torch.distributed.barrier()
os._exit(0)  # gloo's threads may abort the interpreter as it ends (torch 2.13); all is written by now
"""


def everything():
    """Return, as plain numbers, one result of everything that shares tiles."""
    from probgen.evaluation import density_coverage, nearest_neighbour_ratio, precision_recall
    from probgen.mmd import median_bandwidth, mmd2_profile, mmd_test

    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (700, 600))
    network = torch.nn.Linear(3, 2).double()
    torch.nn.init.ones_(network.weight)
    torch.nn.init.zeros_(network.bias)
    kernel = Gaussian([0.5, 2.0])
    test = mmd_test(x, y, kernels=kernel, permutations=50, generator=generator)
    out = {
        "profile": [list(found) for found in mmd2_profile(x, y, [kernel, Energy(), Polynomial(3)])],
        "test": [test.statistic, test.p_value],
        "median": [median_bandwidth(x, y)],
        "neighbours": [
            *precision_recall(x, y), *density_coverage(x, y), nearest_neighbour_ratio(y, x[:300], x[300:])
        ],
        "few": list(mmd2(x[:5], y[:5], kernel)),
    }  # fmt: skip
    kernels = {
        "radial": kernel, "callable": lambda squared: 1 / (1 + squared), "deep": Deep(network, kernel),
        "deep times polynomial": Deep(network, kernel) * Polynomial(2),
    }  # fmt: skip
    weights = torch.rand(600, generator=generator, dtype=torch.float64)
    for name, kernel in kernels.items():
        u, v = x.clone().requires_grad_(), y.clone().requires_grad_()
        learned = (u, v, *network.parameters()) if "deep" in name else (u, v)
        loss = mmd2_loss(u, v, kernel, weights_y=weights)
        slopes = torch.autograd.grad(loss, learned, allow_unused=True)
        found = torch.cat([slope.flatten()[:50] for slope in slopes if slope is not None])
        out[name] = [float(loss.detach()), *found.tolist()]
    return out


def test_two_processes_find_what_one_finds(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [*torchrun, str(tmp_path / "script.py"), str(tmp_path)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 0, ended.stderr
    expected = everything()
    for rank in range(2):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            flat = [list(v) if isinstance(v, list) else [v] for v in values]
            mine = [list(v) if isinstance(v, list) else [v] for v in found[name]]
            for theirs, my in zip(flat, mine, strict=True):
                assert my == pytest.approx(theirs, rel=1e-9, abs=1e-14), name


def test_sharing_needs_processes():
    with pytest.raises(RuntimeError, match="shared needs processes"), shared():
        pass


X = torch.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (
            torch.ones(3),
            ValueError,
            r"weights_x should have shape \(4,\), one for each point, but has \(3,\)",
        ),
        (torch.tensor([1.0, 1, 1, -1]), ValueError, "weights_x should be finite and not negative"),
        (torch.tensor([1.0, 1, 1, torch.nan]), ValueError, "weights_x should be finite and not negative"),
        (torch.tensor([1.0, 0, 0, 0]), ValueError, "weights_x should spread over at least 2 points"),
        (torch.zeros(4), ValueError, "weights_x should not all be 0"),
    ],
)
def test_bad_weights(weights, error, message):
    with pytest.raises(error, match=message):
        mmd2(X, X, Energy(), weights_x=weights)
