"""Pictures of digits drawn and judged, on the smallest path."""

import pandas as pd
import pytest

from probgen import applications


def test_digits_are_drawn_and_judged_beside_copies_and_real_pictures(tmp_path):
    folder = applications.apply("images", data="digits", out=tmp_path / "here", size="tiny", progress=False)
    frame = pd.read_csv(folder / "metrics.csv")
    found = frame.pivot_table(index="method", columns="metric", values="value")
    assert len(found) == 7
    assert set(frame["repeat"]) == {0, 1}
    assert found.loc["memoriser", "authenticity"] == 0, "what is copied is nearest to what it copies"
    real, drawn = (found.loc[name, "kernel_distance"] for name in ("train against test", "vae"))
    assert real < drawn, "two steps draw no digits"
    assert found.loc["vae", "nll"] > 0
    for name in ("samples", "nearest-training-pictures", "interpolations"):
        assert (folder / f"{name}.png").exists(), name


def test_a_table_holds_no_pictures(tmp_path):
    own = tmp_path / "own.csv"
    pd.DataFrame({"a": [0.5, 1.25] * 25, "b": [0.75, 2.5, 0.1, 7.0, 3.3] * 10}).to_csv(own, index=False)
    with pytest.raises(ValueError, match="images should be pictures but"):
        applications.apply("images", data=own, out=tmp_path / "here", size="tiny", progress=False)
