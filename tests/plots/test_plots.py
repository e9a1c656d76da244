"""Every picture shows exactly the numbers it is given, says what it cannot show, and leaves no trace."""

import io
from collections.abc import Callable

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probgen import models, nets, plots

PIXELS = torch.arange(12 * 6, dtype=torch.float32).reshape(12, 6) / 72


def metric_frame(rows: list[tuple[str, str, list[float]]]) -> pd.DataFrame:
    return pd.DataFrame(
        [(method, metric, r, v) for method, metric, values in rows for r, v in enumerate(values)],
        columns=["method", "metric", "repeat", "value"],
    )


def history_frame(values: list[float], split: str = "train", term: str = "loss") -> pd.DataFrame:
    return pd.DataFrame({"step": range(len(values)), "split": split, "term": term, "value": values})


def robustness_frame() -> pd.DataFrame:
    rows = [("noise", level, codes) for level in (0.0, 0.5) for codes in ("raw", "vae")]
    frame = pd.DataFrame(rows, columns=["distortion", "level", "codes"])
    for name in ("accuracy", "to_clean", "to_seen"):
        frame[name], frame[f"{name}_stderr"] = 0.5 + 0.1 * frame["level"], 0.01
    return frame


def label_frame() -> pd.DataFrame:
    """Codes a and b by two probes at 10 and 100 labels; b has no errors at 100."""
    rows = [(code, probe, k) for probe in ("linear", "neighbours") for code in "ab" for k in (10, 100)]
    frame = pd.DataFrame(rows, columns=["codes", "probe", "labels"])
    frame["accuracy"] = [0.5, 0.9, 0.4, 0.8] * 2
    return frame.assign(stderr=[0.01, 0.02, 0.03, np.nan] * 2)


def people(n: int) -> pd.DataFrame:
    """Income rises with age; towns A and B in turn."""
    age = np.linspace(20, 80, n)
    return pd.DataFrame({"age": age, "income": np.exp(age / 10), "debt": -age, "town": [*"AB" * n][:n]})


def contest_moments() -> dict[str, dict[str, torch.Tensor]]:
    x = torch.linspace(-1, 1, 9)
    names = ("data", "generator", "discriminator", "best", "gradient", "witness")
    return {"step 0": {name: x**2 + i for i, name in enumerate(names)}}


FIGURES: dict[str, Callable[[], Figure]] = {
    "contest": lambda: plots.contest(torch.linspace(-1, 1, 9), contest_moments()),
    "trajectories": lambda: plots.trajectories({"a": torch.randn(9, 2)}),
    "code_usage": lambda: plots.code_usage({"a": torch.tensor([3, 0, 9]), "b": [1, 1]}),
    "contours": lambda: plots.contours({"a": torch.randn(9, 2)}, lambda at: -(at**2).sum(-1)),
    "histograms": lambda: plots.histograms({"a": torch.randn(9)}, lambda at: np.exp(-(at**2))),
    "image_grid": lambda: plots.image_grid({"real": PIXELS, "made": PIXELS[:5]}, image_shape=(2, 3)),
    "reconstructions": lambda: plots.reconstructions(
        {"original": PIXELS, "seen": PIXELS.reshape(12, 2, 3)[:, :1], "restored": 2 * PIXELS},
        image_shape=(2, 3),
    ),
    "scatter": lambda: plots.scatter({"exact": torch.randn(50, 2), "made": 3 * torch.randn(50, 2)}),
    "roc_curves": lambda: plots.roc_curves({"a": (torch.randn(9), 1 + torch.randn(5))}, false_alarm=0.1),
    "score_histograms": lambda: plots.score_histograms(torch.randn(9), torch.ones(3), threshold=1.5),
    "robustness_curves": lambda: plots.robustness_curves(robustness_frame()),
    "label_curves": lambda: plots.label_curves(label_frame()),
    "latent_map": lambda: plots.latent_map(torch.randn(30, 2), torch.arange(30) % 10),
    "manifold": lambda: plots.manifold(PIXELS[:9], image_shape=(2, 3), k=3),
    "traversals": lambda: plots.traversals(
        lambda z: z.repeat(1, 3), torch.zeros(2), image_shape=(2, 3), steps=3
    ),
    "conditional_grid": lambda: plots.conditional_grid(
        PIXELS[:6], image_shape=(2, 3), contexts=["cat", "dog"]
    ),
    "interpolations": lambda: plots.interpolations(
        lambda z: z.repeat(1, 3), torch.ones(2, 2), torch.eye(2), image_shape=(2, 3), steps=3
    ),
    "levels": lambda: plots.levels(
        models.VAE(nets.NormalHead(nets.MLP(6, 2)), nets.NormalHead(nets.MLP(2, 6))),
        PIXELS[:3],
        image_shape=(2, 3),
        draws=2,
    ),
    "spectrograms": lambda: plots.spectrograms({"a": torch.randn(2, 4, 9)}, heads=["one", "two"]),
    "piano_rolls": lambda: plots.piano_rolls(
        {"real": [(torch.rand(9, 88) < 0.05).float() for _ in range(2)]}
    ),
    "fan_chart": lambda: plots.fan_chart(torch.randn(20), torch.randn(200, 5), truth=torch.randn(5)),
    "frames": lambda: plots.frames({"real": torch.rand(5, 1, 4, 4), "made": torch.rand(5, 4, 4)}),
    "pit_histogram": lambda: plots.pit_histogram(torch.rand(100)),
    "value_at_risk": lambda: plots.value_at_risk(torch.randn(30), {"a": torch.ones(30)}),
    "volatility_smiles": lambda: plots.volatility_smiles([0.9, 1.1], {"a": [0.2, float("nan")]}),
    "lasting_volatility": lambda: plots.lasting_volatility(
        {"ACF": {"real": torch.rand(9), "a": torch.rand(9)}}, real="real"
    ),
    "table_columns": lambda: plots.table_columns({"real": people(50), "made": people(60)}),
    "correlations": lambda: plots.correlations({"real": people(50), "made": people(60)}),
    "history": lambda: plots.history(history_frame([3.0, 2.0, 1.0])),
    "intervals": lambda: plots.intervals(
        metric_frame([("train against test", "mmd2", [0.0, 0.1]), ("vae", "mmd2", [0.2, 0.3])])
    ),
}


