"""What the prose of the tutorials on sequences says, as assertions on names that their cells leave behind."""

from types import SimpleNamespace

import pytest


def models_that_remember(v: SimpleNamespace) -> None:
    assert float(v.alone) == pytest.approx(10.97, abs=0.01)
    assert v.found["hidden Markov"] == pytest.approx(7.48, abs=0.15)
    assert v.found["deep Markov"] == pytest.approx(11.0, abs=0.3)
    assert v.used < 10
    assert (v.elbos["recurrent"], v.found["recurrent"]) == pytest.approx((8.3, 8.2), abs=0.3)
    assert v.found["chords"] == pytest.approx(6.1, abs=0.3)
    assert v.found["hidden Markov"] + 0.2 < v.found["recurrent"] < v.elbos["recurrent"]
    assert abs(v.lost["deep Markov"]) < 0.1
    assert 0.4 < v.lost["recurrent"] < v.lost["chords"]
    assert 0.4 < v.lost["hidden Markov"] < v.lost["chords"]
    assert v.by_states[2] > v.by_states[8] + 0.3 > v.by_states[32] + 0.6


def sentences_as_points(v: SimpleNamespace) -> None:
    assert v.entropy == pytest.approx(5.781, abs=5e-4)
    assert v.counted[2] == pytest.approx(v.entropy + 0.69, abs=0.08)  # log 2 for the noun
    assert v.entropy < v.counted[3] < v.counted[4] < v.entropy + 0.1
    assert v.entropy < v.without_code < v.counted[3]

    assert v.collapsed["kl"] < 0.05
    assert v.collapsed["bound"] == pytest.approx(v.without_code, abs=0.02)
    assert v.kept["kl"] > 2
    assert v.collapsed["nll"] < v.kept["nll"] < v.collapsed["nll"] + 0.06
    assert v.kept["bound"] > v.kept["nll"] + 0.08
    assert v.probe > 0.95

    assert len(v.cold.unique(dim=0)) < len(v.warm.unique(dim=0))
    assert v.log_p[0] >= v.law.log_prob(v.greedy) - 1e-5
    assert v.share == pytest.approx(0.96, abs=0.05)
    assert (v.were, v.became) == (0, pytest.approx(0.89, abs=0.08))
    assert v.same_place > 0.7
