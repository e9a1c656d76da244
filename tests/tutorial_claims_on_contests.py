"""What the prose of the tutorial on matching and contests says, as assertions on its names."""

import math
from types import SimpleNamespace

import pytest


def direct_or_indirect(v: SimpleNamespace) -> None:
    assert v.least == pytest.approx(0.203, abs=1e-3)
    assert all(v.least - 1e-3 < error < v.least + 0.003 for error in v.errors.values())
    assert v.terms["discriminator"].item() == pytest.approx(0.5, abs=1e-5)
    assert v.answers.max() - v.answers.min() > 0.3
    for gan in (v.line_directly, v.line_indirectly):
        assert v.law_of(gan)[0] == pytest.approx(2.0, abs=0.06)
        assert v.law_of(gan)[1] == pytest.approx(0.7, abs=0.05)

    assert v.ends["cross-entropy, R1"] < 0.01
    assert min(distance for name, distance in v.ends.items() if name != "cross-entropy, R1") > 0.8

    one_piece, clusters = v.found["noise in one piece"], v.found["noise in clusters"]
    assert clusters.found == 8
    assert clusters.high_quality > one_piece.high_quality + 0.1
    assert not v.findings["noise in one piece"]
    assert not v.findings["noise in clusters"]
    assert v.findings["too fast a generator"]
    energy = v.histories["too fast a generator"].values("energy", "validation")
    assert energy[-1] > energy[0]
    assert one_piece.found < 8

    distance, covered = ({name: row[i] for name, row in v.scores.items()} for i in range(2))
    assert distance["train"] < distance["directly"] < 0.003
    assert distance["indirectly"] < 0.004
    assert covered["indirectly"] > covered["directly"] + 0.03
    assert covered["train"] > 0.9

    assert v.before.mean() - v.fresh.mean() > 1.4  # two of the data's standard deviations
    assert v.after.mean().item() == pytest.approx(-0.5, abs=0.06)
    assert v.after.std().item() == pytest.approx(0.7, abs=0.06)
    assert v.least_entropy == pytest.approx(math.log(4) - 2 * v.shannon, abs=1e-3)