NO_FIGURES = {"contest_animation", "NotPlain", "Page", "explorer", "sampler_page"}
"""An animation, and pages, which are tested where they are made."""


@pytest.mark.parametrize("name", sorted({*plots.__all__} - NO_FIGURES))
def test_every_figure_renders_and_leaves_no_global_state(name: str) -> None:
    before = dict(matplotlib.rcParams)
    figure = FIGURES[name]()
    png = io.BytesIO()
    figure.savefig(png, format="png")
    assert png.getvalue().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook shows
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def titles(figure: Figure) -> list[str]:
    return [axis.get_title(loc="left") for axis in figure.axes]


def texts(axis: Axes) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_reconstructions_stand_below_their_originals_on_one_grey_scale() -> None:
    small = PIXELS.reshape(12, 2, 3)[:, :1, :2]
    shown = {"original": PIXELS, "seen": small, "restored": 2 * PIXELS}
    figure = plots.reconstructions(shown, image_shape=(2, 3), columns=5)
    assert titles(figure) == ["original", "seen", "restored"]
    whole = PIXELS.reshape(12, 2, 3)
    for axis, pictures in zip(figure.axes, (whole, small, 2 * whole), strict=True):
        assert len(axis.images) == 5
        for i, image in enumerate(axis.images):
            np.testing.assert_array_equal(image.get_array(), pictures[i])
            assert image.get_extent() == [4 * i, 4 * i + 3, 2, 0]  # as large as the original above it
            assert image.get_clim() == (PIXELS.min(), PIXELS.max())
    with pytest.raises(ValueError, match=r"as many pictures each but have .*12, 'made': 5"):
        plots.reconstructions({"original": PIXELS, "made": PIXELS[:5]}, image_shape=(2, 3))
    with pytest.raises(ValueError, match="at least 1 entry"):
        plots.reconstructions({}, image_shape=(2, 3))


def test_image_grid_shows_the_pixels_in_order_on_the_first_entrys_grey_scale() -> None:
    figure = plots.image_grid({"real": PIXELS, "made": 2 * PIXELS}, image_shape=(2, 3), columns=3)
    assert titles(figure) == ["real", "made"]
    board = figure.axes[0].images[0].get_array()
    assert board is not None
    np.testing.assert_array_equal(board[:2, 4:7], PIXELS[1].reshape(2, 3))
    np.testing.assert_array_equal(board[3:5, :3], PIXELS[3].reshape(2, 3))
    assert board.shape == (3 * 3 - 1, 3 * 4 - 1), "no more than columns² images"
    for axis in figure.axes:
        assert axis.images[0].get_clim() == (PIXELS[:9].min(), PIXELS[:9].max())


def test_scatter_gives_all_panels_the_frame_of_the_reference_and_counts_what_lies_outside() -> None:
    reference = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    made = torch.tensor([[0.5, 1.0], [9.0, 1.0], [0.5, -9.0]])
    first, second = plots.scatter({"exact": reference, "made": made}).axes
    assert first.get_xlim() == second.get_xlim() == pytest.approx((-0.08, 1.08))
    assert first.get_ylim() == second.get_ylim() == pytest.approx((-0.16, 2.16))
    behind, shown = second.collections
    np.testing.assert_array_equal(behind.get_offsets(), reference)
    np.testing.assert_array_equal(shown.get_offsets(), made)
    assert behind.get_zorder() <= shown.get_zorder()
    assert (first.get_xlabel(), second.get_xlabel()) == ("", "2 of 3 outside the frame")


