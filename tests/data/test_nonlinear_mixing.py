"""Mixed sources: their law in each segment, the mixing by hand, its inverse, and their seed."""

import pytest
import torch

from probgen.data import nonlinear_ica
from probgen.data.nonlinear_mixing import _well_conditioned


def test_sources_are_normal_with_the_scale_of_their_segment():
    data = nonlinear_ica(segments=6, rows=4000, sources=3)
    assert data.segments.bincount().tolist() == [4000] * 6
    assert ((data.scales > 0.5) & (data.scales < 3)).all()
    for segment in range(6):
        s = data.sources[data.segments == segment].double() / data.scales[segment].double()
        # Standard errors of the mean, variance, correlation and fourth moment of 4,000 normal numbers.
        for found, wanted, sd in ((s.mean(0), 0, 1), (s.var(0), 1, 2**0.5), ((s**4).mean(0), 3, 96**0.5)):
            assert ((found - wanted).abs() < 4.5 * sd / 4000**0.5).all()
        assert (s.T.corrcoef() - torch.eye(3)).abs().max() < 4.5 / 4000**0.5


def test_one_layer_is_linear_and_more_are_not():
    for layers, linear in ((1, True), (3, False)):
        data = nonlinear_ica(segments=5, rows=200, layers=layers)
        fit = torch.linalg.lstsq(data.sources.double(), data.x.double())
        left = (data.sources.double() @ fit.solution - data.x.double()).square().sum(0)
        assert ((left / data.x.double().square().sum(0)) < (1e-12 if linear else 1)).all()
        assert linear or (left / data.x.double().square().sum(0)).mean() > 0.005


def test_the_mixing_can_be_undone():
    """Layer by layer, by solving each: the network is one to one, so that the sources can be had from x."""
    generator = torch.Generator().manual_seed(3)
    data = nonlinear_ica(segments=4, rows=50, sources=3, generator=generator)
    again = torch.Generator().manual_seed(3)
    torch.rand(4, 3, generator=again, dtype=torch.float64)
    torch.randn(200, 3, generator=again, dtype=torch.float64)
    x = data.x.double()
    for layer, matrix in reversed(list(enumerate([_well_conditioned(3, again) for _ in range(3)]))):
        x = torch.linalg.solve(matrix, x, left=False)
        if layer:
            low, high = torch.full_like(x, -1e4), torch.full_like(x, 1e4)
            for _ in range(80):
                middle = (low + high) / 2
                below = middle.tanh() + middle / 10 < x
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            x = low
    torch.testing.assert_close(x, data.sources.double(), atol=1e-3, rtol=1e-3)


def test_maps_are_well_conditioned():
    generator = torch.Generator().manual_seed(0)
    raw = torch.nn.functional.normalize(2 * torch.rand(5000, 5, 5, generator=generator).double() - 1, dim=1)
    singular = torch.linalg.svdvals(raw)
    quarter = (singular[:, 0] / singular[:, -1]).quantile(0.25)
    for _ in range(4):
        matrix = _well_conditioned(5, generator)
        torch.testing.assert_close(matrix.norm(dim=0), torch.ones(5).double())
        assert torch.linalg.cond(matrix) < 1.05 * quarter


def test_draws_follow_their_generator():
    first, second, other = (
        nonlinear_ica(rows=5, generator=torch.Generator().manual_seed(seed)).x for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match="sources should be at least 2 but got 1"):
        nonlinear_ica(sources=1)
    with pytest.raises(TypeError, match="layers should be an integer"):
        nonlinear_ica(layers=1.5)
