"""Fan charts and PIT histograms show the quantiles and shares of what they are given."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from probgen import plots


def walk(m=400, horizon=6):
    return np.random.default_rng(0).normal(size=(m, horizon)).cumsum(1)


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_bands_are_the_quantiles_of_the_draws_at_each_step():
    past, draws, truth = torch.tensor([3.0, 1.0, 2.0]), walk(), np.arange(6.0)
    figure = plots.fan_chart(past, torch.from_numpy(draws), truth=truth, coverage=(0.5, 0.9), paths=2)
    (axis,) = figure.axes
    for band, share in zip(axis.collections, (0.9, 0.5), strict=True):  # the widest first, below the others
        points = band.get_paths()[0].vertices
        for step in range(6):
            here = points[points[:, 0] == step + 1][:, 1]
            expected = np.quantile(draws[:, step], [(1 - share) / 2, (1 + share) / 2])
            np.testing.assert_allclose([here.min(), here.max()], expected)
        np.testing.assert_allclose(points[points[:, 0] == 0][:, 1], 2.0)
    assert labels(figure) == ["90% of draws", "50% of draws", "median", "past", "what came"]
    lines = {line.get_label(): line for line in axis.lines}
    np.testing.assert_allclose(lines["median"].get_ydata(), [2.0, *np.median(draws, 0)])
    np.testing.assert_allclose(lines["what came"].get_ydata(), [2.0, *truth])
    assert lines["past"].get_xdata().tolist() == [-2, -1, 0]
    shown = [line.get_ydata()[1:] for line in axis.lines[1:4:2]]
    np.testing.assert_allclose(shown, draws[:2])


def test_bars_are_shares_and_the_band_that_of_uniform_numbers():
    skewed = np.repeat([0.05, 0.35, 0.95], [60, 30, 10])
    figure = plots.pit_histogram({"skewed": skewed, "even": (np.arange(40) + 0.5) / 40}, bins=10, level=0.9)
    first, second = figure.axes
    bars = [patch for patch in first.patches if hasattr(patch, "get_data")]
    np.testing.assert_allclose(bars[0].get_data().values, [6, 0, 0, 3, 0, 0, 0, 0, 0, 1])
    bars = [patch for patch in second.patches if hasattr(patch, "get_data")]
    np.testing.assert_allclose(bars[0].get_data().values, np.ones(10))
    for axis, n in ((first, 100), (second, 40)):
        band = axis.patches[0].get_extents().transformed(axis.transData.inverted())
        low, high = stats.binom.ppf([0.05, 0.95], n, 0.1) * 10 / n
        np.testing.assert_allclose([band.y0, band.y1], [low, high], atol=1e-9)
    assert first.get_ylim() == second.get_ylim()
    assert [axis.get_title("left") for axis in (first, second)] == ["skewed", "even"]
    assert labels(figure) == ["90% band of uniform ones"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.fan_chart([], walk()), r"past should have shape \(T,\), at least one value"),
        (lambda: plots.fan_chart([1.0], walk(19)), "draws should have shape .*, m at least 20"),
        (lambda: plots.fan_chart([1.0], walk()[..., None]), r"but have shape \(400, 6, 1\)"),
        (lambda: plots.fan_chart([1.0], walk(), truth=[1.0]), r"truth should have shape \(6,\) but has"),
        (lambda: plots.fan_chart([1.0], walk(), coverage=(0.5, 1.0)), "coverage should be shares above 0"),
        (lambda: plots.fan_chart([1.0], walk(), coverage=()), "coverage should be shares above 0"),
        (lambda: plots.fan_chart([1.0], walk(), paths=401), "paths should be 0 to the 400 draws but is 401"),
        (lambda: plots.fan_chart([math.nan], walk()), "past should be finite but has 1 values"),
        (lambda: plots.pit_histogram({}), "transforms should have at least 1 entry"),
        (lambda: plots.pit_histogram(np.zeros(9)), r"n at least 10, but has shape \(9,\)"),
        (lambda: plots.pit_histogram({"a": np.arange(20)}), r"transforms\['a'\] should lie in \[0, 1\]"),
        (lambda: plots.pit_histogram(np.zeros(20), bins=1), "bins should be at least 2"),
        (lambda: plots.pit_histogram(np.zeros(20), level=1.0), "level above 0 and below 1"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()