def test_label_curves_are_means_with_two_standard_errors_in_a_panel_a_probe() -> None:
    linear, neighbours = plots.label_curves(label_frame()).axes
    assert [axis.get_title(loc="left") for axis in (linear, neighbours)] == ["linear", "neighbours"]
    first, second = linear.containers
    assert first.get_label() == "a"
    np.testing.assert_allclose(np.asarray(first[0].get_ydata(), dtype=float), [0.5, 0.9])
    bars = [bar for line in second[2] for bar in line.get_segments()]
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0.34, 0.46], [0.8, 0.8]])
    assert [text.get_text() for text in linear.get_xticklabels()] == ["10", "100"]
    assert 9.5 < first[0].get_xdata()[0] < 10 < second[0].get_xdata()[0] < 10.5, (
        "bars stand beside each other"
    )


def test_latent_map_of_several_codes_has_a_panel_each_with_labels_in_words() -> None:
    z = torch.tensor([[0.0, 0], [2, 2], [9, 9]])
    left, right = plots.latent_map({"a": z, "b": -z}, ["x", "x", "y"]).axes
    assert [axis.get_title(loc="left") for axis in (left, right)] == ["a", "b"]
    assert {text.get_text(): text.get_position() for text in right.texts} == {"x": (-1, -1), "y": (-9, -9)}
    (plain,) = plots.latent_map(z, None).axes
    np.testing.assert_allclose(np.asarray(plain.collections[0].get_offsets()), z.numpy())
    assert not plain.texts


def test_latent_map_writes_each_label_at_the_median_of_its_points() -> None:
    z = torch.tensor([[0.0, 0.0], [2.0, 4.0], [5.0, 5.0]])
    figure = plots.latent_map(z, torch.tensor([3, 3, 7]))
    (axis,) = figure.axes
    assert {text.get_text(): text.get_position() for text in axis.texts} == {"3": (1.0, 2.0), "7": (5.0, 5.0)}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["3", "7"]
    assert axis.get_aspect() == 1.0


def test_manifold_has_its_first_image_at_the_bottom_left() -> None:
    (axis,) = plots.manifold(PIXELS[:4], image_shape=(2, 3), k=2).axes
    board = axis.images[0].get_array()
    assert board is not None
    np.testing.assert_array_equal(board[3:, :3], PIXELS[0].reshape(2, 3))
    np.testing.assert_array_equal(board[3:, 4:], PIXELS[1].reshape(2, 3))
    np.testing.assert_array_equal(board[:2, :3], PIXELS[2].reshape(2, 3))


def test_history_draws_both_splits_in_the_order_of_steps_and_a_log_axis_where_decades_are_spanned() -> None:
    frame = pd.concat(
        [
            history_frame([100.0, 10.0, 1.0]).iloc[::-1],
            history_frame([5.0, 4.0], split="validation"),
            history_frame([-1.0, 1.0, 2.0], term="mmd2"),
        ]
    )
    loss, mmd2 = plots.history(frame).axes
    lines = {line.get_label(): list(np.asarray(line.get_ydata())) for line in loss.get_lines()}
    assert lines == {"train": [100.0, 10.0, 1.0], "validation": [5.0, 4.0]}
    assert (loss.get_yscale(), mmd2.get_yscale()) == ("log", "linear")


def test_history_states_values_that_are_not_finite() -> None:
    figure = plots.history(history_frame([1.0, float("nan"), float("inf"), 2.0]))
    assert titles(figure) == ["loss (2 of 4 not finite)"]


def test_intervals_draw_the_mean_the_t_interval_the_floor_and_the_ideal() -> None:
    values = [0.1, 0.2, 0.4]
    frame = metric_frame([("vae", "mmd2", values), ("train against test", "mmd2", [0.0, 0.02])])
    (axis,) = plots.intervals(frame, ideal={"mmd2": -0.1}).axes
    half = 4.302652729911275 * np.std(values, ddof=1) / np.sqrt(3)  # t quantile .975, 2 degrees of freedom
    drawn = [np.asarray(line.get_xdata(), dtype=float) for line in axis.get_lines()]

    def shows(expected: list[float]) -> bool:
        return any(found.shape == (len(expected),) and np.allclose(found, expected) for found in drawn)

    mean = float(np.mean(values))
    assert shows(values)
    assert shows([mean])
    assert shows([mean - half, mean + half])
    assert shows([-0.1, -0.1])
    assert shows([0.01, 0.01])
    band = axis.patches[0].get_extents().transformed(axis.transData.inverted())
    floor_half = 12.706204736432095 * np.std([0.0, 0.02], ddof=1) / np.sqrt(2)
    assert (band.x0, band.x1) == pytest.approx((0.01 - floor_half, 0.01 + floor_half))
    assert [label.get_text() for label in axis.get_yticklabels()] == ["vae"]


