"""Anomalies on digits and on a made table in which what is anomalous is known."""

import numpy as np
import pandas as pd
import pytest

from probgen import applications


def values(folder):
    frame = pd.read_csv(folder / "metrics.csv")
    return frame.pivot_table(index="method", columns="metric", values="value")


def made(path, *, rows=400, missing=False, far=False, anomaly=(0, 1)):
    """Write rows of a correlated normal law, and rows eight of its standard deviations off its long axis."""
    source = np.random.default_rng(0)
    t = source.normal(size=400)
    x = np.stack([t, t, -t], 1) + 0.1 * source.normal(size=(400, 3))
    away = source.normal(size=(40, 3)) + np.array([0.0, 4.0, 4.0])
    frame = pd.DataFrame(np.concatenate([x, away]), columns=["a", "b", "c"])
    frame["anomaly"] = np.repeat(anomaly, [400, 40])
    if missing:
        frame.loc[3, "b"] = np.nan
    if far:
        frame.loc[405, "b"] = 1e38
    frame[400 - rows :].to_csv(path, index=False)
    return path


def test_digits_are_told_by_all_and_the_report_shows_the_worst(tmp_path):
    folder = applications.apply("anomaly", data="digits", out=tmp_path / "here", size="tiny", progress=False)
    found = values(folder)
    assert found.loc["neighbours", "auc"] > 0.9, "the k-th neighbour's distance reaches .98 on digits"
    assert found.loc["principal components", "one_class"] > 0.9
    assert set(found.index) == {
        "reconstruction", "code neighbours", "combined", "negative log-likelihood",
        "neighbours", "principal components", "isolation forest",
    }  # fmt: skip
    assert found["alarms"].between(0, 0.3).all()
    for name in ("curves", "threshold", "worst-cases", "by-class", "contamination"):
        assert [path for path in folder.iterdir() if path.stem == name], name


def test_a_table_of_the_users_is_scored_beside_its_known_anomalies(tmp_path):
    own = made(tmp_path / "own.csv")
    folder = applications.apply("anomaly", data=own, out=tmp_path / "here", size="tiny", progress=False)
    found = values(folder)
    assert found.loc["neighbours", "auc"] > 0.99
    assert found.loc["neighbours", "caught"] > 0.9
    assert "one_class" not in found.columns, "there are no classes"


def test_a_table_without_known_anomalies_has_false_alarms_and_its_suspects_by_line(tmp_path):
    own = tmp_path / "own.csv"
    frame = pd.read_csv(made(own)).drop(columns="anomaly")
    frame.to_csv(own, index=False)
    folder = applications.apply("anomaly", data=own, out=tmp_path / "here", size="tiny", progress=False)
    assert list(values(folder).columns) == ["alarms"]
    suspects = pd.read_csv(folder / "suspects.csv")["line"]
    assert (suspects[:5] >= 402).all(), "the rows from line 402 on are the anomalies"


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"missing": True}, "should have a value in each place"),
        (
            {"far": True},
            r"the column 'b' of .* should have numbers within 1e\+12 .* but has 1e\+38, which no",
        ),
        ({"rows": 199}, "should have 200 rows at least that are no anomalies but has 199"),
        ({"anomaly": ("no", "yes")}, r"the column anomaly of .* should hold 0 and 1"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_a_sentence(tmp_path, faults, said):
    own = made(tmp_path / "own.csv", **faults)
    with pytest.raises(ValueError, match=said):
        applications.apply("anomaly", data=own, out=tmp_path / "here", size="tiny", progress=False)
