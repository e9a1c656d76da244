"""Pictures of contests show the curves that they are given, on one scale, and say what they cannot show."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.quiver import Quiver
from PIL import Image

from probgen import plots

X = np.linspace(-4.0, 4.0, 81)


def normal(centre: float) -> np.ndarray:
    return np.exp(-((X - centre) ** 2) / 2) / np.sqrt(2 * np.pi)


def moment(centre: float, **other: np.ndarray) -> dict[str, np.ndarray]:
    data, generator = normal(0.0), normal(centre)
    best = data / (data + generator)
    return {"data": data, "generator": generator, "discriminator": 0.5 + 0 * X, "best": best} | other


def test_each_moment_is_a_column_of_its_curves_on_the_scale_of_all() -> None:
    first, second = moment(-2.0, witness=normal(0.0) - normal(-2.0)), moment(-0.5, witness=0 * X)
    figure = plots.contest(X, {"before": first, "after": second})
    above, middle, below = (figure.axes[i : i + 2] for i in (0, 2, 4))
    assert [axis.get_title(loc="left") for axis in above] == ["before", "after"]
    for i, curves in enumerate((first, second)):
        np.testing.assert_array_equal(above[i].get_lines()[0].get_ydata(), curves["generator"])
        drawn = {line.get_label(): line.get_ydata() for line in middle[i].get_lines()}
        np.testing.assert_array_equal(drawn["discriminator"], curves["discriminator"])
        np.testing.assert_array_equal(drawn["best"], curves["best"])
        lines = {line.get_label(): line.get_ydata() for line in below[i].get_lines()}
        np.testing.assert_array_equal(lines["MMD witness"], curves["witness"])
    for row in (above, middle, below):
        assert row[0].get_ylim() == row[1].get_ylim()
    (legend,) = figure.legends
    named = {text.get_text() for text in legend.get_texts()}
    assert named == {"data", "generator", "best", "discriminator", "MMD witness"}


def pushes(axis) -> tuple[np.ndarray, np.ndarray]:
    """Places and lengths of the arrows of a panel."""
    (arrows,) = [found for found in axis.collections if isinstance(found, Quiver)]
    return np.asarray(arrows.X), np.asarray(arrows.U)


def test_arrows_stand_where_the_draws_are_and_are_as_long_as_the_gradient() -> None:
    steep, flat = moment(-2.0, gradient=2 + 0 * X), moment(-2.0, gradient=-1 + 0 * X)
    gone = moment(-2.0, gradient=0 * X)
    columns = plots.contest(X, {"steep": steep, "flat": flat, "gone": gone}).axes[:3]
    (places, long), (_, half), (none, _) = map(pushes, columns)
    assert len(places) > 3
    assert places.max() < -2 + 2.9  # beyond, the generator's density is below a fiftieth of its height
    np.testing.assert_allclose(half, -long / 2)
    assert (long > 0).all()
    assert len(none) == 0


def test_the_slope_of_the_witness_points_to_where_data_are_denser() -> None:
    figure = plots.contest(X, {"now": moment(-2.0, witness=np.tanh(X))})
    _, lengths = pushes(figure.axes[2])
    assert len(lengths) > 0
    assert (lengths > 0).all()


def test_an_animation_has_a_frame_a_moment_and_is_written(tmp_path: Path) -> None:
    moments = {f"step {i}": moment(-2.0 + i, gradient=X, witness=X) for i in range(3)}
    animation = plots.contest_animation(X, moments)
    animation.save(tmp_path / "contest.gif", writer="pillow")
    with Image.open(tmp_path / "contest.gif") as gif:
        assert gif.n_frames == 3
        frames = []
        for i in range(3):
            gif.seek(i)
            frames.append(np.asarray(gif.convert("RGB")))
    assert not np.array_equal(frames[0], frames[2])
    assert "<input" in animation.to_jshtml()
    with pytest.raises(ValueError, match="frames_per_second should be positive and finite but got 0"):
        plots.contest_animation(X, moments, frames_per_second=0)


def test_what_is_wrong_with_a_moment_is_said() -> None:
    good = moment(1.0)
    without = {name: curve for name, curve in good.items() if name != "generator"}
    for moments, said in (
        ({}, "at least 1 entry but has 0"),
        ({"now": without}, r"moments\['now'\] should have .* but lacks 'generator'"),
        ({"now": good | {"judge": X}}, "but has 'judge'"),
        ({"now": good, "later": good | {"witness": X}}, "should have the curves of the first"),
        ({"now": good | {"best": X[1:]}}, r"the shape of x, \(81,\), but has \(80,\)"),
        ({"now": good | {"best": X * np.nan}}, r"moments\['now'\]\['best'\] should be finite"),
    ):
        with pytest.raises(ValueError, match=said):
            plots.contest(X, moments)
    with pytest.raises(ValueError, match="x should increase"):
        plots.contest(X[::-1], {"now": good})


def test_trajectories_are_drawn_in_one_frame_and_what_leaves_it_is_counted() -> None:
    turn = np.linspace(0, 9, 60)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    away = circle * (1 + turn)[:, None]
    figure = plots.trajectories(
        {"circle": circle, "away": away}, fields={"circle": lambda at: at[:, ::-1] * [-1, 1]}
    )
    one, two = figure.axes
    np.testing.assert_array_equal(one.get_lines()[0].get_xydata(), circle)
    assert one.get_xlim() == two.get_xlim() == two.get_ylim() == (-4, 4)
    outside = int((np.abs(away) > 4).any(1).sum())
    assert [text.get_text() for text in two.texts] == [f"{outside} of 60 steps outside"]
    assert not one.texts
    (arrows,) = [found for found in one.collections if isinstance(found, Quiver)]
    np.testing.assert_allclose(np.hypot(arrows.U, arrows.V), np.hypot(arrows.X, arrows.Y) > 0)
    with pytest.raises(ValueError, match=r"paths\['a'\] should have shape \(steps, 2\)"):
        plots.trajectories({"a": turn})
    with pytest.raises(ValueError, match="at least 1 entry"):
        plots.trajectories({})
    with pytest.raises(ValueError, match=r"fields should be of the paths \['a'\] but names 'b'"):
        plots.trajectories({"a": circle}, fields={"b": lambda at: at})