def test_intervals_say_what_is_infinite_and_what_is_missing() -> None:
    frame = metric_frame([("vae", "nll", [1.0, float("inf")]), ("gmmn", "mmd2", [0.1, 0.2])])
    nll, mmd2 = plots.intervals(frame).axes
    assert texts(nll) == ["∞ in 1 of 2", "–"]
    assert texts(mmd2) == ["–"]


Z = torch.randn(4, 2)
METRICS = metric_frame([("train against test", "mmd2", [0.1])])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.image_grid({}, image_shape=(2, 3)), "images should have at least 1 entry"),
        (
            lambda: plots.image_grid({"a": PIXELS}, image_shape=(2, 2)),
            r"images\['a'\] should have shape \(n, 4\)",
        ),
        (
            lambda: plots.image_grid({"a": PIXELS}, image_shape=(2, 3), columns=0),
            "columns should be at least 1",
        ),
        (
            lambda: plots.image_grid({"a": PIXELS * torch.nan}, image_shape=(2, 3)),
            r"images\['a'\] should be finite",
        ),
        (lambda: plots.scatter({}), "samples should have at least 1 entry"),
        (lambda: plots.scatter({"a": torch.zeros(3, 4)}), r"samples\['a'\] should have shape \(n, 2\)"),
        (lambda: plots.scatter({"a": Z / 0}), r"samples\['a'\] should be finite"),
        (lambda: plots.latent_map(torch.zeros(3, 3), torch.zeros(3)), r"z should have shape \(n, 2\)"),
        (lambda: plots.latent_map({}, torch.zeros(3)), "z should have at least one entry"),
        (lambda: plots.label_curves(label_frame()[["codes"]]), "lacks probe, labels, accuracy, stderr"),
        (lambda: plots.label_curves(label_frame()[:0]), "frame should have at least 1 row"),
        (lambda: plots.latent_map(Z, torch.zeros(3)), r"labels should have shape \(4,\)"),
        (lambda: plots.latent_map(torch.zeros(11, 2), torch.arange(11)), "at most 10 classes but has 11"),
        (
            lambda: plots.manifold(PIXELS, image_shape=(2, 3), k=3),
            "images should be k² = 9 images but are 12",
        ),
        (lambda: plots.history(pd.DataFrame({"step": [1]})), "lacks split, term, value"),
        (lambda: plots.history(history_frame([])), "at least 1 row"),
        (lambda: plots.history(history_frame([1.0], split="test")), "split should be .* but got 'test'"),
        (lambda: plots.intervals(pd.DataFrame({"method": ["a"]})), "lacks metric, repeat, value"),
        (lambda: plots.intervals(METRICS), "frame should have a method beside 'train against test'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(draw: Callable[[], Figure], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw()


def test_histograms_stand_under_the_curve_and_count_what_is_outside():
    x = np.random.default_rng(0).normal(size=4000)
    figure = plots.histograms(
        {"exact": x, "far": np.append(x[:-1], 99.0)}, lambda at: np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi)
    )
    first, second = figure.axes
    area = sum(bar.get_width() * bar.get_height() for bar in first.patches)
    assert area == pytest.approx(1.0, abs=0.01)
    curve = first.lines[0].get_ydata()
    assert max(bar.get_height() for bar in first.patches) == pytest.approx(curve.max(), rel=0.2)
    assert second.get_xlabel() == "1 of 4000 outside the frame"
    with pytest.raises(ValueError, match="should have shape"):
        plots.histograms({"pairs": np.zeros((5, 2))}, lambda at: at)


def test_contours_hold_the_shares_they_say():
    x = np.random.default_rng(0).normal(size=(4000, 2))
    figure = plots.contours({"exact": x}, lambda at: -0.5 * (at**2).sum(-1))
    levels = figure.axes[0].collections[1].levels
    # Of a standard normal pair exp(-r² / 2) is uniform: above 1 − s lies the share s.
    assert levels == pytest.approx([0.1, 0.5, 0.9], abs=0.02)
    outside = plots.contours({"exact": x}, lambda at: np.where(at[:, 0] > 0, 0.0, -np.inf))
    assert len(outside.axes) == 1
    with pytest.raises(ValueError, match="should have shape"):
        plots.contours({"line": np.zeros(5)}, lambda at: at)
