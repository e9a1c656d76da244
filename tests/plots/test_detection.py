"""The pictures of scores and of distortions show the shares, areas and curves that they are given."""

import math

import numpy as np
import pytest
import torch

from probgen import evaluation, models, nets, plots


def test_histograms_have_the_area_one_and_say_what_is_above():
    normal, anomalous = torch.arange(100.0), np.arange(50.0, 90.0)
    figure = plots.score_histograms(normal, anomalous, threshold=79.0, score="nats")
    (axis,) = figure.axes
    for bars in axis.patches:
        heights, edges, _ = bars.get_data()
        assert float((heights * np.diff(edges)).sum()) == pytest.approx(1)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["normal, 20.0% above", "anomalous, 25.0% above", "threshold 79"]
    assert axis.get_xlabel() == "nats"


def test_curves_have_the_areas_of_detection():
    source = np.random.default_rng(0)
    scores = {
        "a": (np.round(source.normal(size=50)), np.round(source.normal(1, size=40))),
        "b": ([0, 0], [0, 0]),
    }
    figure = plots.roc_curves(scores, false_alarm=0.05)
    areas = [evaluation.detection(*pair).auc.value for pair in scores.values()]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"{name}, {area:.3f}" for name, area in zip(scores, areas, strict=True)]
    first, second, *_ = figure.axes[0].lines
    assert first.get_xdata()[-1] == first.get_ydata()[-1] == 1
    assert second.get_xdata().tolist() == [0, 1]


def test_each_distortion_has_its_curves():
    x, y = torch.rand(60, 16), torch.arange(60) % 2
    vae = models.VAE(nets.NormalHead(nets.MLP(16, 2)), nets.NormalHead(nets.MLP(2, 16)))
    table = evaluation.robustness({"vae": vae}, x, y, x, y, image_shape=(4, 4), components=2)
    figure = plots.robustness_curves(table)
    assert len(figure.axes) == 15
    assert [axis.get_title("left") for axis in figure.axes[:5]] == list(evaluation.distortions((4, 4)))
    own = table[(table.distortion == "scale") & (table.codes == "vae")]
    line = figure.axes[4].containers[2].lines[0]
    np.testing.assert_allclose(line.get_xdata().astype(float), own["level"])
    np.testing.assert_allclose(line.get_ydata().astype(float), own.accuracy)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["raw", "principal components", "vae"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.roc_curves({}), "scores should have 1 to 10 entries but has 0"),
        (lambda: plots.roc_curves({"a": ([], [1.0])}), r"scores\['a'\]\[0\] should be scores of shape"),
        (lambda: plots.score_histograms([1.0], [math.nan]), "anomalous should be finite but has 1 values"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, words):
    with pytest.raises(ValueError, match=words):
        call()
