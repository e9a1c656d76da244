"""The witness function against its definition and a closed form, and the points that it names."""

import math

import pytest
import torch

from probgen.mmd import Deep, Energy, Gaussian, Polynomial, mmd2, most_different, pairwise, witness


def samples(device, dtype, generator):
    return tuple(
        torch.randn(n, 2, 2, device=device, dtype=dtype, generator=generator) + shift
        for n, shift in ((30, 100.0), (41, 100.5))
    )


KERNELS = [Gaussian([0.5, 2.0]), Energy(), Polynomial(2), Deep(torch.nn.Flatten(), Energy()) * Gaussian(1.0)]


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
@pytest.mark.parametrize("rows", [None, 7])
def test_its_means_give_the_unbiased_estimate(kernel, rows, device, dtype, generator, monkeypatch):
    if rows:
        monkeypatch.setattr(pairwise, "_tile_rows", lambda columns, device: rows)
    x, y = samples(device, dtype, generator)
    values = witness(x, y, kernel)
    expected = mmd2(x, y, kernel).value
    assert float(values[:30].mean() - values[30:].mean()) == pytest.approx(expected, rel=1e-8)


def test_equals_the_definition_anywhere(device, dtype, generator):
    x, y = samples(device, dtype, generator)
    at = x[:5] + 1
    k = Gaussian([0.5, 2.0])
    to_x, to_y = (k((at[:, None].double() - z.double()).square().sum((2, 3))).mean(1) for z in (x, y))
    torch.testing.assert_close(witness(x, y, k, at=at), to_x - to_y, rtol=1e-9, atol=1e-12)


def test_the_closed_form_for_normal_laws(device, generator):
    n = 20_000
    x, y = torch.randn(2, n, 1, device=device, dtype=torch.float64, generator=generator)
    at = torch.linspace(-2, 3, 11, device=device, dtype=torch.float64)[:, None]
    found = witness(x, y + 1, Gaussian(1.0), at=at)[:, None]

    def expected(mean):  # E exp(−(Z − z)² / 2) for Z of N(mean, 1)
        return torch.exp(-(at - mean).square() / 4) / math.sqrt(2)

    error = math.sqrt(2 * 0.25 / n)  # a kernel between 0 and 1 has a variance of at most 1/4
    assert (found - expected(0) + expected(1)).abs().max() < 5 * error
    assert (found - expected(0) + expected(1.2)).abs().max() > 5 * error


def test_the_points_that_differ_most(device, dtype, generator):
    x = torch.randn(200, 2, device=device, dtype=dtype, generator=generator)
    y = x.roll(1, 0).clone()
    y[:20] += 6  # a mode that x lacks
    found = most_different(x, y, Gaussian(1.0), number=15)
    assert (found.more_y > 3).all()
    assert (found.more_x < 3).all()
    assert (found.values_y.diff() >= 0).all()
    assert (found.values_x.diff() <= 0).all()
    swapped = most_different(y, x, Gaussian(1.0), number=15)
    torch.testing.assert_close(swapped.values_x, -found.values_y)


X = torch.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: witness(X[:1], X), "x should hold at least 2 points but has 1"),
        (lambda: witness(X, X, at=X * torch.nan), "at should be finite"),
        (lambda: witness(X, X, at=X[:, :1]), "x and at should have the same event shape"),
        (lambda: witness(X, X, lambda d: d / d), "kernel should return finite values"),
        (lambda: most_different(X, X, number=9), "number should be between 1 and the 8 points but got 9"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
